"""Options that several commands share, so that they are spelled and explained once."""

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = ["AsJson", "ConfigFile", "MaxRounds", "MaxUsd", "PolicyName", "TraceId"]


def _usd(text: str) -> Decimal:
    try:
        usd = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        raise typer.BadParameter(f"{text!r} is no amount of dollars, such as 0.01") from None
    if not (usd.is_finite() and usd >= 0):
        raise typer.BadParameter(f"{text!r} must be 0 or more")
    return usd


AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]

ConfigFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration file. Default: $POLYROUTE_CONFIG, polyroute.yaml, the built-in one.",
        show_default=False,
    ),
]

MaxRounds: TypeAlias = Annotated[
    int | None, typer.Option("--max-rounds", min=1, help="Most routing rounds.")
]

MaxUsd: TypeAlias = Annotated[
    Decimal | None,
    typer.Option("--max-usd", parser=_usd, metavar="USD", help="Most dollars, all calls together."),
]

PolicyName: TypeAlias = Annotated[
    str | None,
    typer.Option("--policy", "-p", help="A configured policy, a registered one, or a card's id."),
]

TraceId: TypeAlias = Annotated[
    str, typer.Argument(help="Id, its beginning, or 'last'.", show_default=False, metavar="ID")
]
