"""`polyroute artifact verify`: whether a trained router is whole, and loads."""

from typing import Annotated

import typer

from polyroute.cli.console import report, write_json, write_line
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile
from polyroute.config import cards_of, read
from polyroute.errors import ArtifactError
from polyroute.train.artifact import load

__all__ = ["app", "verify"]

app = command()


@app.command()
def verify(
    path: Annotated[str, typer.Argument(help="The artifact.", metavar="FOLDER")],
    config: ConfigFile = None,
    digest: Annotated[str | None, typer.Option(help="The digest it must have.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check every byte of an artifact, build it, and compare its cards with a pool.

    The pool is that of --config, when given. The exit code is 3 when the artifact is damaged, of
    another version or digest, or not for that pool.
    """
    try:
        pool = None if config is None else cards_of(read(config))
        found = load(path, pool).manifest.digest
        wrong = f"its digest is {found}, and {digest} is wanted"
        problem = wrong if digest not in (None, found) else None
    except ArtifactError as error:
        found, problem = None, str(error)
    if as_json:
        write_json({"ok": problem is None, "digest": found, "reason": problem})
    elif problem is None:
        write_line(f"ok: every byte as written, digest {found}")
    if problem is not None:
        report("error", problem)
        leave(ExitCode.RECORDS)
