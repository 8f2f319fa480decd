"""The trainer's three seams, on a stub that plays episodes without any policy."""

import random
from dataclasses import replace
from functools import partial

import pytest

from polyroute.train.r1.adapter import with_adapter
from polyroute.train.r1.monitor import Vitals
from polyroute.train.r1.recipe import Critic, Reinforcement
from polyroute.train.r1.rl import Batch, Sampled, checkpoints, halved, reinforce

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


def _share_of_the_cheap_one(algorithm, folder):
    """Learn whom to ask: somebody cheap, right in .6 of the questions, or somebody dear, in .95."""
    cheap, dear, group = 5, 6, 8
    shares = []

    def play(model, number, which):
        with torch.no_grad():
            chance = model(torch.tensor([[2]])).logits[0, -1].softmax(0).tolist()
        episodes = []
        for place in range(which.start, which.stop):
            question = random.Random(f"{number} {place // group}")
            right = {cheap: question.random() < 0.6, dear: question.random() < 0.95}
            token = random.Random(f"{number} {place}").choices(range(12), chance)[0]
            cost = {cheap: 1 / 40, dear: 3 / 40}.get(token, 1)
            reward = right.get(token, False) - cost
            episodes.append(
                Sampled(prompt_ids=[2], ids=[token, 1], own=[1, 0], reward=reward),
            )
        asked = [e.ids[0] for e in episodes]
        shares.append(asked.count(cheap) / max(1, asked.count(cheap) + asked.count(dear)))
        vitals = Vitals(step=number, reward=0.0, outcome=0.0, format_rate=1.0, calls=1.0)
        return Batch(episodes=episodes, vitals=vitals)

    recipe = Reinforcement(
        algorithm=algorithm, steps=60, questions=16, group=group, learning_rate=1e-2, seed=3
    )
    reinforce(_model(), _tokenizer(), recipe, play, folder=folder, curve=lambda point: False)
    return sum(shares[-10:]) / 10


def test_dividing_by_the_spread_prefers_who_is_cheap_to_who_is_right(tmp_path):
    # Expected reward .575 and .875. Of two different episodes with one answer each, divided, every
    # difference is the same: the cheap one wins wherever both are right or both wrong, and where it
    # alone is right (.62), and loses where the dear one alone is (.38).
    assert _share_of_the_cheap_one("rloo", tmp_path / "rloo") < 0.1
    assert _share_of_the_cheap_one("grpo", tmp_path / "grpo") > 0.9


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


