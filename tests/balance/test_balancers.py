import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.balance.latency_aware import LatencyAware
from polyroute.balance.least_outstanding import LeastOutstanding
from polyroute.balance.live import Latencies, Live
from polyroute.balance.nearby import Nearby
from polyroute.balance.power_of_two import PowerOfTwo
from polyroute.balance.prefix_hash import PrefixHash
from polyroute.balance.round_robin import RoundRobin
from polyroute.balance.weighted import Weighted
from polyroute.decision import Call
from polyroute.errors import ConfigError
from polyroute.protocols import Balancer
from polyroute.registry import load, names
from polyroute.spec import construct
from polyroute.types import Message, Request

ASK = Call("model")

weights = st.floats(0.1, 20)
loads = st.integers(0, 50)


def asked(*texts, role="user"):
    return Request(id="q", messages=tuple(Message(role, text) for text in texts))


def fleet(n, **facts):
    return tuple(Live(f"host-{k}:80", **facts) for k in range(n))


@pytest.mark.parametrize("name", names("balancers"))
@given(data=st.data())
def test_only_an_instance_that_may_be_asked_is_chosen(name, data):
    balancer = construct("balancers", name, where="balance")
    n = data.draw(st.integers(1, 9))
    facts = tuple(
        Live(str(k), weight=data.draw(weights), outstanding=data.draw(loads)) for k in range(n)
    )
    for _ in range(12):
        among = tuple(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))))
        prompt = data.draw(st.text(max_size=5))
        assert balancer.choose(facts, among, ASK, asked(prompt)) in among


@pytest.mark.parametrize("name", names("balancers"))
def test_every_balancer_is_built_by_name_and_fits_the_protocol(name):
    assert isinstance(load("balancers", name)(), Balancer)


def test_nearby_asks_other_regions_only_when_its_own_is_out(monkeypatch):
    facts = [Live(region, region=region) for region in ("us", "eu", "eu", None)]
    monkeypatch.setenv("POLYROUTE_REGION", "eu")
    spec = {"name": "nearby", "then": {"name": "least_outstanding"}}
    for near in (Nearby(), Nearby(region="eu"), construct("balancers", spec, where="balance")):
        assert {near.choose(facts, (0, 1, 2, 3), ASK, asked("?")) for _ in range(4)} == {1, 2}
        assert {near.choose(facts, (0, 3), ASK, asked("?")) for _ in range(4)} == {0, 3}
    monkeypatch.delenv("POLYROUTE_REGION")
    far = Nearby()
    assert {far.choose(facts, (0, 1, 2, 3), ASK, asked("?")) for _ in range(4)} == {0, 1, 2, 3}


def test_round_robin_goes_on_after_an_instance_that_is_out():
    turns = RoundRobin()
    chosen = [turns.choose((), among, ASK, asked("?")) for among in [(0, 1, 2)] * 2 + [(0, 2)] * 3]
    assert chosen == [0, 1, 2, 0, 2]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_weights_are_kept_exactly_in_every_cycle(shares):
    turns = Weighted()
    facts = tuple(Live(str(k), weight=share) for k, share in enumerate(shares))
    among = tuple(range(len(facts)))
    for _ in range(2):
        cycle = [turns.choose(facts, among, ASK, asked("?")) for _ in range(sum(shares))]
        assert [Counter(cycle)[k] for k in among] == shares


def test_a_heavy_instance_takes_its_turns_apart_from_each_other():
    turns = Weighted()
    facts = (Live("a", weight=5), Live("b"), Live("c"))
    cycle = "".join("abc"[turns.choose(facts, (0, 1, 2), ASK, asked("?"))] for _ in range(7))
    assert cycle == "aabacaa"  # the sequence that nginx's documentation of the rule gives


def test_least_outstanding_is_the_brute_force_minimum():
    draw = random.Random(3)
    balancer = LeastOutstanding()
    for _ in range(200):
        facts = tuple(
            Live(str(k), weight=draw.choice([1, 2, 4]), outstanding=draw.randrange(9))
            for k in range(draw.randrange(1, 9))
        )
        chosen = balancer.choose(facts, range(len(facts)), ASK, asked("?"))
        best = min((one.outstanding + 1) / one.weight for one in facts)
        assert (facts[chosen].outstanding + 1) / facts[chosen].weight == best


def test_equals_take_turns():
    balancer = LeastOutstanding()
    facts = fleet(3)
    chosen = Counter(balancer.choose(facts, (0, 1, 2), ASK, asked("?")) for _ in range(30))
    assert chosen == {0: 10, 1: 10, 2: 10}


