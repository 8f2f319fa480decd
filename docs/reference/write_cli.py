"""Writes `cli.md` from the commands themselves. Run it from anywhere, after a change of one:

    .venv/bin/python docs/reference/write_cli.py

`tests/cli/test_reference.py` fails when the page lacks a command, an option or an exit code.
"""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import typer
from typer.core import TyperGroup
from typer.main import get_command

from polyroute.cli import app, exit_codes
from polyroute.cli.lazy import LazyGroup

_PAGE = Path(__file__).with_name("cli.md")

_HEAD = """\
# Command line

Data goes to standard output; messages, progress and warnings go to standard error. The output is
legible without colour, `NO_COLOR` switches colours off, and nothing moves on a stream that is no
terminal. `--json`, where a command has it, writes JSON and nothing else to standard output.

A command reads the configuration that `--config` names, else the one in `$POLYROUTE_CONFIG`, else
`polyroute.yaml` in the working folder, else the built-in one. Records are kept where the
configuration says, by default under `$POLYROUTE_HOME` or the user's state folder.

`polyroute --install-completion` makes the shell complete commands and options.

This page is written by `docs/reference/write_cli.py`.

## Exit codes

| code | name | meaning |
| --- | --- | --- |
"""


def page() -> str:
    """Return the whole page."""
    codes = "".join(f"| {code} | `{name}` | {said} |\n" for code, name, said in exit_code_rows())
    sections = (
        f"## {name}\n\n```text\n{text}\n```\n" for name, text in sections_of(get_command(app))
    )
    return _HEAD + codes + "\n" + "\n".join(sections)


def exit_code_rows() -> Iterator[tuple[int, str, str]]:
    """Yield number, name and meaning of every exit code, from the docstrings under them."""
    (enum,) = (
        node
        for node in ast.parse(inspect.getsource(exit_codes)).body
        if isinstance(node, ast.ClassDef)
    )
    for member, said in zip(enum.body, enum.body[1:], strict=False):
        if isinstance(member, ast.Assign):
            name = ast.unparse(member.targets[0])
            text = " ".join(str(ast.literal_eval(said.value)).split())
            yield int(exit_codes.ExitCode[name]), name, text


def sections_of(command, path="polyroute") -> Iterator[tuple[str, str]]:
    """Yield every command with the text of its help, groups first."""
    context = typer.Context(
        command,
        info_name=path,
        terminal_width=90,
        max_content_width=90,
        help_option_names=["-h", "--help"],
    )
    yield path, command.get_help(context).rstrip()
    if isinstance(command, TyperGroup):
        for name in command.list_commands(context):
            inner = command.load(name) if isinstance(command, LazyGroup) else None
            if inner is not None:
                yield from sections_of(inner, f"{path} {name}")


if __name__ == "__main__":
    _PAGE.write_text(page(), "utf-8")
