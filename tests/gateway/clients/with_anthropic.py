"""The official `anthropic` client, unchanged, at the address that is given."""

import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="a-key", max_retries=0)
hello = [{"role": "user", "content": "hello"}]
reply = client.messages.create(model="polyroute", max_tokens=50, messages=hello)
assert reply.content[0].text == "[1] Hello world", reply
assert reply.stop_reason == "end_turn"
assert (reply.usage.input_tokens, reply.usage.output_tokens) == (9, 3)
assert reply.polyroute["usd"] == "0.000015"

with client.messages.stream(model="polyroute", max_tokens=50, messages=hello) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
assert text.strip() == "[1] Hello world", text
assert final.usage.output_tokens == 3

tool = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
with client.messages.stream(model="tools", max_tokens=50, messages=hello, tools=[tool]) as stream:
    final = stream.get_final_message()
(use,) = [block for block in final.content if block.type == "tool_use"]
assert (use.name, use.input, final.stop_reason) == ("weather", {"city": "Lima"}, "tool_use")
again = client.messages.create(
    model="echo",
    max_tokens=50,
    tools=[tool],
    messages=[
        *hello,
        {"role": "assistant", "content": [use.model_dump(include={"type", "id", "name", "input"})]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "20 C"}],
        },
    ],
)
assert again.content[0].text == "20 C", again

for model, error in (
    ("limit-429", anthropic.RateLimitError),
    ("nobody", anthropic.NotFoundError),
    ("bad-400", anthropic.BadRequestError),
):
    try:
        client.messages.create(model=model, max_tokens=50, messages=hello)
    except error as raised:
        assert raised.body["type"] == "error"  # noqa: PT017
    else:
        raise AssertionError(model)
try:
    with client.messages.stream(model="cut", max_tokens=50, messages=hello) as stream:
        stream.get_final_message()
except anthropic.APIStatusError as raised:
    assert "upstream_unavailable" in str(raised.body)  # noqa: PT017
else:
    raise AssertionError("a stream that is cut is no message")
