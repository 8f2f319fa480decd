"""A cascade whose stopping rule is learned from questions, replies and their scores.

The one decision here: the acceptance rule is an estimator like any other. It reads the question and
the reply as one text and predicts, in the column of the candidate that wrote it, how good the reply
is; so every estimator of this package can stop a cascade, and an artifact can hold it.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from polyroute.decision import Answer, Call, Decision, Route
from polyroute.errors import ConfigError
from polyroute.observation import observe
from polyroute.pool import CardId, ModelCard, Pool
from polyroute.protocols import Estimator, Method
from polyroute.trace import Reply, Trace
from polyroute.types import Message, Request

__all__ = ["Frugal", "with_reply"]

_MOST_STAGES = 8

_REPLY_CHARS = 4_000
"""Most characters of a reply that are judged: its beginning and its end."""


@dataclass(frozen=True, slots=True)
class Frugal:
    """Walk `order` until a reply's predicted quality reaches the stage's threshold.

    Parameters
    ----------
    order : tuple of str
        Ids, in the order in which they are asked: 1 to 8. `polyroute.train.cascade_fit` searches
        it, and the thresholds.
    thresholds : tuple of float
        Least predicted quality to accept, 0 to 1 (above 1: never), one for every stage but the
        last, which is accepted as it is.
    accept : Estimator
        Predicts the quality of a reply, fitted on texts that `with_reply` makes. Where it knows
        nothing (NaN) the reply is not accepted.

    Raises
    ------
    ConfigError
        If `order` is empty, too long or names a candidate twice, or `thresholds` does not have
        one number fewer.

    References
    ----------
    Chen, Zaharia and Zou, *FrugalGPT: How to use large language models while reducing cost and
    improving performance*, arXiv:2305.05176, section 3, "LLM cascade". Its scorer is a DistilBERT
    regression; here it is the estimator that is given.
    """

    method: ClassVar[Method] = Method(
        when="post-generation",
        what=("query", "response"),
        how="supervised",
        paper="Chen, Zaharia and Zou, FrugalGPT, arXiv:2305.05176",
    )

    order: tuple[CardId, ...]
    thresholds: tuple[float, ...]
    accept: Estimator

    def __post_init__(self) -> None:
        if not 1 <= len(self.order) <= _MOST_STAGES or len(set(self.order)) < len(self.order):
            raise ConfigError(f"order needs 1 to {_MOST_STAGES} different ids, got {self.order!r}")
        if len(self.thresholds) != len(self.order) - 1:
            raise ConfigError(
                f"thresholds needs one number for every stage but the last: "
                f"{len(self.order) - 1}, got {len(self.thresholds)}"
            )
        if not all(threshold >= 0 for threshold in self.thresholds):
            raise ConfigError(f"thresholds must be 0 or more, got {self.thresholds!r}")

    def candidates(self, pool: Pool) -> tuple[ModelCard, ...]:
        """Return the cards of the stages that `pool` has, in order."""
        there = [name for name in self.order if name in pool.ids]
        return tuple(pool.card(name) for name in there)

    async def decide(self, trace: Trace) -> Decision:
        """Return the next stage, or the accepted reply.

        Raises
        ------
        NotFittedError
            If `accept` has not been fitted.
        """
        stage = len(trace.steps)
        if stage == 0:
            return self._ask(trace, 0, "first stage")
        reply = trace.steps[-1].replies[0]
        if not reply.ok:
            return self._ask(trace, stage, f"{reply.model!r} failed: {observe(reply, limit=200)}")
        if stage > len(self.thresholds) or trace.left.rounds == 0:
            return self._ask(trace, stage, f"{reply.model!r} replied")
        quality, threshold = self._quality(trace, reply), self.thresholds[stage - 1]
        accepted = quality >= threshold  # never for NaN
        relation = "reaches" if accepted else "does not reach"
        why = f"the reply of {reply.model!r} has {quality:.3f}, which {relation} {threshold:.3f}"
        if accepted:
            return Answer(text=reply.text, reason=f"accepted: {why}", fields=reply.fields)
        return self._ask(trace, stage, why)

    def _ask(self, trace: Trace, stage: int, why: str) -> Decision:
        """Ask stage number `stage`, from 0; when there is none to ask, answer with the best."""
        if stage < len(self.order) and trace.left.rounds > 0:
            final = stage == len(self.order) - 1 or trace.left.rounds == 1
            return Route(calls=(Call(self.order[stage]),), final=final, reason=why, propensity=1.0)
        good = trace.good_replies
        if not good:
            return trace.give_up(why)
        best = max(good, key=lambda reply: (_known(self._quality(trace, reply)), good.index(reply)))
        reason = f"nothing more can be asked; best reply so far ({best.model!r}): {why}"
        return Answer(text=best.text, reason=reason, fields=best.fields)

    def _quality(self, trace: Trace, reply: Reply) -> float:
        asked = with_reply(trace.request, reply.text)
        (predicted,) = self.accept.predict([asked], trace.pool)
        return float(predicted[trace.pool.index_of(reply.model)])


def with_reply(request: Request, reply: str) -> Request:
    r"""Return what an acceptance estimator reads: the question, a line, and the reply.

    Of a reply over 4,000 characters the middle is left out.

    Examples
    --------
    >>> with_reply(Request.of("6 * 7?"), "42").prompt
    '6 * 7?\n---\n42'
    """
    if len(reply) > _REPLY_CHARS:
        reply = f"{reply[: _REPLY_CHARS // 2]}\n{reply[-_REPLY_CHARS // 2 :]}"
    return Request(id=request.id, messages=(Message("user", f"{request.prompt}\n---\n{reply}"),))


def _known(quality: float) -> float:
    return -1.0 if math.isnan(quality) else quality
