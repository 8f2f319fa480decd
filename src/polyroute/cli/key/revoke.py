"""`polyroute key revoke`: a key that opens nothing any more."""

from typing import Annotated

import typer

from polyroute.cli.console import write_line
from polyroute.cli.lazy import command
from polyroute.cli.options import ConfigFile
from polyroute.config import read
from polyroute.gateway.access.audit import audit_log, operator
from polyroute.gateway.access.keys import key_file

__all__ = ["app", "revoke"]

app = command()


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Id, or name.", metavar="KEY", show_default=False)],
    config: ConfigFile = None,
) -> None:
    """Revoke a key. A running server refuses it within a second; requests that run go on."""
    settings = read(config)
    revoked = key_file(settings).revoke(key)
    audit_log(settings).note(operator(), "key.revoke", key=revoked.id, name=revoked.name)
    write_line(f"revoked: {revoked.id} ({revoked.name})")
