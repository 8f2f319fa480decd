"""The worlds that the programs of this folder share, and scripted routers to compare with."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import get_args

import yaml

from polyroute.decision import Call
from polyroute.errors import ConfigError
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import Emit
from polyroute.rewards.outcome import outcome
from polyroute.spec import construct, normal
from polyroute.tasks.atlas.embedded import AtlasEmbedded
from polyroute.tasks.atlas.market import Variant
from polyroute.tasks.atlas.progress import Ask, progress
from polyroute.tasks.atlas.specialists import ANYTHING, UNKNOWN
from polyroute.tasks.atlas.teacher import Tags
from polyroute.tasks.problem import Problem, Split, Task
from polyroute.trace import Reply, Trace
from polyroute.train.r1.cache import Cached
from polyroute.train.r1.monitor import place_of
from polyroute.types import Usage

Choose = Callable[[Problem, Ask], str | None]
"""Whom to ask for a hop; `None`: nobody is left, so say that it is not known."""

VARIANTS: tuple[Variant, ...] = get_args(Variant)

SEED = 777
"""Of the questions that are judged; no run of training draws its own by it."""


def task(world: str, variant: Variant = "plain") -> Task:
    """Return the task that `world` spells as a run of training does, in one of its variants."""
    spec = normal(yaml.safe_load(world), where="--world")
    varied = spec if variant == "plain" else {**spec, "variant": variant}
    return construct("tasks", varied, where="--world")


def variants_of(world: str) -> list[Variant]:
    """Return the variants of this world; where roles are fixed, nobody has a new name."""
    found: list[Variant] = []
    for variant in VARIANTS:
        with suppress(ConfigError):
            task(world, variant)
            found.append(variant)
    return found


def world_of(runs: Sequence[Path], named: str | None) -> str:
    """Return the world that was named, or else the one that the first run was trained in."""
    plans = [run / "plan.json" for run in runs if (run / "plan.json").is_file()]
    if named is not None or not plans:
        return named or "atlas-small"
    return str(json.loads(plans[0].read_text("utf-8"))["task"])


def label(world: str) -> str:
    """Return what a section is called: the task's name and its parameters.

    >>> label("{name: atlas-small, roles: fixed}")
    'atlas-small roles=fixed'
    """
    spec = normal(yaml.safe_load(world), where="--world")
    return " ".join([spec.pop("name"), *(f"{key}={value}" for key, value in spec.items())])


def problems(world: str, split: Split, n: int, variant: Variant = "plain") -> list[Problem]:
    """Return `n` problems; every candidate is asked the same thing only once.

    Of ``train`` those in which everybody is there, as in the other splits: what is fitted or chosen
    on them is fitted to what it is judged on.
    """
    found = task(world, variant).problems(split, n if split != "train" else 2 * n, SEED)
    most = max(len(problem.pool) for problem in found)
    found = [problem for problem in found if len(problem.pool) == most][:n]
    if task(world).name != AtlasEmbedded.name:
        return list(found)
    shared = Cached(found[0].backend)
    return [replace(problem, backend=shared) for problem in found]


def only(problem: Problem, id: str) -> Problem:
    """Return the problem with one candidate in its pool."""
    return replace(problem, pool=problem.pool.only([id]))


def places(problem: Problem) -> dict[str, str]:
    """Return who each kind of candidate is: by place in the order of prices, or by name.

    Names are dealt anew in every episode of `atlas-small` and `atlas`. There the reliable
    generalist is mostly the dearest, the unreliable one the cheapest, and specialists are between.
    """
    pool = problem.pool
    if not any(ANYTHING in card.skills for card in pool):
        return {card.id: card.id for card in pool}
    by_price = sorted(pool, key=lambda card: -usd_of(card))
    generalists = sorted(
        (card for card in pool if ANYTHING in card.skills), key=lambda card: -card.skills[ANYTHING]
    )
    named = {generalists[0].id: "reliable generalist", generalists[-1].id: "unreliable generalist"}
    rest = [card for card in by_price if card.id not in named]
    kinds = ("dearest specialist", "middle specialist", "cheapest specialist")
    spread = [rest[0], rest[len(rest) // 2], rest[-1]] if len(rest) > 2 else rest
    found = {name: id for id, name in named.items()}
    return found | {kind: card.id for kind, card in zip(kinds, spread, strict=False)}


def kind_of(problem: Problem, id: str) -> str:
    """Return what the share of calls is counted by: the place in the order of prices, or the name.

    The same as the collapse monitor counts, but for pools whose names stay.
    """
    if len(problem.pool) == 1:
        return "the only one"
    if not any(ANYTHING in card.skills for card in problem.pool):
        return id
    return place_of(problem.pool.card(id), problem.pool)


def usd_of(card: ModelCard) -> Decimal:
    """Return what a short call costs, in US dollars."""
    return Decimal(0) if card.price is None else card.price.cost(Usage(20, 10))


class HopByHop:
    """A router model that splits the question as it is made, and asks whom `choose` says.

    Parameters
    ----------
    problems : sequence of Problem
        Found again by the id of their requests.
    choose : callable
        From the problem and what is to be asked to a candidate's id.
    """

    def __init__(self, problems: Sequence[Problem], choose: Choose) -> None:
        self.problems = {problem.request.id: problem for problem in problems}
        self.choose = choose

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Write the next turn."""
        problem = self.problems[trace.request.id]
        now, tags = progress(problem, trace), Tags()
        chosen = (
            None if now.ask is None or trace.left.rounds == 0 else self.choose(problem, now.ask)
        )
        if now.ask is None:
            text = tags.answer("done", now.answers[-1])
        elif chosen is None:
            text = tags.answer(UNKNOWN, UNKNOWN)
        else:
            text = tags.search(now.ask.hop.skill, chosen, now.ask.query)
        return Reply(model=call.model, text=text, usage=Usage(), finish_reason="stop")

    async def close(self) -> None:
        """Do nothing."""


