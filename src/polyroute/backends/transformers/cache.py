"""Keys and values of many episodes, each in a row of its own.

The one decision here: a row is contiguous and starts at position 0, whatever its neighbours do, so
rows of any length share a step, and a row keeps its place between two turns. Rows that decode are
the first ones, in order, so a step reads them as a view, without copying the cache.
"""

from typing import Any

from polyroute.backends.transformers.extra import torch
from polyroute.backends.transformers.session import Session

__all__ = ["Rows"]

_BLOCK = 64
"""Positions by which rows grow longer."""


class Rows:
    """A key-value cache in the form that a model of transformers calls.

    Parameters
    ----------
    layers : int
        Layers of the model.
    """

    def __init__(self, layers: int) -> None:
        self.sessions: list[Session] = []
        """Who has which row."""
        self.reads = 0
        """Positions that the model reads in this step."""
        self._layers = layers
        self._keys: Any = None
        self._values: Any = None
        self._writes: tuple[Any, Any, Any, Any] | None = None
        self._rows: Any = None

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        if self._keys is None:
            return 0
        size: int = self._keys.nbytes + self._values.nbytes
        return size

    def attach(self, session: Session) -> None:
        """Give `session` a row."""
        session.row = len(self.sessions)
        self.sessions.append(session)

    def detach(self, session: Session) -> None:
        """Take the row of `session` away; the last row moves into its place."""
        session.cached = 0
        if session.row is not None:
            self.swap(session.row, len(self.sessions) - 1)
            self.sessions.pop()
        session.row = None

    def swap(self, one: int, other: int) -> None:
        """Exchange two rows."""
        if one == other:
            return
        here, there = self.sessions[one], self.sessions[other]
        length = max(here.cached, there.cached)
        if length and self._keys is not None:
            for store in (self._keys, self._values):
                held = store[:, one, :, :length].clone()
                store[:, one, :, :length] = store[:, other, :, :length]
                store[:, other, :, :length] = held
        here.row, there.row = other, one
        self.sessions[one], self.sessions[other] = there, here

    def copy(self, one: Session, other: Session, length: int) -> None:
        """Give `other` what `one` has computed for the first `length` tokens."""
        assert one.row is not None
        assert other.row is not None
        self._make_room(self._keys[0], self._values[0])
        for store in (self._keys, self._values):
            store[:, other.row, :, :length] = store[:, one.row, :, :length]
        other.cached = length

    def clear(self) -> None:
        """Free the memory; every session keeps its tokens and loses its row."""
        for session in self.sessions:
            session.row, session.cached = None, 0
        self.sessions = []
        self._keys = self._values = None

    def place(self, rows: list[int], counts: list[int]) -> Any:  # noqa: ANN401 - a tensor
        """Prepare a step that appends `counts` tokens to `rows`; return their positions.

        Returns
        -------
        Tensor of shape (B, T)
            T is the largest count; shorter ones are padded on the left, with position 0.
        """
        np = torch()
        lengths = np.tensor([self.sessions[row].cached for row in rows])
        count = np.tensor(counts)
        width = max(counts)
        offset = np.arange(width)[None, :] - (width - count)[:, None]  # below 0: padding
        positions = (lengths[:, None] + offset).where(offset >= 0, np.zeros((), dtype=np.long))
        batch, step = (offset >= 0).nonzero(as_tuple=True)
        index = np.tensor(rows)
        self.reads = int((lengths + count).max())
        self._writes = (index[batch], positions[batch, step], batch, step)
        self._rows = len(rows) if rows == list(range(len(rows))) else index
        return positions

    def update(self, key: Any, value: Any, layer: int, *_: object) -> tuple[Any, Any]:  # noqa: ANN401
        """Store what a layer computed for the new tokens; return all that it may look at."""
        self._make_room(key, value)
        assert self._writes is not None
        row, position, batch, step = self._writes
        read = []
        for store, new in ((self._keys, key), (self._values, value)):
            held = store[layer]
            held[row, :, position] = new[batch, :, step]
            chosen = held[: self._rows] if isinstance(self._rows, int) else held[self._rows]
            read.append(chosen[:, :, : self.reads])
        return read[0], read[1]

    def get_seq_length(self, layer: int = 0) -> int:
        """Return the positions that were there before this step, at most."""
        del layer
        return self.reads

    def _make_room(self, key: Any, value: Any) -> None:  # noqa: ANN401
        """Grow to the rows and positions of this step; in one piece, so that a swap is too."""
        rows, length = len(self.sessions), self.reads
        if self._keys is not None:
            _, has_rows, _, has_length, _ = self._keys.shape
            if rows <= has_rows and length <= has_length:
                return
            rows = has_rows if rows <= has_rows else max(rows, has_rows * 3 // 2)
            length = max(length, has_length)
        length = -(-length // _BLOCK) * _BLOCK
        self._keys = _grown(self._keys, key, (self._layers, rows, length))
        self._values = _grown(self._values, value, (self._layers, rows, length))


def _grown(old: Any, new: Any, shape: tuple[int, int, int]) -> Any:  # noqa: ANN401
    layers, rows, length = shape
    # zeros, not whatever is in memory: padding may look at position 0 of an empty row
    store = new.new_zeros((layers, rows, new.shape[1], length, new.shape[3]))
    if old is not None:
        store[:, : old.shape[1], :, : old.shape[3]] = old
    return store
