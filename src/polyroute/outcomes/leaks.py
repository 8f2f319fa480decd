"""Questions of one side that are nearly a question of the other: the leak that makes a score lie.

The one decision here: alike means alike to the letter. Two questions leak when the sets of their
five-character pieces are nearly the same (Jaccard), after case, width, punctuation and white space
are gone. Candidates come from min-wise hashing, which takes seconds for 20,000 questions; each is
then measured exactly, so that what is named is never a guess.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.outcomes.table import Question

__all__ = ["Leak", "check_leaks", "normal_question"]

_WIDTH = 5
"""Characters of a piece."""
_BANDS, _ROWS = 32, 4
"""Two questions become candidates when all hashes of one band agree: at a similarity of 0.8 that
is missed once in 20 million pairs, at 0.6 once in 85."""
_MOST = 32
"""Candidates per question and band: in a heap of templated questions one leak is as good as all."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A question of the one side, and the nearest one of the other."""

    first: Question
    second: Question
    similarity: float
    """Jaccard similarity of their pieces, 0 to 1; 1 when they are equal after normalisation."""
    exact: bool
    """Whether they are equal after normalisation."""


def normal_question(text: str) -> str:
    """Return what makes it the same question: no case, width, punctuation or spare white space.

    A minus before a digit stays (as a minus sign), and so do the marks that puzzles and code are
    drawn with (``_ # * @ & % / |`` and the backslash). A text of nothing else keeps it.

    Examples
    --------
    >>> normal_question("  What’s  ２＋２ ? "), normal_question("x = -3?")
    ('whats 2+2', 'x = −3')
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words = _HYPHEN_MINUS.sub("\N{MINUS SIGN}", folded).translate(_MARKS).split()
    return " ".join(words or folded.split())


_HYPHEN_MINUS = re.compile(r"(?<![\w-])-(?=\d)")


class _Marks(dict[int, str]):
    """What becomes of a character, found out once for each that is met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        is_mark = unicodedata.category(char).startswith("P") and char not in "_#*@&%/|\\"
        self[code] = "" if char in "'\N{RIGHT SINGLE QUOTATION MARK}" else " " if is_mark else char
        return self[code]


_MARKS = _Marks()


