"""Options that several commands share, so that they are spelled and explained once."""

from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "AsJson",
    "ConfigFile",
    "MaxRounds",
    "MaxUsd",
    "PolicyName",
    "TraceId",
    "days",
    "usd",
]


def usd(text: str) -> Decimal:
    """Read an amount of dollars.

    Raises
    ------
    typer.BadParameter
        If it is none, or negative.
    """
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        raise typer.BadParameter(f"{text!r} is no amount of dollars, such as 0.01") from None
    if not (amount.is_finite() and amount >= 0):
        raise typer.BadParameter(f"{text!r} must be 0 or more")
    return amount


def days(text: str) -> timedelta:
    """Read a number of days: ``30d``.

    Raises
    ------
    typer.BadParameter
        If it is none.
    """
    number = text.removesuffix("d")
    if not number.isdecimal() or not 0 < int(number) <= _LONGEST_DAYS:
        raise typer.BadParameter(f"{text!r} is no number of days, such as 30d")
    return timedelta(days=int(number))


_LONGEST_DAYS = 36_500


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
    typer.Option("--max-usd", parser=usd, metavar="USD", help="Most dollars, all calls together."),
]

PolicyName: TypeAlias = Annotated[
    str | None,
    typer.Option("--policy", "-p", help="A configured policy, a registered one, or a card's id."),
]

TraceId: TypeAlias = Annotated[
    str, typer.Argument(help="Id, its beginning, or 'last'.", show_default=False, metavar="ID")
]
