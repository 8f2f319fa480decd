"""Asks the real verl, in its own environment; `test_verl.py` runs it there.

Usage: python with_verl.py FOLDER RUNS. It prints one line per claim and fails on the first that
does not hold.
"""
# ruff: noqa: T201 - what it prints is its result

import asyncio
import random
import sys
from dataclasses import replace
from pathlib import Path

import hydra
import numpy as np
import torch
import verl
from omegaconf import OmegaConf
from transformers import LlamaConfig, LlamaForCausalLM
from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap
from verl.trainer.ppo import core_algos
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

from polyroute.tasks.atlas.small import vocabulary
from polyroute.train.r1.advantages import gae, whiten
from polyroute.train.r1.setting import read_setting
from polyroute.train.r1.tiny import word_tokenizer
from polyroute.train.r1.verl.rows import problem_of
from polyroute.train.r1.verl.settings import hydra as arguments_of
from polyroute.train.r1.verl.settings import settings
from polyroute.train.r1.verl.written import write_run

EPISODES = 12

SMALL = """
task: atlas-small
model: {model}
policy: {{layout: brief, max_turns: 2, router_params: {{max_tokens: 16}}}}
reinforcement: {{algorithm: {algorithm}, kl: 0.001, steps: 2, questions: 4, group: 4}}
judged: 12
prompt_tokens: 512
reply_tokens: 256
machines: {{gpus: 2, tokens_per_gpu: 1024}}
"""


def composed(arguments):
    folder = Path(verl.__file__).parent / "trainer" / "config"
    with hydra.initialize_config_dir(str(folder), version_base=None):
        return hydra.compose("ppo_trainer", overrides=list(arguments))


def accept(arguments, name):
    """Compose verl's configuration, and build what its trainer builds from it."""
    config = composed(arguments)
    OmegaConf.resolve(config)
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    gpus = config.trainer.n_gpus_per_node * config.trainer.nnodes
    actor.validate(gpus, config.data.train_batch_size, config.actor_rollout_ref.model)
    omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    omega_conf_to_dataclass(config.algorithm)
    critic = ""
    if config.algorithm.adv_estimator == "gae":
        omega_conf_to_dataclass(config.critic).validate(gpus, config.data.train_batch_size)
        critic = " with a critic"
    print(f"ok: verl takes the settings of {name}: {config.algorithm.adv_estimator}{critic}")
    return config


class Model:
    """A small random model, that sometimes says what a test wrote down instead."""

    def __init__(self, tokenizer, seed=0):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=1024,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        self.network = LlamaForCausalLM(config).eval()
        self.tokenizer = tokenizer
        self.script = []
        self.turns = []
        self.names = set()
        self._draw = torch.Generator().manual_seed(seed)

    def logprobs(self, ids):
        with torch.no_grad():
            return self.network(torch.tensor([ids])).logits[0].float().log_softmax(-1)

    async def generate(self, *, request_id, prompt_ids, sampling_params):
        """Answer as `LLMServerClient.generate` does, stop strings included."""
        assert sampling_params["include_stop_str_in_output"]
        self.names.add(request_id)
        ids, said, forced = list(prompt_ids), [], list(self.script.pop(0) if self.script else ())
        logprobs = []
        while len(said) < sampling_params["max_tokens"]:
            row = self.logprobs(ids)[-1]
            token = forced.pop(0) if forced else self._sampled(row)
            ids.append(token)
            said.append(token)
            logprobs.append(float(row[token]))
            text = self.tokenizer.decode(said, skip_special_tokens=True)
            if token == self.tokenizer.eos_token_id or any(
                stop in text for stop in sampling_params["stop"]
            ):
                break
        self.turns.append((list(prompt_ids), said))
        return TokenOutput(
            token_ids=said, log_probs=logprobs, stop_reason="completed",
            extra_fields={"min_global_steps": 0, "max_global_steps": 0},
        )  # fmt: skip

    def _sampled(self, row):
        return int(torch.multinomial(row.exp(), 1, generator=self._draw))


def check(out, model):
    """Compare an episode, token by token, with what the servers were asked and said."""
    whole, mask = out.prompt_ids + out.response_ids, out.response_mask
    sampled = [token for _, said in model.turns for token in said]
    assert [t for t, m in zip(out.response_ids, mask, strict=True) if m] == sampled
    for prompt, said in model.turns:
        assert whole[: len(prompt) + len(said)] == prompt + said
    assert len(model.names) == 1
    assert mask[0] == mask[-1] == 1
    expected = model.logprobs(whole)
    for place, (token, own) in enumerate(zip(out.response_ids, mask, strict=True)):
        logprob = float(expected[len(out.prompt_ids) + place - 1, token]) if own else 0.0
        assert abs(out.response_logprobs[place] - logprob) < 1e-4
    tensors = out.as_dict()
    assert tensors["rm_scores"][-1] == out.reward_score
    assert tensors["rm_scores"][:-1].abs().sum() == 0
    assert set(out.extra_fields["reward_extra_info"]) >= {"outcome", "calls", "usd"}


