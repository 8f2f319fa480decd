"""Hashed n-grams: text features that need no vocabulary, no fitting and no download.

The one decision here: a term's column and sign come from its CRC-32, which is the same in every
process and every version, so that a head trained on one machine works on another. Words are hashed
one by one in C; their n-grams are mixed from the words' hashes in numpy.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.protocols import State
from polyroute.signals.encoders.grams import bounded, check_range, words
from polyroute.sparse import Sparse

__all__ = ["Hashed"]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: multiplying by it spreads neighbours apart (Knuth, The Art of
Computer Programming 3, section 6.4)."""


class Hashed:
    """Signed counts of word and character n-grams in 2^bits buckets, each row of length 1.

    Parameters
    ----------
    bits : int, default=18
        The row has 2^bits columns; 8 to 24.
    of_words : (int, int) or None, default=(1, 2)
        Shortest and longest n-gram of words.
    of_characters : (int, int) or None, default=None
        Shortest and longest n-gram of characters, across words, runs of white space as one space.
    sublinear : bool, default=True
        Count a term that occurs n times as 1 + ln n.
    most_characters : int or None, default=1024
        Read the beginning and end of a longer text. 1,024 keep a decision under 0.3 ms.

    Raises
    ------
    ConfigError
        If a parameter is out of range, or there is nothing to count.

    Notes
    -----
    Cost: docs/benchmarks/encoders.md. The sign makes colliding terms cancel in expectation instead
    of adding up.

    References
    ----------
    Weinberger, Dasgupta, Langford, Smola and Attenberg, "Feature Hashing for Large Scale Multitask
    Learning", ICML 2009, arXiv:0902.2206, section 2.

    Examples
    --------
    >>> x_ND = Hashed(bits=10).encode(["the capital of Peru", ""])
    >>> x_ND.shape, np.diff(x_ND.starts).tolist()
    ((2, 1024), [7, 0])
    """

    def __init__(
        self,
        *,
        bits: int = 18,
        of_words: tuple[int, int] | None = (1, 2),
        of_characters: tuple[int, int] | None = None,
        sublinear: bool = True,
        most_characters: int | None = 1_024,
    ) -> None:
        if not 8 <= bits <= 24:
            raise ConfigError(f"bits must be from 8 to 24, got {bits!r}")
        check_range("of_words", of_words)
        check_range("of_characters", of_characters)
        if of_words is None and of_characters is None:
            raise ConfigError("give of_words, of_characters or both: there is nothing to count")
        self._bits = bits
        self._of_words = of_words
        self._of_characters = of_characters
        self._sublinear = sublinear
        self._most_characters = most_characters

    def fit(self, texts: Sequence[str]) -> Self:
        """Return self: there is nothing to learn."""
        del texts
        return self

    def encode(self, texts: Sequence[str]) -> Sparse:
        """Return the rows of `texts`, shape (N, 2^bits)."""
        rows = [self._row(bounded(text, self._most_characters)) for text in texts]
        sizes = [len(columns) for columns, _ in rows]
        return Sparse(
            starts=np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64),
            columns=np.concatenate([np.empty(0, np.int64), *(columns for columns, _ in rows)]),
            values=np.concatenate([np.empty(0, np.float32), *(values for _, values in rows)]),
            width=1 << self._bits,
        )

    def state(self) -> State:
        """Return an empty state."""
        return State()

    def restore(self, state: State) -> Self:
        """Return self."""
        del state
        return self

    def _row(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Columns, ascending, and values of one text."""
        hashes, counts = np.unique(np.concatenate([*self._hashes(text)]), return_counts=True)
        weights = 1 + np.log(counts) if self._sublinear else counts.astype(np.float64)
        weights[(hashes >> np.uint64(7)) & np.uint64(1) == 1] *= -1
        # the hashes ascend, and so do their highest bits
        buckets = (hashes >> np.uint64(64 - self._bits)).astype(np.int64)
        if not len(buckets):
            return buckets, np.empty(0, np.float32)
        first = np.flatnonzero(np.diff(buckets, prepend=-1))
        values = np.add.reduceat(weights, first)
        length = np.sqrt(values @ values)
        return buckets[first], (values / length if length else values).astype(np.float32)

    def _hashes(self, text: str) -> Iterator[NDArray[np.uint64]]:
        """Hashes of 64 mixed bits, one array per length and kind of n-gram."""
        if self._of_words is not None:
            found = words(text)
            codes = np.fromiter(
                (zlib.crc32(word.encode()) for word in found), np.uint64, len(found)
            )
            yield from _windows(codes, self._of_words, salt=0)
        if self._of_characters is not None:
            lowered = " ".join(["", *text.lower().split(), ""])
            codes = np.frombuffer(lowered.encode("utf-32-le"), "<u4").astype(np.uint64)
            yield from _windows(codes, self._of_characters, salt=1)


def _windows(
    codes: NDArray[np.uint64], lengths: tuple[int, int], *, salt: int
) -> Iterator[NDArray[np.uint64]]:
    """Yield the hashes of all runs of n codes, for every n of `lengths`."""
    for n in range(lengths[0], lengths[1] + 1):
        size = max(len(codes) - n + 1, 0)
        # the length and the kind take part, so that "a b" is not the pair of pieces "a", "b"
        mixed = np.full(size, 2 * n + salt, np.uint64)
        for k in range(n):
            mixed = _mix(mixed ^ codes[k : k + size])
        yield mixed


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit over all 64; multiplication wraps, as it should."""
    values = (values ^ (values >> np.uint64(32))) * _MULTIPLIER
    return (values ^ (values >> np.uint64(29))) * _MULTIPLIER
