"""Cost and quality by the minute, against one model for everything."""

import itertools
from datetime import UTC, datetime
from decimal import Decimal

from msgspec.structs import replace

from polyroute import ModelCard, Pool, Price
from polyroute.gateway.watch.counterfactual import rivals, tokens_of
from polyroute.gateway.watch.timeline import Timeline
from polyroute.records.feedback import Feedback


def card(id, price, **more):
    return ModelCard(
        id=id, price=None if price is None else Price.per_million(price, price), **more
    )


def test_the_best_is_the_dearest_where_nobody_measured():
    best, cheapest = rivals(Pool([card("a", 1), card("b", 9), card("c", None)]))
    assert (best.card.id, cheapest.card.id) == ("b", "a")


def test_the_best_has_the_highest_mean_of_skills_where_all_were_measured():
    pool = Pool([card("a", 1, skills={"x": 0.9}), card("b", 9, skills={"x": 0.9, "y": 0.1})])
    best, _ = rivals(pool)
    assert best.card.id == "a"


def test_without_a_price_there_is_no_rival():
    assert rivals(Pool([card("a", None), card("t", 0, kind="tool")])) is None


def test_rivals_are_priced_by_the_tokens_of_the_answer(made):
    account = made.finish(made.ask("polyroute/to-large"))
    usage = account.outcome.trace.final.usage
    assert tokens_of(account) == usage
    timeline = Timeline(made.setup.pool, clock=lambda: 1_001.0)
    timeline.ended(account)
    minute = timeline.points(1)[0]
    assert (
        Decimal(minute["best_usd"])
        == made.setup.pool.card("large").price.cost(usage)
        == account.usd
    )
    assert Decimal(minute["cheapest_usd"]) == made.setup.pool.card("small").price.cost(usage)


def test_a_day_is_a_bounded_number_of_minutes(done, made):
    now = 0.0
    timeline = Timeline(made.setup.pool, clock=lambda: now)
    for k in range(3_000):
        now = 60.0 * k
        timeline.ended(finish_at(done, now))
    assert len(timeline._minutes) <= 1_441
    points = timeline.points(1_440)
    assert len(points) == 120
    assert sum(point["requests"] for point in points) == 1_440


def finish_at(account, now):
    return replace(account, began=now, seconds=0.0)


def test_steps_of_a_curve_add_up_to_its_minutes(done, made):
    timeline = Timeline(made.setup.pool, clock=lambda: 36_000.0)
    for k in range(90):
        timeline.ended(finish_at(done, 36_000.0 - 60 * k))
    for minutes in (100, 360, 1_440):
        points = timeline.points(minutes)
        assert sum(point["requests"] for point in points) == 90
        assert sum((Decimal(p["usd"]) for p in points), Decimal(0)) == 90 * done.usd
        assert len({b["at"] - a["at"] for a, b in itertools.pairwise(points)}) == 1


def test_feedback_counts_at_the_minute_it_was_given(made):
    timeline = Timeline(made.setup.pool, clock=lambda: 7_200.0)
    said = datetime.fromtimestamp(7_190, UTC).isoformat()
    old = datetime.fromtimestamp(7_200 - 90_000, UTC).isoformat()
    timeline.rated(
        [
            Feedback(trace_id="a", reward=1.0, created_at=said),
            Feedback(trace_id="b", reward=0.5, created_at=said),
            Feedback(trace_id="c", reward=0.0, created_at=old),
        ]
    )
    quality = [point["quality"] for point in timeline.points(5)]
    assert [value for value in quality if value is not None] == [0.75]
