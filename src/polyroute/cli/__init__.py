"""The command line: one file per command, imported when the command is run.

``polyroute --help`` is written from the table below; exit codes are in `exit_codes`.
"""

import sys
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import typer

import polyroute
from polyroute.cli.boundary import boundary
from polyroute.cli.lazy import Entry, LazyGroup

__all__ = ["app", "main"]


class _Commands(LazyGroup):
    table: ClassVar[Mapping[str, Entry]] = {
        "ask": Entry("polyroute.cli.ask", "Route one question and show who was asked what."),
        "serve": Entry("polyroute.cli.serve", "Serve the pool as an OpenAI-compatible endpoint."),
        "key": Entry("polyroute.cli.key", "Make, list and revoke clients' keys."),
        "trace": Entry("polyroute.cli.trace", "List, show, verify, replay and purge records."),
        "pool": Entry("polyroute.cli.pool", "Show the candidates; fetch the weights of one."),
        "data": Entry("polyroute.cli.data", "Collect, import, describe and divide outcome tables."),
        "evaluate": Entry("polyroute.cli.evaluation", "Compare routers on recorded outcomes."),
        "train": Entry("polyroute.cli.training", "Train a router on recorded outcomes."),
        "artifact": Entry("polyroute.cli.artifact", "Show, verify and describe trained routers."),
        "policies": Entry("polyroute.cli.policies", "List the policies: when, what and how."),
        "config": Entry("polyroute.cli.config", "Write a configuration, or check one."),
        "doctor": Entry("polyroute.cli.doctor", "Probe every endpoint and say what to do."),
    }

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as in the class above it
        """Run a command; an error of this package becomes a message and an exit code."""
        with boundary():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Data goes to standard output, messages to standard error. Exit codes: 0 ok, 1 no "
    "answer, 2 wrong usage or configuration, 3 records damaged or lost, 4 a replay differs, "
    "130 interrupted.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"polyroute {polyroute.__version__}")
        raise typer.Exit


@app.callback()
def polyroute_(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Learn, evaluate and serve routers for pools of language models, agents and tools."""


def main() -> None:
    """Run the command line; the console script ``polyroute``."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # text that the terminal's encoding lacks is escaped
            stream.reconfigure(errors="backslashreplace")
    app()
