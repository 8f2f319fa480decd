"""Bodies with fields that few clients send: what goes in goes out, value by value."""

import json
from typing import Any

import pytest

USER = [{"role": "user", "content": "hello"}]
BODIES: list[dict[str, Any]] = [
    {"messages": USER, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1},
    {"messages": USER, "chat_template_kwargs": {"enable_thinking": False, "ä": ["ß", None]}},
    {"messages": USER, "guided_json": {"type": "object", "properties": {"a": {"$ref": "#/b"}}}},
    {"messages": USER, "logit_bias": {"50256": -100}, "logprobs": None, "stop": ["\n", "é\u2028"]},
    {"messages": USER, "temperature": 1e-7, "top_p": 0.1 + 0.2, "seed": 2**31 - 1},
    {"messages": USER, "metadata": {"k": ""}, "store": False, "prediction": {"type": "content"}},
    {"messages": USER, "response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
    {"messages": USER, "web_search_options": {}, "modalities": ["text"], "audio": None},
    {"messages": [{"role": "user", "content": "x", "name": "ann", "cache_control": {"ttl": "1h"}}]},
    {"messages": [{"role": "developer", "content": [{"type": "text", "text": "\x00\U0001f600"}]}]},
    {
        "messages": [
            *USER,
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a":  1.0}'},
                        "extra_content": {"google": {"thought_signature": "AA=="}},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": ""}]},
        ]
    },
    {"messages": USER, "tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
    {"messages": USER, "n": 1, "user": "\"'\\/", "service_tier": "flex", "verbosity": "low"},
    {"messages": USER, "big": 12345678901234567890, "deep": [[[[{"a": [1, 2.5, True]}]]]]},
    {"messages": USER, "provider": {"order": ["a", "b"]}, "transforms": [], "route": "fallback"},
]


@pytest.mark.parametrize("body", BODIES, ids=[str(k) for k in range(len(BODIES))])
def test_what_goes_in_goes_out_value_by_value(server: Any, body: dict[str, Any]) -> None:
    said = server.send("POST", "/v1/chat/completions", {"model": "bracket", **body})
    assert said.status_code == 200, said.text
    sent = {"model": "bracket", **body}
    arrived = server.upstream.bodies[-1]
    assert json.dumps(arrived, sort_keys=True) == json.dumps(sent, sort_keys=True)
    streamed = server.send(
        "POST", "/v1/chat/completions", {"model": "bracket", "stream": True, **body}
    )
    assert streamed.status_code == 200
    arrived = dict(server.upstream.bodies[-1])
    assert arrived.pop("stream") is True
    assert arrived.pop("stream_options") == {"include_usage": True}
    assert json.dumps(arrived, sort_keys=True) == json.dumps(sent, sort_keys=True)
