"""Our settings in verl's words; `tests/train/r1/verl/test_verl.py` asks verl itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from polyroute.errors import ConfigError
from polyroute.train.r1.recipe import Critic, Lora, Reinforcement
from polyroute.train.r1.setting import Machines, Setting, read_setting
from polyroute.train.r1.verl.rows import AGENT, rows, write_rows
from polyroute.train.r1.verl.settings import hydra, loop_settings, settings
from polyroute.train.r1.verl.written import write_run

RUNS = Path(__file__).parents[4] / "runs"

SETTING = Setting(task="atlas-small", model="m", judged=3, seed=5)


def told(setting=SETTING, **recipe):
    changed = replace(setting.reinforcement, **recipe)
    return settings(replace(setting, reinforcement=changed), Path("/run/one"))


@pytest.mark.parametrize(
    ("algorithm", "estimator"), [("ppo", "gae"), ("grpo", "grpo"), ("rloo", "rloo")]
)
def test_each_algorithm_has_its_estimator_and_only_ppo_a_critic(algorithm, estimator):
    found = told(algorithm=algorithm)
    assert found["algorithm.adv_estimator"] == estimator
    assert any(key.startswith("critic.") for key in found) == (algorithm == "ppo")


def test_the_divergence_goes_into_the_reward_for_ppo_and_into_the_loss_else():
    ppo, grpo = told(algorithm="ppo", kl=0.01), told(kl=0.01)
    assert ppo["algorithm.use_kl_in_reward"]
    assert not ppo["actor_rollout_ref.actor.use_kl_loss"]
    assert ppo["algorithm.kl_ctrl.kl_coef"] == 0.01
    assert not grpo["algorithm.use_kl_in_reward"]
    assert grpo["actor_rollout_ref.actor.use_kl_loss"]
    assert grpo["actor_rollout_ref.actor.kl_loss_coef"] == 0.01
    assert not told()["actor_rollout_ref.actor.use_kl_loss"]


def test_an_update_has_as_many_episodes_as_with_the_other_engine():
    recipe = Reinforcement(questions=8, group=4, minibatches=2, epochs=3)
    found = told(replace(SETTING, reinforcement=recipe))
    # verl counts questions, and multiplies by the episodes of each
    updates = found["data.train_batch_size"] / found["actor_rollout_ref.actor.ppo_mini_batch_size"]
    assert updates * found["actor_rollout_ref.actor.ppo_epochs"] == recipe.updates
    assert found["data.train_batch_size"] * found["actor_rollout_ref.rollout.n"] == recipe.episodes


def test_a_batch_that_verl_cannot_divide_is_refused():
    with pytest.raises(ConfigError, match="3 are not 2 equal parts"):
        told(questions=3, group=2, minibatches=2, micro_batch=3)


@pytest.mark.parametrize("mask", ["none", "loss only"])
def test_a_mask_that_verl_does_not_have_is_refused(mask):
    with pytest.raises(ConfigError, match="verl masks"):
        told(mask=mask)


def test_a_schedule_that_verl_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="no 'linear' schedule"):
        told(schedule="linear")


def test_episodes_are_sampled_at_the_temperature_that_is_learnt():
    assert told(temperature=0.6)["actor_rollout_ref.rollout.temperature"] == 0.6
    with pytest.raises(ConfigError, match="leave it out of router_params"):
        replace(SETTING, policy={"router_params": {"temperature": 0.7}})


def test_the_longest_episode_fits_into_a_pass():
    small = replace(SETTING, machines=Machines(tokens_per_gpu=100))
    found = told(small)
    room = found["data.max_prompt_length"] + found["data.max_response_length"]
    assert found["actor_rollout_ref.actor.ppo_max_token_len_per_gpu"] == room
    assert found["actor_rollout_ref.rollout.max_model_len"] == room


def test_the_policys_own_sampling_is_the_servers():
    policy = {"router_params": {"top_p": 0.95}}
    found = told(replace(SETTING, policy=policy))
    assert found["actor_rollout_ref.rollout.top_p"] == 0.95


def test_an_adapter_is_said_with_its_layers():
    found = told(lora=Lora(rank=4, alpha=8, targets=("q_proj",)))
    assert found["actor_rollout_ref.model.lora_rank"] == 4
    assert found["actor_rollout_ref.model.target_modules"] == ["q_proj"]


def test_critic_numbers_arrive():
    found = told(algorithm="ppo", critic=Critic(learning_rate=3e-6, value_clip=0.4, warm_up=7))
    assert found["critic.optim.lr"] == 3e-6
    assert found["critic.cliprange_value"] == 0.4
    assert found["trainer.critic_warmup"] == 7


def test_arguments_are_quoted_for_hydra():
    assert hydra({"a": "it's", "b": 1e-06, "c": ["x", 2], "d": ""}) == [
        "a='it\\'s'", "b=1e-06", 'c=["x",2]', "d=''",
    ]  # fmt: skip


def test_rows_name_their_problems_and_hold_no_pool():
    found = rows(SETTING, "val")
    problems = SETTING.problems("val")
    assert [row["extra_info"]["problem"] for row in found] == [p.request.id for p in problems]
    assert [row["extra_info"]["index"] for row in found] == [0, 1, 2]
    assert {row["agent_name"] for row in found} == {AGENT}
    assert found[0]["prompt"][-1]["content"] == problems[0].request.messages[-1].text


def test_training_has_a_row_for_every_place_of_the_run():
    setting = replace(SETTING, reinforcement=Reinforcement(steps=3, questions=2))
    assert len(rows(setting, "train")) == 6


def test_rows_survive_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    written = rows(SETTING, "val")
    write_rows(written, tmp_path / "val.parquet")
    assert pyarrow.read_table(tmp_path / "val.parquet").to_pylist() == written


def test_a_folder_gets_all_files_and_keeps_to_one_setting(tmp_path):
    pytest.importorskip("pyarrow")
    file, folder = tmp_path / "small.yaml", tmp_path / "run"
    file.write_text("{task: atlas-small, model: m, judged: 2, reinforcement: {steps: 2}}")
    arguments = write_run(file, folder)
    assert {path.name for path in folder.iterdir()} == {
        "setting.yaml", "train.parquet", "val.parquet", "agent_loop.yaml", "arguments.txt",
    }  # fmt: skip
    assert (folder / "arguments.txt").read_text().splitlines() == arguments
    assert str(folder / "setting.yaml") in (folder / "agent_loop.yaml").read_text()
    assert write_run(file, folder) == arguments
    file.write_text("{task: atlas-small, model: other, judged: 2, reinforcement: {steps: 2}}")
    with pytest.raises(ConfigError, match="another setting"):
        write_run(file, folder)


def test_the_loop_is_found_by_its_name():
    assert loop_settings(Path("/s.yaml")) == [
        {
            "name": AGENT,
            "_target_": "polyroute.train.r1.verl._agent_loop.RouteAgentLoop",
            "setting": "/s.yaml",
        }
    ]


@pytest.mark.parametrize("file", sorted(RUNS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_setting_of_the_runs_is_read_and_said(file, tmp_path):
    setting = read_setting(file)
    assert setting.game().policy.router == "router"
    if setting.reinforcement.mask == "everywhere":
        assert settings(setting, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{task: a, model: b, extra: 1}", "unknown key 'extra'"),
        ("{task: a}", "'model' is missing"),
        ("{task: a, model: b, machines: {gpu_memory: 2}}", "gpu_memory is a share"),
        ("{task: a, model: b, judged: 0}", "judged must be 1 or more"),
        ("- a", "expected keys and values"),
        ("{", "cannot read"),
    ],
)
def test_a_wrong_setting_is_told_at_once(text, message, tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_setting(file)


def test_nothing_here_imports_verl():
    import sys

    assert not any(name == "verl" or name.startswith("verl.") for name in sys.modules)
