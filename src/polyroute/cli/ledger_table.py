"""The bill of an episode as a table: a line per call, and their sum."""

from rich.table import Table

from polyroute.cli.console import dollars, plural, table
from polyroute.decision import Call, Route
from polyroute.trace import Reply, Trace

__all__ = ["ledger_table"]

_NUMBERS = ("input", "cached", "output", "reasoning", "dollars", "seconds")


def ledger_table(trace: Trace) -> Table:
    """Return every call of `trace` with its tokens and its exact price, and the sum.

    The sum is that of `Trace.bill`, to the last digit; prices that nobody knows are counted
    beside it.
    """
    rows = table("round", "asked", *_NUMBERS, "", right=_NUMBERS)
    number = 0
    for step in trace.steps:
        if not isinstance(step.decision, Route):
            continue
        number += step.is_round
        name = "own" if step.decision.own else str(number) if step.is_round else "-"
        for call, reply in zip(step.decision.calls, step.replies, strict=True):
            rows.add_row(name, *_row(call, reply))
    rows.add_section()
    usage, bill = trace.usage, trace.bill
    rows.add_row(
        "sum",
        plural(len(trace.calls), "call"),
        *(str(count) for count in (usage.input, usage.cached, usage.output, usage.reasoning)),
        dollars(bill.usd),
        f"{trace.seconds:.2f}",
        f"and {plural(bill.unknown, 'unknown price')}" if bill.unknown else "",
        style="bold",
    )
    return rows


def _row(call: Call, reply: Reply) -> tuple[str, ...]:
    usage = reply.usage
    counts = (
        ("?",) * 4
        if usage is None
        else tuple(map(str, (usage.input, usage.cached, usage.output, usage.reasoning)))
    )
    notes = []
    if reply.failure is not None:
        refused = reply.failure.kind == "budget"
        notes.append("not made: budget" if refused else f"failed: {reply.failure.kind}")
    if reply.answered_by not in (None, call.model):
        notes.append(f"answered by {reply.answered_by}")
    if reply.attempts > 1:
        notes.append(plural(reply.attempts, "attempt"))
    return call.model, *counts, dollars(reply.usd), f"{reply.seconds:.2f}", ", ".join(notes)
