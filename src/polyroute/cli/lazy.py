"""A group of commands that imports a command's module only when the command is run.

The one decision here: the help of a group is written from a table of names and lines, so that
``polyroute --help`` pays for none of the commands.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

__all__ = ["Entry", "LazyGroup", "command", "group"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One command of a group."""

    module: str
    """Module whose `app` is the command."""
    line: str
    """What the help of the group says of it."""


class LazyGroup(TyperGroup):
    """A command group whose commands are the entries of `table`."""

    table: ClassVar[Mapping[str, Entry]] = {}
    otherwise: ClassVar[str | None] = None
    """The command that is meant when the first word is none of the table's."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - as above it
        super().__init__(**settings)
        self.commands = {
            name: TyperCommand(name, help=entry.line) for name, entry in self.table.items()
        }

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as above it
        """Put the word that may be left out in front of `args`."""
        known = {*self.table, *ctx.help_option_names}
        if self.otherwise is not None and args and args[0] not in known:
            args = [self.otherwise, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - as above it
        """Return the command that `args` name, imported."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and self.load(str(name)), rest

    def load(self, name: str) -> Any:  # noqa: ANN401 - a command or a group
        """Import and return the command `name`."""
        command = get_command(importlib.import_module(self.table[name].module).app)
        command.name = name
        return command


def command() -> typer.Typer:
    """Return the application of one command, to decorate its function with."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)


def group(entries: Mapping[str, Entry], *, line: str, otherwise: str | None = None) -> typer.Typer:
    """Return the application of a group of `entries`.

    Parameters
    ----------
    entries : mapping of str to Entry
        The commands by name, in the order of the help.
    line : str
        What the help of the group itself says.
    otherwise : str, optional
        The command that is meant when the first word is none of `entries`.
    """
    commands = type("Commands", (LazyGroup,), {"table": entries, "otherwise": otherwise})
    app = typer.Typer(
        cls=commands,
        help=line,
        no_args_is_help=True,
        add_completion=False,  # the root has it, for all
        rich_markup_mode=None,
    )
    app.callback()(_nothing)  # typer wants one to see a group in it
    return app


def _nothing() -> None:
    """Do nothing before a command of a group."""
