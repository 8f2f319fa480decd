"""How far a trace has come with a problem: what is known, and what is to be asked next."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from polyroute.decision import Call, Route
from polyroute.tasks.atlas.specialists import UNKNOWN
from polyroute.tasks.problem import Hop, Problem
from polyroute.trace import Reply, Trace

__all__ = ["Ask", "Progress", "progress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is to be asked next."""

    hop: Hop
    query: str
    tried: tuple[str, ...]
    """Who has been asked it, and had no answer; in that order, each once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The state of a problem in the middle of an episode."""

    answers: tuple[str, ...]
    """What was said to each hop so far; nobody knows yet whether it is right."""
    said_by: tuple[str, ...]
    """Who said it, hop by hop."""
    ask: Ask | None
    """`None` when all hops have an answer."""
    usd: float
    """Dollars spent, as far as they are known."""
    turns: int
    """Turns that the router has taken."""
    repairs: bool
    """Whether the router's last turn led to nothing, so that this one is to mend it."""


def progress(problem: Problem, trace: Trace) -> Progress:
    """Return how far `trace` has come: a hop is done with the first reply that is an answer."""
    asked = list(_asked(trace))
    answers: list[str] = []
    said_by: list[str] = []
    ask = None
    for hop in problem.hops:
        query = hop.query.format(*answers[-1:])
        replies = [reply for call, reply in asked if _same(call.prompt, query)]
        good = next((r for r in replies if r.ok and not _same(r.text, UNKNOWN)), None)
        if good is None:
            ask = Ask(hop=hop, query=query, tried=tuple(dict.fromkeys(r.model for r in replies)))
            break
        answers.append(good.text.strip())
        said_by.append(good.model)
    own = [isinstance(step.decision, Route) and step.decision.own for step in trace.steps]
    return Progress(
        answers=tuple(answers),
        said_by=tuple(said_by),
        ask=ask,
        usd=float(sum((reply.usd or Decimal(0) for reply in trace.replies), Decimal(0))),
        turns=sum(own),
        repairs=bool(own) and own[-1],
    )


def _asked(trace: Trace) -> Iterator[tuple[Call, Reply]]:
    for step in trace.steps:
        if isinstance(step.decision, Route) and not step.decision.own:
            yield from zip(step.decision.calls, step.replies, strict=True)


def _same(one: str | None, other: str) -> bool:
    return one is not None and one.casefold().split() == other.casefold().split()
