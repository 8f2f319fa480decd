"""Streams: the upstream's chunks, the rounds before them, and errors inside them."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute import Call, ModelCard, Pool
from polyroute.episode import Streamed
from polyroute.gateway.stream import Chunks
from polyroute.protocols import Delta

CREATED = 1_700_000_000
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "extra": {"kept": True}}
HELLO = [{"role": "user", "content": "hello there"}]


def events(server: Any, **body: Any) -> tuple[Any, list[str]]:
    """Return the response and its lines that are not empty."""
    body = {"messages": HELLO, "stream": True, **body}
    response = server.send("POST", "/v1/chat/completions", body)
    return response, [line for line in response.text.split("\n") if line]


def chunks(lines: list[str]) -> list[dict[str, Any]]:
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1] if line[0] != ":"]


def said(parts: list[dict[str, Any]], key: str = "content") -> str:
    deltas = [choice["delta"] for part in parts for choice in part["choices"]]
    return "".join(delta.get(key) or "" for delta in deltas)


def test_the_upstreams_chunks_are_relayed_with_one_id_and_the_cards_name(server: Any) -> None:
    response, lines = events(server, model="maker/echo")
    assert response.headers["content-type"].startswith("text/event-stream")
    parts = chunks(lines)
    assert said(parts) == "hello there "
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    assert {(p["id"], p["model"], p["created"]) for p in parts} == {
        ("chatcmpl-up", "echo", CREATED)
    }
    assert parts[1]["system_fingerprint"] == "fp_up"
    assert [len(p["choices"]) for p in parts] == [1] * len(parts)
    assert [("polyroute" in p) for p in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1]["choices"][0]["finish_reason"] == "stop"
    assert not any("usage" in part for part in parts)
    assert response.headers["x-polyroute-trace-id"] == parts[-1]["polyroute"]["trace_id"]


def test_usage_comes_last_when_it_is_asked_for(server: Any, client: openai.OpenAI) -> None:
    parts = list(
        client.chat.completions.create(
            model="echo", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert parts[-1].choices == []
    assert parts[-1].usage.prompt_tokens == USAGE["prompt_tokens"]
    assert parts[-1].model_extra["polyroute"]["usd"] == "0.000015"
    assert all(part.usage is None for part in parts[:-1])
    assert [p.choices[0].finish_reason for p in parts[:-1]][-1] == "stop"


def test_tool_calls_and_several_choices_stream(server: Any) -> None:
    parts = chunks(events(server, model="tools")[1])
    calls = [c for p in parts for c in p["choices"][0]["delta"].get("tool_calls", ())]
    assert calls[0]["function"]["arguments"] == '{"city":"Lima"}'
    parts = chunks(events(server, model="choices", n=2)[1])
    assert {choice["index"] for part in parts for choice in part["choices"]} == {0, 1}
    ends = [c["index"] for p in parts for c in p["choices"] if c.get("finish_reason")]
    assert ends == [0, 1]


def test_rounds_are_streamed_as_reasoning_before_the_answer(server: Any) -> None:
    parts = chunks(events(server, model="polyroute/rounds")[1])
    lines = said(parts, "reasoning_content").splitlines()
    assert lines[0] == "consulting bracket"
    assert lines[1].startswith("bracket: [1] Hello world ($0.000015, ")
    assert lines[2:4] == ["asking echo: capital of Peru?", "asking down-503: and you?"]
    assert any(line.startswith("down-503: no reply, unavailable") for line in lines[4:])
    assert any(line.startswith("echo: capital of Peru? ($") for line in lines[4:])
    assert said(parts) == "Lima, I am told"
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    assert len({part["id"] for part in parts}) == 1


def test_rounds_before_a_relayed_answer_share_its_stream(server: Any) -> None:
    parts = chunks(events(server, model="polyroute/then-echo")[1])
    assert "asking bracket: a sub-query" in said(parts, "reasoning_content")
    assert said(parts) == "hello there "
    assert len({part["id"] for part in parts}) == 1
    assert parts[-1]["model"] == "echo"


@pytest.mark.parametrize("rounds", ["comments", "off"])
def test_rounds_can_be_comments_or_left_out(serving: Callable[..., Any], rounds: str) -> None:
    lines = events(serving(server={"rounds": rounds}), model="polyroute/rounds")[1]
    comments = [line for line in lines if line.startswith(": ")]
    assert (": asking echo: capital of Peru?" in comments) == (rounds == "comments")
    parts = chunks(lines)
    assert said(parts, "reasoning_content") == ""
    assert said(parts) == "Lima, I am told"


def test_an_accepted_reply_streams_its_tool_calls(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="polyroute/accepts", messages=HELLO) as stream:
        message = stream.get_final_completion().choices[0]
    assert message.finish_reason == "tool_calls"
    assert message.message.tool_calls[0].function.name == "weather"


@pytest.mark.parametrize(
    ("model", "status"),
    [("bad-400", 400), ("limit-429", 429), ("down-503", 502), ("polyroute/broken", 500)],
)
def test_what_fails_before_the_first_event_gets_its_real_status(
    server: Any, model: str, status: int
) -> None:
    response, lines = events(server, model=model)
    assert response.status_code == status
    assert json.loads(lines[0])["error"]["message"]


@pytest.mark.parametrize(
    "model", ["cut", "late-error", "polyroute/then-cut", "polyroute/then-down"]
)
def test_what_fails_inside_a_stream_ends_it_with_an_error(
    server: Any, client: openai.OpenAI, model: str
) -> None:
    response, lines = events(server, model=model)
    assert response.status_code == 200
    last = json.loads(lines[-1].removeprefix("data: "))
    assert last["error"]["code"] == "upstream_unavailable"
    assert last["polyroute"]["trace_id"]
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model=model, messages=HELLO, stream=True))


PLAIN = st.text(
    st.characters(exclude_characters='"\\', exclude_categories=("Cc", "Cs")), min_size=1
)


@given(
    runs=st.lists(st.lists(PLAIN, min_size=1, max_size=4), min_size=1, max_size=4),
    roled=st.booleans(),
    odd=st.booleans(),
    include_usage=st.booleans(),
    always=st.booleans(),
)
def test_chunks_that_come_as_texts_are_written_as_if_each_had_come_whole(
    runs: list[list[str]], roled: bool, odd: bool, include_usage: bool, always: bool
) -> None:
    asked: Any = SimpleNamespace(
        model="small",
        pool=Pool([ModelCard(id="small")]),
        request=SimpleNamespace(id="r"),
        include_usage=include_usage,
    )
    call = Call("small")

    def chunk(text: str, **delta: str) -> dict[str, Any]:
        role = {"role": "assistant"} if always else {}
        delta = {**role, **delta, "content": text}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        like: dict[str, Any] = {"id": "up", "created": 1, "model": "theirs", "choices": [choice]}
        # what JSON's faster writer leaves to the other
        return {**like, "seen": 2**70} if odd else like

    whole, texts = Chunks(asked, "off"), Chunks(asked, "off")
    said = [b"", b""]
    if roled:
        first = Streamed(call, Delta("", chunk("", role="assistant")))
        said = [whole.feed(first), texts.feed(first)]
    for run in runs:
        for text in run:
            said[0] += whole.feed(Streamed(call, Delta(text, chunk(text))))
        like = chunk("another text")
        said[1] += texts.feed(Streamed(call, Delta("".join(run), like, parts=tuple(run))))
    assert said[1] == said[0]