def episodes(config, folder):
    """Step the agent loop as verl's worker does, and check every token."""
    tokenizer = word_tokenizer(vocabulary())
    model = Model(tokenizer)
    setting = read_setting(folder / "setting.yaml")
    found = RLHFDataset(config.data.val_files, tokenizer, config.data)
    (loop_config,) = OmegaConf.load(config.actor_rollout_ref.rollout.agent.agent_loop_config_path)
    draw, observed, right = random.Random(0), 0, 0
    for k in range(EPISODES):
        row = found[k]
        assert row["agent_name"] == loop_config.name
        problem = problem_of(setting, row["extra_info"])
        model.turns, model.names = [], set()
        if k % 2:  # a search, and the right answer
            expert = draw.choice(problem.pool.ids)
            asked = f"<search> {expert} : capital </search>"
            texts = (asked, f"<answer> {problem.golds[0]} </answer>")
            model.script = [tokenizer(text)["input_ids"] for text in texts]
        loop = hydra.utils.instantiate(
            config=loop_config, trainer_config=DictConfigWrap(config), server_manager=model,
            tokenizer=tokenizer, processor=None, dataset_cls=RLHFDataset, hf_model_type=None,
            data_config=DictConfigWrap(config.data), tools=ToolListWrap([]),
        )  # fmt: skip
        params = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "logprobs": True}
        out = asyncio.run(loop.run(params, uid=f"u{k}", session_id=0, **row))
        mask = out.response_mask
        check(out, model)
        observed += len(mask) - sum(mask)
        right += out.extra_fields["reward_extra_info"]["outcome"] == 1.0
    assert observed > 0
    assert right >= EPISODES // 2
    print(
        f"ok: {EPISODES} episodes, every sampled token and log-probability in place, "
        f"{observed} tokens of others masked, {right} right answers"
    )


def oracle():
    """Compare our advantages with verl's."""
    draw = np.random.default_rng(0)
    shape = (16, 24)
    mask = draw.random(shape) < 0.6
    mask[:, -1] = True
    reward = np.zeros(shape)
    reward[:, -1] = draw.normal(size=16)
    value = draw.normal(size=shape)
    for gamma, lam in ((1.0, 1.0), (0.99, 0.95)):
        ours = gae(reward, value, mask, gamma=gamma, lam=lam)
        tensors = (torch.tensor(each) for each in (reward, value, mask.astype(float)))
        theirs, returns = core_algos.compute_gae_advantage_return(*tensors, gamma, lam)
        assert np.allclose(ours.return_B_T[mask], returns.numpy()[mask])
        # verl's variance divides by one less
        factor = np.sqrt(mask.sum() / (mask.sum() - 1))
        whitened = whiten(ours.advantage_B_T, mask)
        assert np.allclose(whitened[mask], theirs.numpy()[mask] * factor, atol=1e-5)
    print("ok: GAE as verl's compute_gae_advantage_return, observations stepped over")
    group = 4
    index = np.repeat(np.arange(4), group)
    scores = torch.tensor(reward)
    plain, _ = core_algos.compute_grpo_outcome_advantage(
        scores, torch.tensor(mask.astype(float)), index, norm_adv_by_std_in_grpo=False
    )
    rloo, _ = core_algos.compute_rloo_outcome_advantage(
        scores.clone(), torch.tensor(mask.astype(float)), index
    )
    centred = reward[:, -1].reshape(4, group)
    centred = (centred - centred.mean(1, keepdims=True)).reshape(-1, 1) * mask
    assert np.allclose(plain.numpy(), centred)
    assert np.allclose(rloo.numpy() * (group - 1) / group, centred)
    scaled, _ = core_algos.compute_grpo_outcome_advantage(
        scores, torch.tensor(mask.astype(float)), index
    )
    spread = np.repeat(reward[:, -1].reshape(4, group).std(1, ddof=1), group)[:, None]
    assert np.allclose(scaled.numpy(), centred / (spread + 1e-6))
    print("ok: GRPO and RLOO as the engine trl has them: RLOO is G / (G - 1) times the centred")


def main(folder, runs):
    oracle()
    tokenizer = word_tokenizer(vocabulary())
    model = folder / "model"
    Model(tokenizer).network.save_pretrained(model)
    tokenizer.save_pretrained(model)
    for algorithm in ("grpo", "rloo", "ppo"):
        file = folder / f"{algorithm}.yaml"
        file.write_text(SMALL.format(model=model, algorithm=algorithm))
        config = accept(write_run(file, folder / algorithm), f"a small run by {algorithm}")
    episodes(config, folder / "ppo")
    for file in sorted(runs.glob("*.yaml")):
        # their models are on the hub; what is asked about is everything else
        setting = replace(read_setting(file), model=str(model))
        accept(arguments_of(settings(setting, folder / "paper")), file.name)


main(Path(sys.argv[1]), Path(sys.argv[2]))