def check_leaks(
    a: Iterable[Question], b: Iterable[Question], *, threshold: float = 0.8
) -> tuple[Leak, ...]:
    """Return every question of `b` that is (nearly) one of `a`, with the nearest of `a`.

    Parameters
    ----------
    a, b : iterable of Question
        The two sides: ``table.queries``.
    threshold : float, default=0.8
        Least Jaccard similarity, above 0; 1 means equal pieces. Below 0.6 some pairs are missed.

    Returns
    -------
    tuple of Leak
        The most alike first. Where more than a thousand questions of `a` are alike, the one named
        may not be the nearest.

    Raises
    ------
    ConfigError
        If `threshold` is not above 0 and at most 1.

    References
    ----------
    Broder, On the resemblance and containment of documents (1997): min-wise hashing. Leskovec,
    Rajaraman and Ullman, Mining of Massive Datasets, section 3.4: banding.

    Examples
    --------
    >>> train = [Question(query_id="1", prompt="What is the capital of France?")]
    >>> val = [Question(query_id="2", prompt="what is the  capital of France")]
    >>> [(leak.first.query_id, leak.second.query_id) for leak in check_leaks(train, val)]
    [('1', '2')]
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"threshold must be above 0 and at most 1, got {threshold!r}")
    known: dict[str, Question] = {}
    for question in a:
        known.setdefault(normal_question(question.prompt), question)
    leaks: list[Leak] = []
    unseen: dict[str, list[Question]] = {}
    for question in b:
        text = normal_question(question.prompt)
        if text in known:
            leaks.append(Leak(known[text], question, 1.0, True))
        else:
            unseen.setdefault(text, []).append(question)
    for second, first, similarity in _nearest([*known], [*unseen], threshold):
        leaks += [Leak(known[first], question, similarity, False) for question in unseen[second]]
    return tuple(sorted(leaks, key=lambda leak: (-leak.exact, -leak.similarity)))


def _nearest(a: Sequence[str], b: Sequence[str], least: float) -> Iterator[tuple[str, str, float]]:
    """Yield each text of `b` that has one of `a` at `least` so alike, with it and how alike."""
    if not a or not b:
        return
    signatures_a, signatures_b = _signatures(a), _signatures(b)
    pieces: dict[str, frozenset[str]] = {}
    best: dict[int, tuple[float, int]] = {}
    for k, j in _candidates(signatures_a, signatures_b, least):
        one, other = (pieces.setdefault(text, _pieces(text)) for text in (a[j], b[k]))
        shared = len(one & other)
        similarity = shared / (len(one) + len(other) - shared)
        if similarity >= least and similarity > best.get(k, (0.0, 0))[0]:
            best[k] = (similarity, j)
    for k, (similarity, j) in best.items():
        yield b[k], a[j], similarity


_Hashes: TypeAlias = NDArray[np.uint32]


def _pieces(text: str) -> frozenset[str]:
    padded = _padded(text)
    return frozenset(padded[k : k + _WIDTH] for k in range(len(padded) - _WIDTH + 1))


def _padded(text: str) -> str:
    return f" {text} ".ljust(_WIDTH)


def _signatures(texts: Sequence[str]) -> _Hashes:
    """Return the smallest value of every hash function over the pieces of each text, (N, H)."""
    out = np.empty((len(texts), _BANDS * _ROWS), np.uint32)
    start = 0
    while start < len(texts):  # a few million characters at a time
        end, size = start, 0
        while end < len(texts) and (end == start or size + len(texts[end]) < _BLOCK):
            size += len(texts[end])
            end += 1
        out[start:end] = _signatures_of_block([_padded(text) for text in texts[start:end]])
        start = end
    return out


_BLOCK = 1 << 21
_ODD = np.uint64(0x9E3779B97F4A7C15)


def _signatures_of_block(padded: Sequence[str]) -> _Hashes:
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.array([len(text) for text in padded])
    owner = np.repeat(np.arange(len(padded)), lengths)
    count = len(codes) - _WIDTH + 1
    mixed = np.zeros(count, np.uint64)
    for k in range(_WIDTH):
        mixed = (mixed ^ codes[k : k + count]) * _ODD
        mixed ^= mixed >> np.uint64(29)
    inside = owner[:count] == owner[_WIDTH - 1 :]
    hashes = (mixed[inside] >> np.uint64(32)).astype(np.uint32)
    starts = np.concatenate([[0], np.cumsum(lengths - _WIDTH + 1)[:-1]])
    random = np.random.default_rng(0)  # which functions they are does not matter, only that they
    factors = random.integers(0, 2**31, _BANDS * _ROWS, np.uint32) * 2 + 1  # are the same for both
    masks = random.integers(0, 2**32, _BANDS * _ROWS, np.uint32)
    out = np.empty((len(padded), _BANDS * _ROWS), np.uint32)
    for column, (factor, mask) in enumerate(zip(factors, masks, strict=True)):
        out[:, column] = np.minimum.reduceat((hashes ^ mask) * factor, starts)
    return out


def _candidates(a: _Hashes, b: _Hashes, least: float) -> Iterator[tuple[int, int]]:
    """Yield pairs (of `b`, of `a`) that agree in a band, and in enough hashes altogether."""
    seen: set[tuple[int, int]] = set()
    hashes = a.shape[1]
    slack = 4 * np.sqrt(least * (1 - least) / hashes)  # four standard errors of the estimate
    for band in range(_BANDS):
        of_a, of_b = (_band_keys(hashes_NH, band) for hashes_NH in (a, b))
        order = np.argsort(of_a, kind="stable")
        low = np.searchsorted(of_a[order], of_b, "left")
        size = np.minimum(np.searchsorted(of_a[order], of_b, "right") - low, _MOST)
        rows = np.repeat(np.arange(len(b)), size)
        offsets = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        partners = order[low[rows] + offsets]
        for block in range(0, len(rows), 1 << 16):
            k, j = rows[block : block + (1 << 16)], partners[block : block + (1 << 16)]
            enough = (a[j] == b[k]).mean(axis=1) >= least - slack
            for pair in zip(k[enough].tolist(), j[enough].tolist(), strict=True):
                if pair not in seen:
                    seen.add(pair)
                    yield pair


def _band_keys(hashes_NH: _Hashes, band: int) -> NDArray[np.uint64]:
    """Return one number per text, equal where all hashes of the band are (and hardly ever else)."""
    keys = np.zeros(len(hashes_NH), np.uint64)
    for column in hashes_NH[:, band * _ROWS : (band + 1) * _ROWS].T:
        keys = (keys ^ column) * _ODD
        keys ^= keys >> np.uint64(29)
    return keys
