"""A model written as GGUF says in llama.cpp what it says here."""

import asyncio

import pytest

from polyroute import Call, ModelCard, Pool, Request, Trace
from polyroute.backends.local import Local
from polyroute.backends.local.weights import find
from polyroute.backends.transformers import Transformers, dequantised
from polyroute.backends.transformers.load import load
from polyroute.errors import ConfigError
from polyroute.train.r1.gguf_file import export_gguf, layer_name
from polyroute.train.r1.tiny import tiny_model

pytest.importorskip("torch", reason="needs the train extra")
for _module in ("transformers", "gguf", "xllamacpp"):
    pytest.importorskip(_module, reason="needs the train and local extras")
try:
    find("smollm2")
except ConfigError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.slow

POOL = Pool([ModelCard(id="router")])


async def greedy(backend, requests):
    params = {"max_tokens": 12, "temperature": 0}
    replies = [
        await backend.complete(Call("router", params=params), Trace(request, POOL))
        for request in requests
    ]
    await backend.close()
    return [reply.text for reply in replies]


def test_the_exported_file_says_what_the_model_says(tmp_path):
    base = load("smollm2")
    path = tmp_path / "model.gguf"
    export_gguf(base.model, base.tokenizer, path, kind="f16")
    requests = [
        Request.of("What is the capital of France?"),
        Request.of("Count: 1, 2, 3,"),
        Request.of("Add 1234 and $56.7"),
    ]
    here = asyncio.run(greedy(Transformers.of(base.model, base.tokenizer), requests))
    there = asyncio.run(greedy(Local(gguf=str(path), context=256, parallel=1), requests))
    assert there == here


def test_texts_are_as_many_tokens_in_llama_cpp():
    local = Local(gguf="smollm2", context=64, parallel=1)
    tokenizer = load(str(dequantised("smollm2"))).tokenizer
    texts = [
        "1234 $5",
        "in 1984, 20% of",
        "a\n\nb  c",
        "don't — naïve 😀",
        "<search>geo: 17</search>\n",
    ]
    found = [local.count_tokens(text) for text in texts]
    asyncio.run(local.close())
    assert found == [len(tokenizer(text)["input_ids"]) for text in texts]


def test_what_a_file_cannot_express_is_refused(tmp_path):
    tiny = tiny_model(["a", "b"], hidden=32, layers=1)
    with pytest.raises(ConfigError, match="no tokenizer of type 'WordLevel'"):
        export_gguf(tiny.model, tiny.tokenizer, tmp_path / "x.gguf")
    assert layer_name("model.layers.0.self_attn.q_norm.weight") is None
