"""The letter of a multiple-choice answer."""

from collections.abc import Sequence

from polyroute.answers import choice

__all__ = ["score"]


def score(answer: str, golds: Sequence[str]) -> float:
    """Return 1 when the answer chooses the letter (A to J) of one of `golds`.

    Examples
    --------
    >>> score("A good question. The answer is (C), not (B).", ["C"]), score("B or C", ["C"])
    (1.0, 0.0)
    """
    said = choice(answer)
    return float(said is not None and any(said == choice(gold) for gold in golds))
