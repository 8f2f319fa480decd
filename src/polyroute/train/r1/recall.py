"""Exercises before the warm start: who is to be asked about this, and this, and this.

The one decision here: an exercise is nothing but lookups. In a teacher's trace one word in ten is
the name of a candidate, and a model from scratch learns everything else long before it learns to
find that name by its card; here a prompt is followed by a dozen searches, each with its thought
given, so that the one thing that is hard is most of what there is to learn.
"""

import random
from collections.abc import Sequence

from polyroute.backends.transformers import Transformers
from polyroute.policies.router_r1 import prompt_of
from polyroute.trace import Trace
from polyroute.train.r1.sft import IGNORED, Lines
from polyroute.types import Message

__all__ = ["recall"]


def recall(
    trace: Trace,
    sampler: Transformers,
    *,
    skills: Sequence[str],
    subjects: Sequence[str],
    draw: random.Random,
    count: int = 12,
) -> Lines:
    """Return `count` searches in a row under the prompt of an episode.

    What is asked about is drawn, and without loss; whom to ask, and that the query repeats the
    skill of the thought, is what is imitated.

    Parameters
    ----------
    trace : Trace
        Its candidates are looked up.
    sampler : Transformers
        Around the student.
    skills : sequence of str
        Candidates that have one of these are looked up by it.
    subjects : sequence of str
        What may be asked about.
    draw : random.Random
        Decides who is looked up, and about what.
    count : int, default=12
        Searches.
    """
    ids = list(sampler.prompt_ids([Message("user", prompt_of(trace))]))
    labels = [IGNORED] * len(ids)
    known = [(card.id, skill) for card in trace.pool for skill in card.skills if skill in skills]
    for _ in range(count if known else 0):
        name, skill = draw.choice(known)
        for text, learnt in (
            (f"<think> {skill} </think> <search>", False),
            (f"{name}: {skill} of", True),
            (draw.choice(subjects), False),
            ("</search>", True),
        ):
            tokens = list(sampler.encode(text))
            ids += tokens
            labels += tokens if learnt else [IGNORED] * len(tokens)
    return Lines(tuple(ids), tuple(labels))
