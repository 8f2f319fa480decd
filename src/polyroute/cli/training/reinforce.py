"""`polyroute train reinforce`: reinforcement of a setting's file, by TRL here or by verl."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from polyroute.cli.console import hint, note, write_json, write_line
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson
from polyroute.train.r1.alone import reinforce_alone
from polyroute.train.r1.ranks import rank
from polyroute.train.r1.verl.written import write_run

__all__ = ["app", "reinforce"]

app = command()

_SHOWN = ("step", "reward", "outcome", "format_rate", "calls", "loss", "seconds")


@app.command()
def reinforce(
    setting: Annotated[Path, typer.Argument(help="YAML: task, model, policy, reward, recipe.")],
    output: Annotated[
        Path, typer.Option("--output", "--out", "-o", help="Folder of the run.", metavar="FOLDER")
    ],
    engine: Annotated[
        Literal["trl", "verl"],
        typer.Option(help="trl trains here; verl: write what it needs and say its command."),
    ] = "trl",
    as_json: AsJson = False,
) -> None:
    """Reinforce a model that can play already, on one GPU, on several, or on many machines.

    The same file goes to both engines. With trl, start it under torchrun or accelerate for several
    processes; the same command continues a run that was stopped.
    """
    if engine == "verl":
        arguments = write_run(setting, output)
        line = shlex.join(["python", "-m", "verl.trainer.main_ppo", *arguments])
        if as_json:
            write_json({"folder": str(output), "arguments": list(arguments)})
            return
        write_line(line)
        hint("run it where verl is installed, on a machine of the Ray cluster")
        return
    first = rank() == 0
    done = reinforce_alone(setting, output, say=note, show=_told if first else _silent)
    if not first:
        return
    if as_json:
        write_json({"model": str(done.model), "judged": dict(done.judged)})
        return
    judged = done.judged
    write_line(
        f"{done.model}: reward {judged['reward']:.3f} ({judged['reward_low']:.3f} to "
        f"{judged['reward_high']:.3f}), quality {judged['outcome']:.3f}, "
        f"{judged['calls']:.2f} calls"
    )


def _told(row: Mapping[str, float]) -> None:
    note("  ".join(f"{name} {row[name]:.3g}" for name in _SHOWN if name in row))


def _silent(row: Mapping[str, float]) -> None:
    del row
