"""`polyroute serve`: the OpenAI-compatible server, until it is interrupted."""

import logging
from typing import Annotated

import typer

from polyroute.cli.lazy import command
from polyroute.cli.options import ConfigFile
from polyroute.config import find, read
from polyroute.gateway.serve import serve as listen

__all__ = ["app", "serve"]

app = command()


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; server.host if missing.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port, 0 for a free one; server.port if missing."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Processes that listen; server.workers if missing."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Serve the pool and its policies as an OpenAI-compatible endpoint.

    Point any OpenAI client at http://HOST:PORT/v1. The model 'polyroute' is the default policy,
    'polyroute/NAME' another one, and a card's id that card alone. Needs the extra [serve].
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    listen(read(config), host=host, port=port, workers=workers, file=find(config))
