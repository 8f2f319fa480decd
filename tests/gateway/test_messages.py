"""``POST /v1/messages``: blocks in, blocks out. The official client's turn is in test_clients."""

import json
from typing import Any

import pytest

HELLO = {"model": "polyroute", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}


def events_of(text: str) -> list[dict[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            name, data = lines
            event = json.loads(data.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            found.append(event)
    return found


def accumulated(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the blocks together, as a client does."""
    blocks: list[dict[str, Any]] = []
    open_block = None
    for event in events:
        if event["type"] == "content_block_start":
            assert open_block is None
            assert event["index"] == len(blocks)
            open_block = event["index"]
            blocks.append({**event["content_block"], "json": ""})
        elif event["type"] == "content_block_delta":
            assert event["index"] == open_block
            delta = event["delta"]
            block = blocks[-1]
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            if delta["type"] == "input_json_delta":
                block["json"] += delta["partial_json"]
        elif event["type"] == "content_block_stop":
            open_block = None
    assert open_block is None
    for block in blocks:
        text = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(text)
    return blocks


def test_an_answer_is_a_block_with_its_usage_and_the_report(server: Any) -> None:
    said = server.send("POST", "/v1/messages", HELLO)
    message = said.json()
    assert message["content"] == [{"type": "text", "text": "[1] Hello world", "citations": None}]
    assert (message["type"], message["role"], message["model"]) == (
        "message",
        "assistant",
        "bracket",
    )
    assert message["stop_reason"] == "end_turn"
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (9, 3)
    assert message["polyroute"]["usd"] == "0.000015" == said.headers["x-polyroute-usd"]


def test_what_is_asked_goes_to_the_candidate_in_its_own_words(server: Any) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    cached = {"type": "ephemeral"}
    body = {
        "model": "tools",
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": cached}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AA=="},
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look"},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Köln"}},
                    {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "20 C"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "t2",
                        "is_error": True,
                        "content": [{"type": "text", "text": "no city"}],
                    },
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
        "tools": [
            {"name": "weather", "description": "Weather.", "input_schema": schema},
            {"type": "custom", "name": "b", "input_schema": schema, "cache_control": cached},
        ],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "stop_sequences": ["\n\n"],
        "temperature": 0.5,
        "top_k": 3,
        "metadata": {"user_id": "u1"},
        "thinking": {"type": "disabled"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": schema}},
    }
    message = server.send("POST", "/v1/messages", body).json()
    assert server.upstream.bodies[-1] == {
        "model": "tools",
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "Be brief.", "cache_control": cached}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                    {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": "I look",
                "tool_calls": [
                    {
                        "id": "t1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Köln"}'},
                    },
                    {
                        "id": "t2",
                        "type": "function",
                        "function": {"name": "weather", "arguments": "{}"},
                    },
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "20 C"},
            {
                "role": "tool",
                "tool_call_id": "t2",
                "content": "The tool reported an error:\nno city",
            },
            {"role": "user", "content": "go on"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "Weather.", "parameters": schema},
            },
            {
                "type": "function",
                "function": {"name": "b", "parameters": schema},
                "cache_control": cached,
            },
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "stop": ["\n\n"],
        "temperature": 0.5,
        "top_k": 3,
        "user": "u1",
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        },
        "max_completion_tokens": 50,
    }
    assert message["content"] == [
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Lima"}}
    ]
    assert message["stop_reason"] == "tool_use"


@pytest.mark.parametrize("model", ["bracket", "tools", "polyroute/rounds", "polyroute/accepts"])
def test_a_stream_says_the_same_as_the_whole_and_in_order(server: Any, model: str) -> None:
    whole = server.send("POST", "/v1/messages", {**HELLO, "model": model}).json()
    said = server.send("POST", "/v1/messages", {**HELLO, "model": model, "stream": True})
    assert said.headers["content-type"].startswith("text/event-stream")
    events = events_of(said.text)
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    blocks = accumulated(events)
    for block in blocks:
        block["text"] = block["text"].strip() if "text" in block else None
    for block in whole["content"]:
        block["text"] = block["text"].strip() if "text" in block else None
    assert [b for b in blocks if b["text"] != ""] == whole["content"]
    last = events[-2]
    assert last["delta"]["stop_reason"] == whole["stop_reason"]
    assert last["usage"] == whole["usage"]
    assert last["polyroute"]["usd"] == whole["polyroute"]["usd"]


def test_a_stream_that_breaks_ends_in_an_error_event(server: Any) -> None:
    said = server.send("POST", "/v1/messages", {**HELLO, "model": "cut", "stream": True})
    last = events_of(said.text)[-1]
    assert last["type"] == "error"
    assert last["error"]["code"] == "upstream_unavailable"


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("limit-429", 429, "rate_limit_error"),
        ("bad-400", 400, "invalid_request_error"),
        ("down-503", 502, "api_error"),
        ("nobody", 404, "not_found_error"),
    ],
)
def test_errors_have_this_forms_shape(server: Any, model: str, status: int, kind: str) -> None:
    for stream in (False, True):
        said = server.send("POST", "/v1/messages", {**HELLO, "model": model, "stream": stream})
        assert said.status_code == status
        assert said.json()["type"] == "error"
        assert said.json()["error"]["type"] == kind


def _user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
         "messages[1].role"),
        (_user({"type": "document", "source": {}}), "messages[0].content[0].type"),
        (_user({"type": "image", "source": {"type": "file", "file_id": "f"}}),
         "messages[0].content[0].source.type"),
        (_user({"type": "text", "text": "x", "citations": [1]}),
         "messages[0].content[0].citations"),
        (_user({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]}),
         "messages[0].content[0].content[0].type"),
        (_user({"type": "tool_result"}), "messages[0].content[0].tool_use_id"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "a", "input_schema": {}, "defer_loading": True}]},
         "tools[0].defer_loading"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"service_tier": "standard_only"}, "service_tier"),
        ({"metadata": {"team": "x"}}, "metadata.team"),
        ({"max_completion_tokens": 3}, "max_completion_tokens"),
        ({"polyroute": {"max_used": 3}}, "polyroute.max_used"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_refused_by_its_name(
    server: Any, wrong: dict[str, Any], param: str
) -> None:
    said = server.send("POST", "/v1/messages", {**HELLO, **wrong})
    assert said.status_code == 400, said.text
    assert said.json()["error"]["param"] == param


def test_max_tokens_cannot_be_left_out(server: Any) -> None:
    body = {key: value for key, value in HELLO.items() if key != "max_tokens"}
    assert server.send("POST", "/v1/messages", body).json()["error"]["param"] == "max_tokens"
