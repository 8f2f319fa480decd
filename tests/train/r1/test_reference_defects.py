"""Defects of the reference's training (specification: B15 to B18, B20 to B22), absent from ours.

B15: turns are sampled to their limit, cut, and tokenised again.
B16: one slow call holds up every episode of the batch.
B17: a token of the prompt that equals the padding is masked and moved
     (`test_rl.py`: the prompt's own pad is read).
B18: the size of an update depends on how the batch was cut for memory
     (`test_rl.py`: an update does not depend on how many episodes fit at once).
B20: the key of the upstream is printed, logged and uploaded.
B21: no cache, no replay (`test_cache.py`), and answers are printed.
B22: the judge cannot take a number of questions that is no multiple of its batch, and looks for
     the weights in another place than where they are.
"""

import asyncio
import sys
import types
from dataclasses import replace

import pytest

from polyroute.policies.router_r1 import RouterR1
from polyroute.rewards.router_r1 import RouterR1Reward
from polyroute.tasks.atlas.small import AtlasSmall, vocabulary
from polyroute.tasks.atlas.teacher import Teacher
from polyroute.train.r1.log import WeightsAndBiases
from polyroute.train.r1.rollout import Game, Player, malformed
from polyroute.train.r1.run import judge

POLICY = RouterR1(router="router", layout="brief", max_turns=6)
GAME = Game(policy=POLICY, reward=RouterR1Reward(malformed=malformed(POLICY)))


class Gated:
    """A specialist that replies only when `gate` is open."""

    def __init__(self, backend, gate):
        self._backend = backend
        self._gate = gate

    async def complete(self, call, trace, emit=None):
        await self._gate.wait()
        return await self._backend.complete(call, trace, emit)

    async def close(self):
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_b15_what_is_trained_on_is_what_was_sampled_and_a_turn_ends_at_its_tag():
    pytest.importorskip("torch")
    from polyroute.backends.transformers import Transformers
    from polyroute.train.r1.tiny import tiny_model

    loaded = tiny_model(vocabulary(), hidden=32, layers=1, heads=2)
    backend = Transformers.of(loaded.model, loaded.tokenizer)
    sampling = replace(POLICY, router_params={"temperature": 1.0, "max_tokens": 64})
    game = replace(GAME, policy=sampling)
    problems = AtlasSmall().problems("train", 4, 0)
    player = Player(game, backend, problems, group=2, questions=4, seed=0)
    batch = player(loaded.model, 0, slice(0, 8))
    player.close()
    closing = {loaded.tokenizer.convert_tokens_to_ids(t) for t in ("</search>", "</answer>")}
    turns_of_own = []
    for episode in batch.episodes:
        turn = []
        for token, own in zip(episode.ids, episode.own, strict=True):
            turn = [*turn, token] if own else []
            if own and token in closing:
                turns_of_own.append(turn)
        assert len(episode.ids) == len(episode.own)
    assert turns_of_own, "no turn ended at its tag"
    again = player.__class__(game, backend, problems, group=2, questions=4, seed=0)
    assert again(loaded.model, 0, slice(0, 8)).episodes == batch.episodes
    again.close()


def test_b16_a_call_that_hangs_holds_up_no_other_episode():
    problems = AtlasSmall().problems("train", 6, 0)
    finished = []

    async def play():
        gate = asyncio.Event()
        held = replace(problems[0], backend=Gated(problems[0].backend, gate))
        teacher = Teacher(problems, style="cheapest")

        async def one(problem):
            (rollout,) = await GAME.play([problem], teacher)
            finished.append(problem.request.id)
            if len(finished) == len(problems) - 1:
                gate.set()
            return rollout

        await asyncio.wait_for(asyncio.gather(*map(one, [held, *problems[1:]])), timeout=60)

    asyncio.run(play())
    assert finished[-1] == problems[0].request.id


def test_b20_nothing_but_numbers_goes_to_a_third_party(monkeypatch, tmp_path):
    sent = []

    class Run:
        def log(self, row, step):
            sent.append(row)

        def finish(self):
            pass

    library = types.ModuleType("wandb")
    library.init = lambda **settings: sent.append(settings) or Run()
    monkeypatch.setitem(sys.modules, "wandb", library)
    monkeypatch.setenv("WANDB_API_KEY", "sk-secret-for-the-test")
    place = WeightsAndBiases(tmp_path / "a-run")
    place.write({"step": 1.0, "reward": 0.5})
    place.close()
    assert "sk-secret" not in repr(sent)
    assert set(sent[0]) == {"project", "name", "dir"}


def test_b21_no_answer_is_printed(capsys):
    problems = AtlasSmall().problems("train", 3, 0)
    asyncio.run(GAME.play(problems, Teacher(problems)))
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize("count", [1, 7, 125])
def test_b22_any_number_of_questions_can_be_judged(count):
    problems = AtlasSmall().problems("test", count, 0)
    rollouts = asyncio.run(GAME.play(problems, Teacher(problems, style="optimum")))
    assert judge(rollouts)["questions"] == count