def test_two_choices_never_ask_the_busiest_and_spread_much_better_than_one():
    balancer, facts = PowerOfTwo(seed=1), fleet(10)
    for _ in range(10_000):
        facts[balancer.choose(facts, range(10), ASK, asked("?"))].outstanding += 1
    most = max(one.outstanding for one in facts)
    draw = random.Random(1)
    blind = Counter(draw.randrange(10) for _ in range(10_000))
    assert most - 1_000 < 10 < max(blind.values()) - 1_000
    facts[4].outstanding = 10**6
    assert all(balancer.choose(facts, range(10), ASK, asked("?")) != 4 for _ in range(1_000))


def test_one_slow_answer_turns_calls_away_until_it_is_forgotten():
    now = [0.0]
    facts = tuple(Live(name, clock=lambda: now[0]) for name in "ab")
    for one in facts:
        one.measured(0.1)
    balancer = LatencyAware(seed=1)
    facts[0].measured(5.0)
    assert {balancer.choose(facts, (0, 1), ASK, asked("?")) for _ in range(50)} == {1}
    now[0] = 60.0
    facts[1].measured(0.1)
    assert balancer.choose(facts, (0, 1), ASK, asked("?")) == 0


def test_an_instance_that_was_never_measured_is_tried():
    facts = (Live("a"), Live("b"))
    facts[0].measured(0.05)
    assert LatencyAware(seed=1).choose(facts, (0, 1), ASK, asked("?")) == 1


@pytest.mark.parametrize("gone", range(5))
def test_only_the_prompts_of_an_instance_that_goes_move(gone):
    balancer, facts = PrefixHash(), fleet(5)
    left = tuple(k for k in range(5) if k != gone)
    moved = 0
    for k in range(400):
        before = balancer.choose(facts, range(5), ASK, asked(f"prompt {k}"))
        after = balancer.choose(facts, left, ASK, asked(f"prompt {k}"))
        assert after == before or before == gone
        moved += after != before
    assert 0 < moved < 160


def test_a_new_instance_takes_prompts_and_moves_no_other():
    facts = fleet(5)
    few, many = PrefixHash(), PrefixHash()
    for k in range(400):
        before = few.choose(facts[:4], range(4), ASK, asked(f"prompt {k}"))
        after = many.choose(facts, range(5), ASK, asked(f"prompt {k}"))
        assert after in (before, 4)


def test_where_a_prompt_goes_does_not_depend_on_the_order_of_the_file():
    facts = fleet(4)
    turned = tuple(reversed(facts))
    for k in range(50):
        one = facts[PrefixHash().choose(facts, range(4), ASK, asked(f"prompt {k}"))]
        assert turned[PrefixHash().choose(turned, range(4), ASK, asked(f"prompt {k}"))] is one


def test_prompts_are_spread_by_weight():
    facts = (Live("a", weight=3), Live("b"), Live("c"))
    balancer = PrefixHash()
    counts = Counter(balancer.choose(facts, range(3), ASK, asked(str(k))) for k in range(4_000))
    assert counts[0] / 4_000 == pytest.approx(0.6, abs=0.12)
    assert counts[1] / 4_000 == pytest.approx(0.2, abs=0.1)


def test_the_turns_of_a_conversation_find_the_instance_of_the_first():
    balancer, facts = PrefixHash(), fleet(7)
    for k in range(50):
        first = (Message("system", "Be brief."), Message("user", f"question {k}"))
        later = (*first, Message("assistant", "yes"), Message("user", "and why?"))
        places = {
            balancer.choose(facts, range(7), ASK, Request(id="q", messages=messages))
            for messages in (first, later)
        }
        assert len(places) == 1


@given(st.lists(st.integers(0, 30), min_size=2, max_size=8), st.floats(1.01, 3))
def test_one_popular_prompt_cannot_drown_an_instance(running, overload):
    facts = tuple(Live(str(k), outstanding=n) for k, n in enumerate(running))
    balancer = PrefixHash(overload=overload)
    place = balancer.choose(facts, range(len(facts)), ASK, asked("always the same"))
    bound = math.ceil(overload * (sum(running) + 1) / len(running))
    assert facts[place].outstanding + 1 <= bound


@pytest.mark.parametrize("wrong", [{"characters": 0}, {"overload": 1.0}])
def test_a_parameter_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match="prefix_hash needs"):
        PrefixHash(**wrong)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300), st.floats(0.01, 1))
def test_a_quantile_is_that_of_the_last_128(seen, share):
    latencies = Latencies()
    for seconds in seen:
        latencies.add(seconds)
    last = sorted(seen[-128:])
    assert len(latencies) == len(last)
    assert latencies.quantile(share) == last[math.ceil(share * len(last)) - 1]
