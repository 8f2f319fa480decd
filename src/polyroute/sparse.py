"""A sparse matrix in numpy: what text features are, and all that serving a linear head needs.

The one decision here: a request is routed without scipy. Training may turn it into scipy's own
matrix (`to_scipy`); one row times the weights is a gather and a sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import MissingExtraError

__all__ = ["Sparse"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sparse:
    """Rows of few values: CSR, as scipy has it.

    Examples
    --------
    >>> x_ND = Sparse.of_rows([({0: 2.0, 2: 1.0}), {}], width=3)
    >>> x_ND.shape
    (2, 3)
    >>> x_ND @ np.eye(3)
    array([[2., 0., 1.],
           [0., 0., 0.]])
    """

    starts: NDArray[np.int64]
    """Where each row begins in `columns`, and the end; length N + 1."""
    columns: NDArray[np.int64]
    """Ascending within a row."""
    values: NDArray[np.float32]
    width: int
    """Number of columns, D."""

    @classmethod
    def of_rows(cls, rows: Sequence[dict[int, float]], *, width: int) -> "Sparse":
        """Return the matrix whose rows are given as column -> value."""
        sizes = [len(row) for row in rows]
        items = [item for row in rows for item in sorted(row.items())]
        return cls(
            starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            columns=np.array([column for column, _ in items], np.int64),
            values=np.array([value for _, value in items], np.float32),
            width=width,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self.starts) - 1, self.width

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __matmul__(self, weights_DM: NDArray[Any]) -> NDArray[np.float64]:
        """Return the product with a dense matrix or vector of D rows."""
        gathered = weights_DM[self.columns] * self.values.reshape(-1, *[1] * (weights_DM.ndim - 1))
        filled = self.starts[1:] > self.starts[:-1]  # `reduceat` has no sum of nothing
        if filled.all():
            return np.add.reduceat(gathered, self.starts[:-1], axis=0).astype(np.float64)
        out = np.zeros((len(self), *weights_DM.shape[1:]))
        if filled.any():
            out[filled] = np.add.reduceat(gathered, self.starts[:-1][filled], axis=0)
        return out

    def rows(self, index: NDArray[Any]) -> "Sparse":
        """Return the rows of a boolean mask or an array of numbers, in its order."""
        chosen = np.arange(len(self))[index]
        sizes = np.diff(self.starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        take = np.repeat(self.starts[chosen] - starts[:-1], sizes) + np.arange(starts[-1])
        return Sparse(
            starts=starts, columns=self.columns[take], values=self.values[take], width=self.width
        )

    def to_scipy(self) -> Any:  # noqa: ANN401 - scipy is an optional package without annotations
        """Return it as a `scipy.sparse.csr_matrix`.

        Raises
        ------
        MissingExtraError
            If scipy is not installed.
        """
        try:
            from scipy.sparse import csr_matrix
        except ImportError as error:
            raise MissingExtraError(
                "scipy is needed; run: pip install 'polyroute[learn]'"
            ) from error
        return csr_matrix((self.values, self.columns, self.starts), shape=self.shape)