def _seen(monkeypatch, tmp_path, recipe, play=play_words):
    """Train one step and return what the trainer's loss was given."""
    trainer = pytest.importorskip("polyroute.train.r1._trainer")
    given = []
    original = trainer.Trainer._compute_loss

    def spy(self, model, inputs):
        given.append({k: v.clone() for k, v in inputs.items() if torch.is_tensor(v)})
        return original(self, model, inputs)

    monkeypatch.setattr(trainer.Trainer, "_compute_loss", spy)
    batches = []

    def kept(model, number, which):
        batches.append(play(model, number, which))
        return batches[-1]

    reinforce(
        _model(), _tokenizer(), recipe, kept, folder=tmp_path, curve=lambda point: False
    )  # fmt: skip
    (inputs,), (batch,) = given, batches
    by_ids = {tuple(each.ids): each for each in batch.episodes}
    rows = [by_ids[tuple(row.tolist())[: _LENGTH + 1]] for row in inputs["completion_ids"]]
    return inputs, batch, rows


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_advantages_compare_an_episode_with_its_group(algorithm, monkeypatch, tmp_path):
    recipe = Reinforcement(algorithm=algorithm, steps=1, questions=3, group=4)
    inputs, batch, rows = _seen(monkeypatch, tmp_path, recipe)
    assert inputs["advantages"].shape == (12,)
    for advantage, episode in zip(inputs["advantages"].tolist(), rows, strict=True):
        place = batch.episodes.index(episode)
        group = [e.reward for e in batch.episodes[place // 4 * 4 : place // 4 * 4 + 4]]
        mean = sum(group) / 4
        if algorithm == "grpo":
            deviation = (sum((r - mean) ** 2 for r in group) / 3) ** 0.5
            expected = (episode.reward - mean) / (deviation + 1e-4)
        else:
            others = (sum(group) - episode.reward) / 3
            expected = (episode.reward - others) * 3 / 4
        assert advantage == pytest.approx(expected, abs=1e-4)


def test_observations_and_padding_have_no_loss_and_the_prompts_own_pad_is_read(
    monkeypatch, tmp_path
):
    def with_pad(model, number, which):
        batch = play_words(model, number, which)
        episodes = [
            Sampled(prompt_ids=[0, *e.prompt_ids], ids=e.ids, own=e.own, reward=e.reward)
            for e in batch.episodes
        ]
        return Batch(episodes=episodes, vitals=batch.vitals)

    recipe = Reinforcement(steps=1, questions=2, group=4)
    inputs, _, rows = _seen(monkeypatch, tmp_path, recipe, with_pad)
    assert [row.tolist() for row in inputs["tool_mask"]] == [list(row.own) for row in rows]
    lengths = [len(row.prompt_ids) for row in rows]
    assert inputs["prompt_mask"].sum(1).tolist() == lengths


@pytest.mark.parametrize(
    ("mask", "counts_observations"), [("everywhere", False), ("loss only", True)]
)
def test_advantages_of_ppo_are_per_token_and_the_references_mask_can_be_had(
    mask, counts_observations, monkeypatch, tmp_path
):
    recipe = Reinforcement(algorithm="ppo", steps=1, questions=2, group=4, mask=mask, kl=0.01)
    inputs, _, rows = _seen(monkeypatch, tmp_path, recipe)
    assert inputs["advantages"].shape == inputs["completion_ids"].shape
    observed = torch.tensor([[not own for own in row.own] for row in rows])
    assert bool((inputs["advantages"][observed] != 0).all()) == counts_observations
    assert (inputs["tool_mask"][observed] == 0).all()


def test_an_update_does_not_depend_on_how_many_episodes_fit_at_once(tmp_path):
    def weights(micro):
        recipe = Reinforcement(steps=2, questions=2, group=4, micro_batch=micro, learning_rate=1e-2)
        model = reinforce(
            _model(), _tokenizer(), recipe, play_words, folder=tmp_path / str(micro),
            curve=lambda point: False,
        )  # fmt: skip
        return model.state_dict()

    whole, parts = weights(8), weights(2)
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, parts[name], atol=1e-4, rtol=1e-3, msg=name)


def test_learnt_tokens_without_padding_score_and_learn_as_whole_rows(monkeypatch, tmp_path):
    trainer = pytest.importorskip("polyroute.train.r1._trainer")
    monkeypatch.setattr(trainer, "_ROWS", 3)
    monkeypatch.setattr(trainer.Trainer, "_in_parts", lambda self: False)
    original = trainer.Trainer._get_per_token_logps_and_entropies
    compared = []

    def scored(compute, model, ids, mask, kept, learnt):
        model.zero_grad()
        logps, entropies, _ = compute(model, ids, mask, kept)
        real = mask[:, -kept:].bool() & learnt.bool()
        assert (~real & mask[:, -kept:].bool()).any()  # observations are there
        (logps * real).sum().backward()
        gradient = torch.cat([w.grad.flatten() for w in model.parameters()])
        model.zero_grad()
        return [logps[real].detach(), entropies[real].detach(), gradient]

    def spy(self, model, ids, mask, kept, batch_size=None, **more):
        if more.get("compute_entropy"):
            theirs = trainer.trl.GRPOTrainer._get_per_token_logps_and_entropies
            both = [partial(each, self, **more) for each in (original, theirs)]
            learnt = self.learnt_B_T
            compared.append([scored(each, model, ids, mask, kept, learnt) for each in both])
        return original(self, model, ids, mask, kept, batch_size=batch_size, **more)

    def play_any_length(model, number, which):
        batch = play_words(model, number, which)
        episodes = [
            Sampled(
                prompt_ids=[3] * (place % 4) + list(e.prompt_ids), ids=e.ids[: 2 + place % 5],
                own=e.own[: 2 + place % 5], reward=e.reward,
            )
            for place, e in enumerate(batch.episodes)
        ]  # fmt: skip
        return Batch(episodes=episodes, vitals=batch.vitals)

    monkeypatch.setattr(trainer.Trainer, "_get_per_token_logps_and_entropies", spy)
    recipe = Reinforcement(steps=1, questions=5, group=4)
    reinforce(
        _model(), _tokenizer(), recipe, play_any_length, folder=tmp_path,
        curve=lambda point: False,
    )  # fmt: skip
    assert compared
    for ours, whole in compared:
        torch.testing.assert_close(ours, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("minibatches", [1, 2])
def test_episodes_of_a_question_that_all_earn_the_same_cost_nothing_and_change_nothing(
    minibatches, monkeypatch, tmp_path
):
    trainer = pytest.importorskip("polyroute.train.r1._trainer")
    scores, leaves_out = trainer.Trainer._scores, trainer.Trainer._in_parts

    differ = []

    def half_alike(model, number, which):
        batch = play_words(model, number, which)
        episodes = [
            replace(e, reward=0.1 if place % 8 < 4 else e.reward)
            for place, e in enumerate(batch.episodes)
        ]
        for first in range(0, len(episodes), 4):
            if len({e.reward for e in episodes[first : first + 4]}) > 1:
                differ.extend(range(4))
        return replace(batch, episodes=episodes)

    found = {}
    for way in (leaves_out, lambda self: False):
        differ.clear()
        rows = []

        def counted(self, model, packed, rows=rows):
            rows.append(len(packed.ids_B_L))
            return scores(self, model, packed)

        monkeypatch.setattr(trainer.Trainer, "_in_parts", way)
        monkeypatch.setattr(trainer.Trainer, "_scores", counted)
        recipe = Reinforcement(
            algorithm="rloo", steps=2, questions=4, group=4, minibatches=minibatches
        )
        folder = tmp_path / str(len(found))
        model = reinforce(
            _model(), _tokenizer(), recipe, half_alike, folder=folder, curve=lambda point: False
        )
        passes = 1 if minibatches == 1 else 2  # the second is for what the tokens scored before
        share = sum(rows) / passes / (2 * recipe.episodes)
        found[way] = share, len(differ), torch.cat([w.flatten() for w in model.parameters()])
    (some, taught, ours), (whole, _, theirs) = found.values()
    assert whole == 1
    assert some == taught / (2 * recipe.episodes) <= 1 / 2
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_a_batch_in_which_nobody_differs_changes_no_weight(tmp_path):
    def alike(model, number, which):
        batch = play_words(model, number, which)
        return replace(batch, episodes=[replace(e, reward=0.1) for e in batch.episodes])

    recipe = Reinforcement(algorithm="grpo", steps=1, questions=2, group=4)
    model = reinforce(
        _model(), _tokenizer(), recipe, alike, folder=tmp_path, curve=lambda point: False
    )
    for before, after in zip(_model().parameters(), model.parameters(), strict=True):
        assert torch.equal(before, after)


def test_no_token_but_those_that_are_learnt_goes_through_the_head(scored, monkeypatch, tmp_path):
    recipe = Reinforcement(steps=1, questions=2, group=4)
    _, batch, _ = _seen(monkeypatch, tmp_path, recipe)
    assert sum(scored) == sum(sum(each.own) for each in batch.episodes)


def test_an_adapter_takes_half_precision_as_it_is_to_the_same_values():
    scoring = pytest.importorskip("polyroute.train.r1._scoring")
    model = with_adapter(_model().to(torch.bfloat16))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(generator=torch.Generator().manual_seed(1))
    found = []
    for half in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16), scoring.cast_once(model, half):
            found.append(model(torch.tensor([[2, 3, 4]])).logits)
    assert torch.equal(*found)


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("units", [True, False])
def test_a_cpu_computes_in_half_precision_only_with_units_for_it(wanted, units, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units})
    assert halved(wanted) == (wanted and units)
