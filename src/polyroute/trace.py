"""What happened: replies, steps, and the trace that a policy, a reward and a report all read.

A trace prefix is the *only* thing a policy sees, so replaying a prefix through the same policy
gives the same decision.
"""

from decimal import Decimal
from operator import attrgetter

from msgspec import Struct, field
from msgspec.structs import replace

from polyroute.decision import Answer, Call, Decision, Failure, Route
from polyroute.once import once
from polyroute.pool import Pool
from polyroute.types import Budget, JsonObject, Request, Usage

__all__ = ["Bill", "Reply", "Spent", "Step", "Trace"]


class Reply(Struct, frozen=True, kw_only=True):
    """One candidate's reply to one call, or the failure that took its place."""

    model: str
    """The id that was asked."""
    text: str = ""
    usage: Usage | None = Usage()
    """Tokens as the upstream reported them; `None` when it did not, or when a call failed after
    it may have been billed."""
    usd: Decimal | None = None
    """Exact price. `None` is unknown, which is not free. The loop fills it from `usage` and the
    card that answered; a backend sets it only where it knows better (a recorded bill)."""
    seconds: float = 0.0
    """From the start of the call to its end."""
    first_token_s: float | None = None
    """From the start of the call to its first text, when it was streamed."""
    failure: Failure | None = None
    finish_reason: str | None = None
    """As the upstream said it: ``stop``, ``length``, ``tool_calls``, ``content_filter``, …"""
    answered_by: str | None = None
    """The name the upstream gave itself, when it gave one: that is the card that is billed."""
    instance: str | None = None
    """Which instance of the model it was."""
    region: str | None = None
    """Where that instance is, as the configuration names it."""
    attempts: int = 1
    """How often the call was sent, retries included."""
    logprobs: tuple[float, ...] | None = None
    """Log-probability of each completion token (natural logarithm), where the backend has them."""
    similarity: float | None = None
    """How near the recorded question is to the one asked, 0 to 1, when the reply is a recording."""
    fields: JsonObject = field(default_factory=dict)
    """The other fields of the upstream's message (`tool_calls`, `refusal`, …), unchanged."""
    discarded: "tuple[Reply, ...]" = ()
    """Other sendings of the same call that may be on the bill and were not read: a hedge that
    lost, an attempt whose connection was cut. Each has its own `usage`, `usd` and `instance`."""
    raw: JsonObject | None = None
    """The upstream's whole body, for a gateway that relays it untouched. Not recorded, not
    compared, and not shown."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reply) and _as_recorded(self) == _as_recorded(other)

    def __repr__(self) -> str:
        shown = zip(_RECORDED, _as_recorded(self), strict=True)
        return f"Reply({', '.join(f'{name}={value!r}' for name, value in shown)})"

    def priced(self, usd: Decimal | None, seconds: float) -> "Reply":
        """Return this reply with what it cost and how long it took."""
        return replace(self, usd=usd, seconds=seconds)

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.failure is None

    @property
    def mean_logprob(self) -> float | None:
        """Mean log-probability of the completion's tokens, when known."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else None


class Step(Struct, frozen=True):
    """One decision and the replies to its calls, in call order."""

    decision: Decision
    replies: tuple[Reply, ...] = ()
    seconds: float = 0.0
    """When the step ended, counted from the start of the episode."""

    @property
    def is_round(self) -> bool:
        """Whether it counts as a routing round: a route of which at least one call was made."""
        if not isinstance(self.decision, Route) or self.decision.own:
            return False
        for reply in self.replies:
            if reply.failure is None or reply.failure.kind != "budget":
                return True
        return False


class Spent(Struct, frozen=True, kw_only=True, gc=False):
    """What an episode has used, or has left, of each dimension of its budget."""

    usd: Decimal | None
    """Left: `None` without a limit. Spent: the known part."""
    seconds: float | None
    rounds: int
    tokens: int | None


class Bill(Struct, frozen=True, gc=False):
    """The sum over all replies, and what was sent besides them."""

    usd: Decimal
    """Sum of all known prices, exact."""
    unknown: int = 0
    """How many replies have a price that nobody knows."""

    @property
    def total(self) -> Decimal | None:
        """The price of the episode; `None` (unknown) when a part of it is unknown."""
        return None if self.unknown else self.usd


