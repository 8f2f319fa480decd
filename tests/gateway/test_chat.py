"""``POST /v1/chat/completions`` through the official client, unchanged."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from polyroute.records.jsonl import JsonlStore

CREATED = 1_700_000_000
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "extra": {"kept": True}}
HELLO = [{"role": "user", "content": "hello"}]


def test_an_answer_is_relayed_word_for_word_under_the_name_of_who_gave_it(
    client: openai.OpenAI,
) -> None:
    reply = client.chat.completions.create(model="polyroute", messages=HELLO)
    assert reply.choices[0].message.content == "[1] Hello world"
    assert reply.model == "bracket"
    assert reply.id == "chatcmpl-up"
    assert reply.created == CREATED
    assert reply.system_fingerprint == "fp_up"
    assert reply.usage.model_dump(exclude_none=True) == USAGE


def test_the_bill_is_exact_in_the_body_and_in_the_headers(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="polyroute", messages=HELLO)
    report = raw.parse().model_extra["polyroute"]
    price = Decimal(9) / 10**6 + Decimal(3) * 2 / 10**6
    assert Decimal(report["usd"]) == Decimal(raw.headers["x-polyroute-usd"]) == price
    assert report["calls"][0]["model"] == raw.headers["x-polyroute-models"] == "bracket"
    assert report["policy"] == raw.headers["x-polyroute-policy"] == "default"
    assert raw.headers["x-polyroute-rounds"] == "1"
    assert raw.headers["x-polyroute-trace-id"] == report["trace_id"]
    assert "x-polyroute-record" not in raw.headers


def test_a_price_nobody_knows_is_unknown_and_not_zero(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="plain", messages=HELLO)
    assert raw.headers["x-polyroute-usd"] == "unknown"
    assert raw.parse().model_extra["polyroute"]["usd"] is None


def test_what_the_upstream_is_sent_is_what_came(server: Any, client: openai.OpenAI) -> None:
    body = {
        "model": "maker/bracket",
        "messages": [
            {"role": "system", "content": "You are terse."},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function",
             "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "4"},
            {"role": "user", "name": "Ada", "content": [
                {"type": "text", "text": "x" * 2000},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==",
                                                    "detail": "low"}},
            ]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters":
                   {"type": "object", "properties": {"x": {"type": ["string", "null"]}}}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
        "seed": 7,
        "stop": ["\n\n", "END"],
        "n": 2,
        "top_p": 0.25,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"50256": -100},
        "max_completion_tokens": 99,
        "user": "u-1",
        "metadata": {"é": "ü"},
        "chat_template_kwargs": {"enable_thinking": False},
        "unknown_to_us": {"nested": [1, 2.5, None, "…"]},
        "null_too": None,
    }  # fmt: skip
    client.post("/chat/completions", body=body, cast_to=object)
    sent = server.upstream.bodies[-1]
    assert json.dumps(sent, sort_keys=True) == json.dumps(
        {**body, "model": "bracket"}, sort_keys=True
    )


def test_tool_calls_choices_and_logprobs_come_back_untouched(client: openai.OpenAI) -> None:
    called = client.chat.completions.create(model="tools", messages=HELLO).choices[0]
    assert called.finish_reason == "tool_calls"
    assert called.message.content is None
    assert called.message.tool_calls[0].function.arguments == '{"city":"Lima"}'
    several = client.chat.completions.create(model="choices", messages=HELLO, n=3, logprobs=True)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert several.choices[2].logprobs.content[0].logprob == -0.5


def test_a_reply_that_a_policy_accepts_keeps_its_tool_calls(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="polyroute/accepts", messages=HELLO)
    assert reply.choices[0].finish_reason == "tool_calls"
    assert reply.choices[0].message.tool_calls[0].function.name == "weather"
    assert reply.model == "tools"


def test_an_answer_of_several_rounds_sums_its_tokens_and_shows_each_call(
    client: openai.OpenAI,
) -> None:
    reply = client.chat.completions.create(model="polyroute/rounds", messages=HELLO)
    assert reply.choices[0].message.content == "Lima, I am told"
    assert reply.model == "polyroute/rounds"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (18, 6)
    report = reply.model_extra["polyroute"]
    calls = [(c["model"], c["own"], c["failure"]) for c in report["calls"]]
    assert calls == [
        ("bracket", True, None), ("echo", False, None), ("down-503", False, "unavailable"),
    ]  # fmt: skip
    known = [Decimal(c["usd"]) for c in report["calls"]]
    assert Decimal(report["usd"]) == sum(known)
    assert report["own_usage"]["total_tokens"] == 12
    assert report["rounds"] == 1
    assert report["facts"] == {"warning": "one source"}


def test_the_seed_of_the_request_is_recorded_and_one_is_drawn_without(
    server: Any, client: openai.OpenAI
) -> None:
    given = client.chat.completions.create(model="polyroute", messages=HELLO, seed=11)
    assert given.model_extra["polyroute"]["seed"] == 11
    drawn = client.chat.completions.create(model="polyroute", messages=HELLO)
    trace_id = drawn.model_extra["polyroute"]["trace_id"]
    assert "seed" not in server.upstream.bodies[-1]
    record = server.records.get(trace_id)
    assert record.request["seed"] == drawn.model_extra["polyroute"]["seed"]


def test_a_trace_is_recorded_served_and_part_of_the_reply_when_asked(
    client: openai.OpenAI,
) -> None:
    reply = client.chat.completions.create(
        model="polyroute", messages=HELLO, extra_body={"polyroute": {"trace": True}}
    )
    report = reply.model_extra["polyroute"]
    stored = client.get(f"/traces/{report['trace_id']}", cast_to=object)
    assert stored["steps"] == report["trace"]["steps"]
    assert stored["status"] == "answered"
    assert stored["policy"] == {"name": "default"}


def test_a_policy_is_chosen_by_model_or_by_option(client: openai.OpenAI) -> None:
    by_option = client.chat.completions.create(
        model="polyroute", messages=HELLO, extra_body={"polyroute": {"policy": "rounds"}}
    )
    assert by_option.model_extra["polyroute"]["policy"] == "rounds"
    registered = client.chat.completions.create(model="polyroute/cheapest", messages=HELLO)
    assert registered.model_extra["polyroute"]["policy"] == "cheapest"


def test_the_tighter_of_both_budgets_holds(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(
            model="bracket", messages=HELLO, extra_body={"polyroute": {"max_usd": "0.00001"}}
        )
    assert error.value.code == "budget_exceeded"
    reply = client.chat.completions.create(
        model="bracket",
        messages=HELLO,
        extra_body={"polyroute": {"max_rounds": 99, "max_seconds": 9_999, "trace": True}},
    )
    budget = reply.model_extra["polyroute"]["trace"]["request"]["budget"]
    assert (budget["rounds"], budget["seconds"]) == (4, 30)


def test_cards_that_a_request_leaves_out_are_not_asked(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="leave out"):
        client.chat.completions.create(
            model="polyroute", messages=HELLO, extra_body={"polyroute": {"deny": ["bracket"]}}
        )
    with pytest.raises(openai.BadRequestError, match="left out"):
        client.chat.completions.create(
            model="echo", messages=HELLO, extra_body={"polyroute": {"allow": ["bracket"]}}
        )
    with pytest.raises(openai.BadRequestError, match="did you mean 'bracket'"):
        client.chat.completions.create(
            model="polyroute", messages=HELLO, extra_body={"polyroute": {"allow": ["braket"]}}
        )


def test_a_broken_policy_is_replaced_by_the_declared_card_and_said_so(
    serving: Callable[..., Any],
) -> None:
    server = serving(fallback="bracket")
    client = server.client()
    raw = client.chat.completions.with_raw_response.create(model="polyroute/broken", messages=HELLO)
    assert raw.headers["x-polyroute-fallback"] == "bracket"
    assert raw.parse().choices[0].message.content == "[1] Hello world"
    assert "oops" in raw.parse().model_extra["polyroute"]["fallback"]["reason"]
    streamed = list(
        client.chat.completions.create(model="polyroute/broken", messages=HELLO, stream=True)
    )
    assert streamed[-1].model_extra["polyroute"]["fallback"]["model"] == "bracket"


def test_the_fallback_stays_inside_what_the_broken_policy_left(
    serving: Callable[..., Any], tmp_path: Path
) -> None:
    store = JsonlStore(tmp_path / "records.jsonl")
    server = serving(fallback="echo", records=store)
    client = server.client()

    def ask(policy: str, max_usd: str, prompt: str = "hello") -> Any:
        return client.chat.completions.create(
            model=f"polyroute/{policy}",
            messages=[{"role": "user", "content": prompt}],
            max_tokens=3,
            extra_body={"polyroute": {"max_usd": max_usd}},
        )

    report = ask("spends", "0.001").model_extra["polyroute"]
    assert report["usd"] == "0.000030"
    assert [call["model"] for call in report["calls"]] == ["bracket", "echo"]
    records = {record.id: record for record in server.records}
    broken, answered = records[report["fallback"]["trace_id"]], records[report["trace_id"]]
    assert (broken.status, answered.status) == ("failed", "answered")
    assert "oops" in str(broken.error)
    assert answered.policy == {"name": "fixed", "model": "echo"}
    assert Decimal(answered.request["budget"]["usd"]) == Decimal("0.001") - broken.bill.usd

    with pytest.raises(openai.BadRequestError) as error:
        ask("spends", "0.0002", "a question too long for what is left " * 10)
    assert error.value.code == "budget_exceeded"
    with pytest.raises(openai.InternalServerError, match="unknown") as error:
        ask("spends-unknown", "0.001")
    assert error.value.code == "policy_error"


def test_a_broken_policy_without_a_fallback_is_an_error_of_ours(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as error:
        client.chat.completions.create(model="polyroute/broken", messages=HELLO)
    assert error.value.status_code == 500
    assert error.value.code == "policy_error"
    assert error.value.response.headers["x-should-retry"] == "false"


def test_twenty_requests_at_once_each_get_their_own_answer(client: openai.OpenAI) -> None:
    def ask(k: int) -> str | None:
        reply = client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": f"number {k}"}]
        )
        return reply.choices[0].message.content

    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(ask, range(20))) == [f"number {k}" for k in range(20)]
