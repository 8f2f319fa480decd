"""`polyroute artifact export`: a trained router for machines without torch."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import note, write_line
from polyroute.cli.lazy import command
from polyroute.train.artifact import save
from polyroute.train.r1.exported import exported

__all__ = ["app", "export"]

app = command()


@app.command()
def export(
    path: Annotated[str, typer.Argument(help="What `polyroute train r1` wrote.", metavar="FOLDER")],
    output: Annotated[
        Path, typer.Option("--output", "--out", "-o", help="Artifact, *.router.", metavar="FOLDER")
    ],
    fallback: Annotated[
        str | None,
        typer.Option(help="The card that is asked when the router gives no valid answer."),
    ] = None,
) -> None:
    """Write a router of several rounds with its adapter as llama.cpp reads it.

    The new artifact runs on the embedded weights with the extra [local] alone, and llama.cpp
    computes on a processor what torch would. The old artifact stays as it is.
    """
    made = exported(path, fallback=fallback)
    manifest = save(output, made, created_at=datetime.now(UTC).isoformat(timespec="seconds"))
    size = sum(file["bytes"] for file in manifest.files.values())
    note(f"{size / 1e6:.1f} MB for llama.cpp")
    write_line(f"{output}: router_r1, digest {manifest.digest}")
