import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute import ModelCard, Pool
from polyroute.errors import ConfigError
from polyroute.rewards.cost import Lagrangian, Linear, Reference, bill, completion_micro_usd

prices = st.lists(st.floats(0, 1e4), min_size=1, max_size=60)


def normalised(history):
    """Return the reference's cost reward of the last of `history`, as its paper describes it."""
    window = sorted(math.sqrt(price) for price in history[-1000:])

    def percentile(share):
        place = share * (len(window) - 1)
        low = math.floor(place)
        high = min(low + 1, len(window) - 1)
        return window[low] + (place - low) * (window[high] - window[low])

    low, high = percentile(0.05), percentile(0.95)
    if high - low < 1e-8:
        return 0.5
    return 1 - min(1, max(0, (math.sqrt(history[-1]) - low) / (high - low)))


@given(prices)
def test_the_reference_is_the_papers_formula(history):
    cost = Reference()
    for price in history:
        cost.add(price)
    if max(history) - min(history) > 1e-3 or len(history) == 1:
        assert 1 - cost.share(history[-1]) == pytest.approx(normalised(history), abs=1e-6)


def test_the_window_forgets_after_a_thousand():
    cost, short = Reference(), Reference(window=10)
    for price in [1e6] * 10 + [float(k) for k in range(1000)]:
        cost.add(price)
    for price in [1e6] * 10 + [float(k) for k in range(10)]:
        short.add(price)
    assert cost.share(999) == 1.0
    assert short.share(9) == 1.0
    short.add(1e6)
    assert short.share(9) < 1.0


def test_the_reference_counts_completion_tokens_of_candidates_and_nothing_else(script):
    trace = script().own("long " * 500).asked("gemma", completion=50).asked("llama-70b").trace
    assert completion_micro_usd(trace) == pytest.approx(50 * 0.8 + 100 * 0.88)
    assert completion_micro_usd(script().asked("gemma", failure="timeout").trace) == 0


def test_a_card_without_a_price_is_charged_as_the_dearest(script):
    assert completion_micro_usd(script().asked("nobody-knows").trace) == pytest.approx(88)
    free = script(pool=Pool([ModelCard(id="a")])).asked("a").trace
    with pytest.raises(ConfigError, match="no card of the pool has one"):
        completion_micro_usd(free)


def test_the_bill_is_all_there_is_or_the_candidates_alone(script):
    trace = script().own("two words", prompt=998).asked("gemma", prompt=0, completion=10).trace
    assert bill(trace).usd == Decimal("0.0001") + Decimal("0.000008")
    assert bill(trace, own=False).usd == Decimal("0.000008")


def test_a_share_of_what_a_right_answer_is_worth(script):
    trace = script(worth=0.0002).asked("gemma", prompt=0, completion=100).trace
    assert Linear()(trace) == pytest.approx(0.00008 / 0.0002)
    assert Linear()(script(worth=0.00001).asked("gemma").trace) == 1.0
    assert Linear(usd_per_quality=1.0)(trace) == Linear()(trace)
    assert Linear(usd_per_quality=0.0008)(script().asked("gemma", prompt=0).trace) == 0.1


@pytest.mark.parametrize("worth", [None, 0.0])
def test_without_a_worth_the_cost_does_not_count(script, worth):
    assert Linear()(script(worth=worth).asked("llama-70b").trace) == 0.0


def test_the_multiplier_rises_above_the_target_and_falls_below(script):
    dear, cheap = (
        script().asked("llama-70b").trace,
        script().asked("gemma", failure="refusal").trace,
    )
    cost = Lagrangian(float(dear.usd) / 2, rate=0.5)
    assert cost(dear) == 0.0
    cost.observe(dear)
    cost.step()
    assert cost.multiplier == pytest.approx(0.5)
    assert cost(dear) == pytest.approx(1.0)
    cost.observe(dear)
    cost.observe(cheap)
    cost.step()
    assert cost.multiplier == pytest.approx(0.5)
    cost.observe(cheap)
    cost.step()
    cost.observe(cheap)
    cost.step()
    assert cost.multiplier == 0.0


@pytest.mark.parametrize("options", [{"target_usd": 0}, {"target_usd": 1, "rate": 0},
                                     {"target_usd": 1, "multiplier": 11}])  # fmt: skip
def test_a_lagrangian_of_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match="lagrangian"):
        Lagrangian(**options)


def test_dual_ascent_keeps_the_mean_bill_at_its_target(script):
    """A policy that answers its rewards softly is led to the mixture that costs the target."""
    dear = script().asked("gemma", prompt=0, completion=500).answers("her")
    cheap = script().asked("gemma", prompt=0, completion=100).answers("her")
    target, softness, cost = 160e-6, 0.05, Lagrangian(160e-6, rate=0.02)
    for _ in range(400):
        gain = 0.4 - cost(dear) - (0.3 - cost(cheap))
        chance = 1 / (1 + math.exp(-gain / softness))
        for episode, count in ((dear, round(100 * chance)), (cheap, 100 - round(100 * chance))):
            for _ in range(count):
                cost.observe(episode)
        cost.step()
    assert chance * 400e-6 + (1 - chance) * 80e-6 == pytest.approx(target, rel=0.03)
    spread = (400e-6 - 80e-6) / target
    assert cost.multiplier == pytest.approx((0.1 - softness * math.log(1 / 3)) / spread, rel=0.05)


@pytest.mark.parametrize("make", [Linear, Reference, lambda: Lagrangian(50e-6)])
def test_a_restored_cost_goes_on_as_if_it_had_not_stopped(script, make):
    traces = [script(worth=1e-3).asked("gemma", completion=n).trace for n in (10, 50, 200, 90, 30)]
    whole, first = make(), make()
    for trace in traces[:3]:
        for cost in (whole, first):
            cost.observe(trace)
            if trace is traces[1]:
                cost.step()
    second = make().restore(first.state())
    for trace in traces[3:]:
        for cost in (whole, second):
            cost.observe(trace)
            cost.step()
        assert [whole(t) for t in traces] == [second(t) for t in traces]
