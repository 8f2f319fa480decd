import hashlib
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from polyroute.decision import Answer, Call, Failure, Route
from polyroute.errors import RecordError
from polyroute.pool import ModelCard, Pool, Price
from polyroute.records.canonical import canonical, parse
from polyroute.records.content import conceal_text
from polyroute.records.record import Draft, Record
from polyroute.trace import Reply, Step, Trace
from polyroute.types import Budget, Message, Request, Usage

# ---- random traces -------------------------------------------------------------------------

texts = st.text(max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
seconds = st.floats(0, 1e6)
counts = st.integers(0, 10**9)
dollars = st.decimals(min_value=0, allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
kinds = st.sampled_from(["timeout", "budget", "cancelled", "rate_limit", "refusal"])
failures = st.builds(Failure, kinds, texts, st.none() | st.integers(100, 599), st.none() | seconds)
usages = st.builds(Usage, counts, counts, counts, counts)
prices = st.builds(
    Price,
    input=dollars, output=dollars, cached=st.none() | dollars, reasoning=st.none() | dollars,
    call=dollars,
)  # fmt: skip
cards = st.builds(
    ModelCard,
    id=st.text(min_size=1, max_size=6),
    kind=st.sampled_from(["model", "agent", "tool"]),
    description=texts,
    price=st.none() | prices,
    context=st.none() | counts,
    max_output=st.none() | counts,
    modalities=st.frozensets(st.sampled_from(["text", "image", "audio", "file"])),
    skills=st.dictionaries(texts, numbers, max_size=2),
    latency_s=st.none() | seconds,
)
pools = st.lists(cards, min_size=1, max_size=3, unique_by=lambda card: card.id).map(Pool)
parts = st.lists(st.dictionaries(texts, values, max_size=2), max_size=2).map(tuple)
other_fields = st.dictionaries(texts.filter(lambda k: k not in ("role", "content")), values)
messages = st.builds(Message, texts, st.none() | texts | parts, other_fields)
budgets = st.builds(
    Budget,
    usd=st.none() | dollars, seconds=st.none() | seconds, rounds=st.integers(1, 9),
    tokens=st.none() | counts, usd_per_quality=st.none() | seconds,
)  # fmt: skip
replies = st.builds(
    Reply,
    model=texts, text=texts, usage=st.none() | usages, usd=st.none() | dollars, seconds=seconds,
    first_token_s=st.none() | seconds, failure=st.none() | failures,
    finish_reason=st.none() | texts, answered_by=st.none() | texts, instance=st.none() | texts,
    attempts=st.integers(1, 9),
    logprobs=st.none() | st.lists(numbers | st.just(-math.inf), max_size=3).map(tuple),
    similarity=st.none() | st.floats(0, 1), fields=objects,
)  # fmt: skip
routes = st.builds(
    Route,
    calls=st.lists(st.builds(Call, texts, st.none() | texts, objects), max_size=2).map(tuple),
    final=st.booleans(), own=st.booleans(), reason=texts, propensity=st.none() | st.floats(0, 1),
)  # fmt: skip
answers = st.builds(Answer, text=texts, reason=texts, failure=st.none() | failures, fields=objects)
steps = st.builds(Step, routes | answers, st.lists(replies, max_size=2).map(tuple), seconds)


@st.composite
def traces(draw):
    request = Request(
        id=draw(texts), messages=tuple(draw(st.lists(messages, max_size=2))),
        budget=draw(budgets), seed=draw(st.integers()), params=draw(objects),
    )  # fmt: skip
    return Trace(request, draw(pools), tuple(draw(st.lists(steps, max_size=2))))


# ---- claims --------------------------------------------------------------------------------


@settings(max_examples=35, deadline=None)
@given(traces())
def test_a_trace_survives_the_journey_through_text_to_the_last_digit(trace):
    sealed = Draft(Record.of(trace, policy=None)).seal(1, None)
    back = Record.from_line(sealed.line)
    assert back.intact
    assert back.line() == sealed.line
    again = back.trace()
    assert again == trace
    # equality of decimals is not enough: 1.0 == 1.00
    assert [str(r.usd) for r in again.replies] == [str(r.usd) for r in trace.replies]
    assert again.pool.digest == trace.pool.digest == back.pool["digest"]


@settings(max_examples=50, deadline=None)
@given(st.recursive(scalars | st.text(st.characters(categories=["Cs", "Ll"])), st.lists))
def test_the_text_of_any_value_is_utf8_and_a_fixed_point(value):
    text = canonical(value)
    assert canonical(parse(text)) == text
    assert canonical(json.loads(text.decode())) == text


@given(
    st.floats()
    | st.floats(1e-12, 1e-3)
    | st.decimals(-1, 1, places=9).map(float)
    | st.integers(-(2**70), 2**70)
    | st.dictionaries(st.text(max_size=4), st.text(max_size=8) | st.none() | st.booleans())
)
def test_the_text_is_the_one_that_the_standard_library_writes(value):
    def written():
        return json.dumps(
            {"b": [value], "a": -0.5},
            sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False,
        )  # fmt: skip

    if isinstance(value, float) and not math.isfinite(value):
        with pytest.raises(RecordError):
            canonical({"b": [value], "a": -0.5})
    else:
        assert canonical({"b": [value], "a": -0.5}).decode() == written()


def test_a_lone_surrogate_and_odd_characters_survive():
    odd = "\ud800 \udfff\x00\x7f\u2028\ufeff\U0001f600 e\u0301"
    trace = Trace(Request.of(odd, id=odd), Pool([ModelCard(id="a")]))
    line = Draft(Record.of(trace, policy={"name": odd})).seal(1, None).line
    assert Record.from_line(line).trace() == trace
    assert b"\n" not in line


def test_the_hash_is_that_of_sorted_compact_json_without_the_hash(record_of):
    line = Draft(record_of("q")).seal(7, "ab" * 32).line
    wire = json.loads(line)
    stated = wire.pop("hash")
    text = json.dumps(wire, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert stated == hashlib.sha256(text.encode()).hexdigest()
    assert (wire["number"], wire["previous"], wire["schema"]) == (7, "ab" * 32, 1)


def test_the_bill_is_a_string_and_counts_what_nobody_knows(trace_of):
    trace = trace_of("q")
    unknown = Step(Route(calls=(Call("b"),)), (Reply(model="b", usage=None),))
    wire = Record.of(replace(trace, steps=(unknown, *trace.steps)), policy=None).to_json()
    assert wire["bill"] == {"usd": "7E-7", "unknown": 1}
    assert wire["usage"] == {"input": 3, "output": 2, "cached": 0, "reasoning": 0}


def test_the_status_is_read_off_the_trace(trace_of):
    trace = trace_of("q")
    failed = replace(trace, steps=(*trace.steps[:1], Step(trace.give_up())))
    cut = Reply(model="a", failure=Failure("cancelled", "cut"), usage=None)
    cancelled = replace(trace, steps=(Step(Route(calls=(Call("a"),)), (cut,)),))
    found = [Record.of(t, policy=None).status for t in (trace, failed, cancelled)]
    assert found == ["answered", "failed", "cancelled"]
    assert Record.of(trace, policy=None, status="cancelled", error="x").status == "cancelled"


def test_times_are_utc_with_microseconds():
    moment = datetime(2026, 1, 2, 1, 0, tzinfo=timezone(timedelta(hours=2)))
    trace = Trace(Request.of("x"), Pool([ModelCard(id="a")]))
    record = Record.of(trace, policy=None, created_at=moment)
    assert record.created_at == "2026-01-01T23:00:00.000000Z"
    before = datetime.now(UTC)
    made = Draft(Record.of(trace, policy=None)).record.created_at
    assert before <= datetime.fromisoformat(made) <= datetime.now(UTC)
    with pytest.raises(RecordError, match="time zone"):
        Record.of(trace, policy=None, created_at=datetime(2026, 1, 2))


SECRET = "a secret of mine"


def secretive():
    message = Message("user", SECRET, {"name": SECRET, "tool_calls": [{"f": SECRET}]})
    image = Message("user", ({"type": "text", "text": SECRET},))
    params = {"stop": [SECRET], "temperature": 0.5, "user": SECRET}
    request = Request(id="q", messages=(message, image), params=params)
    failure = Failure("backend", f"echo: {SECRET}")
    reply = Reply(
        model="a", text=SECRET, usage=Usage(5, 6), usd=Decimal("1.50"), fields={"refusal": SECRET}
    )
    call = Call("a", SECRET, {"max_tokens": 7, "stop": SECRET})
    route = Route(calls=(call,), reason=SECRET)
    answer = Answer(text=SECRET, reason=SECRET, fields={"sigma": 0.5, "quote": SECRET})
    failed = Answer(failure=failure)
    trace = Trace(request, Pool([ModelCard(id="a")]))
    return replace(
        trace,
        steps=(Step(route, (reply, replace(reply, failure=failure))), Step(failed), Step(answer)),
    )


@pytest.mark.parametrize("content", ["hash", "none"])
def test_a_record_without_texts_holds_none_of_them_and_still_adds_up(content):
    trace = secretive()
    record = Record.of(trace, policy={"name": "x"}, content=content, error=SECRET)
    line = Draft(record).seal(1, None).line
    assert SECRET.encode() not in line
    back = Record.from_line(line)
    assert (back.bill, back.usage) == (trace.bill, trace.usage)
    call = back.steps[0]["decision"]["calls"][0]
    assert (call["model"], call["params"]["max_tokens"]) == ("a", 7)
    assert back.request["params"]["temperature"] == 0.5
    assert back.steps[2]["decision"]["fields"]["sigma"] == 0.5
    with pytest.raises(RecordError, match="content: full"):
        back.trace()


def test_a_hashed_text_can_be_proved():
    record = Record.of(secretive(), policy=None, content="hash")
    expected = f"sha256:{hashlib.sha256(SECRET.encode()).hexdigest()}"
    assert record.request["messages"][0]["content"] == expected
    assert record.steps[0]["replies"][0]["text"] == expected
    assert conceal_text("\ud800", "hash").startswith("sha256:")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"\xff{}", "not UTF-8 at byte 0"),
        (b"{", "not JSON"),
        (b"[NaN]", "NaN is not a JSON number"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a record"),
        (b'{"schema":2}', "this version of polyroute reads schema 1"),
        (b'{"schema":1}', "is missing or unknown"),
    ],
)
def test_what_is_no_record_says_why(text, why):
    with pytest.raises(RecordError, match=why):
        Record.from_line(text)


def test_a_value_of_the_wrong_type_is_no_record(record_of):
    wire = json.loads(Draft(record_of("q")).seal(1, None).line)
    for key, value in {"number": "1", "id": 3, "bill": {}, "usage": {"x": 1}, "steps": 4}.items():
        with pytest.raises(RecordError, match="not a record"):
            Record.from_json({**wire, key: value})


def test_nan_is_refused_with_the_id_of_the_record(trace_of):
    trace = trace_of("q-7").with_step(Step(Answer(fields={"score": math.nan})))
    with pytest.raises(RecordError, match="'q-7' cannot be written as JSON"):
        Draft(Record.of(trace, policy=None))


def test_a_record_of_no_trace_says_so(record_of):
    record = replace(record_of("q"), request={"messages": 3})
    with pytest.raises(RecordError, match="describes no trace"):
        record.trace()
