"""The reference page is in step with the commands."""

import re
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command

from polyroute.cli import app
from polyroute.cli.exit_codes import ExitCode

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text("utf-8")
REMEDY = "run: .venv/bin/python docs/reference/write_cli.py"


def commands(command, path="polyroute"):
    yield path, command
    if isinstance(command, TyperGroup):
        for name in command.list_commands(typer.Context(command)):
            yield from commands(command.load(name), f"{path} {name}")


@pytest.mark.parametrize(("path", "command"), [*commands(get_command(app))])
def test_the_page_has_every_option_of_every_command(path, command):
    section = re.search(rf"^## {path}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None, REMEDY
    for parameter in command.params:
        for name in [*parameter.opts, *parameter.secondary_opts]:
            if name.startswith("-"):
                assert name in section[1], f"{name}; {REMEDY}"


def test_the_page_has_no_command_that_is_gone():
    written = re.findall(r"^## (polyroute.*)$", PAGE, re.MULTILINE)
    assert written == [path for path, _ in commands(get_command(app))], REMEDY


def test_the_page_has_every_exit_code():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| .+ \|$", PAGE, re.MULTILINE)
    assert rows == [(str(int(code)), code.name) for code in ExitCode], REMEDY
