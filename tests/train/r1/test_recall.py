"""Exercises in looking candidates up: by what word, and where the loss is."""

import asyncio
import random

import pytest

from polyroute.backends.transformers import Transformers
from polyroute.tasks.atlas.small import AtlasSmall, vocabulary
from polyroute.tasks.atlas.teacher import Teacher
from polyroute.train.r1.recall import recall
from polyroute.train.r1.recipe import RunPlan
from polyroute.train.r1.run import Run
from polyroute.train.r1.tiny import tiny_model

pytest.importorskip("torch", reason="needs the train extra")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_a_name_comes_right_after_a_word_of_its_card_and_names_alone_are_learnt(tmp_path):
    loaded = tiny_model(vocabulary(), hidden=32, layers=1)
    sampler = Transformers.of(loaded.model, loaded.tokenizer)
    problems = AtlasSmall().problems("train", 8, 0)
    game = Run(RunPlan(), tmp_path, say=print).game
    for rollout in asyncio.run(game.play(problems, Teacher(problems))):
        lines = recall(rollout.trace, sampler, draw=random.Random(0))
        words = loaded.tokenizer.convert_ids_to_tokens(list(lines.ids))
        learnt = [k for k, label in enumerate(lines.labels) if label != -100]
        assert len(learnt) == 12
        for place in learnt:
            card = rollout.problem.pool.card(words[place])
            said = words[place - 1]
            if said in card.skills:
                price = words[place - 2]
            else:
                price, skill = words[place - 3 : place - 1]
                assert skill == "all"
                assert card.skills["all"] == pytest.approx(int(said) / 100)
            assert int(price) == card.price.call * 1_000_000
