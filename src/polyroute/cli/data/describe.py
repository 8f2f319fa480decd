"""`polyroute data describe`: an outcome table in numbers."""

from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import note, plural, table, working, write_json, write_line, write_table
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson
from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable, TableSummary, by_split, read_outcomes
from polyroute.outcomes import describe as summarise
from polyroute.outcomes.describe import ModelSummary, Picked

__all__ = ["app", "describe"]

app = command()


@app.command()
def describe(
    path: Annotated[
        Path, typer.Argument(help="The start of the table's files, or one file.", metavar="TABLE")
    ],
    split: Annotated[str | None, typer.Option(help="Only the questions of that split.")] = None,
    right: Annotated[
        float, typer.Option(help="The score from which on an answer counts as right.")
    ] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Say of every model how good and how dear it is, and what choosing among them could gain."""
    with working(f"reading {path}"):
        summary = summarise(_part(read_outcomes(path), split), right=right)
    if as_json:
        write_json(summary.to_json())
        return
    _write(summary)


def _part(whole: OutcomeTable, split: str | None) -> OutcomeTable:
    """Return the questions of `split`, or all of them.

    Raises
    ------
    ConfigError
        If there are none.
    """
    if split is None:
        return whole
    parts = by_split(whole)
    if split not in parts:
        known = ", ".join(repr(name) for name in parts) or "none"
        raise ConfigError(f"no question is in the split {split!r}; the table has {known}")
    return parts[split]


def _write(summary: TableSummary) -> None:
    write_line(
        f"{plural(summary.questions, 'question')}, {plural(len(summary.models), 'model')}, "
        f"{plural(summary.responses, 'response')}; {summary.judged} questions judged"
    )
    numbers = ("score", "95 %", "usd/question", "questions", "missing", "responses")
    rows = table("model", *numbers, right=numbers)
    for model in sorted(summary.models, key=_by_score):
        rows.add_row(
            model.model,
            _share(model.score),
            "-"
            if model.interval is None
            else f"{model.interval.low:.3f}-{model.interval.high:.3f}",
            _usd(model.cost_usd),
            str(model.questions),
            str(model.missing),
            str(model.responses),
        )
    write_table(rows)
    write_line(f"best single: {summary.best_single or 'unknown'}")
    write_line(f"oracle: {_picked(summary.oracle)}")
    write_line(f"cheapest right answer: {_picked(summary.cheapest_right)}")
    write_line(
        f"all right {_share(summary.all_right)}, all wrong {_share(summary.all_wrong)}, "
        f"exactly one right {_share(summary.one_right)}"
    )
    if any(model.priced < model.questions for model in summary.models):
        note("some costs are unknown: means are over the known ones")


def _by_score(model: ModelSummary) -> float:
    return 1.0 if model.score is None else -model.score


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _picked(picked: Picked | None) -> str:
    if picked is None:
        return "unknown: nothing was judged"
    return f"score {picked.score:.3f} at {_usd(picked.cost_usd)} usd per question"
