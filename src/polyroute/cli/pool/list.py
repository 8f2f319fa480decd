"""`polyroute pool list`: the candidates, one line each."""

from polyroute.cli.console import table, write_json, write_table
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile
from polyroute.cli.pool.card import backend_in_words, price_in_words, to_json
from polyroute.config import read

__all__ = ["app", "list"]

app = command()


@app.command()
def list(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the candidates of the pool, in pool order."""
    cards = read(config).pool
    if as_json:
        write_json([to_json(card) for card in cards])
        return
    rows = table("id", "kind", "price", "context", "latency", "backend", right=["context"])
    for card in cards:
        rows.add_row(
            card.id,
            card.kind,
            price_in_words(card.price),
            "-" if card.context is None else str(card.context),
            "-" if card.latency_s is None else f"{card.latency_s:g} s",
            backend_in_words(card),
        )
    write_table(rows)