class Trace(Struct, frozen=True, dict=True):
    """The record of one episode; immutable, extended by `with_step`."""

    request: Request
    pool: Pool
    steps: tuple[Step, ...] = ()

    def with_step(self, step: Step) -> "Trace":
        """Return this trace with `step` appended."""
        return Trace(self.request, self.pool, (*self.steps, step))

    @property
    def replies(self) -> tuple[Reply, ...]:
        """All replies so far, oldest first, failed ones and the policy's own included."""
        return tuple(reply for step in self.steps for reply in step.replies)

    @property
    def _sendings(self) -> list[Reply]:
        """All replies, and what was sent besides them."""
        sendings: list[Reply] = []
        for step in self.steps:
            for reply in step.replies:
                sendings.append(reply)
                sendings += reply.discarded
        return sendings

    @property
    def good_replies(self) -> tuple[Reply, ...]:
        """All replies to routing rounds that did not fail, oldest first."""
        return tuple(
            reply
            for step in self.steps
            if isinstance(step.decision, Route) and not step.decision.own
            for reply in step.replies
            if reply.ok
        )

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls so far, in the order of `replies`."""
        return tuple(
            call
            for step in self.steps
            if isinstance(step.decision, Route)
            for call in step.decision.calls
        )

    @once
    def bill(self) -> Bill:
        """Sum of the replies' prices."""
        total, unknown = Decimal(0), 0
        for step in self.steps:
            for reply in step.replies:
                if reply.usd is None:
                    unknown += 1
                else:
                    total += reply.usd
                for lost in reply.discarded:
                    unknown += lost.usd is None
                    total += lost.usd or 0
        return Bill(total, unknown)

    @property
    def usd(self) -> Decimal | None:
        """Dollars spent so far; `None` when a part is unknown."""
        return self.bill.total

    @once
    def usage(self) -> Usage:
        """Tokens spent so far, as far as they are known."""
        known: list[Usage] = []
        for step in self.steps:
            for reply in step.replies:
                if reply.usage is not None:
                    known.append(reply.usage)
                for lost in reply.discarded:
                    if lost.usage is not None:
                        known.append(lost.usage)
        return known[0] if len(known) == 1 else Usage.sum(known)

    @property
    def seconds(self) -> float:
        """Seconds from the start to the end of the last step."""
        return self.steps[-1].seconds if self.steps else 0.0

    @property
    def rounds(self) -> int:
        """Routing rounds so far."""
        rounds = 0
        for step in self.steps:
            rounds += step.is_round
        return rounds

    @property
    def left(self) -> Spent:
        """What the budget still allows, as far as the prices are known."""
        budget = self.request.budget
        return Spent(
            usd=None if budget.usd is None else max(Decimal(0), budget.usd - self.bill.usd),
            seconds=None if budget.seconds is None else max(0.0, budget.seconds - self.seconds),
            rounds=max(0, budget.rounds - self.rounds),
            tokens=None if budget.tokens is None else max(0, budget.tokens - self.usage.total),
        )

    @property
    def rest(self) -> Budget | None:
        """What a second episode for the same request, of one round, may still spend.

        `None` when nobody knows: a part of what this one used is unknown, and limited.
        """
        budget = self.request.budget
        usage_unknown = any(sent.usage is None for sent in self._sendings)
        if (self.bill.unknown and budget.usd is not None) or (
            usage_unknown and budget.tokens is not None
        ):
            return None
        left = self.left
        return replace(budget, usd=left.usd, seconds=left.seconds, rounds=1, tokens=left.tokens)

    @once
    def final(self) -> Reply | None:
        """The reply that is relayed as the answer, when the last step is a final route."""
        if not self.steps:
            return None
        last = self.steps[-1]
        if isinstance(last.decision, Route) and last.decision.final:
            for reply in last.replies:
                if reply.failure is None:
                    return reply
        return None

    @property
    def answer(self) -> str | None:
        """The final text; `None` while the episode is open, and when it has none."""
        if self.steps and isinstance(decision := self.steps[-1].decision, Answer):
            return None if decision.failure else decision.text
        final = self.final
        return None if final is None else final.text

    @property
    def failure(self) -> Failure | None:
        """Why there is no answer; `None` while the episode is open, and when it has one."""
        if not self.steps or self.answer is not None:
            return None
        last = self.steps[-1]
        if isinstance(last.decision, Answer):
            return last.decision.failure
        return next((reply.failure for reply in reversed(last.replies) if reply.failure), None)

    def give_up(self, reason: str = "") -> Answer:
        """Return the answer of a policy that has nothing to say, with the last failure it saw.

        A refusal is passed over where anything else went wrong: that a specialist is the wrong
        one to ask explains less than that the right one is down.
        """
        failures = [reply.failure for reply in reversed(self.replies) if reply.failure]
        failures.append(Failure("unavailable", "no candidate gave a reply"))
        failure = next((f for f in failures[:-1] if f.kind != "refusal"), failures[0])
        return Answer(reason=reason or "every call failed", failure=failure)


_RECORDED = tuple(name for name in Reply.__struct_fields__ if name != "raw")
_as_recorded = attrgetter(*_RECORDED)
