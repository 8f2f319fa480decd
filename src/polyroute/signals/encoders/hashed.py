"""Hashed n-grams: text features that need no vocabulary, no fitting and no download.

The one decision here: a term's column and sign come from its CRC-32, which is the same in every
process and every version, so that a head trained on one machine works on another. CRC-32 runs in C
in the standard library; a multiplication spreads what it leaves regular.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.protocols import State
from polyroute.signals.encoders.grams import bounded, check_range, grams, words
from polyroute.sparse import Sparse

__all__ = ["Hashed"]

_SIGN = np.uint64(1 << 32)
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
        Shortest and longest n-gram of characters inside words (scikit-learn's ``char_wb``).
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
    >>> import numpy as np
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
        counts = [Counter(self._codes(bounded(text, self._most_characters))) for text in texts]
        sizes = [len(count) for count in counts]
        length = sum(sizes)
        mixed = np.fromiter(chain.from_iterable(counts), np.uint64, length) * _MULTIPLIER
        weights = np.fromiter(chain.from_iterable(c.values() for c in counts), float, length)
        if self._sublinear:
            weights = 1 + np.log(weights)
        weights[mixed & _SIGN > 0] *= -1
        rows = np.repeat(np.arange(len(texts)), sizes)
        cells = rows << self._bits | (mixed >> np.uint64(64 - self._bits)).astype(np.int64)
        return self._unit_rows(cells, weights, len(texts))

    def state(self) -> State:
        """Return an empty state."""
        return State()

    def restore(self, state: State) -> Self:
        """Return self."""
        del state
        return self

    def _codes(self, text: str) -> list[int]:
        """CRC-32 of every n-gram, as often as it occurs."""
        codes: list[int] = []
        if self._of_words:
            shortest, longest = self._of_words
            parts = [word.encode() for word in words(text)]
            spaced = [b" " + part for part in parts]
            ending = list(map(crc32, parts))
            for n in range(1, longest + 1):
                if n > 1:  # a checksum can be carried on: that of "red car" from that of "red"
                    ending = list(map(crc32, spaced[n - 1 :], ending))
                if n >= shortest:
                    codes += ending
        if self._of_characters:
            pieces = grams(text, of_words=None, of_characters=self._of_characters)
            codes += map(crc32, map(str.encode, pieces))
        return codes

    def _unit_rows(
        self, cells: NDArray[np.int64], weights: NDArray[np.float64], count: int
    ) -> Sparse:
        """Add up what fell into one cell (row, then column), and scale rows to length 1."""
        order = cells.argsort(kind="stable")
        cells, values = cells[order], weights[order]
        if (cells[1:] == cells[:-1]).any():  # two terms in one column
            first = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]]))
            cells, values = cells[first], np.add.reduceat(values, first)
        rows = cells >> self._bits
        length = np.sqrt(np.bincount(rows, values * values, count))[rows]
        if not length.all():  # all that a text has cancelled out
            left = length > 0
            cells, values, length = cells[left], values[left], length[left]
        return Sparse(
            starts=cells.searchsorted(np.arange(count + 1) << self._bits),
            columns=cells & ((1 << self._bits) - 1),
            values=(values / length).astype(np.float32),
            width=1 << self._bits,
        )
