"""What `polyroute doctor --server` says of a server that runs."""

import json
import time

import pytest
from typer.testing import CliRunner

from polyroute.cli import app
from polyroute.cli.production.running import running

KEY = "an-administrators-key-0123456789"


@pytest.fixture
def guarded(serving, monkeypatch):
    """Return a server with keys, of whose instances one is ejected."""
    monkeypatch.setenv("ADMINS", KEY)
    server = serving(access={"admin_keys_env": "ADMINS"})
    fitness = server.setup.backends["echo"]._instances._fitness[0]
    fitness.eject(time.monotonic(), "its answers take 2 s")
    return server


def test_an_administrator_is_told_which_instance_is_out_and_why(guarded):
    found = {one.subject: one for one in running(f"{guarded.url}/v1", "ADMINS")}
    label = guarded.setup.backends["echo"].snapshot()[0].label
    out = found.pop(f"instance echo {label}")
    assert (out.level, out.problem) == ("warning", "ejected: its answers take 2 s")
    assert {one.level for one in found.values()} == {"ok"}
    assert len(found) == len(guarded.setup.backends) + len(guarded.setup.embedders) - 1


def test_everybody_else_is_told_how_many_are_fit(guarded):
    wrong = [one for one in running(guarded.url) if one.level != "ok"]
    assert [(one.subject, one.problem) for one in wrong] == [("instances echo", "0 of 1 are fit")]


def test_the_command_ends_with_1_when_the_server_cannot_be_asked(guarded, monkeypatch, tmp_path):
    monkeypatch.setenv("WRONG", "not-a-key-of-that-server")
    monkeypatch.setenv("POLYROUTE_HOME", str(tmp_path))
    for url, env in ((guarded.url, "WRONG"), (guarded.url, "UNSET"), ("http://127.0.0.1:9", None)):
        options = ["--server", url, *(("--key-env", env) if env else ())]
        result = CliRunner().invoke(app, ["doctor", "--production", "--json", *options])
        assert result.exit_code == 1
        said = [one for one in json.loads(result.stdout) if one["subject"] == "server"]
        assert len(said) == 1
        assert "key-0123456789" not in result.stdout
    assert [one.level for one in running("ftp://x")] == ["error"]
