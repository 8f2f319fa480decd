"""The numbers of a server, and the metrics and figures that are made of them."""

import json
import re
from dataclasses import replace
from decimal import Decimal
from math import log2
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from polyroute import ModelCard, Pool
from polyroute.balance.instances import InstanceState
from polyroute.decision import Answer
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.run import Outcome, Recalled
from polyroute.gateway.watch.account import account_of
from polyroute.gateway.watch.figures import figures, quantile
from polyroute.gateway.watch.history import History
from polyroute.gateway.watch.prometheus import Metrics
from polyroute.gateway.watch.tally import OTHER, Histogram, Share, Tally
from polyroute.gateway.watch.timeline import Timeline
from polyroute.gateway.watch.watch import Watch
from polyroute.trace import Step, Trace

DASHBOARD = Path(__file__).parents[3] / "docs" / "deploy" / "grafana.json"


def tally_of(*accounts):
    tally = Tally(("small", "large", "down"), ("default", "to-large", "to-down"))
    for account in accounts:
        tally.ended(account)
    return tally


def metrics_of(tally, backends=None):
    page, media = Metrics(tally, Keeper(None), backends).page("")
    assert media.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_a_request_is_counted_once_and_each_call_by_its_card(done):
    metrics = metrics_of(tally_of(done, done))
    assert metrics["polyroute_requests_total", (("ending", "answered"), ("policy", "default"))] == 2
    assert metrics["polyroute_calls_total", (("card", "small"), ("own", "true"))] == 2
    assert metrics["polyroute_calls_total", (("card", "small"), ("own", "false"))] == 0
    assert metrics["polyroute_calls_total", (("card", "large"), ("own", "false"))] == 2
    assert metrics["polyroute_failures_total", (("card", "down"), ("kind", "unavailable"))] == 2
    assert metrics["polyroute_rounds_sum", (("policy", "default"),)] == 2
    assert metrics["polyroute_request_seconds_sum", (("policy", "default"),)] == 1.0


def test_an_instance_says_whether_it_is_asked_and_what_it_is_doing():
    class Places:
        def snapshot(self):
            return (
                InstanceState(label="a", state="closed", outstanding=3),
                InstanceState(label="b", state="open", why="down"),
                InstanceState(label="c", state="half_open"),
            )

    metrics = metrics_of(tally_of(), {"small": Places(), "large": object()})
    for name, values in (("fit", (1, 0, 0)), ("running", (3, 0, 0))):
        for place, value in zip("abc", values, strict=True):
            labels = (("card", "small"), ("instance", place))
            assert metrics[f"polyroute_instance_{name}", labels] == value
    assert not any(
        labels and labels[0] == ("card", "large")
        for name, labels in metrics
        if name.startswith("polyroute_instance")
    )


def test_the_dollars_of_the_metrics_are_the_dollars_of_the_bills(done, made):
    tally = tally_of(done, done, made.finish(made.ask("polyroute/to-large")))
    spent = sum((of.usd for of in tally.policies.values()), Decimal(0))
    assert spent == sum((of.usd for of in tally.cards.values()), Decimal(0))
    assert spent == 2 * done.usd + tally.policies["to-large"].usd
    assert done.usd == done.outcome.trace.bill.usd > 0


def test_what_a_client_writes_is_no_label(made):
    asked = made.ask("big", user="rm -rf", metadata={"label": "evil"})
    metrics = metrics_of(tally_of(made.finish(asked)))
    allowed = {*made.setup.pool.ids, *made.setup.specs, "fixed", OTHER, "true", "false"}
    allowed |= {"answered", "failed", "cancelled", "input", "output", "cached", "reasoning"}
    for (name, labels), _ in metrics.items():
        for label, value in labels:
            if label not in ("le", "version"):
                assert value in allowed, (name, label, value)
    assert metrics["polyroute_calls_total", (("card", "large"), ("own", "false"))] == 1


def test_a_policy_outside_the_configuration_shares_one_label(made):
    tally = tally_of(made.finish(made.ask("polyroute/cheapest")))
    assert tally.policies[OTHER].endings["answered"] == 1


def test_a_remembered_answer_costs_nothing_and_says_what_it_saved(done, made):
    again = made.ask()
    recalled = Recalled(kind="same", model="large", age_s=3.0, trace_id=done.id, usd=done.usd)
    trace = Trace(again.request, again.pool).with_step(Step(Answer(text="two")))
    outcome = Outcome(trace=trace, recalled=recalled)
    hit = account_of(done.caller, again, outcome, began=0, seconds=0.001)
    tally = tally_of(done, hit)
    assert (hit.remembered, hit.usd, hit.saved, hit.called) == (True, 0, done.usd, ())
    assert tally.policies["default"].remembered == 1
    assert tally.cards["large"].calls == 1
    metrics = metrics_of(tally)
    saved = metrics["polyroute_cache_saved_usd_total", (("policy", "default"),)]
    assert saved == float(done.usd)


