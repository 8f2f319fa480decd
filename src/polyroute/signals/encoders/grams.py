"""What text encoders read: a bounded text, its words, and n-grams of words and characters.

The one decision here: words and n-grams are those of scikit-learn's text vectorizers (two or more
word characters, lower case; character n-grams inside words padded by spaces), so that a feature
can be checked against an independent implementation.
"""

import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from polyroute.errors import ConfigError
from polyroute.sparse import Sparse

__all__ = [
    "CHARACTERS", "bounded", "check_range", "clip", "grams", "in_words", "unit_rows", "words",
]  # fmt: skip

CHARACTERS = "\x1f"
"""Begins every character n-gram, so that ``"an"`` the word and ``"an"`` the piece stay apart."""

_WORD = re.compile(r"\w\w+")
_BLANK: Final = bytes(k if chr(k).isalnum() or k == ord("_") else ord(" ") for k in range(256))
"""Every ASCII character that stands in no word becomes a space."""
_SPACES = re.compile(r"\s\s+")


def bounded(text: str, most_characters: int | None) -> str:
    """Return `text` cut to its beginning and end, and safe to write as UTF-8.

    Parameters
    ----------
    text : str
    most_characters : int or None
        A longer text keeps its first and last halves, with a space between: instructions stand at
        one end of a long prompt and the question at the other, either way round.

    Examples
    --------
    >>> bounded("abcdefghij", 6)
    'abc hij'
    """
    text = clip(text, most_characters)
    if text.isascii():
        return text
    # half of a surrogate pair is no character: nothing downstream could store it
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def clip(text: str, most_characters: int | None) -> str:
    """Return the first and last halves of a text longer than `most_characters`."""
    if most_characters is None or len(text) <= most_characters:
        return text
    half = most_characters // 2
    return f"{text[: most_characters - half]} {text[len(text) - half :]}"


def words(text: str) -> list[str]:
    """Return the words of `text`: two or more word characters, lower case.

    Examples
    --------
    >>> words("What's a Café in 1999?")
    ['what', 'café', 'in', '1999']
    """
    if text.isascii():  # twice as fast
        spaced = text.lower().encode().translate(_BLANK).decode()
        return [word for word in spaced.split() if len(word) > 1]
    return _WORD.findall(text.lower())


def grams(
    text: str, *, of_words: tuple[int, int] | None, of_characters: tuple[int, int] | None
) -> list[str]:
    """Return every n-gram of `text`, as often as it occurs.

    Parameters
    ----------
    text : str
    of_words : (int, int) or None
        Shortest and longest n-gram of words.
    of_characters : (int, int) or None
        Shortest and longest n-gram of characters, inside words padded by one space each side; each
        begins with `CHARACTERS`.

    Examples
    --------
    >>> grams("Old red car", of_words=(1, 2), of_characters=None)
    ['old', 'red', 'car', 'old red', 'red car']
    """
    found = list(in_words(words(text), of_words)) if of_words else []
    if of_characters:
        found.extend(_in_characters(text.lower(), of_characters))
    return found


def in_words(of: list[str], length: tuple[int, int]) -> Iterator[str]:
    """Yield the n-grams of the words `of`, joined by spaces, the shortest first."""
    for n in range(length[0], length[1] + 1):
        if n == 1:
            yield from of
        elif n == 2:
            yield from (f"{one} {two}" for one, two in pairwise(of))
        else:
            yield from (" ".join(of[k : k + n]) for k in range(len(of) - n + 1))


def check_range(name: str, length: tuple[int, int] | None) -> None:
    """Refuse a range of n-gram lengths that is empty or begins below 1.

    Raises
    ------
    ConfigError
        With the name of the parameter and its value.
    """
    if length is not None and not 1 <= length[0] <= length[1]:
        raise ConfigError(f"{name} must be (shortest, longest) with 1 or more, got {length!r}")


def unit_rows(rows: Sequence[dict[int, float]], *, width: int) -> Sparse:
    """Return rows of column -> value as a matrix, each scaled to length 1, or empty.

    In plain Python up to the last step: a request has a few hundred terms, and then the calls into
    numpy cost more than the arithmetic.
    """
    starts, columns, values = [0], [], []
    for row in rows:
        length = math.sqrt(sum(value * value for value in row.values()))
        if length > 0:
            ascending = sorted(row)
            columns.extend(ascending)
            values.extend([row[column] / length for column in ascending])
        starts.append(len(columns))
    return Sparse(
        starts=np.array(starts, np.int64),
        columns=np.array(columns, np.int64),
        values=np.array(values, np.float32),
        width=width,
    )


def _in_characters(text: str, length: tuple[int, int]) -> Iterator[str]:
    for word in _SPACES.sub(" ", text).split():
        padded = f" {word} "
        for n in range(length[0], length[1] + 1):
            if n >= len(padded):
                # a word shorter than n counts once, as itself
                yield CHARACTERS + padded
                break
            yield from (CHARACTERS + padded[k : k + n] for k in range(len(padded) - n + 1))
