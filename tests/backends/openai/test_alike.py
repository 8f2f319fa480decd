"""Chunks that are known without being read, against reading them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from polyroute.backends.openai.alike import Alike
from polyroute.backends.openai.sse import Event

CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "usage": None,
    "choices": [
        {"index": 0, "delta": {"role": "assistant", "content": "one"}, "finish_reason": None}
    ],
}


def with_text(text, **changes):
    choice = CHUNK["choices"][0]
    choice = {**choice, "delta": {**choice["delta"], "content": text}}
    return {**CHUNK, "choices": [choice], **changes}


def learned(chunk, **written):
    alike = Alike()
    alike.learn(json.dumps(chunk, ensure_ascii=False, **written), chunk)
    return alike


@given(text=st.text(), compact=st.booleans())
def test_what_is_known_is_what_reading_says(text, compact):
    written = {"separators": (",", ":")} if compact else {}
    alike = learned(CHUNK, **written)
    said = json.dumps(with_text(text), ensure_ascii=False, **written)
    found = alike.texts_of([Event(said)])
    escapes = json.dumps(text, ensure_ascii=False)[1:-1] != text
    assert found == ([] if escapes or not text else [text])
    assert alike.chunk == CHUNK


@given(st.text(alphabet='{}[]":,\\ acdehnotl0', max_size=60))
def test_nothing_else_passes_for_a_text(middle):
    """Whatever is put in place of the text, what is known is what the JSON says."""
    alike = learned(CHUNK)
    said = json.dumps(with_text("MIDDLE")).replace("MIDDLE", middle)
    for found in alike.texts_of([Event(said)]):
        assert json.loads(said) == with_text(found)


def test_chunks_that_say_more_than_a_text_are_not_learned():
    choice = CHUNK["choices"][0]
    for more in (
        {"usage": {"prompt_tokens": 1}},
        {"choices": []},
        {"choices": [choice, {**choice, "index": 1}]},
        {"choices": [{**choice, "index": 1}]},
        {"choices": [{**choice, "finish_reason": "stop"}]},
        {"choices": [{**choice, "logprobs": {"content": []}, "finish_reason": "length"}]},
        {"choices": [{**choice, "logprobs": {"content": [{"token": "a", "logprob": -1}]}}]},
        {"choices": [{**choice, "delta": {"role": "assistant", "content": None}}]},
        {"choices": [{**choice, "delta": {"reasoning_content": "hm", "content": "one"}}]},
        {"choices": [{**choice, "delta": {"content": None}}]},
        {"choices": [{**choice, "delta": {}}]},
        {"said": {"content": "one"}},
        {"choices": [{**choice, "delta": {"content": 'say "one"'}}]},
    ):
        assert learned({**CHUNK, **more}).chunk is None, more


def test_a_chunk_that_differs_elsewhere_is_read():
    alike = learned(CHUNK)
    for other in ({"id": "chatcmpl-2"}, {"obfuscation": "x"}, {"usage": {"total_tokens": 1}}):
        assert not alike.texts_of([Event(json.dumps(with_text("two", **other)))])
    assert not alike.texts_of([Event("[DONE]"), Event("")])
    assert not alike.texts_of([Event("")])


def test_only_the_first_chunks_are_looked_at():
    alike = Alike()
    for _ in range(20):
        alike.learn(json.dumps({**CHUNK, "choices": []}), {**CHUNK, "choices": []})
    alike.learn(json.dumps(CHUNK), CHUNK)
    assert alike.chunk is None
