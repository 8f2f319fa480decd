"""How a trained router does on questions it did not see: the evaluation card of an artifact.

The one decision here: it is the evaluation of `polyroute evaluate`, on the same loop, with the same
baselines, and what those choose they choose on the training questions too.
"""

from polyroute.evaluate.harness import Conditions, Progress, evaluate
from polyroute.evaluate.summarise import Precision, summarise
from polyroute.evaluate.summary import plain
from polyroute.outcomes import OutcomeTable
from polyroute.train.artifact import Fitted
from polyroute.types import Json, JsonObject

__all__ = ["measure"]

_COLUMNS = (
    "name", "kind", "questions", "quality", "usd", "difference", "p", "gap_closed", "failed",
    "unrecorded", "most_used", "most_used_share",
)  # fmt: skip
"""What an artifact keeps of a row of the summary."""


def measure(
    fitted: Fitted,
    judged: OutcomeTable,
    *,
    train: OutcomeTable | None = None,
    progress: Progress | None = None,
) -> JsonObject:
    """Return the evaluation card of a router.

    Parameters
    ----------
    fitted : Fitted
    judged : OutcomeTable
        Questions that it has not learned from.
    train : OutcomeTable, optional
        Those it has: the baselines are chosen there. Without it they are chosen on `judged`.
    progress : callable, optional
        Told how many episodes are done, of how many.

    Returns
    -------
    mapping
        ``questions``, ``level`` of the intervals, the best constant, and ``rows``: the router, the
        baselines, the bounds and every single model, each with its mean score and its interval,
        dollars per question, difference to the best constant, p value, share of the gap between
        that and the oracle, and the model it used most. What is unknown is null.

    Raises
    ------
    ConfigError
        If nothing in `judged` is scored.
    """
    name = str(fitted.spec["name"])
    results = evaluate(
        {name: fitted.policy}, judged, pool=fitted.pool, conditions=Conditions(progress=progress)
    )
    precision = Precision()
    summary = summarise(results, judged, fitted.pool, train=train, precision=precision)
    rows: list[Json] = [
        {column: plain(getattr(row, column)) for column in _COLUMNS} for row in summary.rows
    ]
    return {
        "questions": summary.questions,
        "level": summary.level,
        "best_constant": summary.constant,
        "rows": rows,
    }
