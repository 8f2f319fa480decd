"""What is trained here says the same in llama.cpp."""

import asyncio

import pytest

from polyroute import Call, ModelCard, Pool, Request, Trace
from polyroute.backends.local import Local
from polyroute.backends.local.weights import find
from polyroute.backends.transformers import Transformers
from polyroute.backends.transformers.load import load
from polyroute.errors import ConfigError
from polyroute.train.r1.adapter import export_adapter, with_adapter

torch = pytest.importorskip("torch", reason="needs the train extra")
for _module in ("transformers", "peft", "gguf", "xllamacpp"):
    pytest.importorskip(_module, reason="needs the train and local extras")
try:
    find("smollm2")
except ConfigError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = [
    pytest.mark.slow,
    # peft 0.21 asks transformers 5.23 by the old name
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

POOL = Pool([ModelCard(id="router")])
SKILLS = {"river": "Abex", "metal": "Birk", "animal": "Cald"}
TRAINED = ["Avo", "Bela"]
NEW = ["Edda", "Fero"]
STOP = {"stop": ["</search>"], "max_tokens": 24, "temperature": 0}


def _action(text):
    return text.partition(" of ")[0]


def asked(skill, entity):
    return Request.of(f"Name the {skill} of {entity}.")


async def greedy(backend, requests, **params):
    replies = [
        await backend.complete(Call("router", params={**STOP, **params}), Trace(request, POOL))
        for request in requests
    ]
    await backend.close()
    return [reply.text for reply in replies]


@pytest.fixture(scope="module")
def adapted():
    """SmolLM2 with an adapter that has learned to route three skills, in ten small steps."""
    base = load("smollm2")
    backend = Transformers.of(base.model, base.tokenizer, system="Route.")
    rows = []
    for skill, name in SKILLS.items():
        for entity in TRAINED:
            prompt = backend.prompt_ids(asked(skill, entity).messages)
            said = backend.encode(f"<search>{name}: {skill} of {entity}</search>")
            rows.append((prompt, said))
    model = with_adapter(base.model, rank=8, alpha=16.0)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=4e-3)
    width = max(len(prompt) + len(said) for prompt, said in rows)
    ids = torch.tensor([p + s + [0] * (width - len(p) - len(s)) for p, s in rows])
    labels = torch.tensor(
        [[-100] * len(p) + s + [-100] * (width - len(p) - len(s)) for p, s in rows]
    )
    model.train()
    for _ in range(10):
        loss = model(input_ids=ids, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.3, float(loss.detach())
    return model.eval(), base.tokenizer


def test_the_same_actions_in_llama_cpp_with_the_adapter(adapted, tmp_path):
    model, tokenizer = adapted
    path = tmp_path / "adapter.gguf"
    export_adapter(model, path)
    assert path.stat().st_size <= 5_000_000
    requests = [asked(skill, entity) for skill in SKILLS for entity in (*TRAINED[:1], *NEW)]
    here = asyncio.run(greedy(Transformers.of(model, tokenizer, system="Route."), requests))
    there = Local(gguf="smollm2", context=256, parallel=1, system="Route.", adapter=str(path))
    said = asyncio.run(greedy(there, requests))
    # llama.cpp rounds its activations to 8 bits: a name never trained on may come out misspelled
    # in another way, whom to ask and for what may not
    assert [_action(text) for text in said] == [_action(text) for text in here]
    assert said[:: len(NEW) + 1] == here[:: len(NEW) + 1]
    assert all(
        text.startswith(f"<search>{SKILLS[skill]}: {skill}")
        for text, skill in zip(here, (s for s in SKILLS for _ in range(3)), strict=True)
    )
    without = Local(gguf="smollm2", context=256, parallel=1, system="Route.")
    assert asyncio.run(greedy(without, requests[:1])) != here[:1]


def test_a_rank_of_zero_is_refused():
    with pytest.raises(ConfigError, match="rank is 1 or more"):
        with_adapter(None, rank=0)