def test_a_failed_episode_is_a_failed_request(made):
    account = made.finish(made.ask("polyroute/to-down"))
    assert account.ending == "failed"
    assert tally_of(account).policies["to-down"].endings == {"failed": 1}


@given(st.lists(st.floats(0, 200), min_size=1, max_size=60))
def test_a_histogram_counts_as_a_plain_count_does(values):
    counted = Histogram((0.1, 1.0, 10.0, 100.0))
    for value in values:
        counted.add(value)
    for bound, count in counted.cumulative():
        limit = float(bound.replace("+Inf", "inf"))
        assert count == sum(value <= limit for value in values)
    assert counted.sum == pytest.approx(sum(values))
    assert quantile(counted, 0.0) <= quantile(counted, 0.5) <= quantile(counted, 1.0)


@given(st.lists(st.sampled_from("abcd"), max_size=80), st.integers(1, 30))
def test_shares_are_those_of_the_newest_calls(cards, window):
    share = Share(tuple("abcd"), window)
    for card in cards:
        share.add(card)
    newest = cards[-window:]
    for card in "abcd":
        assert share.of(card) == pytest.approx(newest.count(card) / max(1, len(newest)))
    parts = [newest.count(card) / len(newest) for card in set(newest)]
    assert share.entropy == pytest.approx(-sum(p * log2(p) for p in parts) / 2, abs=1e-9)


def test_the_alarm_rings_when_policies_ask_one_card_only(made):
    timeline, keeper = Timeline(made.setup.pool), Keeper(None)
    large = made.finish(made.ask("polyroute/to-large"))
    quiet = figures(made.setup, tally_of(*[large] * 29), timeline, keeper, minutes=5)["routing"]
    rings = figures(made.setup, tally_of(*[large] * 30), timeline, keeper, minutes=5)["routing"]
    assert (quiet["collapsed"], rings["collapsed"]) == (False, True)
    assert (rings["most_used"], rings["entropy"]) == ("large", 0.0)


def test_what_clients_choose_themselves_is_no_collapse(made):
    named = made.finish(made.ask("large"))
    said = figures(
        made.setup, tally_of(*[named] * 50), Timeline(made.setup.pool), Keeper(None), minutes=5
    )
    assert (said["routing"]["calls"], said["routing"]["collapsed"]) == (0, False)


def test_the_alarm_is_set_by_the_configuration(done, made):
    setup = made.make_setup({"collapse": 0.5})
    tally = tally_of(*[done] * 30)
    said = figures(setup, tally, Timeline(setup.pool), Keeper(None), minutes=5)
    assert said["routing"]["largest_share"] == 0.5, "half to one, half to the other"
    assert said["routing"]["collapsed"]


def test_every_query_of_the_dashboard_names_a_metric_that_exists(done):
    tally = tally_of(done)
    tally.refused[429] += 1
    names = {name for name, _ in metrics_of(tally)}
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    used = {name for query in queries for name in re.findall(r"polyroute_\w+", query)}
    assert len(queries) > 20
    assert used <= names
    labels = {label for _, found in metrics_of(tally) for label, _ in found} | {"job"}
    for query in queries:
        for group in re.findall(r"by \(([^)]*)\)", query):
            assert {label.strip() for label in group.split(",")} <= labels


def test_a_reload_goes_on_counting_and_knows_the_new_names(made):
    history = History(made.setup)
    first = Watch(made.setup, Keeper(None), history)
    other = made.make_setup()
    pool = Pool([*[card for card in made.setup.pool if card.id != "down"], ModelCard(id="new")])
    other = replace(other, pool=pool, specs={**other.specs, "added": {"name": "added"}})
    asked = made.ask()
    for watch in (first, Watch(other, Keeper(None), history)):
        watch.begin()
        for seen in (first, watch):  # the one before still ends what began there
            account = made.finish(asked)
            seen.began(made.caller, asked)
            seen.ended(made.caller, asked, account.outcome)
    tally = history.tally
    assert tally.policies["default"].endings["answered"] == 4
    assert tally.running == 0
    assert tally.cards["down"].calls == 4
    assert tally.cards["new"].calls == tally.policies["added"].rounds.sum == 0
    assert tally.share.of("new") == 0
    assert sum(point["requests"] for point in history.timeline.points(5)) == 4
    assert history.timeline.rivals()["best"]["card"] == "large"
    assert len(history.episodes) == 4
