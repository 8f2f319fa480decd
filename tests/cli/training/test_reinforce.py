"""`polyroute train reinforce`: what verl needs, in a folder."""

import json
import shlex

import pytest
from typer.testing import CliRunner

from polyroute.cli import app

pytest.importorskip("pyarrow")


def _setting(tmp_path, text="{task: atlas-small, model: m, judged: 2, reinforcement: {steps: 1}}"):
    file = tmp_path / "small.yaml"
    file.write_text(text)
    return str(file)


def test_verls_command_is_on_standard_output(tmp_path):
    folder = tmp_path / "run"
    told = ["train", "reinforce", _setting(tmp_path), "-o", str(folder), "--engine", "verl"]
    done = CliRunner().invoke(app, told)
    assert done.exit_code == 0, done.output
    words = shlex.split(done.stdout)
    assert words[:3] == ["python", "-m", "verl.trainer.main_ppo"]
    assert words[3:] == (folder / "arguments.txt").read_text().splitlines()
    as_json = CliRunner().invoke(app, [*told, "--json"])
    assert json.loads(as_json.stdout)["arguments"] == words[3:]


def test_a_wrong_key_is_exit_code_2(tmp_path):
    file = _setting(tmp_path, "{task: atlas-small, model: m, polcy: {}}")
    done = CliRunner().invoke(app, ["train", "reinforce", file, "-o", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "did you mean 'policy'?" in done.stderr
