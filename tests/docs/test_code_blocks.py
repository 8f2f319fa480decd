"""Every Python block of the documentation runs, and every configuration in it is valid."""

import re
from pathlib import Path

import pytest
import yaml

from polyroute import config
from polyroute.spec import construct

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language):
    return [
        pytest.param(
            found[2],
            id=f"{page.relative_to(ROOT)}:{k}",
            # the program of the README loads a language model
            marks=[pytest.mark.slow] if "config import build" in found[2] else [],
        )
        for page in PAGES
        for k, found in enumerate(_BLOCK.finditer(page.read_text("utf-8")))
        if found[1] == language
    ]


@pytest.mark.parametrize("code", blocks("python"))
def test_a_python_block_runs(code, tmp_path, monkeypatch):
    if code.startswith("# skip: "):
        pytest.skip(code.splitlines()[0].removeprefix("# skip: "))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYROUTE_HOME", str(tmp_path))
    exec(compile(code, "block", "exec"), {"__name__": "block"})


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_yaml_block_is_a_configuration_or_a_part_of_one(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "my-model.gguf").write_bytes(b"GGUF" + bytes(100))
    if text.startswith("--8<--"):
        text = (ROOT / text.split('"')[1]).read_text("utf-8")
    content = yaml.safe_load(text)
    if not isinstance(content, dict) or not set(content) <= set(config.Settings.model_fields):
        pytest.skip("not a polyroute configuration")
    if "ask_again" in text:
        pytest.skip("the policy that this page writes is not installed")
    whole = {
        "pool": [{"id": "m", "backend": {"name": "scripted", "say": "builtins:max"}}],
        "policy": "cheapest",
        **content,
    }
    settings = config.parse(yaml.safe_dump(whole), name="block")
    for name, spec in [("policy", settings.policy), *settings.policies.items()]:
        if not (isinstance(spec, str) and spec in settings.policies):
            construct("policies", spec, where=name)
    for card in settings.pool:
        construct("backends", card.backend, where=card.id)
