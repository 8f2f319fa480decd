"""A whole run on the small world, small enough for a test: stages, artifact, served."""

import asyncio
import json
from dataclasses import replace

import pytest

from polyroute.backends.by_card import ByCard
from polyroute.episode import run_episode
from polyroute.errors import ArtifactError, ConfigError
from polyroute.train.artifact import Trained, save
from polyroute.train.r1.kept import fitted
from polyroute.train.r1.log import CsvLog
from polyroute.train.r1.recipe import Imitation, Reinforcement, RunPlan
from polyroute.train.r1.rollout import ROUTER
from polyroute.train.r1.run import Run
from polyroute.train.r1.served import RouterModel

pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PLAN = RunPlan(
    imitation=Imitation(traces=32, steps=2, batch=8, micro_batch=8),
    reinforcement=Reinforcement(steps=3, questions=2, group=4, save_every=2),
    gate=0.0,
    judged=6,
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    run = Run(PLAN, tmp_path_factory.mktemp("run"), say=lambda line: None)
    return run, run.train()


def test_a_run_judges_every_stage_on_the_same_questions(done):
    _, result = done
    assert [*result.stages] == ["before", "optimum", "sft", "rl"]
    assert {found["questions"] for s in result.stages.values() for found in s.values()} == {6}
    best = result.stages["optimum"]["greedy"]["reward"]
    assert all(found["reward"] <= best for found in result.stages["before"].values())


def test_a_finished_run_is_not_run_again(done):
    run, result = done
    again = Run(PLAN, run.folder, say=lambda line: pytest.fail(line))
    assert again.train().stages == result.stages


def test_a_folder_of_another_plan_is_refused(done):
    with pytest.raises(ConfigError, match="another plan"):
        Run(replace(PLAN, seed=5), done[0].folder, say=print)


def test_nothing_is_reinforced_before_the_gate_and_every_attempt_has_traces_of_its_own(tmp_path):
    plan = replace(PLAN, gate=2.0, attempts=2)
    run = Run(plan, tmp_path, say=lambda line: None)
    with pytest.raises(ConfigError, match="no reinforcement: after imitation"):
        run.train()
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} >= {
        "imitated-1", "imitated-2",
    }  # fmt: skip
    assert not (tmp_path / "sft").exists()
    first, second = ({r.problem.request.id for r in run._traces(k)} for k in (1, 2))
    assert len(first) == len(second) == PLAN.imitation.traces
    assert not first & second


def test_episodes_are_sampled_and_judged_at_the_temperature_of_the_plan(tmp_path):
    cold = Reinforcement(steps=1, questions=1, group=2, temperature=1e-4)
    stages = Run(replace(PLAN, reinforcement=cold), tmp_path, say=lambda line: None).train().stages
    assert stages["sft"]["sampled"] == stages["sft"]["greedy"]


def test_a_passed_gate_is_not_measured_again(done):
    run, _ = done
    judged = run.stages.judged()["gate-1"]
    assert judged["teachers"]["questions"] == PLAN.judged * len(PLAN.teachers)
    assert (run.folder / "sft").is_dir()
    assert not (run.folder / "imitated-1").exists()


def test_killed_and_resumed_it_gives_the_same_curve_and_the_same_weights(done, tmp_path):
    run, result = done

    class KilledError(Exception):
        pass

    def kill(row):
        if row["step"] == 2:
            raise KilledError

    with pytest.raises(KilledError):
        Run(PLAN, tmp_path, say=lambda line: None, show=kill).train()
    resumed = Run(PLAN, tmp_path, say=lambda line: None).train()

    def curve(folder):
        rows = CsvLog.read(folder / "curve.csv")
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert len(curve(tmp_path)) == 3
    assert curve(tmp_path) == curve(run.folder)
    weights = "model.safetensors"
    assert (resumed.folder / weights).read_bytes() == (result.folder / weights).read_bytes()


def test_its_artifact_is_verified_and_routes_in_this_process(done, tmp_path):
    run, result = done
    path = tmp_path / "small.router"
    save(path, fitted(run, result), created_at="2026-01-01T00:00:00+00:00")
    policy, router = Trained(str(path)), RouterModel(str(path))
    problem = run.problems("test", 1)[0]
    backends = {**dict.fromkeys(problem.pool.ids, problem.backend), ROUTER.id: router}
    pool = run.game.pool(problem)
    served = asyncio.run(run_episode(policy, ByCard(backends), problem.request, pool))
    trained = asyncio.run(run.game.play([problem], run._backend(run._loaded("rl"))))[0].trace
    assert [step.decision for step in served.steps] == [step.decision for step in trained.steps]
    asyncio.run(router.close())


def test_a_changed_weight_or_prompt_is_refused(done, tmp_path):
    run, result = done
    path = tmp_path / "small.router"
    kept = fitted(run, result)
    save(path, kept, created_at="2026-01-01T00:00:00+00:00")
    weights = path / "model-model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(ArtifactError, match="was changed"):
        RouterModel(str(path))
    other = replace(kept, training={**kept.training, "prompt": "0" * 64})
    save(path, other, created_at="2026-01-01T00:00:00+00:00")
    with pytest.raises(ArtifactError, match="another prompt"):
        RouterModel(str(path))


def test_no_secret_of_the_environment_gets_into_a_run(tmp_path, monkeypatch, done):
    """The reference prints its key, logs it and uploads it with its configuration."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-for-the-test")
    Run(PLAN, tmp_path, say=lambda line: None)
    written = [p for p in (*tmp_path.rglob("*"), *done[0].folder.rglob("*")) if p.is_file()]
    assert not any(b"sk-secret" in path.read_bytes() for path in written)
    assert "api_key" not in json.dumps(json.loads((tmp_path / "plan.json").read_text()))
