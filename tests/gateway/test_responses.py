"""``POST /v1/responses`` through the official client, unchanged."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from polyroute.records.jsonl import JsonlStore

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
CUSTOM = {
    "type": "custom",
    "name": "sql",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
}


def test_an_answer_is_a_message_with_its_usage_and_the_report(client: openai.OpenAI) -> None:
    reply = client.responses.create(model="polyroute", input="hello")
    assert reply.output_text == "[1] Hello world"
    assert reply.status == "completed"
    assert reply.model == "bracket"
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (9, 3)
    assert reply.usage.total_tokens == 12
    assert reply.polyroute["usd"] == "0.000015"
    assert reply.id == f"resp_{reply.polyroute['trace_id']}"


def test_what_is_asked_goes_to_the_candidate_in_its_own_words(
    client: openai.OpenAI, server: Any
) -> None:
    reply = client.responses.create(
        model="tools",
        instructions="Be brief.",
        input=[
            {"role": "system", "content": "Use metres."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "where?"},
                    {
                        "type": "input_image",
                        "image_url": "data:image/png;base64,AA",
                        "detail": "low",
                    },
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [],
             "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"role": "assistant", "type": "message", "id": "m", "status": "completed",
             "content": [{"type": "output_text", "text": "I look", "annotations": []}]},
            {"type": "function_call", "call_id": "c1", "name": "weather",
             "arguments": '{"city": "Lima"}', "id": "fc_1", "status": "completed"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "sql", "input": "SELECT 1"},
            {"type": "function_call_output", "call_id": "c1", "output": "20 C"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "1"},
        ],
        tools=[WEATHER, CUSTOM],
        tool_choice={"type": "function", "name": "weather"},
        max_output_tokens=77,
        temperature=0.5,
        reasoning={"effort": "low"},
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "a", "schema": {}}},
        metadata={"a": "b"},
        parallel_tool_calls=False,
        extra_body={"top_k": 3},
    )  # fmt: skip
    function = {key: value for key, value in WEATHER.items() if key != "type"}
    grammar = {"syntax": "lark", "definition": "start: /.+/"}
    assert server.upstream.bodies[-1] == {
        "model": "tools",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "system", "content": [{"type": "text", "text": "Use metres."}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "where?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64,AA", "detail": "low"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": "I look",
                "reasoning_content": "hm",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Lima"}'},
                    },
                    {"id": "c2", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "20 C"},
            {"role": "tool", "tool_call_id": "c2", "content": "1"},
        ],
        "tools": [
            {"type": "function", "function": function},
            {
                "type": "custom",
                "custom": {"name": "sql", "format": {"type": "grammar", "grammar": grammar}},
            },
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "max_completion_tokens": 77,
        "temperature": 0.5,
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
        "parallel_tool_calls": False,
        "top_k": 3,
    }
    (call,) = reply.output
    assert (call.type, call.call_id, call.name) == ("function_call", "call_1", "weather")
    assert call.arguments == '{"city":"Lima"}'
    assert reply.metadata == {"a": "b"}
    assert reply.tools[0].name == "weather"


@pytest.mark.parametrize("model", ["echo", "tools", "polyroute/rounds", "polyroute/accepts"])
def test_a_stream_says_the_same_as_the_whole_and_in_order(
    client: openai.OpenAI, model: str
) -> None:
    whole = client.responses.create(model=model, input="one two")
    events = list(client.responses.create(model=model, input="one two", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:3]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert events[-2].type == "response.output_item.done"
    assert events[-1].type == "response.completed"
    streamed = events[-1].response
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == streamed.output_text
    assert streamed.output_text.strip() == whole.output_text.strip()
    arguments = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    calls = [item.arguments for item in streamed.output if item.type == "function_call"]
    assert "".join(arguments) == "".join(calls)
    assert calls == [item.arguments for item in whole.output if item.type == "function_call"]
    if model != "polyroute/rounds":
        assert streamed.usage == whole.usage
    assert streamed.polyroute["usd"] == whole.polyroute["usd"]


def test_the_clients_own_accumulator_takes_the_stream(client: openai.OpenAI) -> None:
    with client.responses.stream(model="tools", input="hello") as stream:
        final = stream.get_final_response()
    assert final.output[0].name == "weather"


def test_a_stream_that_breaks_ends_in_a_failed_response(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="cut", input="hello", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "upstream_unavailable"
    assert "Hello" in events[-1].response.output[0].content[0].text


def test_what_fails_before_the_first_piece_has_its_status(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="limit-429", input="hello", stream=True)


def test_a_response_is_gone_on_with_from_its_record(client: openai.OpenAI, server: Any) -> None:
    first = client.responses.create(model="echo", instructions="Be brief.", input="one")
    client.responses.create(model="echo", previous_response_id=first.id, input="two")
    assert server.upstream.bodies[-1]["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "two"},
    ]
    called = client.responses.create(model="tools", input="weather?")
    output = {"type": "function_call_output", "call_id": "call_1", "output": "20 C"}
    client.responses.create(model="echo", previous_response_id=called.id, input=[output])
    sent = server.upstream.bodies[-1]["messages"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == "call_1"


def test_without_full_records_nothing_is_stored_and_it_is_said(serving: Any) -> None:
    client = serving(records=None).client()
    assert client.responses.create(model="echo", input="one").store is False
    for wrong in ({"store": True}, {"previous_response_id": "resp_x"}):
        with pytest.raises(openai.APIStatusError) as raised:
            client.responses.create(model="echo", input="one", **wrong)
        assert raised.value.body["param"] == next(iter(wrong))


def test_a_record_without_texts_cannot_be_gone_on_with(serving: Any, tmp_path: Path) -> None:
    server = serving(records=JsonlStore(tmp_path / "records.jsonl"))
    client = server.client()
    assert client.responses.create(model="echo", input="one", store=True).store is True
    with pytest.raises(openai.NotFoundError, match="resp_nothing"):
        client.responses.create(model="echo", input="one", previous_response_id="resp_nothing")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"max_tool_calls": 1}, "max_tool_calls"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].arguments"),
        ({"input": [{"type": "reasoning", "encrypted_content": "x"}]},
         "input[0].encrypted_content"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stream_options": {"include_usage": True}}, "stream_options.include_usage"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_refused_by_its_name(
    server: Any, wrong: dict[str, Any], param: str
) -> None:
    said = server.send("POST", "/v1/responses", {"model": "echo", "input": "one", **wrong})
    assert said.status_code == 400, said.text
    assert said.json()["error"]["param"] == param


def test_an_answer_that_was_cut_by_the_limit_is_incomplete() -> None:
    from polyroute.gateway.shapes.responses.answer import ended

    assert ended("length")["incomplete_details"] == {"reason": "max_output_tokens"}
    assert json.dumps(ended("stop")) == '{"status": "completed"}'
