"""The gate between imitation and reinforcement: whether an imitator has learnt enough.

The one decision here: giving up counts apart. Where nothing is worth its price it is the right
thing to do, and an imitator that samples it somewhat more often than its teachers can answer all
the same; one that hardly tries at all has nothing to be reinforced.

References
----------
An under-trained start fell into asking the dearest candidate, or nobody
(``docs/benchmarks/router_r1.md``).
"""

from polyroute.types import JsonObject

__all__ = ["short_of"]


def short_of(found: JsonObject, teachers: JsonObject, share: float) -> list[str]:
    """Return in what an imitator stays below a share of its teachers; nothing opens the gate.

    Parameters
    ----------
    found, teachers : mapping
        Judgements as `polyroute.train.r1.run.judge` returns them: of sampled episodes, and of the
        teachers' on the same questions.
    share : float
        Of the teachers' quality in questions that they try, and of how many they try: those not
        given up.

    Examples
    --------
    >>> teachers = {"outcome": 0.82, "gave_up": 0.08}
    >>> short_of({"outcome": 0.67, "gave_up": 0.19}, teachers, 0.85)
    []
    >>> short_of({"outcome": 0.31, "gave_up": 0.05}, teachers, 0.85)
    ['the sampled quality of what it tries is 0.326, 0.758 wanted']
    """
    tries, theirs = 1 - found["gave_up"], 1 - teachers["gave_up"]
    compared = (
        ("it tries {:.3f} of the questions, {:.3f} wanted", tries, theirs),
        (
            "the sampled quality of what it tries is {:.3f}, {:.3f} wanted",
            found["outcome"] / max(tries, 1e-9),
            teachers["outcome"] / max(theirs, 1e-9),
        ),
    )
    return [
        text.format(got, share * wanted) for text, got, wanted in compared if got < share * wanted
    ]
