"""`polyroute train r1`: a model that learns to route over several rounds, as one artifact."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer
import yaml
from rich.live import Live
from rich.table import Table

from polyroute.cli.console import (
    err,
    hint,
    is_live,
    note,
    table,
    warn,
    write_json,
    write_line,
    write_table,
)
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson
from polyroute.errors import ConfigError
from polyroute.train.artifact import save
from polyroute.train.r1.kept import fitted
from polyroute.train.r1.log import Logger, logger
from polyroute.train.r1.plans import changed, plan_for
from polyroute.train.r1.recipe import Algorithm, Mask, Without
from polyroute.train.r1.run import Result, Run
from polyroute.types import Json

__all__ = ["app", "r1"]

app = command()

_Log: TypeAlias = Literal["tensorboard", "wandb"]

_SHOWN = ("step", "reward", "outcome", "format_rate", "calls", "usd", "top_share", "seconds")


@app.command()
def r1(  # noqa: PLR0913 - one parameter per option
    output: Annotated[
        Path, typer.Option("--output", "--out", "-o", help="Artifact, *.router.", metavar="FOLDER")
    ],
    task: Annotated[
        str, typer.Option(help="What to learn on: its name, or YAML with its parameters.")
    ] = ("atlas-small"),
    model: Annotated[
        str, typer.Option(help="tiny (from scratch), smollm2, a folder, or a name on the hub.")
    ] = "tiny",
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    algorithm: Annotated[
        Algorithm | None, typer.Option(help="How episodes are compared; as in the plan if missing.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Batches of episodes; the plan's own if missing.")
    ] = None,
    imitate: Annotated[
        int | None, typer.Option(min=1, help="Steps of the warm start; the plan's own if missing.")
    ] = None,
    recall: Annotated[
        int | None,
        typer.Option(min=0, help="Steps of exercises in looking up before; the plan's own."),
    ] = None,
    judged: Annotated[
        int | None,
        typer.Option(min=2, help="Held-out questions of a judgement; the plan's own if missing."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where the run keeps its stages; the same one continues it.", metavar="FOLDER"
        ),
    ] = None,
    log: Annotated[_Log | None, typer.Option(help="Log the numbers there too.")] = None,
    mask: Annotated[
        Mask, typer.Option(help="Where tokens of observations are left out.")
    ] = "everywhere",
    without: Annotated[
        Without | None, typer.Option(help="Leave this out of the reward, to see what it is for.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Another number of the plan, as reinforcement.learning_rate=1e-4; repeatable.",
            metavar="PATH=VALUE",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a multi-round router by imitation and reinforcement, and write it as one artifact.

    Teachers show the protocol, then episodes are rewarded for right answers in a well-formed
    transcript, less what they cost. A run that was stopped is continued by the same command.
    """
    plan = plan_for(task, model, seed=seed)
    learning = replace(
        plan.reinforcement,
        algorithm=algorithm or plan.reinforcement.algorithm,
        mask=mask,
        steps=steps or plan.reinforcement.steps,
    )
    imitation = replace(plan.imitation, steps=imitate or plan.imitation.steps)
    plan = replace(
        plan,
        reinforcement=learning,
        imitation=imitation,
        recall=plan.recall if recall is None else recall,
        judged=judged or plan.judged,
        without=without,
    )
    plan = changed(plan, dict(_change(each) for each in changes or ()))
    working = folder or output.with_suffix(".run")
    loggers: list[Logger] = [] if log is None else [logger(log, working / log)]
    live = Live(console=err(), refresh_per_second=2) if is_live() else nullcontext()
    with live as shown:
        progress = _Progress(shown)
        run = Run(plan, working, say=note, show=progress.add, loggers=loggers)
        result = run.train()
    for place in loggers:
        place.close()
    manifest = save(
        output, fitted(run, result), created_at=datetime.now(UTC).isoformat(timespec="seconds")
    )
    if as_json:
        write_json(
            {"artifact": str(output), "digest": manifest.digest, "stages": dict(result.stages)}
        )
        return
    write_table(_stages(result))
    for alarm in result.alarms:
        warn(f"training was stopped at step {alarm.step}: {alarm.message}")
    write_line(f"{output}: router_r1, digest {manifest.digest}")
    hint(f"polyroute artifact show {output}")


def _change(text: str) -> tuple[str, Json]:
    path, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set takes PATH=VALUE, as reinforcement.steps=50; got {text!r}")
    return path, yaml.safe_load(value)


class _Progress:
    """The last steps as a table that is drawn anew, or a line now and then."""

    def __init__(self, live: Live | None) -> None:
        self._live = live
        self._rows: list[Mapping[str, float]] = []

    def add(self, row: Mapping[str, float]) -> None:
        """Show one more step."""
        self._rows = [*self._rows[-11:], row]
        if self._live is not None:
            self._live.update(_steps(self._rows))
        elif int(row["step"]) % 10 == 0:
            note("  ".join(f"{name} {value}" for name, value in _cells(row).items()))


def _steps(rows: list[Mapping[str, float]]) -> Table:
    shown = table(*_SHOWN, right=_SHOWN)
    for row in rows:
        shown.add_row(*_cells(row).values())
    return shown


def _cells(row: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{row[name]:.3g}" for name in _SHOWN if name in row}


def _stages(result: Result) -> Table:
    columns = ("stage", "decoding", "reward", "95 %", "quality", "well-formed", "calls", "usd")
    shown = table(*columns, right=columns[2:])
    for stage, judged in result.stages.items():
        for decoding, found in judged.items():
            shown.add_row(
                stage,
                decoding,
                f"{found['reward']:.3f}",
                f"{found['reward_low']:.3f} to {found['reward_high']:.3f}",
                f"{found['outcome']:.3f}",
                f"{found['format_rate']:.3f}",
                f"{found['calls']:.2f}",
                f"{found['usd']:.3g}",
            )
    return shown
