"""What a table does not have: answers that nobody scored, and calls that nobody recorded.

The one decision here: a recording comes first. Only what is not in the table is scored by a metric
or asked of the pool itself, so that a run costs no more than what the routers do beyond it.
"""

from dataclasses import dataclass

from polyroute.backends.replay import Replay
from polyroute.correctness import METRICS
from polyroute.decision import Call
from polyroute.errors import BackendError, ConfigError
from polyroute.outcomes import Question
from polyroute.protocols import Backend, Emit
from polyroute.trace import Reply, Trace

__all__ = ["ByMetric", "RecordedFirst"]


@dataclass(frozen=True, slots=True)
class ByMetric:
    """Score an answer against the right answers of its question.

    Parameters
    ----------
    metric : str, optional
        One of `polyroute.correctness.METRICS`; that which each question names when left out.

    Raises
    ------
    ConfigError
        If there is no such metric.

    Examples
    --------
    >>> sum_ = Question(query_id="q", prompt="5 + 7?", gold=("12",))
    >>> ByMetric("number")("It is 12.", sum_)
    1.0
    """

    metric: str | None = None

    def __post_init__(self) -> None:
        if self.metric is not None and self.metric not in METRICS:
            raise ConfigError(
                f"unknown metric {self.metric!r}; expected one of {', '.join(METRICS)}"
            )

    def __call__(self, text: str, question: Question) -> float | None:
        """Return 0 to 1; `None` without a right answer, or where the question names no metric."""
        score = METRICS.get(self.metric or question.metric or "")
        return score(text, question.gold) if score is not None and question.gold else None


@dataclass(frozen=True, slots=True)
class RecordedFirst:
    """Give the recorded reply to a call, and ask the candidate itself where there is none."""

    recorded: Replay
    live: Backend

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Return the reply.

        Raises
        ------
        BackendError
            That of the candidate; or of the recording, where it is another than its absence.
        """
        try:
            return await self.recorded.complete(call, trace, emit)
        except BackendError as error:
            # a turn to go on with has no recording either
            if error.kind != "unavailable" and not call.prefix:
                raise
        return await self.live.complete(call, trace, emit)

    async def close(self) -> None:
        """Do nothing: both are somebody else's."""
