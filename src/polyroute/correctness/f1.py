"""F1 over words after SQuAD's normalisation: partly right counts in part."""

from collections import Counter
from collections.abc import Sequence

from polyroute.answers import text

__all__ = ["score"]

_ALL_OR_NOTHING = frozenset({"yes", "no", "noanswer"})


def score(answer: str, golds: Sequence[str]) -> float:
    """Return the best harmonic mean of precision and recall of words over `golds`.

    When either side is yes, no or noanswer, anything but the same is 0.

    References
    ----------
    Rajpurkar et al., SQuAD, arXiv:1606.05250; Yang et al., HotpotQA, arXiv:1809.09600, for yes and
    no; as Router-R1 (arXiv:2506.09033) scores it.

    Examples
    --------
    >>> round(score("the tall Eiffel Tower", ["Eiffel Tower"]), 3), score("yes it is", ["yes"])
    (0.8, 0.0)
    """
    said = text(answer)
    if said is None:
        return 0.0
    return max((_f1(said, text(gold) or "") for gold in golds), default=0.0)


def _f1(said: str, gold: str) -> float:
    if said != gold and (said in _ALL_OR_NOTHING or gold in _ALL_OR_NOTHING):
        return 0.0
    words, expected = said.split(), gold.split()
    shared = (Counter(words) & Counter(expected)).total()
    return 2 * shared / (len(words) + len(expected)) if shared else 0.0
