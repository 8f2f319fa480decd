import asyncio
from dataclasses import dataclass
from typing import ClassVar

import pytest

from polyroute.decision import Answer, Call, Route
from polyroute.errors import ConfigError
from polyroute.evaluate.perturbation import KINDS, choice_robustness, perturbed
from polyroute.outcomes.implied import pool_of
from polyroute.policies.fixed import Fixed
from polyroute.policies.random import Random
from polyroute.types import Budget

PROMPT = "Which of these towns lies furthest north?\nAnswer with the letter alone please"


@pytest.mark.parametrize("kind", KINDS)
def test_a_perturbation_repeats_and_keeps_the_words(kind):
    changed = {perturbed(PROMPT, kind=kind, seed=seed) for seed in range(30)}
    assert len(changed) > 1 or kind == "spacing"
    assert perturbed(PROMPT, kind=kind, seed=3) == perturbed(PROMPT, kind=kind, seed=3)
    for text in changed:
        assert sorted(PROMPT.lower().replace(" ", "")) == [
            c for c in sorted(text.lower().replace(" ", "")) if c
        ] or kind in ("politeness", "spacing")
        assert abs(len(text.split()) - len(PROMPT.split())) <= 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["", " ", "a", "\n\n"])
def test_the_shortest_prompts_can_be_perturbed(kind, prompt):
    assert isinstance(perturbed(prompt, kind=kind), str)


@dataclass(frozen=True)
class ByEnd:
    """Choose by the last character: what perturbs it flips the choice."""

    method: ClassVar = Fixed.method

    async def decide(self, trace):
        return Route(calls=(Call("small" if trace.request.prompt.endswith("?") else "large"),))


@dataclass(frozen=True)
class Silent:
    method: ClassVar = Fixed.method

    async def decide(self, trace):
        return Answer(text="no")


def of(policy, table, questions=None):
    questions = table.queries if questions is None else questions
    return asyncio.run(choice_robustness(policy, questions, pool_of(table), budget=Budget()))


def test_a_policy_that_does_not_read_the_prompt_never_flips(table):
    assert of(Fixed("small"), table) == 1
    assert of(Random(), table) == 1
    assert of(Silent(), table) == 1


def test_flips_are_counted(table):
    """Only the second question of the four, perturbed by spacing, must end otherwise."""
    changed = [
        not perturbed(q.prompt, kind=kind).endswith("?")
        for q, kind in zip(table.queries, KINDS, strict=True)
    ]
    assert changed[1]
    assert of(ByEnd(), table) == 1 - sum(changed) / 4


def test_no_question_is_refused(table):
    with pytest.raises(ConfigError):
        of(Fixed("small"), table, [])
