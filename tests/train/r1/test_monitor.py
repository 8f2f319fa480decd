"""The collapse monitor: what alarms it, and what does not."""

import pytest

from polyroute import ModelCard, Pool
from polyroute.decision import Call, Failure, Route
from polyroute.pool import Price
from polyroute.trace import Reply, Step, Trace
from polyroute.train.r1.monitor import Monitor, Vitals, shares
from polyroute.types import Request


def healthy(step, **changes):
    share = {"1st": 0.1, "2nd": 0.3, "3rd": 0.6}
    facts = {"reward": 0.5, "outcome": 0.8, "format_rate": 1.0, "calls": 1.5, "kl": 0.01}
    return Vitals(step=step, **{**facts, "share": share, **changes})


def signs(monitor, *changes):
    found = set()
    for step, change in enumerate(changes):
        found = {alarm.sign for alarm in monitor.watch(healthy(step, **change))}
    return found


def test_a_healthy_run_is_left_alone():
    assert signs(Monitor(), *[{}] * 30) == set()


@pytest.mark.parametrize(
    ("sign", "change"),
    [
        ("share", {"share": {"1st": 1.0}}),
        ("calls", {"calls": 0.3}),
        ("format", {"format_rate": 0.4}),
        ("outcome", {"outcome": 0.5}),
        ("kl", {"kl": 2.0}),
    ],
)
def test_each_sign_alarms_when_it_lasts_and_not_for_one_batch(sign, change):
    assert sign not in signs(Monitor(), *[{}] * 8, change)
    assert sign in signs(Monitor(), *[{}] * 8, *[change] * 5)


def test_the_collapse_on_record_is_caught():
    """An under-trained start fell onto the dearest specialist within four steps, one call a
    question, and two-hop questions were never solved again."""
    falling = [
        {"share": {"1st": 0.4, "2nd": 0.6}, "calls": 2.0, "outcome": 0.45},
        {"share": {"1st": 0.7, "2nd": 0.3}, "calls": 1.4, "outcome": 0.4},
        {"share": {"1st": 0.9, "2nd": 0.1}, "calls": 1.1, "outcome": 0.35},
    ]
    collapsed = {"share": {"1st": 1.0}, "calls": 1.0, "outcome": 0.35}
    assert signs(Monitor(), *falling, *[collapsed] * 6) == {"share"}


def test_one_candidate_for_nearly_all_is_no_collapse_where_the_optimum_does_the_same():
    change = {"share": {"5th": 0.9, "1st": 0.1}}
    assert signs(Monitor(optimum_share=0.88), *[change] * 10) == set()
    assert signs(Monitor(optimum_share=0.4), *[change] * 10) == {"share"}


def test_shares_are_by_price_so_names_that_change_hide_nothing():
    def trace(dear, cheap, asked):
        router = ModelCard(id="router", price=Price())
        cards = [
            ModelCard(id=dear, price=Price.per_million(9, 9)),
            ModelCard(id=cheap, price=Price.per_million(1, 1)),
        ]
        own = Step(Route(calls=(Call("router"),), own=True), (Reply(model="router"),))
        route = Step(Route(calls=(Call(asked),)), (Reply(model=asked),))
        refused = Reply(model=cheap, failure=Failure("budget", "no"))
        last = Step(Route(calls=(Call(cheap),)), (refused,))
        return Trace(Request.of("?"), Pool([router, *cards]), (own, route, last))

    assert shares([trace("a", "b", "a"), trace("c", "a", "c")]) == {"1st": 1.0}
