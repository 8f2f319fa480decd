"""Router models as a run of training leaves them: folders of runs, and artifacts."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from polyroute.backends.transformers import Transformers
from polyroute.backends.transformers.load import load
from polyroute.policies.router_r1 import RouterR1
from polyroute.protocols import Backend
from polyroute.tasks.atlas.small import vocabulary
from polyroute.tasks.atlas.teacher import Teacher
from polyroute.tasks.problem import Problem
from polyroute.train.artifact import Trained
from polyroute.train.r1.rollout import ROUTER
from polyroute.train.r1.served import RouterModel
from polyroute.train.r1.tiny import tiny_model

STAGES = ("before", "sft", "rl")


@dataclass(frozen=True)
class Router:
    """A router model, not loaded yet, and the policy it drives."""

    stage: str
    seed: int
    policy: RouterR1
    """Greedy."""
    key: str
    """Changes when the weights do."""
    load: Callable[[Sequence[Problem]], Backend]
    temperature: float = 1.0
    """At which it was sampled in training."""

    @property
    def sampling(self) -> RouterR1:
        """The policy as it was sampled in training."""
        params = {**(self.policy.router_params or {}), "temperature": self.temperature}
        return replace(self.policy, router_params=params)


def routers(paths: Sequence[Path], stages: Sequence[str] = STAGES) -> list[Router]:
    """Return the routers of run folders and artifacts; without any, an untrained tiny model.

    The path ``cheapest`` is the teacher of that name, in the place of a trained model.
    """
    if not paths:
        policy = scripted(max_turns=6, turn_tokens=48)
        return [Router("before", 0, policy, "tiny-0", lambda _: _tiny(0))]
    return [each for path in paths for each in _routers(path) if each.stage in stages]


def scripted(*, max_turns: int = 8, turn_tokens: int = 96) -> RouterR1:
    """Return the policy that runs of training build."""
    params = {"temperature": 0, "max_tokens": turn_tokens}
    return RouterR1(router=ROUTER.id, layout="brief", max_turns=max_turns, router_params=params)


def _routers(path: Path) -> Iterator[Router]:
    if str(path) == "cheapest":
        yield Router("rl", 0, scripted(), "cheapest", lambda p: Teacher(p, max_turns=8))
        return
    if path.suffix == ".router":
        trained = Trained(str(path))
        assert isinstance(trained.policy, RouterR1), path
        seed = int(trained.manifest.training.get("seed", 0))
        key = trained.manifest.digest[:16]
        yield Router("rl", seed, trained.policy, key, lambda _: RouterModel(str(path)))
        return
    plan = json.loads((path / "plan.json").read_text("utf-8"))
    policy = scripted(max_turns=plan["max_turns"], turn_tokens=plan["turn_tokens"])
    seed, model = plan["seed"], plan["model"]
    start = (lambda _: _tiny(seed)) if model == "tiny" else (lambda _: Transformers(model=model))
    yield Router("before", seed, policy, f"{model}-{seed}", start)
    for stage in STAGES[1:]:
        folder = path / stage
        if folder.is_dir():
            heat = plan["reinforcement"].get("temperature", 1.0)
            yield Router(stage, seed, policy, _digest(folder), _loader(folder, model), heat)


def _loader(folder: Path, model: str) -> Callable[[Sequence[Problem]], Backend]:
    def read(_: Sequence[Problem]) -> Backend:
        if (folder / "adapter_config.json").is_file():
            return Transformers(model=model, adapter=str(folder))
        loaded = load(str(folder))
        return Transformers.of(loaded.model, loaded.tokenizer)

    return read


def _tiny(seed: int) -> Backend:
    loaded = tiny_model(vocabulary(), seed=seed)
    return Transformers.of(loaded.model, loaded.tokenizer)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
