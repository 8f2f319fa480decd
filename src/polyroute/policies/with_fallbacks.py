"""Another policy, and whom to ask when a candidate it asked has failed.

The one decision here: falling back is a step of the trace like any other. The policy inside sees
the call answered as if nothing had happened, and whoever reads the trace sees the whole chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from msgspec.structs import replace

from polyroute.decision import Decision, Route
from polyroute.errors import ConfigError, FailureKind
from polyroute.pool import CardId
from polyroute.protocols import Method, Policy
from polyroute.trace import Reply, Step, Trace
from polyroute.types import Request

__all__ = ["Fallback", "WithFallbacks", "inside"]

_USUAL: tuple[FailureKind, ...] = (
    "auth", "backend", "context", "invalid_reply", "rate_limit", "timeout", "unavailable",
)  # fmt: skip
"""Failures that another candidate may not have. One that refuses, or finds the request wrong, has
answered in its way; one that does not fit into the budget is the policy's to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """Whom to ask instead of one card.

    Raises
    ------
    ConfigError
        If it names nobody, or the card itself.
    """

    card: CardId
    """The card that may fail."""
    to: tuple[CardId, ...]
    """Who is asked instead, one after the other, until one has a reply."""
    kinds: tuple[FailureKind, ...] = _USUAL
    """The kinds of failure that count."""

    def __post_init__(self) -> None:
        if not self.to or self.card in self.to or len(set(self.to)) != len(self.to):
            raise ConfigError(
                f"a fallback of {self.card!r} names other cards, each once; got {list(self.to)!r}"
            )


@dataclass(frozen=True, slots=True)
class _Next:
    """Fallbacks that are to be asked."""

    route: Route
    places: tuple[int, ...]
    """Which calls of the step they stand in for."""


class _Open:
    """A route of the policy inside, as far as its calls have replies."""

    def __init__(self, route: Route, step: Step) -> None:
        self.route = route
        self.replies = list(step.replies)
        self.asked = [0] * len(self.replies)
        """Of each call, how many fallbacks were asked."""
        self.failures = [None if one.failure is None else one.failure.kind for one in self.replies]
        """Of each call, why the last one asked has failed."""
        self.seconds = step.seconds
        self.left_out: list[Reply] = []
        """Replies that the policy inside does not see."""
        self.rounds = 0
        """Rounds that it does not see."""

    def fill(self, following: _Next, step: Step) -> None:
        """Take the replies of fallbacks."""
        for k, reply in zip(following.places, step.replies, strict=True):
            self.asked[k] += 1
            if reply.failure is None:
                self.left_out.append(self.replies[k])
                self.replies[k] = replace(reply, model=self.route.calls[k].model)
                self.failures[k] = None
            else:
                self.left_out.append(reply)
                self.failures[k] = reply.failure.kind
        self.rounds += step.is_round
        self.seconds = step.seconds

    @property
    def step(self) -> Step:
        """The step as the policy inside sees it."""
        return Step(self.route, tuple(self.replies), self.seconds)


@dataclass(frozen=True, slots=True)
class WithFallbacks:
    """Let another policy decide, and ask the declared fallbacks of a card that fails.

    A fallback is asked the same thing, as a round of its own, within the same budget; the policy
    inside is asked again when one has replied or all have failed. It then sees the reply as that
    of the card it asked, and a budget that is smaller by what the rest of the chain has used.

    Parameters
    ----------
    policy : Policy
        The policy inside.
    fallbacks : tuple of Fallback
        At most one for each card.

    Raises
    ------
    ConfigError
        If a card has two.
    """

    method: ClassVar[Method] = Method(when="post-generation", what=("response",), how="heuristic")

    policy: Policy
    fallbacks: tuple[Fallback, ...]

    def __post_init__(self) -> None:
        cards = [one.card for one in self.fallbacks]
        if len(set(cards)) != len(cards):
            raise ConfigError(f"fallbacks: each card has one list at most; got {cards!r}")

    async def decide(self, trace: Trace) -> Decision:
        """Return the fallbacks of calls that have just failed, else what the policy decides."""
        if not any(reply.failure is not None for reply in trace.replies):
            return await self.policy.decide(trace)
        seen, following = self._read(trace)
        if following is not None and (following.own or trace.left.rounds > 0):
            return following
        return await self.policy.decide(seen)

    def check(self, pool: object) -> None:
        """Let the policy inside check the pool, if it is one that does."""
        check = getattr(self.policy, "check", None)
        if check is not None:
            check(pool)

    def folded(self, trace: Trace) -> Trace:
        """Return `trace` as the policy inside sees it: the same object when nothing fell back."""
        return self._read(trace)[0]

    def _read(self, trace: Trace) -> tuple[Trace, Route | None]:
        """Return the trace as the policy inside sees it, and the fallbacks to ask now."""
        steps: list[Step] = []
        opened: list[_Open] = []
        following: _Next | None = None
        for step in trace.steps:
            if following is not None and step.decision == following.route:
                opened[-1].fill(following, step)
                steps[-1] = opened[-1].step
            else:
                steps.append(step)
                if not isinstance(step.decision, Route):
                    continue
                opened.append(_Open(step.decision, step))
            following = self._following(opened[-1], trace)
        route = None if following is None else following.route
        if len(steps) == len(trace.steps):
            return trace, route
        return Trace(_with_less(trace.request, opened), trace.pool, tuple(steps)), route

    def _following(self, now: _Open, trace: Trace) -> _Next | None:
        """Return the next fallbacks of the calls that have failed; `None`: there are none."""
        chosen = self._chosen(now, trace)
        if not chosen:
            return None
        calls = tuple(replace(now.route.calls[k], model=card) for k, card in chosen)
        said = (
            f"{now.route.calls[k].model} failed ({now.failures[k]}), asking {card} instead"
            for k, card in chosen
        )
        route = Route(calls=calls, final=now.route.final, own=now.route.own, reason="; ".join(said))
        return _Next(route, tuple(k for k, _ in chosen))

    def _chosen(self, now: _Open, trace: Trace) -> list[tuple[int, str]]:
        """Return each call that has failed, by its place, with the card to ask instead."""
        chosen = []
        for k, (call, kind) in enumerate(zip(now.route.calls, now.failures, strict=True)):
            fallback = next((one for one in self.fallbacks if one.card == call.model), None)
            if fallback is None or kind is None:
                continue
            # a fallback that does not fit into the budget may be followed by a cheaper one
            if kind not in fallback.kinds and not (now.asked[k] and kind == "budget"):
                continue
            left = [card for card in fallback.to if card in trace.pool.ids][now.asked[k] :]
            if left:
                chosen.append((k, left[0]))
        return chosen


def inside(policy: Policy) -> Policy:
    """Return the policy that decides, without the fallbacks around it."""
    return policy.policy if isinstance(policy, WithFallbacks) else policy


def _with_less(request: Request, opened: Sequence[_Open]) -> Request:
    """Return the request with a budget without what the policy inside does not see."""
    budget = request.budget
    left_out = [
        sent for one in opened for reply in one.left_out for sent in (reply, *reply.discarded)
    ]
    usd, tokens = budget.usd, budget.tokens
    if usd is not None:
        usd = max(Decimal(0), usd - sum((sent.usd or Decimal(0) for sent in left_out), Decimal(0)))
    if tokens is not None:
        used = sum(sent.usage.total for sent in left_out if sent.usage is not None)
        tokens = max(0, tokens - used)
    # at least one: what the policy inside has begun is one of its own
    rounds = max(1, budget.rounds - sum(one.rounds for one in opened))
    return replace(request, budget=replace(budget, usd=usd, tokens=tokens, rounds=rounds))
