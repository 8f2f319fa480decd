"""What an episode of a router model says: its prompt, its transcript, its turns.

The one decision here: all of it is read off the trace. A call of the router model holds the prompt
and, as its prefix, everything up to its turn; so what is trained on and what is judged is what was
really sent and sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from polyroute.continuation import with_end
from polyroute.decision import Call, Route
from polyroute.policies.router_r1.grammar import Dialect, Turn, read_turn
from polyroute.pool import Pool
from polyroute.trace import Reply, Step, Trace

__all__ = ["Span", "is_own", "offered_to", "prompt_of", "said", "transcript", "turns"]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a transcript."""

    text: str
    own: bool
    """Whether the router model wrote it; all other text is an observation."""


def prompt_of(trace: Trace) -> str:
    """Return the prompt of the router model; empty when it was never asked."""
    return next((call.prompt or "" for call, _ in _own(trace)), "")


def transcript(trace: Trace) -> list[Span]:
    """Return what follows the prompt: the router model's turns and what was shown to it.

    Joined, the spans of a longer trace of the same episode begin with the prefix of every call of
    the router model, so nothing that was sampled is ever changed.

    Examples
    --------
    >>> from polyroute import ModelCard, Request
    >>> transcript(Trace(Request.of("?"), Pool([ModelCard(id="geo")])))
    []
    """
    spans: list[Span] = []
    shown = 0
    for call, reply in _own(trace):
        if len(call.prefix) > shown:
            spans.append(Span(call.prefix[shown:], own=False))
        text = said(reply)
        if text:
            spans.append(Span(text, own=True))
        shown = len(call.prefix) + len(text)
    return spans


def turns(
    trace: Trace,
    *,
    dialect: Dialect = "polyroute",
    offered: Pool | None = None,
    most: int = 4,
    faithful: bool = False,
) -> list[Turn]:
    """Return the turns of the router model, read; a call that failed is no turn.

    Parameters
    ----------
    trace : Trace
        An episode of `polyroute.policies.router_r1.RouterR1`, finished or not.
    dialect, offered, most, faithful
        As the policy was configured: its dialect, its specialists (the whole pool but the router
        model when `None`), its `max_turns`, its `faithful`.
    """
    found: list[Turn] = []
    before = Trace(trace.request, trace.pool)
    asked = 0
    for step in trace.steps:
        if is_own(step):
            asked += 1
            call, reply = _pair(step)
            if reply.ok:
                found.append(
                    read_turn(
                        said(reply),
                        offered or offered_to(trace.pool, call.model),
                        dialect=dialect,
                        may_search=asked <= most and before.left.rounds > 0,
                        faithful=faithful,
                    )
                )
        before = before.with_step(step)
    return found


def said(reply: Reply) -> str:
    """Return what the router model wrote, with the closing tag that ended it.

    Text after an action is dropped: a server without stop strings would let the model invent the
    reply.
    """
    text = with_end(reply, _CLOSING)
    ends = [text.find(tag) + len(tag) for tag in _CLOSING if tag in text]
    end = min(ends, default=len(text))
    return text[:end] if text[end:].strip() else text


def is_own(step: Step) -> bool:
    """Whether the step is a turn of the router model."""
    return isinstance(step.decision, Route) and step.decision.own


def offered_to(pool: Pool, router: str, specialists: Sequence[str] | None = None) -> Pool:
    """Return the candidates that `router` may name: the specialists, or all others of the pool.

    Other routers are none. A pool of one card offers that card: a model may ask itself.
    """
    if specialists is not None:
        return pool.only(specialists)
    others = [card.id for card in pool.candidates if card.id != pool.card(router).id]
    return pool.only(others) if others else pool


_CLOSING = ("</search>", "</answer>")


def _own(trace: Trace) -> list[tuple[Call, Reply]]:
    return [_pair(step) for step in trace.steps if is_own(step)]


def _pair(step: Step) -> tuple[Call, Reply]:
    assert isinstance(step.decision, Route), "checked by is_own"
    return step.decision.calls[0], step.replies[0]
