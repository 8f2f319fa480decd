"""The questions of `Atlas`, asked of the pool that ships: small model, calculator and three tables.

The one decision here: nothing is made up. The cards are those of the built-in configuration, the
specialists its tools (their functions, called in this process), and the model the model, so a
router trained here is trained on what it will serve.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar, Literal

from polyroute import registry
from polyroute.config.build import cards_of
from polyroute.config.read import DEFAULT, parse
from polyroute.decision import Call, Failure
from polyroute.errors import ConfigError
from polyroute.pool import Pool
from polyroute.protocols import Backend, Emit
from polyroute.spec import construct
from polyroute.tasks.atlas.real import Question, question
from polyroute.tasks.atlas.specialists import UNKNOWN
from polyroute.tasks.problem import Hop, Problem, Split
from polyroute.trace import Reply, Trace
from polyroute.types import Budget, Message, Request, Usage

__all__ = ["OPENINGS", "AtlasEmbedded", "Embedded"]

OPENINGS: Mapping[Split, Sequence[str]] = {
    "train": (
        *("What is {}?", "What's {}?", "Tell me {}.", "Do you know {}?", "I need {}.", "{}?"),
        *("Could you look up {}?", "Please give me {}.", "I wonder what {} is.", "Find {}."),
    ),
    "val": ("Can you say what {} is?", "Let me know {}.", "My question: what is {}?"),
    "test": ("Which is {}?", "I would like to know {}.", "Please find out {} for me."),
}
"""How a question may be put, where that is free: what is tested is never said in training."""


class Embedded:
    """The backends of the embedded pool, without a process for each tool.

    Parameters
    ----------
    tools : mapping of str to callable
        By card id, what answers a question or returns `None`.
    models : mapping of str to Backend
        By card id. A card that is in neither says "unknown".
    """

    def __init__(
        self, tools: Mapping[str, Callable[[str], str | None]], models: Mapping[str, Backend]
    ) -> None:
        self.tools = dict(tools)
        self.models = dict(models)

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Return the tool's answer, its refusal as a failed reply, or what the model says."""
        if call.model in self.models:
            return await self.models[call.model].complete(call, trace, emit)
        query = call.prompt if call.prompt is not None else trace.request.prompt
        if call.model not in self.tools:
            usage = Usage(input=len(query.split()), output=1)
            return Reply(model=call.model, text=UNKNOWN, usage=usage, finish_reason="stop")
        text = self.tools[call.model](query)
        if text is None:
            message = f"{call.model} says this is not a question of its field: {query!r:.200}"
            return Reply(model=call.model, usage=Usage(), failure=Failure("refusal", message))
        return Reply(model=call.model, text=text, usage=Usage(), finish_reason="stop")

    async def close(self) -> None:
        """Close the models."""
        for model in self.models.values():
            await model.close()


@dataclass(frozen=True, slots=True)
class AtlasEmbedded:
    """Questions of one to four hops, asked of the embedded pool.

    Parameters
    ----------
    hops : tuple of int, default=(1, 2, 3)
        How many hops a question may have, equally likely; 1 to 4.
    model : {"local", "silent"}, default="local"
        Whether the small language model runs (its weights must be there: ``polyroute pool fetch
        smollm2``), or says "unknown" at the price of that, which trains in minutes and not hours.
    worth : tuple of int, default=(5, 10, 20, 50)
        What a right answer may be worth (`Budget.usd_per_quality`), in millionths of a US dollar,
        equally likely. A tool costs 1 or 2 of them.
    alike : float, default=0.0
        How likely all hops of a question may need one skill ("the population of the capital of
        Peru"), 0 to 1; else half of them at most do.
    openings : {"one", "many"}, default="one"
        Whether every question is put as "What is the ...?", or in one of the ways of `OPENINGS`.

    Raises
    ------
    ConfigError
        If `hops` or `worth` has nothing to choose from, a number of hops is not 1 to 4, or `alike`
        is not from 0 to 1.

    Notes
    -----
    Questions and splits are those of `polyroute.tasks.atlas.real.Atlas`, without units, which no
    tool knows. The skill of a hop is the id of the card that knows. All problems share one backend:
    close it once.
    """

    name: ClassVar[str] = "atlas-embedded"

    hops: tuple[int, ...] = (1, 2, 3)
    model: Literal["local", "silent"] = "local"
    worth: tuple[int, ...] = (5, 10, 20, 50)
    alike: float = 0.0
    openings: Literal["one", "many"] = "one"

    def __post_init__(self) -> None:
        if not 0 <= self.alike <= 1:
            raise ConfigError(f"alike is a share, from 0 to 1; got {self.alike!r}")
        if not self.hops or not set(self.hops) <= {1, 2, 3, 4}:
            raise ConfigError(f"hops must be some of 1, 2, 3 and 4, got {self.hops!r}")
        if not self.worth:
            raise ConfigError("worth must have one value or more, got none")

    def problems(self, split: Split, n: int, seed: int) -> Sequence[Problem]:
        """Return the first `n` problems of `split` under `seed`.

        Raises
        ------
        MissingExtraError
            If ``model="local"`` and what runs it is not installed.
        """
        backend = _backend(local=self.model == "local")
        return [self._problem(split, seed, k, backend) for k in range(n)]

    def _problem(self, split: Split, seed: int, k: int, backend: Backend) -> Problem:
        draw = random.Random(f"{self.name}|{split}|{seed}|{k}")
        alike = self.alike > 0 and draw.random() < self.alike
        asked = question(draw, draw.choice(self.hops), split, tools=True, alike=alike)
        if self.openings == "many":
            asked = replace(asked, opening=draw.choice(OPENINGS[split]))
        worth = draw.choice(self.worth) / 1_000_000
        request = Request(
            id=f"{self.name}/{split}/{seed}/{k}",
            messages=(Message("user", asked.text),),
            budget=Budget(rounds=max(4, 2 * len(asked.links)), usd_per_quality=worth),
            seed=draw.getrandbits(31),
        )
        return Problem(
            request=request,
            pool=_pool(),
            backend=backend,
            golds=asked.answers[-1:],
            metric="exact_match",
            kind=f"{len(asked.links)}-hop",
            hops=_hops(asked),
        )


def _hops(asked: Question) -> tuple[Hop, ...]:
    """Return the hops with the tools as skills."""
    tools = [link.relation.tool for link in asked.links]
    return tuple(
        Hop(hop.query, tool, hop.answer) for hop, tool in zip(asked.hops, tools, strict=True)
    )


@cache
def _pool() -> Pool:
    return cards_of(parse(DEFAULT.read_text("utf-8"), name="the built-in configuration")).candidates


@cache
def _backend(*, local: bool) -> Backend:
    settings = parse(DEFAULT.read_text("utf-8"), name="the built-in configuration")
    cards = [(card.id, card.backend) for card in settings.pool if card.kind != "router"]
    tools = {id: registry.load("tools", id) for id, _ in cards if id in registry.names("tools")}
    models = {
        id: construct("backends", spec, where=f"pool.{id}.backend")
        for id, spec in cards
        if id not in tools and local
    }
    return Embedded(tools, models)
