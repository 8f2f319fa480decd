"""`polyroute trace replay`: derive every decision again, or those of another policy or budget."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import typer

from polyroute.cli.console import note, plural, write_json, write_line
from polyroute.cli.construction import Chosen, choose, configured_specs, store_from
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.narration import heading
from polyroute.cli.options import AsJson, ConfigFile, MaxRounds, MaxUsd, PolicyName, TraceId
from polyroute.cli.stored import the_record
from polyroute.errors import RecordError
from polyroute.records.record import Record
from polyroute.records.replay import Difference, Replay, counterfactual
from polyroute.records.replay import replay as derive
from polyroute.spec import construct
from polyroute.trace import Trace
from polyroute.types import Json

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None)


@app.command()
def replay(
    id: TraceId,
    policy: PolicyName = None,
    max_usd: MaxUsd = None,
    max_rounds: MaxRounds = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Derive every decision of a record again, offline, and show the first that differs.

    With --policy, --max-usd or --max-rounds: where another policy or budget would have left the
    record. Nothing is called, so what would have come after that point nobody knows. The exit
    code is 4 when the record's own policy decides otherwise than recorded.
    """
    record = the_record(store_from(config), id)
    trace = record.trace()
    chosen = _own(record) if policy is None else _other(policy, trace, config)
    budget = trace.request.budget
    other = replace(
        budget,
        usd=budget.usd if max_usd is None else max_usd,
        rounds=max_rounds or budget.rounds,
    )
    what_if = policy is not None or other != budget
    if what_if:
        changed = None if other == budget else other
        result = asyncio.run(counterfactual(trace, chosen.policy, budget=changed))
    else:
        result = asyncio.run(derive(trace, chosen.policy))
    if as_json:
        write_json(_to_json(result, chosen))
    else:
        _write(result, what_if=what_if)
        if record.error:
            note(f"the episode ended because the policy broke: {record.error}")
    leave(ExitCode.OK if what_if or result.same else ExitCode.DIFFERS)


def _own(record: Record) -> Chosen:
    """Build the policy of the record anew.

    Raises
    ------
    RecordError
        If the record does not say what it was built from.
    """
    if record.policy is None:
        raise RecordError(
            f"the record {record.id!r} does not say what its policy was built from; name one with "
            "--policy"
        )
    return Chosen(construct("policies", record.policy, where="the record's policy"), record.policy)


def _other(name: str, trace: Trace, config: Path | None) -> Chosen:
    return choose(name, configured_specs(config), trace.pool)


def _write(result: Replay, *, what_if: bool) -> None:
    difference = result.difference
    if difference is None:
        write_line(f"same: {plural(result.steps, 'decision')} derived again, each as recorded")
        return
    would = "would differ" if what_if else "differs"
    write_line(
        f"step {difference.step + 1} of {result.steps} {would} ({result.agreed} before it as "
        f"recorded): {difference.explanation}"
    )
    for name, said in (("recorded", difference.recorded), ("replayed", difference.replayed)):
        if said is not None:
            write_line(f"  {name}: {heading(said)}")
            write_line(f"    {json.dumps(said.to_json(), ensure_ascii=False, default=str)}")


def _to_json(result: Replay, chosen: Chosen) -> dict[str, Json]:
    return {
        "same": result.same,
        "steps": result.steps,
        "agreed": result.agreed,
        "policy": dict(chosen.spec),
        "difference": None if result.difference is None else _difference(result.difference),
    }


def _difference(difference: Difference) -> dict[str, Json]:
    replayed = difference.replayed
    return {
        "step": difference.step,
        "explanation": difference.explanation,
        "recorded": difference.recorded.to_json(),
        "replayed": None if replayed is None else replayed.to_json(),
    }
