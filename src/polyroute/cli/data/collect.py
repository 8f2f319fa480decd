"""`polyroute data collect`: ask every candidate every question, score and keep the answers."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from polyroute.cli.console import dollars, err, hint, is_live, note, plural, warn, write_line
from polyroute.cli.construction import opened, refuse_unknown_prices, setup_from
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.lazy import command
from polyroute.cli.options import ConfigFile, MaxUsd
from polyroute.config import Setup
from polyroute.correctness import METRICS
from polyroute.evaluate.collect import Capped, Collected, Output, by_judge, by_metric
from polyroute.evaluate.collect import collect as run
from polyroute.evaluate.llm_judge import Judge
from polyroute.outcomes import Question, read_questions
from polyroute.types import Budget, Json

__all__ = ["app", "collect"]

app = command()


@app.command()
def collect(  # noqa: PLR0913 - one parameter per option
    questions: Annotated[
        Path, typer.Argument(help="A table, or a file with a query_id and a prompt in every row.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Start of the table that grows (JSON lines).")
    ],
    metric: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(METRICS)}. Default: what each question names."),
    ] = None,
    judge: Annotated[str | None, typer.Option(help="A card that judges instead.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Only this card; may be repeated.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers per question and card.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls at a time, per card.")] = 4,
    max_usd: MaxUsd = None,
    max_seconds: Annotated[float, typer.Option(min=0.001, help="Most seconds of a call.")] = 120.0,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of one answer.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Of every call.")] = None,
    config: ConfigFile = None,
) -> None:
    """Ask every card of the pool every question, and append the scored answers to a table.

    What the table has is not asked again: an interrupted or incomplete run goes on when the same
    command is given again. --max-usd is the limit of this run, judging included; no call is made
    whose worst case does not fit. Set --max-tokens with it, so that a worst case is near the truth.
    """
    setup = setup_from(config)
    asked = read_questions(questions)[:limit]
    refuse_unknown_prices(setup.pool, Budget(usd=max_usd))
    given = {"max_tokens": max_tokens, "temperature": temperature}
    params: dict[str, Json] = {name: value for name, value in given.items() if value is not None}

    async def main() -> Collected:
        pool = setup.pool.only(model) if model else setup.pool.candidates
        async with opened(setup) as backend:
            capped = Capped(backend, setup.pool, max_usd, seconds=max_seconds)
            score = (
                by_metric(metric, asked)
                if judge is None
                else by_judge(Judge(model=_judge(judge, setup), pool=setup.pool, backend=capped))
            )
            with Output(output, asked) as table, _bar(asked) as bar:
                return await run(
                    asked, pool, capped, table, score,
                    samples=samples, concurrency=concurrency, params=params, progress=bar.show,
                )  # fmt: skip

    _report(asyncio.run(main()), max_usd)


def _judge(name: str, setup: Setup) -> str:
    return setup.pool.card(name).id


class _Bar:
    """How far the run is, on a terminal; nothing elsewhere."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task("", total=None)

    def show(self, state: Collected) -> None:
        """Show `state`."""
        if self._progress is None or self._task is None:
            return
        failures = state.failures.total()
        self._progress.update(
            self._task,
            total=state.wanted,
            completed=state.present + state.new,
            description=f"{dollars(state.usd)}{f', {failures} failed' if failures else ''}",
        )


@contextmanager
def _bar(questions: Sequence[Question]) -> Iterator[_Bar]:
    if not is_live():
        note(f"asking {plural(len(questions), 'question')}")
        yield _Bar(None)
        return
    columns = (
        TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err(), transient=True) as progress:
        yield _Bar(progress)


def _report(state: Collected, max_usd: Decimal | None) -> None:
    unknown = f" and {plural(state.unknown, 'answer')} of unknown price" if state.unknown else ""
    write_line(
        f"{plural(state.new, 'answer')} new, {state.present} there before, {state.missing} missing;"
        f" {dollars(state.usd)}{unknown}"
    )
    if not state.missing:
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in state.failures.items())
    warn(f"calls without an answer: {kinds} (the last: {state.last_failure})")
    if state.failures["budget"] and max_usd is not None:
        hint("the next call did not fit the money: raise --max-usd, or lower --max-tokens")
    hint("the same command asks only what is missing")
    leave(ExitCode.FAILED)
