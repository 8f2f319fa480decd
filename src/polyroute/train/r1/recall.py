"""Exercises before the warm start: a word of a card, and whose card it is; and again.

The one decision here: an exercise is nothing but lookups. In a teacher's trace one word in ten is
the name of a candidate, and a model from scratch learns everything else long before it learns to
find that name by its card; here a prompt is followed by a dozen names, each right after the word
that it is found by, so that the one thing that is hard is all there is to learn.
"""

import random

from polyroute.backends.transformers import Transformers
from polyroute.policies.router_r1 import prompt_of
from polyroute.tasks.atlas.teacher import CHOICE, known_by
from polyroute.trace import Trace
from polyroute.train.r1.sft import IGNORED, Lines
from polyroute.types import Message

__all__ = ["recall"]


def recall(trace: Trace, sampler: Transformers, *, draw: random.Random, count: int = 12) -> Lines:
    """Return `count` names in a row under the prompt of an episode.

    Parameters
    ----------
    trace : Trace
        Its candidates are looked up.
    sampler : Transformers
        Around the student.
    draw : random.Random
        Decides who is looked up.
    count : int, default=12
        Names.
    """
    ids = list(sampler.prompt_ids([Message("user", prompt_of(trace))]))
    labels = [IGNORED] * len(ids)
    known = [card for card in trace.pool if card.skills]
    for _ in range(count if known else 0):
        card = draw.choice(known)
        for text, learnt in ((" ".join([CHOICE, *known_by(card)]), False), (card.id, True)):
            tokens = list(sampler.encode(text))
            ids += tokens
            labels += tokens if learnt else [IGNORED] * len(tokens)
    return Lines(tuple(ids), tuple(labels))
