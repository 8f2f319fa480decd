"""Bodies with fields that few clients send: what goes in goes out.

Byte by byte when it is written as clients write it: without spaces, in UTF-8, numbers in their
shortest form, `model` and `messages` first, in a message `role` and `content` first. Written
otherwise, its values are kept.
"""

import json
from typing import Any

import orjson
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
            {"role": "tool", "content": [{"type": "text", "text": ""}], "tool_call_id": "c"},
        ]
    },
    {"messages": USER, "tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
    {"messages": USER, "n": 1, "user": "\"'\\/", "service_tier": "flex", "verbosity": "low"},
    {"messages": USER, "big": 12345678901234567890, "deep": [[[[{"a": [1, 2.5, True]}]]]]},
    {"messages": USER, "provider": {"order": ["a", "b"]}, "transforms": [], "route": "fallback"},
]


@pytest.mark.parametrize("body", BODIES, ids=[str(k) for k in range(len(BODIES))])
def test_what_goes_in_goes_out_byte_by_byte(server: Any, body: dict[str, Any]) -> None:
    sent = orjson.dumps({"model": "bracket", **body})
    said = server.send("POST", "/v1/chat/completions", sent)
    assert said.status_code == 200, said.text
    assert server.upstream.body == sent
    streaming = {"stream": True, "stream_options": {"include_usage": True}}
    sent = orjson.dumps({"model": "bracket", **body, **streaming})
    said = server.send("POST", "/v1/chat/completions", sent)
    assert said.status_code == 200, said.text
    assert server.upstream.body == sent


@pytest.mark.parametrize("body", BODIES, ids=[str(k) for k in range(len(BODIES))])
def test_written_otherwise_it_goes_out_value_by_value(server: Any, body: dict[str, Any]) -> None:
    sent = dict(reversed({"model": "bracket", **body}.items()))
    said = server.send("POST", "/v1/chat/completions", json.dumps(sent, indent=1).encode())
    assert said.status_code == 200, said.text
    assert same(server.upstream.bodies[-1], sent)
    said = server.send("POST", "/v1/chat/completions", {"stream": True, **sent})
    assert said.status_code == 200, said.text
    arrived = dict(server.upstream.bodies[-1])
    assert arrived.pop("stream") is True
    assert arrived.pop("stream_options") == {"include_usage": True}
    assert same(arrived, sent)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON, where `True` is not 1 and 1.0 is not either."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
