"""``POST /v1/completions`` through the official client, unchanged."""

from typing import Any

import openai
import pytest


@pytest.mark.parametrize("prompt", ["one two", ["one two"]])
def test_a_prompt_is_answered_as_a_message_of_the_user(
    client: openai.OpenAI, server: Any, prompt: Any
) -> None:
    reply = client.completions.create(
        model="echo", prompt=prompt, max_tokens=7, stop=["!"], logprobs=2, echo=True
    )
    assert server.upstream.bodies[-1] == {
        "model": "echo",
        "messages": [{"role": "user", "content": "one two"}],
        "max_tokens": 7,
        "stop": ["!"],
        "logprobs": True,
        "top_logprobs": 2,
    }
    choice = reply.choices[0]
    assert choice.text == "one twoone two"
    assert choice.logprobs.tokens == ["[1]"]
    assert choice.logprobs.token_logprobs == [-0.5]
    assert choice.logprobs.text_offset == [len("one two")]
    assert reply.polyroute["usd"] == "0.000015"


@pytest.mark.parametrize("model", ["echo", "polyroute/rounds"])
def test_a_stream_says_the_same_as_the_whole(client: openai.OpenAI, model: str) -> None:
    whole = client.completions.create(model=model, prompt="one two")
    chunks = list(client.completions.create(model=model, prompt="one two", stream=True))
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text.strip() == whole.choices[0].text
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert reasons[-1] == whole.choices[0].finish_reason == "stop"
    assert chunks[-1].polyroute["usd"] == whole.polyroute["usd"]


def test_several_choices_keep_their_numbers(client: openai.OpenAI) -> None:
    options = {"include_usage": True}
    stream = client.completions.create(
        model="choices", prompt="x", n=2, stream=True, stream_options=options
    )
    chunks = list(stream)
    texts = {0: "", 1: ""}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert {text.strip() for text in texts.values()} == {"[1] Hello world"}
    assert chunks[-1].usage.total_tokens == 12


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"messages": []}, "messages"),
        ({"logprobs": 9}, "logprobs"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_its_name(
    server: Any, wrong: dict[str, Any], param: str
) -> None:
    said = server.send("POST", "/v1/completions", {"model": "echo", "prompt": "x", **wrong})
    assert (said.status_code, said.json()["error"]["param"]) == (400, param)