def one(kind: str) -> Choose:
    """Return the choice of the same kind of candidate for every hop, asked once."""

    def choose(problem: Problem, ask: Ask) -> str | None:
        id = places(problem).get(kind)
        return None if id is None or id in ask.tried else id

    return choose


def cheapest_first(problem: Problem, ask: Ask) -> str | None:
    """Ask in the order of prices until somebody knows: a cascade on every hop."""
    left = [card for card in problem.pool if card.id not in ask.tried]
    return min(left, key=usd_of).id if left else None


async def replies(problem: Problem, query: str | None) -> dict[str, str | None]:
    """Return what each candidate says to `query` (the question itself when `None`)."""

    async def ask(id: str) -> tuple[str, str | None]:
        pool = Pool(problem.pool)
        reply = await problem.backend.complete(Call(id, query), Trace(problem.request, pool))
        return id, reply.text if reply.ok else None

    return dict(await _each([ask(id) for id in problem.pool.ids]))


async def _each(waiting: list[Awaitable[tuple[str, str | None]]]) -> list[tuple[str, str | None]]:
    return [await each for each in waiting]


def hindsight(problem: Problem, *, hops: bool) -> tuple[float, float]:
    """Return quality and US dollars of the best that knowing every reply could do.

    With `hops` the cheapest right candidate is asked for every hop, otherwise the cheapest that
    answers the whole question; and nobody, when that costs more than it is worth.
    """
    queries: list[tuple[str | None, tuple[str, ...]]] = [(None, problem.golds)]
    if hops:
        before = ("", *(hop.answer for hop in problem.hops))
        queries = [
            (hop.query.format(earlier), (hop.answer,))
            for hop, earlier in zip(problem.hops, before, strict=False)
        ]
    usd = Decimal(0)
    for query, golds in queries:
        said = asyncio.run(replies(problem, query))
        right = [id for id, text in said.items() if outcome(text, golds, problem.metric) == 1]
        if not right:
            return 0.0, 0.0
        usd += min(usd_of(problem.pool.card(id)) for id in right)
    worth = problem.request.budget.usd_per_quality
    return (1.0, float(usd)) if worth is None or float(usd) < worth else (0.0, 0.0)
