"""A right answer somewhere in the reply: for chat-style answers, which are never an exact match."""

from collections.abc import Sequence

from polyroute.answers import text

__all__ = ["score"]


def score(answer: str, golds: Sequence[str]) -> float:
    """Return 1 when one of `golds` is in the answer, word for word after SQuAD's normalisation.

    It believes a reply that names every candidate: use it where golds are names, not yes and no.

    References
    ----------
    Kandpal et al., arXiv:2211.08411, and others, as "accuracy" of open-domain answers.

    Examples
    --------
    >>> score("It was Marie Curie, in 1903.", ["marie curie"]), score("about 42", ["4"])
    (1.0, 0.0)
    """
    said = f" {text(answer) or ''} "
    wanted = (text(gold) for gold in golds)
    return float(any(f" {gold} " in said for gold in wanted if gold is not None))
