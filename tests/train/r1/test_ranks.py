"""Several processes train as one."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyroute.errors import ConfigError
from polyroute.train.r1.monitor import Vitals
from polyroute.train.r1.ranks import (
    gathered,
    mean_facts,
    per_process,
    refuse_divided,
    together,
)

_PROGRAM = """
import importlib.util, json, os, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("stub", sys.argv[1])
stub = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stub)
recipe = stub.Reinforcement(
    steps=3, questions=4, group=4, learning_rate=2e-2, seed=3
)
folder = Path(sys.argv[2])
points, model = stub._curve(recipe, folder)
weights = [float(each.double().sum()) for each in model.state_dict().values()]
name = f"rank{os.environ.get('RANK', 'alone')}.json"
(folder / name).write_text(json.dumps([points, weights]))
"""


def _vitals(reward, calls=1.0, **share):
    return Vitals(step=2, reward=reward, outcome=reward, format_rate=1.0, calls=calls, share=share)


def test_parts_of_a_batch_weigh_their_calls():
    whole = together([_vitals(1.0, 2.0, dear=0.5, cheap=0.5), _vitals(0.0, 1.0, dear=1.0)])
    assert whole.reward == 0.5
    assert whole.calls == 1.5
    assert whole.share == {"cheap": pytest.approx(1 / 3), "dear": pytest.approx(2 / 3)}


def test_parts_without_calls_have_no_shares():
    assert together([_vitals(0.0, 0.0), _vitals(0.0, 0.0)]).share == {}


def test_one_process_sees_itself():
    assert gathered("x") == ["x"]
    assert mean_facts([{"usd": 1.0, "a": 0.0}, {"usd": 3.0}]) == {"usd": 2.0}


@pytest.mark.parametrize(("episodes", "micro", "processes"), [(9, 4, 2), (12, 4, 2), (2, 1, 4)])
def test_a_batch_that_does_not_divide_is_refused(episodes, micro, processes):
    with pytest.raises(ConfigError, match="do not divide into"):
        per_process(episodes, micro=micro, processes=processes)


@pytest.mark.parametrize(
    ("name", "value"), [("ACCELERATE_USE_FSDP", "true"), ("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")]
)
def test_divided_weights_are_refused(name, value, monkeypatch):
    refuse_divided()
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="whole weights in every process"):
        refuse_divided()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="the extra train is absent")
def test_two_processes_have_the_same_numbers_and_those_of_one(tmp_path):
    program, stub = tmp_path / "program.py", Path(__file__).with_name("test_rl.py")
    program.write_text(_PROGRAM)
    alone, two = tmp_path / "alone", tmp_path / "two"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
    ]
    for command, folder in (([sys.executable], alone), (launch, two)):
        folder.mkdir()
        subprocess.run(
            [*command, str(program), str(stub), str(folder)],
            env=env, check=True, capture_output=True, timeout=900,
        )  # fmt: skip
    first, second = (json.loads((two / f"rank{k}.json").read_text()) for k in range(2))
    whole = json.loads((alone / "rankalone.json").read_text())
    assert first == second
    (points, weights), (expected, same_weights) = first, whole
    assert [p[:2] for p in points] == [pytest.approx(p[:2]) for p in expected]
    assert [p[2] for p in points] == pytest.approx([p[2] for p in expected], abs=1e-4)
    assert weights == pytest.approx(same_weights, abs=1e-3)
