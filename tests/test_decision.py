import json

from hypothesis import given
from hypothesis import strategies as st

from polyroute.decision import Call, Route, decision_from_json
from polyroute.ledger import Ledger, prompt_bound
from polyroute.pool import ModelCard, Pool, Price
from polyroute.types import Budget, Message, Request

REQUEST = Request(id="q", messages=(Message("system", "Be brief."), Message("user", "Why?")))


def test_a_prefix_is_the_beginning_of_the_candidates_own_turn():
    call = Call("m", "Count.", prefix="1, 2,")
    assert call.messages(REQUEST) == (Message("user", "Count."), Message("assistant", "1, 2,"))
    own = Call("m", prefix="Because")
    assert own.messages(REQUEST) == (*REQUEST.messages, Message("assistant", "Because"))
    assert Call("m").messages(REQUEST) == REQUEST.messages


@given(prefix=st.text(), prompt=st.none() | st.text())
def test_a_route_with_a_prefix_survives_its_json(prefix, prompt):
    route = Route(calls=(Call("m", prompt, {"stop": ["x"]}, prefix),), own=True)
    assert decision_from_json(json.loads(json.dumps(route.to_json()))) == route


def test_the_record_of_a_call_without_a_prefix_is_what_it_was_before_there_were_any():
    (wire,) = Route(calls=(Call("m", "why?"),)).to_json()["calls"]
    assert wire == {"model": "m", "prompt": "why?", "params": {}}


def test_a_reservation_counts_the_prefix():
    pool = Pool([ModelCard(id="m", price=Price.per_million(1, 1), max_output=10)])
    prefix = "word " * 1000
    bound = prompt_bound(Call("m", "Count.", prefix=prefix).messages(REQUEST), {})
    assert bound >= len(prefix)
    ledger = Ledger(Budget(tokens=4000), pool)
    assert ledger.reserve(Call("m", "Count."), REQUEST).tokens < 200
    refused = ledger.reserve(Call("m", "Count.", prefix=prefix), REQUEST)
    assert refused.kind == "budget"
