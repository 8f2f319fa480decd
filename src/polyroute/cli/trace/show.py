"""`polyroute trace show`: one record, round by round, with its bill."""

from msgspec.structs import replace
from rich.text import Text

from polyroute.cli.console import out, printable, write_json, write_table
from polyroute.cli.construction import store_from
from polyroute.cli.lazy import command
from polyroute.cli.ledger_table import ledger_table
from polyroute.cli.narration import facts, heading, reply_line, summary
from polyroute.cli.options import AsJson, ConfigFile, TraceId
from polyroute.cli.stored import question_of, the_record
from polyroute.records.record import Record
from polyroute.trace import Trace

__all__ = ["app", "show"]

app = command()

_REPLY_CHARS = 2_000


@app.command()
def show(id: TraceId, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show who was asked what, why, what came back and what it cost; --json has every byte."""
    record = the_record(store_from(config), id)
    if as_json:
        write_json(record.to_json())
        return
    # what was not kept of the texts is shown as it is stored: as a hash, or as nothing
    trace = replace(record, content="full").trace()
    _write_head(record)
    _write_steps(trace)
    write_table(ledger_table(trace))
    _line(f"\n{summary(trace)}\n")
    if record.error:
        _line(f"the policy broke: {record.error}")
    if trace.answer is not None:
        _line(printable(trace.answer))
    elif trace.failure is not None:
        _line(f"no answer ({trace.failure.kind}): {trace.failure.message}")


def _write_head(record: Record) -> None:
    budget = record.request["budget"]
    limits = ", ".join(f"{name} {value}" for name, value in budget.items() if value is not None)
    _line(f"trace {record.id}: record {record.number}, {record.status}, {record.created_at}")
    _line(f"policy: {dict(record.policy) if record.policy else 'not recorded'}")
    _line(f"budget: {limits}; seed {record.request['seed']}")
    _line(f"pool: {', '.join(card['id'] for card in record.pool['cards'])}")
    _line(f"question: {printable(question_of(record))}\n")


def _write_steps(trace: Trace) -> None:
    number = 1
    for step in trace.steps:
        _line(heading(step.decision, number))
        number += step.is_round
        calls = getattr(step.decision, "calls", ())
        for call, reply in zip(calls, step.replies, strict=True):
            _line(reply_line(call, reply, _REPLY_CHARS))
            _line(f"    {facts(reply)}")
    _line("")


def _line(text: str) -> None:
    out().print(Text(text), soft_wrap=True)
