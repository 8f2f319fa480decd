"""A pool of scripted candidates, and the command line over it, in this process."""

import json
import sys

import pytest
from typer.testing import CliRunner

from polyroute.cli import app

SAYS = """
ACCEPTS = True

def echo(model, prompt):
    return f"{model} heard: {prompt[:200]}"

def red(model, prompt):
    return "\\x1b[31mred\\x1b[0m"

def fail(model, prompt):
    from polyroute.errors import BackendError
    raise BackendError("the upstream is down")

def nothing(question):
    return None

def slowly(model):
    return 60.0

def accept(reply):
    if ACCEPTS is None:
        raise ValueError("a bug in the policy")
    return ACCEPTS
"""


@pytest.fixture
def says(tmp_path, monkeypatch):
    """Return the module that the pool's candidates, and a policy's callable, come from."""
    (tmp_path / "says.py").write_text(SAYS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("POLYROUTE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("POLYROUTE_CONFIG", raising=False)
    monkeypatch.delitem(sys.modules, "says", raising=False)
    import says

    yield says
    sys.modules.pop("says", None)


@pytest.fixture
def configure(tmp_path, says):
    """Return a function that writes a configuration: the default one with other keys on top."""

    def write(**keys):
        config = {
            "pool": [
                {"id": "a", "price": {"input": 1, "output": 2}, "backend": scripted("echo")},
                {"id": "b", "price": {"input": 3, "output": 4}, "backend": scripted("echo")},
            ],
            "policy": {"name": "panel", "members": ["a", "b"], "chair": "a"},
            "policies": {"only-b": {"name": "fixed", "model": "b"}},
            "records": {"store": "jsonl", "path": str(tmp_path / "records" / "r.jsonl")},
            **keys,
        }
        path = tmp_path / "polyroute.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        return path

    return write


def scripted(function, **more):
    return {"name": "scripted", "say": f"says:{function}", **more}


@pytest.fixture
def card():
    """Return a function that makes a card of the pool whose replies a function of `says` gives."""

    def make(id, function="echo", *, price=True, **more):
        rates = {"price": {"input": 1, "output": 2}} if price else {}
        return {"id": id, **rates, "backend": scripted(function, **more)}

    return make


@pytest.fixture
def run(configure, tmp_path, monkeypatch):
    """Return a function that runs a command where the configuration is, and gives its result."""
    configure()
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments, input=None):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)

    return invoke
