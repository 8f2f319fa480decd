"""The trainer's two seams, on a stub that plays episodes without any policy."""

import random

import pytest

from polyroute.train.r1.monitor import Vitals
from polyroute.train.r1.recipe import Critic, Reinforcement
from polyroute.train.r1.rl import Batch, Sampled, checkpoints, reinforce

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

_LENGTH = 6


def _tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<eos>": 1, **{f"w{k}": k + 2 for k in range(10)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def _model(seed=0):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=12, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, eos_token_id=1, pad_token_id=0,
        )
    )  # fmt: skip


def play_words(model, number, which):
    """Sample replies of six tokens; the third is forced; the more of token 5, the better."""
    episodes = []
    for place in range(which.start, which.stop):
        draw = random.Random(f"{number} {place}")
        prompt = [2 + place // 4 % 3] * (1 + place // 4 % 2)
        ids, own = [], []
        for t in range(_LENGTH):
            with torch.no_grad():
                logits = model(torch.tensor([prompt + ids])).logits[0, -1]
            forced = t == 2
            token = 9 if forced else draw.choices(range(12), logits.softmax(0).tolist())[0]
            ids.append(token)
            own.append(int(not forced))
        reward = sum(t == 5 for t in ids) / _LENGTH
        episodes.append(Sampled(prompt_ids=prompt, ids=[*ids, 1], own=[*own, 1], reward=reward))
    mean = sum(e.reward for e in episodes) / len(episodes)
    vitals = Vitals(step=number, reward=mean, outcome=mean, format_rate=1.0, calls=1.0)
    return Batch(episodes=episodes, vitals=vitals)


def _curve(recipe, folder, *, stop_at=None):
    points = []

    def take(point):
        points.append((point.vitals.step, point.vitals.reward, point.numbers["loss"]))
        return stop_at is not None and len(points) >= stop_at

    model = reinforce(_model(), _tokenizer(), recipe, play_words, folder=folder, curve=take)
    return points, model


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "ppo"])
def test_each_algorithm_learns_to_say_the_rewarded_word(algorithm, tmp_path):
    recipe = Reinforcement(
        algorithm=algorithm, steps=40, questions=4, group=4, learning_rate=2e-2, seed=3,
        critic=Critic(learning_rate=1e-2),
    )  # fmt: skip
    points, _ = _curve(recipe, tmp_path)
    rewards = [reward for _, reward, _ in points]
    assert len(rewards) == 40
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.3


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_run_that_was_killed_and_resumed_gives_the_same_curve(algorithm, tmp_path):
    recipe = Reinforcement(
        algorithm=algorithm, steps=8, questions=4, group=4, learning_rate=1e-2, save_every=2,
        seed=3, critic=Critic(learning_rate=1e-2),
    )  # fmt: skip
    whole, model = _curve(recipe, tmp_path / "whole")
    first, _ = _curve(recipe, tmp_path / "parts", stop_at=5)
    assert checkpoints(tmp_path / "parts")
    rest, again = _curve(recipe, tmp_path / "parts")
    assert [*first[: rest[0][0]], *rest] == whole
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
