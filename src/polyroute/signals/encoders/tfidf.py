"""TF-IDF over word n-grams: the default features, since they need neither a model nor a download.

The one decision here: the numbers are those of scikit-learn's `TfidfVectorizer` for the same
settings (a test compares them), while serving needs a dictionary and numpy only.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Self

import numpy as np

from polyroute.errors import ConfigError, NotFittedError
from polyroute.protocols import State
from polyroute.signals.encoders.grams import bounded, check_range, grams, unit_rows
from polyroute.sparse import Sparse

__all__ = ["TfIdf"]


class TfIdf:
    """Term counts, weighted by how rare the term is among the texts of `fit`; rows of length 1.

    The weight of a term is ``ln((1 + N) / (1 + n)) + 1`` when n of N texts hold it.

    Parameters
    ----------
    of_words : (int, int) or None, default=(1, 2)
        Shortest and longest n-gram of words.
    of_characters : (int, int) or None, default=None
        Shortest and longest n-gram of characters inside words (scikit-learn's ``char_wb``).
    min_df : int, default=1
        Forget terms that fewer texts hold.
    max_features : int or None, default=100000
        Keep the terms that occur most often; of equally frequent ones the first in the alphabet.
    sublinear : bool, default=False
        Count a term that occurs n times as 1 + ln n.
    most_characters : int or None, default=8192
        Read the beginning and end of a longer text.

    Raises
    ------
    ConfigError
        If a parameter is out of range, or there is nothing to count.

    Notes
    -----
    Where no term is left, there is still one column, of zeros: a head can be fitted on it.
    Cost: docs/benchmarks/encoders.md.

    References
    ----------
    Salton and Buckley, "Term-weighting approaches in automatic text retrieval", Information
    Processing and Management 24(5), 1988. The smoothed weight is scikit-learn's
    (``smooth_idf=True``).

    Examples
    --------
    >>> encoder = TfIdf().fit(["red car", "red bus"])
    >>> encoder.terms
    ('bus', 'car', 'red', 'red bus', 'red car')
    >>> (encoder.encode(["a red, red car"]) @ np.eye(5)).round(2)
    array([[0.  , 0.5 , 0.71, 0.  , 0.5 ]])
    """

    def __init__(
        self,
        *,
        of_words: tuple[int, int] | None = (1, 2),
        of_characters: tuple[int, int] | None = None,
        min_df: int = 1,
        max_features: int | None = 100_000,
        sublinear: bool = False,
        most_characters: int | None = 8_192,
    ) -> None:
        check_range("of_words", of_words)
        check_range("of_characters", of_characters)
        if of_words is None and of_characters is None:
            raise ConfigError("give of_words, of_characters or both: there is nothing to count")
        if min_df < 1:
            raise ConfigError(f"min_df is a number of texts, 1 or more; got {min_df!r}")
        if max_features is not None and max_features < 1:
            raise ConfigError(f"max_features must be 1 or more, or null; got {max_features!r}")
        self._of_words = of_words
        self._of_characters = of_characters
        self._min_df = min_df
        self._max_features = max_features
        self._sublinear = sublinear
        self._most_characters = most_characters
        self._columns: dict[str, int] | None = None
        self._weights: list[float] = []

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms of the columns, in order; n-grams of characters begin with U+001F.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        """
        return tuple(self._fitted())

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn the vocabulary and its weights; return self."""
        occurrences: Counter[str] = Counter()
        holders: Counter[str] = Counter()
        for text in texts:
            found = self._grams(text)
            occurrences.update(found)
            holders.update(set(found))
        kept = [term for term, count in holders.items() if count >= self._min_df]
        if self._max_features is not None and len(kept) > self._max_features:
            kept = sorted(kept, key=lambda term: (-occurrences[term], term))[: self._max_features]
        kept.sort()
        self._columns = {term: k for k, term in enumerate(kept)}
        counts = np.array([holders[term] for term in kept], np.float64)
        self._weights = (np.log((1 + len(texts)) / (1 + counts)) + 1).tolist()
        return self

    def encode(self, texts: Sequence[str]) -> Sparse:
        """Return the rows of `texts`, shape (N, number of terms).

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        """
        columns_of = self._fitted()
        rows = [self._row(text, columns_of) for text in texts]
        return unit_rows(rows, width=max(len(columns_of), 1))

    def state(self) -> State:
        """Return the terms (UTF-8, one a line) and their weights."""
        lines = "\n".join(self.terms).encode()
        return State(
            arrays={"terms": np.frombuffer(lines, np.uint8), "idf": np.array(self._weights)}
        )

    def restore(self, state: State) -> Self:
        """Take over terms and weights, and return self.

        Raises
        ------
        ConfigError
            If they are not of this encoder.
        """
        try:
            lines, idf = state.arrays["terms"].tobytes().decode(), state.arrays["idf"]
        except (KeyError, UnicodeDecodeError) as error:
            raise ConfigError(f"this is no state of the encoder 'tfidf': {error}") from error
        columns = {term: k for k, term in enumerate(lines.split("\n"))} if lines else {}
        if len(columns) != len(idf):
            raise ConfigError(f"the state has {len(columns)} terms, but {len(idf)} weights")
        self._columns, self._weights = columns, idf.tolist()
        return self

    def _row(self, text: str, columns_of: dict[str, int]) -> dict[int, float]:
        """Column -> value of one text, not scaled yet."""
        row: dict[int, float] = {}
        for term, count in Counter(self._grams(text)).items():
            column = columns_of.get(term)
            if column is not None:
                weight = 1 + math.log(count) if self._sublinear else count
                row[column] = weight * self._weights[column]
        return row

    def _grams(self, text: str) -> list[str]:
        return grams(
            bounded(text, self._most_characters),
            of_words=self._of_words,
            of_characters=self._of_characters,
        )

    def _fitted(self) -> dict[str, int]:
        if self._columns is None:
            raise NotFittedError("this TfIdf has no vocabulary yet; call fit (or restore) first")
        return self._columns
