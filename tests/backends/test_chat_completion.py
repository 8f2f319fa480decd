"""What bodies and chunks mean: usage that is believed only where it agrees with itself."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.backends.chat_completion import (
    StreamedCompletion,
    answered_by,
    read_completion,
    read_usage,
    request_body,
)
from polyroute.backends.openai.errors import Secrets, read_retry_after, upstream_error
from polyroute.decision import Call
from polyroute.errors import BackendError
from polyroute.ledger import price
from polyroute.pool import ModelCard, Pool, Price
from polyroute.trace import Reply
from polyroute.types import Message, Request, Usage

COUNT = st.integers(0, 10**9)
ODD = st.sampled_from([None, -1, 1.5, "7", True, [], {}])


@given(COUNT, COUNT, COUNT, COUNT)
def test_usage_is_split_into_disjoint_counts_that_add_up(fresh, cached, said, thought):
    wire = {
        "prompt_tokens": fresh + cached,
        "completion_tokens": said + thought,
        "total_tokens": fresh + cached + said + thought,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    assert read_usage(wire) == Usage(fresh, said, cached, thought)


@given(st.dictionaries(
    st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens"]), COUNT | ODD),
    COUNT | ODD, COUNT | ODD,
)  # fmt: skip
def test_no_count_is_ever_negative_and_none_is_invented(wire, cached, reasoning):
    wire["prompt_tokens_details"] = {"cached_tokens": cached}
    wire["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    usage = read_usage(wire)
    if usage is not None:
        assert min(usage.input, usage.output, usage.cached, usage.reasoning) >= 0
        assert usage.prompt == wire["prompt_tokens"]
        assert usage.completion >= wire["completion_tokens"]


@pytest.mark.parametrize("wire", [
    None, [], {}, {"prompt_tokens": 3},
    {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
    {"prompt_tokens": 3, "completion_tokens": 2,
     "completion_tokens_details": {"reasoning_tokens": 5}},
    {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 90},
    {"prompt_tokens": -3, "completion_tokens": 2},
    {"prompt_tokens": True, "completion_tokens": 2},
])  # fmt: skip
def test_usage_that_contradicts_itself_is_unknown(wire):
    assert read_usage(wire) is None


def test_reasoning_that_comes_on_top_of_the_completion_is_told_by_the_total():
    details = {"completion_tokens_details": {"reasoning_tokens": 300}}
    wire = {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 319, **details}
    assert read_usage(wire) == Usage(input=10, output=9, reasoning=300)


@pytest.mark.parametrize(("said", "asked"), [
    ("x", "x"), (None, "x"), ("", "x"), ("/models/x.gguf", "x"), ("x.gguf", "x"),
    ("C:\\models\\x.gguf", "x"), ("x", "maker/x"), ("/srv/maker/x", "maker/x"), ("x", "x.gguf"),
    ("x-2026-01-31", "x"), ("x-20260131", "x"), ("x-0613", "x"),
])  # fmt: skip
def test_another_spelling_of_the_name_asked_is_the_card_itself(said, asked):
    assert answered_by(said, asked=asked, card=ModelCard(id="card")) is None


@pytest.mark.parametrize(("said", "asked"), [
    ("y", "x"), ("turbo/x", "x"), ("other/x", "maker/x"), ("/models/x-q4.gguf", "x"),
    ("x-5", "x"), ("x-pro", "x"), ("/models/x.gguf", "maker/x"), ("xx", "x"),
])  # fmt: skip
def test_any_other_name_is_kept_and_its_price_unknown(said, asked):
    card = ModelCard(id="card", price=Price.per_million(1, 1))
    kept = answered_by(said, asked=asked, card=card)
    assert kept == said
    reply = Reply(model="card", usage=Usage(1, 1), answered_by=kept)
    assert price(reply, Pool([card])) is None


def test_a_dated_snapshot_is_left_to_the_bill_where_the_bill_knows_the_name():
    assert answered_by("x-0613", asked="x", card=ModelCard(id="x")) == "x-0613"


def test_parameters_go_as_they_came_and_never_say_what_the_call_says():
    odd = {"top_k": 3, "x_vendor": {"a": [1, None, "é\ud800"]}, "stop": ["\n"]}
    params = {**odd, "model": "evil", "messages": [], "stream": True, "stream_options": {"z": 1}}
    request = Request(id="q", messages=(Message("user", "hi"),), params=params)
    body = json.loads(request_body(Call("card"), request, model="x", stream=False))
    assert body == {"model": "x", "messages": [{"role": "user", "content": "hi"}], **odd}
    body = json.loads(request_body(Call("card"), request, model="x", stream=True))
    assert body["stream"] is True
    assert body["stream_options"] == {"z": 1, "include_usage": True}


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object()])
def test_what_json_cannot_express_is_never_sent(value):
    with pytest.raises(BackendError, match="cannot be written as JSON") as caught:
        request_body(Call("c", params={"a": value}), Request.of("hi"), model="x", stream=False)
    assert caught.value.failure_kind == "bad_request"


@pytest.mark.parametrize("body", [
    {}, {"choices": None}, {"choices": []}, {"choices": ["text"]}, {"choices": [{}]},
    {"choices": [{"message": None}]}, {"choices": [{"message": {"content": 7}}]},
])  # fmt: skip
def test_a_body_without_a_message_is_no_completion(body):
    with pytest.raises(BackendError, match="not a completion") as caught:
        read_completion(body)
    assert caught.value.failure_kind == "invalid_reply"
    assert caught.value.billed


def test_content_in_parts_is_read_as_text_and_kept():
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Paris"}]
    completion = read_completion({"choices": [{"message": {"content": parts}}]})
    assert (completion.text, completion.fields) == ("Paris", {"content": parts})


def delta(**fields):
    return {"choices": [{"index": 0, "delta": fields}]}


def test_tool_calls_without_an_index_are_told_apart_by_their_ids():
    streamed = StreamedCompletion()
    for piece in (
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}},
        {"id": "a", "function": {"name": "f", "arguments": "1"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        {"function": {"arguments": "!"}},
    ):
        streamed.add(delta(tool_calls=[piece]))
    assert streamed.completion().fields["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{1"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}!"}},
    ]


def test_only_the_first_choice_is_the_reply():
    streamed = StreamedCompletion()
    second = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}]}
    assert streamed.add(second) == ""
    assert not streamed.finished
    assert streamed.add(delta(content="yes")) == "yes"
    assert streamed.completion().text == "yes"


@pytest.mark.parametrize("chunk", [
    {}, {"choices": 1}, {"choices": [1]}, delta(content=1), delta(tool_calls=[1]),
    {"choices": [{"delta": "x"}]},
])  # fmt: skip
def test_a_chunk_of_another_shape_is_no_completion(chunk):
    with pytest.raises(BackendError, match="not a completion"):
        StreamedCompletion().add(chunk)


@pytest.mark.parametrize(("status", "body", "kind"), [
    (401, '{"error": {"message": "no"}}', "auth"),
    (403, "", "auth"),
    (429, '{"error": "slow down"}', "rate_limit"),
    (400, '{"error": {"message": "x", "code": "context_length_exceeded"}}', "context"),
    (400, '{"message": "maximum context length is 8 tokens", "code": 400}', "context"),
    (400, '{"error": {"message": "no", "type": "exceed_context_size_error"}}', "context"),
    (413, "prompt is too long: 9 > 8", "context"),
    (400, '{"error": {"message": "bad temperature"}}', "bad_request"),
    (404, '{"detail": "Not Found"}', "bad_request"),
    (422, '{"detail": [{"loc": ["body"]}]}', "bad_request"),
    (500, "[[[", "unavailable"), (503, "<html>busy</html>", "unavailable"),
    (529, "", "unavailable"),
])  # fmt: skip
def test_a_status_is_a_kind_of_failure(status, body, kind):
    error = upstream_error(status, body.encode(), retry_after_s=None)
    assert (error.failure_kind, error.status, error.billed) == (kind, status, False)


def test_retry_after_is_seconds_or_a_date():
    assert read_retry_after("0") == 0
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert read_retry_after("Fri, 31 Dec 2399 23:59:59 GMT") > 10**9
    for odd in (None, "", "soon", "nan", "inf", "-1"):
        assert read_retry_after(odd) is None


def test_a_secret_is_hidden_before_the_message_is_cut():
    text = "x" * 495 + "sk-secret"
    assert Secrets(("sk-secret",)).hide(text) == "x" * 495 + "***"
    assert len(Secrets().hide("y" * 9_000)) == 500
    assert "secret" not in repr(Secrets(("sk-secret",)))
