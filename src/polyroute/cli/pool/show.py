"""`polyroute pool show`: one candidate in full."""

from typing import Annotated

import typer

from polyroute.cli.console import write_json, write_line
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile
from polyroute.cli.pool.card import price_in_words, to_json
from polyroute.config import CardSettings, read
from polyroute.errors import UnknownModelError
from polyroute.spec import nearest

__all__ = ["app", "show"]

app = command()


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="Id or alias of a card.", metavar="ID")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show everything the configuration says of one candidate."""
    card = _card(id, read(config).pool)
    if as_json:
        write_json(to_json(card))
        return
    for key, value in to_json(card).items():
        said = price_in_words(card.price) if key == "price" else _in_words(value)
        write_line(f"{key}: {said}")


def _card(name: str, cards: tuple[CardSettings, ...]) -> CardSettings:
    by_name = {name: card for card in cards for name in (card.id, *card.aliases)}
    if name not in by_name:
        raise UnknownModelError(f"{name!r} is not in the pool; {nearest(name, [*by_name])}")
    return by_name[name]


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None or value == "" else str(value)
