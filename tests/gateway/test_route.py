"""``POST /v1/route``, the dry run, and the knobs as headers."""

import json
import math

import pytest

from polyroute import ModelCard, Pool, Price, Request, Trace
from polyroute.gateway.dry_run import _expected
from polyroute.policies.greedy import Greedy

HELLO = {"model": "polyroute", "messages": [{"role": "user", "content": "hello"}]}


def test_deciding_calls_nobody_and_says_who_would_answer(server):
    before = len(server.upstream.bodies)
    said = server.send("POST", "/v1/route", HELLO).json()
    assert said["model"] == "bracket"
    assert said["decision"]["calls"][0]["model"] == "bracket"
    assert said["decision"]["final"] is True
    assert said["asks"] == []
    cards = {card["id"]: card for card in said["cards"]}
    assert cards["plain"]["most_usd"] is None, "an unknown price is not a bound"
    assert len(server.upstream.bodies) == before


def test_the_most_that_a_call_can_cost_is_every_byte_and_every_token_at_its_price(server):
    said = server.send("POST", "/v1/route", {**HELLO, "max_tokens": 50}).json()
    card = next(card for card in said["cards"] if card["id"] == "echo")
    prompt = len(json.dumps(HELLO["messages"][0])) + 16
    assert float(card["most_usd"]) == pytest.approx((prompt * 1 + 50 * 2) / 1e6)


def test_a_policy_that_thinks_first_says_what_it_would_ask(server):
    said = server.send("POST", "/v1/route", {**HELLO, "model": "polyroute/rounds"}).json()
    assert said["model"] is None
    assert said["asks"] == [{"model": "bracket", "prompt": "which field?", "prefix": None}]


def test_a_dry_run_is_the_same_on_the_chat_endpoint(server):
    before = len(server.upstream.bodies)
    body = {**HELLO, "polyroute": {"dry_run": True}}
    said = server.send("POST", "/v1/chat/completions", body)
    assert said.json()["object"] == "polyroute.decision"
    by_header = server.send("POST", "/v1/chat/completions", HELLO, {"x-polyroute-dry-run": "true"})
    assert by_header.json()["model"] == "bracket"
    assert len(server.upstream.bodies) == before


def test_a_broken_policy_is_a_typed_error_of_its_own(server):
    said = server.send("POST", "/v1/route", {**HELLO, "model": "polyroute/broken"})
    assert (said.status_code, said.json()["error"]["code"]) == (500, "policy_error")


class _Halves:
    method = None

    def fit(self, requests, target_NM, pool): ...
    def state(self): ...
    def restore(self, state): ...
    def predict(self, requests, pool):
        return [[0.5, math.nan, 1.5]]


def test_expected_quality_and_price_are_those_of_the_policys_estimators():
    price = Price.per_million(1, 2)
    pool = Pool([ModelCard(id=name, price=price) for name in "ab"] + [ModelCard(id="c")])
    trace = Trace(Request.of("x" * 40), pool)
    expected = _expected(Greedy(quality=_Halves(), completion_tokens=100), trace)
    usd = (10 * 1 + 100 * 2) / 1e6
    assert expected["a"] == {"quality": 0.5, "usd": pytest.approx(usd)}
    assert expected["b"]["quality"] is None
    assert expected["c"] == {"quality": 1.0, "usd": None}


def test_every_knob_of_the_body_is_a_header_too_and_the_body_wins(server):
    headers = {
        "x-polyroute-deny": "bracket, echo",
        "x-polyroute-max-usd": "0.5",
        "x-polyroute-trace": "true",
        "x-polyroute-policy": "default",
    }
    refused = server.send("POST", "/v1/chat/completions", HELLO, headers)
    assert refused.status_code == 400, "the fixed policy needs the card that the header denies"
    body = {**HELLO, "polyroute": {"deny": []}}
    said = server.send("POST", "/v1/chat/completions", body, headers).json()
    assert said["model"] == "bracket"
    assert said["polyroute"]["trace"]["request"]["budget"]["usd"] == "0.5"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-polyroute-max-usd", "plenty"),
        ("x-polyroute-max-usd", "-1"),
        ("x-polyroute-trace", "perhaps"),
        ("x-polyroute-max-used", "1"),
        ("x-polyroute-conversation", ""),
    ],
)
def test_a_wrong_header_is_named(server, header, value):
    said = server.send("POST", "/v1/chat/completions", HELLO, {header: value})
    assert said.status_code == 400
    assert said.json()["error"]["param"] == header
