"""A run's plan: the one it starts from, and what a user changes in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.errors import ConfigError
from polyroute.train.r1.plans import changed, plan_for
from polyroute.train.r1.recipe import Lora

PLAN = plan_for("atlas-small", "tiny")


def test_nothing_changed_is_the_plan_itself():
    assert changed(PLAN, {}) == PLAN
    pretrained = plan_for("atlas-embedded", "smollm2")
    assert changed(pretrained, {}) == pretrained


@given(steps=st.integers(1, 10**6), gate=st.floats(0, 1), rank=st.integers(1, 64))
def test_each_path_changes_its_own_number_and_no_other(steps, gate, rank):
    values = {"reinforcement.steps": steps, "gate": gate, "imitation.lora": {"rank": rank}}
    got = changed(PLAN, values)
    assert (got.reinforcement.steps, got.gate, got.imitation.lora) == (steps, gate, Lora(rank=rank))
    back = {"reinforcement.steps": PLAN.reinforcement.steps, "gate": PLAN.gate}
    assert changed(got, {**back, "imitation.lora": None}) == PLAN


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("reinforcement.step", 3, "no 'reinforcement.step': .*did you mean 'steps'"),
        ("gate.of", 3, "no 'gate.of'"),
        ("reinforcement.steps", "many", "plan.reinforcement.steps: .*integer"),
        ("reinforcement.group", 1, "group >= 2"),
        ("teachers", ["nobody"], "plan.teachers"),
    ],
)
def test_what_does_not_fit_the_plan_is_refused_by_its_path(path, value, said):
    with pytest.raises(ConfigError, match=said):
        changed(PLAN, {path: value})
