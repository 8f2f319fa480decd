"""Static embeddings: one vector per token, distilled once from MiniLM, and a mean of them per text.

The one decision here: the model is asked for every token of its vocabulary by itself, offline, so
that serving is a lookup. What is lost is word order and context; what is won is the model's sense
of which words are alike, at the price of a hash.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.protocols import State
from polyroute.signals.encoders.cache import stored
from polyroute.signals.encoders.minilm_graph import DIMENSIONS, run
from polyroute.signals.encoders.weights import SHA256
from polyroute.signals.encoders.wordpiece import CLS, SEP, VOCABULARY, pieces

__all__ = ["Static"]

_VERSION = 1
"""Changes with the way a table is made."""

_FIRST = 999
"""Tokens before it are special, or were never used in training; they have no vector."""

_RARE = 1e-4
"""The constant a of SIF weights a / (a + p(token)) (Arora, Liang and Ma 2017, section 3.1: results
hold from 1e-4 to 1e-3)."""

_PROBES = np.linspace(_FIRST, VOCABULARY - 1, 32).astype(np.int64)
"""Tokens whose vectors are in the state: enough to tell one table from another."""


class Static:
    """Mean of token vectors, weighted by how rare the tokens are; rows of length 1.

    Parameters
    ----------
    dimensions : int, default=256
        Principal components to keep of MiniLM's 384; 2 to 384.
    most_characters : int, default=1024
        Read the beginning and end of a longer text.
    table : str, optional
        Path of a distilled table to use, instead of the one in the cache folder: that of another
        machine, say, so that an artifact decides to the last bit as it did there. A ``.npz`` file
        with one array, ``vectors``, of shape (30522, dimensions).

    Raises
    ------
    ConfigError
        If a parameter is out of range. When it is used: if `table` is no such file.
    MissingExtraError
        When it is used: if tokenizers or the weights are not installed, or, for the first use ever,
        onnx, onnxruntime or safetensors.

    Notes
    -----
    The first use ever distils the table, in half a minute to a minute of one core, and keeps it in
    the cache folder (`polyroute.signals.encoders.cache`; 16 MB). A text without a known token is a
    row of zeros. Cost: docs/benchmarks/encoders.md.

    References
    ----------
    Tulkens and van Dongen, Model2Vec (2024, github.com/MinishLab/model2vec): tokens through a
    sentence encoder one at a time, principal components, weights by Zipf's law from the token's
    place in the vocabulary. Arora, Liang and Ma, "A Simple but Tough-to-Beat Baseline for Sentence
    Embeddings", ICLR 2017: the weights. Unlike Model2Vec, the tokens' vectors are scaled to length
    1 before the components are found.
    """

    def __init__(
        self, *, dimensions: int = 256, most_characters: int = 1_024, table: str | None = None
    ) -> None:
        if not 2 <= dimensions <= DIMENSIONS:
            raise ConfigError(f"dimensions must be from 2 to {DIMENSIONS}, got {dimensions!r}")
        if most_characters < 1:
            raise ConfigError(f"most_characters must be 1 or more, got {most_characters!r}")
        self._dimensions = dimensions
        self._most_characters = most_characters
        self._table = table

    def fit(self, texts: Sequence[str]) -> Self:
        """Return self: the vectors do not depend on the texts."""
        del texts
        return self

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of `texts`, shape (N, dimensions)."""
        vectors_VD = _vectors(self._dimensions, self._table)
        out_ND = np.zeros((len(texts), self._dimensions), np.float32)
        for row, text in enumerate(texts):
            tokens = pieces(text, most_characters=self._most_characters)
            total_D = vectors_VD[tokens].sum(axis=0)
            length = np.sqrt(total_D @ total_D)
            if length > 0:
                out_ND[row] = total_D / length
        return out_ND

    def state(self) -> State:
        """Return a few vectors, which identify the table; not the table."""
        probes = _vectors(self._dimensions, self._table)[_PROBES]
        return State(
            arrays={"probes": probes.astype(np.float16)},
            values={"dimensions": self._dimensions, "most_characters": self._most_characters},
        )

    def restore(self, state: State) -> Self:
        """Check that `state` was returned with the same table, and return self.

        Tables distilled on two machines may differ in the last digit of a few vectors; more is
        refused.

        Raises
        ------
        ConfigError
            If the table or a parameter differs.
        """
        own = self.state()
        for key, value in own.values.items():
            if state.values.get(key) != value:
                raise ConfigError(
                    f"the state was made with {key} {state.values.get(key)!r}, this encoder has "
                    f"{value!r}; use the same parameters as then"
                )
        theirs = state.arrays.get("probes", np.empty(0))
        ours = own.arrays["probes"]
        if theirs.shape != ours.shape or not np.allclose(theirs, ours, rtol=0, atol=2e-3):
            raise ConfigError(
                "the state was made with another table of token vectors; copy that table from the "
                "cache folder of the machine that made it, and give its path as 'table', or fit "
                "again"
            )
        return self


@cache
def _vectors(dimensions: int, table: str | None) -> NDArray[np.float32]:
    """Load the table once in a process: it does not change, and every encoder shares it."""
    if table is None:
        name = f"static-{SHA256['model.safetensors'][:12]}-{_VERSION}-{dimensions}.npz"
        path = stored(name, lambda unfinished: _distil(unfinished, dimensions))
    else:
        path = Path(table).expanduser()
    try:
        with np.load(path, allow_pickle=False) as file:
            vectors_VD: NDArray[np.float32] = file["vectors"].astype(np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{str(path)!r} is no table of token vectors: {error}") from error
    if vectors_VD.shape != (VOCABULARY, dimensions):
        raise ConfigError(
            f"{str(path)!r} has vectors of shape {vectors_VD.shape}, expected "
            f"{(VOCABULARY, dimensions)}"
        )
    return vectors_VD


def _distil(path: Path, dimensions: int) -> None:
    """Write the weighted principal components of every token's embedding."""
    tokens = np.arange(_FIRST, VOCABULARY)
    whole_VD = np.concatenate([
        run(_alone(part), "fp32") for part in np.array_split(tokens, 240)
    ]).astype(np.float64)  # fmt: skip
    centred_VD = whole_VD - whole_VD.mean(axis=0)
    _, components = np.linalg.eigh(centred_VD.T @ centred_VD)
    leading = components[:, ::-1][:, :dimensions]
    # a component is one only up to its sign: let its largest entry be positive
    leading = leading * np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(dimensions)])
    shares = 1 / np.arange(1, len(tokens) + 1)
    weights = _RARE / (_RARE + shares / shares.sum())
    vectors = np.zeros((VOCABULARY, dimensions), np.float16)
    vectors[_FIRST:] = centred_VD @ leading * weights[:, None]
    with path.open("wb") as file:
        np.savez(file, vectors=vectors)


def _alone(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each token as a sequence of its own."""
    return np.stack([np.full(len(tokens), CLS), tokens, np.full(len(tokens), SEP)], axis=1)
