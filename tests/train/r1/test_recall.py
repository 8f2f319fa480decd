"""Exercises in looking candidates up: what is asked, of whom, and where the loss is."""

import asyncio
import random

import pytest

from polyroute.backends.transformers import Transformers
from polyroute.tasks.atlas.small import ENTITIES, RELATIONS, AtlasSmall, vocabulary
from polyroute.tasks.atlas.teacher import Teacher
from polyroute.train.r1.recall import recall
from polyroute.train.r1.recipe import RunPlan
from polyroute.train.r1.run import Run
from polyroute.train.r1.tiny import tiny_model

pytest.importorskip("torch", reason="needs the train extra")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_every_search_asks_somebody_who_knows_and_the_subject_is_never_learnt(tmp_path):
    loaded = tiny_model(vocabulary(), hidden=32, layers=1)
    sampler = Transformers.of(loaded.model, loaded.tokenizer)
    problems = AtlasSmall().problems("train", 8, 0)
    game = Run(RunPlan(), tmp_path, say=print).game
    for rollout in asyncio.run(game.play(problems, Teacher(problems))):
        lines = recall(
            rollout.trace, sampler, skills=RELATIONS, subjects=ENTITIES, draw=random.Random(0)
        )
        learnt = [id for id, label in zip(lines.ids, lines.labels, strict=True) if label != -100]
        words = loaded.tokenizer.convert_ids_to_tokens(learnt)
        assert len(words) == 12 * 5
        for name, colon, skill, of, end in zip(*[iter(words)] * 5, strict=True):
            assert skill in rollout.problem.pool.card(name).skills
            assert (colon, of, end) == (":", "of", "</search>")
