"""`polyroute trace replay`: derive every decision again, or those of another policy or budget."""

import asyncio
import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from polyroute.cli.console import note, plural, warn, write_json, write_line
from polyroute.cli.construction import Chosen, choose, configured_specs, store_from
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.lazy import command
from polyroute.cli.narration import heading
from polyroute.cli.options import AsJson, ConfigFile, MaxRounds, MaxUsd, PolicyName
from polyroute.cli.stored import report_problems, the_record
from polyroute.errors import ConfigError, RecordError
from polyroute.records.record import Record
from polyroute.records.replay import Difference, Replay, counterfactual
from polyroute.records.replay import replay as derive
from polyroute.records.snapshots import Snapshots
from polyroute.records.store import RecordStore
from polyroute.spec import construct
from polyroute.types import Json

__all__ = ["app", "replay"]

app = command()


@app.command()
def replay(  # noqa: PLR0913 - one parameter per option
    id: Annotated[
        str | None, typer.Argument(help="Id, its beginning, or 'last'.", metavar="ID")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All records, oldest first.")] = False,
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
    store = store_from(config)
    records = _wanted(store, id, every=every, own=policy is None)
    question = _Question(policy, max_usd, max_rounds, config, store)
    answers = [question.ask(record) for record in records]
    if as_json:
        said = [_to_json(answer) for answer in answers]
        write_json(said if every else said[0])
    else:
        _write(answers)
    damaged = every and report_problems(store)
    differs = not question.is_what_if and not all(answer.result.same for answer in answers)
    leave(ExitCode.DIFFERS if differs else ExitCode.RECORDS if damaged else ExitCode.OK)


def _wanted(store: RecordStore, id: str | None, *, every: bool, own: bool) -> list[Record]:
    """Return the records to replay; `own` when each is to be asked of its own policy.

    Raises
    ------
    ConfigError
        If neither one is named nor all are wanted.
    """
    if every:
        full = [record for record in store if record.content == "full"]
        if gone := sum(1 for _ in store) - len(full):
            warn(f"{plural(gone, 'record')} left out: kept without texts, which a replay needs")
        decided = [record for record in full if record.policy is not None or not own]
        if gone := len(full) - len(decided):
            warn(f"{plural(gone, 'record')} left out: no policy is named, as in remembered answers")
        return decided
    if id is None:
        raise ConfigError("name a record to replay ('last' is the newest), or --all")
    return [the_record(store, id)]


@dataclass(frozen=True, slots=True)
class _Answer:
    record: Record
    chosen: Chosen
    result: Replay


@dataclass(frozen=True, slots=True)
class _Question:
    """Which policy is asked, under which budget; the record's own by default."""

    policy: str | None
    max_usd: Decimal | None
    max_rounds: int | None
    config: Path | None
    store: RecordStore

    @property
    def is_what_if(self) -> bool:
        return (self.policy, self.max_usd, self.max_rounds) != (None, None, None)

    def ask(self, record: Record) -> _Answer:
        """Derive the decisions of `record` again."""
        trace = record.trace()
        if self.policy is None:
            chosen = _own(record, self.store)
        else:
            chosen = choose(self.policy, configured_specs(self.config), trace.pool)
        if not self.is_what_if:
            return _Answer(record, chosen, asyncio.run(derive(trace, chosen.policy)))
        budget = trace.request.budget
        other = replace(
            budget,
            usd=budget.usd if self.max_usd is None else self.max_usd,
            rounds=self.max_rounds or budget.rounds,
        )
        changed = None if other == budget else other
        result = asyncio.run(counterfactual(trace, chosen.policy, budget=changed))
        return _Answer(record, chosen, result)


def _own(record: Record, store: RecordStore) -> Chosen:
    """Build the policy of the record anew.

    Raises
    ------
    RecordError
        If the record does not say what it was built from, or what it had learned then is gone.
    """
    if record.policy is None:
        raise RecordError(
            f"the record {record.id!r} does not say what its policy was built from; name one with "
            "--policy"
        )
    path = getattr(store, "path", None)
    spec = record.policy if path is None else Snapshots.beside(path).resolved(record.policy)
    return Chosen(construct("policies", spec, where="the record's policy"), record.policy)


def _write(answers: list[_Answer]) -> None:
    different = [answer for answer in answers if not answer.result.same]
    for answer in different:
        _write_difference(answer)
    same = [answer for answer in answers if answer.result.same]
    if same:
        decisions = plural(sum(answer.result.steps for answer in same), "decision")
        which = same[0].record.id if len(answers) == 1 else plural(len(same), "record")
        write_line(f"same: {which}: {decisions} derived again, each as recorded")
    elif not answers:
        write_line("same: there are no records")
    for answer in answers:
        if answer.record.error:
            note(f"{answer.record.id} ended because its policy broke: {answer.record.error}")


def _write_difference(answer: _Answer) -> None:
    result, difference = answer.result, answer.result.difference
    assert difference is not None, "only what differs is written here"
    write_line(
        f"different: {answer.record.id}: step {difference.step + 1} of {result.steps} "
        f"({result.agreed} before it as recorded): {difference.explanation}"
    )
    for name, said in (("recorded", difference.recorded), ("replayed", difference.replayed)):
        if said is not None:
            write_line(f"  {name}: {heading(said)}")
            write_line(f"    {json.dumps(said.to_json(), ensure_ascii=False, default=str)}")


def _to_json(answer: _Answer) -> dict[str, Json]:
    result = answer.result
    return {
        "id": answer.record.id,
        "same": result.same,
        "steps": result.steps,
        "agreed": result.agreed,
        "policy": dict(answer.chosen.spec),
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
