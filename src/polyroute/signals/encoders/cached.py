"""Remember the rows of an encoder, so that a text is encoded once.

The one decision here: what is remembered is a row of a deterministic encoder, so remembering can
change the cost of an answer and never the answer.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.protocols import Encoder, Features, State
from polyroute.sparse import Sparse

__all__ = ["Cached"]


@dataclass(frozen=True, slots=True)
class _Row:
    values: NDArray[np.float32]
    columns: NDArray[np.int64] | None
    """Of a sparse row."""


class Cached:
    """Another encoder, with a memory of the texts it has seen in this process.

    Worth it around MiniLM or a remote encoder, where several estimators, or a router and its
    fallback, read the same request; hashing is cheaper than remembering.

    Parameters
    ----------
    encoder : Encoder
        What to ask for a text that is new.
    most_rows : int, default=20000
        Forget the text that was not asked for the longest, beyond so many.

    Raises
    ------
    ConfigError
        If `most_rows` is below 1.

    Notes
    -----
    Safe to use from several threads; two that meet the same new text both encode it. A copy, or a
    pickle, begins with nothing remembered. A lookup costs about 3 microseconds, mostly the digest
    under which a text is remembered (BLAKE2b, 128 bits); docs/benchmarks/encoders.md.

    Examples
    --------
    >>> from polyroute.signals.encoders.hashed import Hashed
    >>> encoder = Cached(encoder=Hashed(bits=8))
    >>> encoder.encode(["a text", "a text", "another"]).shape, encoder.rows
    ((3, 256), 2)
    """

    def __init__(self, *, encoder: Encoder, most_rows: int = 20_000) -> None:
        if most_rows < 1:
            raise ConfigError(f"most_rows must be 1 or more, got {most_rows!r}")
        self._encoder = encoder
        self._most_rows = most_rows
        self._learned = b""
        self._forget()

    @property
    def rows(self) -> int:
        """How many texts are remembered."""
        return len(self._memory)

    def fit(self, texts: Sequence[str]) -> Self:
        """Fit the encoder and return self; where that changed it, forget what it said before."""
        self._encoder.fit(texts)
        self._forget_if_changed()
        return self

    def encode(self, texts: Sequence[str]) -> Features:
        """Return the encoder's rows of `texts`, shape (N, D)."""
        digests = [_digest(text) for text in texts]
        known = self._recall(digests)
        missing = {
            digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known
        }
        if missing or not texts:
            features = self._encoder.encode(list(missing.values()))
            if not texts:
                return features
            learned = dict(zip(missing, _split(features), strict=True))
            known |= learned
            self._remember(learned, features.shape[1])
        return _join([known[digest] for digest in digests], self._width)

    def state(self) -> State:
        """Return the state of the encoder; what is remembered is not part of it."""
        return self._encoder.state()

    def restore(self, state: State) -> Self:
        """Restore the encoder and return self; where that changed it, forget what it said."""
        self._encoder.restore(state)
        self._forget_if_changed()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"encoder": self._encoder, "most_rows": self._most_rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._encoder, self._most_rows = state["encoder"], state["most_rows"]
        self._learned = b""
        self._forget()

    def _forget_if_changed(self) -> None:
        # several estimators that share an encoder without anything to learn each fit it
        learned = _identity(self._encoder.state())
        if learned != self._learned:
            self._forget()
        self._learned = learned

    def _forget(self) -> None:
        self._memory: OrderedDict[bytes, _Row] = OrderedDict()
        self._width = 0
        self._lock = threading.Lock()

    def _recall(self, digests: list[bytes]) -> dict[bytes, _Row]:
        known = {}
        with self._lock:
            for digest in digests:
                row = self._memory.get(digest)
                if row is not None:
                    self._memory.move_to_end(digest)
                    known[digest] = row
        return known

    def _remember(self, learned: dict[bytes, _Row], width: int) -> None:
        with self._lock:
            self._width = width
            self._memory.update(learned)
            while len(self._memory) > self._most_rows:
                self._memory.popitem(last=False)


def _identity(state: State) -> bytes:
    digest = hashlib.blake2b(json.dumps(state.values, sort_keys=True, default=str).encode())
    for name, array in sorted(state.arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _split(features: Features) -> list[_Row]:
    """Return the rows, each in memory of its own: a view would keep its whole batch alive."""
    if not isinstance(features, Sparse):
        return [_Row(row.copy(), None) for row in features]
    return [
        _Row(features.values[start:end].copy(), features.columns[start:end].copy())
        for start, end in zip(features.starts[:-1], features.starts[1:], strict=True)
    ]


def _join(rows: list[_Row], width: int) -> Features:
    columns = [row.columns for row in rows if row.columns is not None]
    if not columns:
        return np.stack([row.values for row in rows])
    return Sparse(
        starts=np.cumsum([0, *map(len, columns)], dtype=np.int64),
        columns=np.concatenate(columns),
        values=np.concatenate([row.values for row in rows]),
        width=width,
    )
