"""An episode in words: the lines that `ask` writes as it goes and `trace show` writes later."""

from polyroute.cli.console import clip, dollars, plural
from polyroute.decision import Answer, Call, Decision
from polyroute.trace import Reply, Trace

__all__ = ["facts", "heading", "reply_line", "summary"]

_SCALAR = (str, int, float)


def heading(decision: Decision, number: int | None = None) -> str:
    """Return who is asked and why.

    Parameters
    ----------
    decision : Route or Answer
    number : int, optional
        Which round it is, from 1; the policy's own thinking is no round.

    Examples
    --------
    >>> from polyroute.decision import Route
    >>> heading(Route(calls=(Call("geo"), Call("calc")), reason="rule 'x'"), 2)
    "round 2: asks geo, calc (rule 'x')"
    """
    why = f" ({clip(decision.reason, 200)})" if decision.reason else ""
    if isinstance(decision, Answer):
        said = [f"{key} {v}" for key, v in decision.fields.items() if isinstance(v, _SCALAR)]
        more = f": {clip(', '.join(said), 300)}" if said else ""
        return f"{'gives up' if decision.failure else 'answers'}{why}{more}"
    asked = ", ".join(call.model for call in decision.calls)
    place = "thinking: " if decision.own else "" if number is None else f"round {number}: "
    return f"{place}asks {asked}{why}"


def reply_line(call: Call, reply: Reply, limit: int = 100) -> str:
    """Return what was asked, where it is not the request itself, and what came back."""
    asked = f" [{clip(call.prompt, limit)}]" if call.prompt else ""
    if reply.failure is not None:
        said = f"no reply ({reply.failure.kind}): {clip(reply.failure.message or '', 300)}"
    else:
        said = clip(reply.text or "", limit) or "(no text)"
    return f"  {call.model}{asked}: {said}"


def facts(reply: Reply) -> str:
    """Return tokens, dollars and seconds of one reply.

    Examples
    --------
    >>> from decimal import Decimal
    >>> from polyroute.types import Usage
    >>> facts(Reply(model="a", usage=Usage(3, 4), usd=Decimal("0.01"), seconds=1.234))
    '3 + 4 tokens, $0.01, 1.23 s'
    """
    if reply.failure is not None and reply.failure.kind == "budget":
        return "not made"
    usage = reply.usage
    tokens = "unknown tokens" if usage is None else f"{usage.prompt} + {usage.completion} tokens"
    price = "price unknown" if reply.usd is None else dollars(reply.usd)
    return f"{tokens}, {price}, {reply.seconds:.2f} s"


def summary(trace: Trace) -> str:
    """Return one line on the whole episode."""
    return (
        f"{plural(trace.rounds, 'round')}, {plural(len(trace.calls), 'call')}, "
        f"{trace.usage.total} tokens, {_bill(trace)}, {trace.seconds:.2f} s"
    )


def _bill(trace: Trace) -> str:
    bill = trace.bill
    unknown = f" + {plural(bill.unknown, 'unknown price')}" if bill.unknown else ""
    return f"{dollars(bill.usd)}{unknown}"
