"""An artifact for machines without torch says what the one of the training says."""

import json
import subprocess
import sys

import pytest

from polyroute.backends.local.weights import find
from polyroute.backends.transformers.load import load
from polyroute.errors import ConfigError
from polyroute.policies.router_r1 import RouterR1
from polyroute.pool import Pool
from polyroute.train.artifact import Fitted, save
from polyroute.train.r1.adapter import with_adapter
from polyroute.train.r1.exported import exported
from polyroute.train.r1.rollout import ROUTER
from polyroute.train.r1.served import ADAPTER, prompt_digest

for _module in ("torch", "transformers", "peft", "gguf", "xllamacpp"):
    pytest.importorskip(_module, reason="needs the train and local extras")
try:
    find("smollm2")
except ConfigError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

SPEC = {
    "router": "router",
    "layout": "brief",
    "max_turns": 1,
    "router_params": {"temperature": 0, "max_tokens": 16},
}
TURNS = """
import asyncio, json, sys
artifact, without = sys.argv[1], sys.argv[2:]
for name in without:
    sys.modules[name] = None
from polyroute import Budget, ModelCard, Pool, Price, Request, run_episode
from polyroute.backends.by_card import ByCard
from polyroute.backends.scripted import Scripted
from polyroute.train.artifact import Trained
from polyroute.train.r1.rollout import ROUTER
from polyroute.train.r1.served import RouterModel


async def play():
    router = RouterModel(artifact)
    geo = ModelCard(id="geo", skills={"maps": 1.0}, price=Price())
    backend = ByCard({"geo": Scripted(lambda model, prompt: "Lima"), "router": router})
    request = Request.of("capital of Peru?", budget=Budget(rounds=2, usd_per_quality=2e-5))
    trace = await run_episode(Trained(artifact), backend, request, Pool([geo, ROUTER]))
    await router.close()
    return [reply.text for reply in trace.replies if reply.model == "router"]


print(json.dumps(asyncio.run(play())))
"""


def turns(artifact, *without):
    """Return what the router model of `artifact` writes in a process that lacks some packages."""
    command = [sys.executable, "-c", TURNS, str(artifact), *without]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """SmolLM2 with a small adapter whose two halves are random, so that it changes what is said."""
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("adapter")
    model = with_adapter(load("smollm2").model, rank=2, alpha=2.0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.003 * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(folder)
    policy = RouterR1(**SPEC)
    fitted = Fitted(
        policy=policy,
        spec={"name": "router_r1", **SPEC},
        pool=Pool([ROUTER]),
        training={"base_model": "smollm2", "prompt": prompt_digest(policy)},
        model={f.name: f.read_bytes() for f in folder.iterdir() if f.suffix != ".md"},
    )
    save(folder / "big.router", fitted, created_at="2026-01-01")
    return folder / "big.router"


def test_without_torch_it_writes_the_same_turns(artifact, tmp_path):
    light = tmp_path / "light.router"
    manifest = save(light, exported(str(artifact), fallback="geo"), created_at="2026-01-01")
    assert set(manifest.files) == {f"model-{ADAPTER}"}
    assert manifest.policy["fallback"] == "geo"
    said = turns(light, "torch", "transformers", "peft", "gguf")
    assert said == turns(artifact)
    assert len(said) == 2


def test_what_is_no_adapter_is_refused(artifact, tmp_path):
    light = tmp_path / "light.router"
    save(light, exported(str(artifact)), created_at="2026-01-01")
    with pytest.raises(ConfigError, match="has no adapter for llama"):
        exported(str(light))
