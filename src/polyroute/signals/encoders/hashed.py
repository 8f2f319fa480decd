"""Hashed n-grams: text features that need no vocabulary, no fitting and no download.

The one decision here: a term's column and sign come from its CRC-32, which is the same in every
process and every version, so that a head trained on one machine works on another. CRC-32 runs in C
in the standard library; a multiplication spreads what it leaves regular.
"""

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Self

from polyroute.errors import ConfigError
from polyroute.protocols import State
from polyroute.signals.encoders.grams import bounded, check_range, grams, unit_rows
from polyroute.sparse import Sparse

__all__ = ["Hashed"]

_BITS = 2**64 - 1
_SIGN = 1 << 32
_MULTIPLIER = 0x9E3779B97F4A7C15
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
        return unit_rows(
            [self._row(bounded(text, self._most_characters)) for text in texts],
            width=1 << self._bits,
        )

    def state(self) -> State:
        """Return an empty state."""
        return State()

    def restore(self, state: State) -> Self:
        """Return self."""
        del state
        return self

    def _row(self, text: str) -> dict[int, float]:
        """Column -> value of one text, not scaled yet."""
        terms = grams(text, of_words=self._of_words, of_characters=self._of_characters)
        row: dict[int, float] = {}
        shift, sublinear = 64 - self._bits, self._sublinear
        for code, count in Counter(map(zlib.crc32, map(str.encode, terms))).items():
            mixed = code * _MULTIPLIER & _BITS
            weight = 1 + math.log(count) if sublinear and count > 1 else float(count)
            column = mixed >> shift
            row[column] = row.get(column, 0.0) + (-weight if mixed & _SIGN else weight)
        return row
