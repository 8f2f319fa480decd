"""Exact match after SQuAD's normalisation: the whole answer has to be right, and nothing more."""

from collections.abc import Sequence

from polyroute.answers import text

__all__ = ["score"]


def score(answer: str, golds: Sequence[str]) -> float:
    """Return 1 when the answer is one of `golds`, but for case, punctuation and articles.

    References
    ----------
    Rajpurkar et al., SQuAD, arXiv:1606.05250; as Router-R1 (arXiv:2506.09033) scores its last
    ``<answer>``. Two answers that are nothing but articles are equal to SQuAD, and not here.

    Examples
    --------
    >>> score("<answer>The Eiffel Tower.</answer>", ["Eiffel tower"])
    1.0
    """
    said = text(answer)
    return float(said is not None and any(said == text(gold) for gold in golds))
