"""Play questions, keep what came of each, and say it with intervals."""

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from msgspec import structs
from worlds import kind_of

from polyroute.backends.by_card import ByCard
from polyroute.episode import run_episode
from polyroute.evaluate.bootstrap import Interval, mean_interval, paired_interval
from polyroute.policies.router_r1 import RouterR1
from polyroute.pool import Pool
from polyroute.protocols import Backend, Policy
from polyroute.rewards.outcome import outcome
from polyroute.tasks.problem import Problem
from polyroute.trace import Trace
from polyroute.train.r1.rollout import ROUTER, malformed

CELLS = Path("build/router_r1")
"""Where finished arms are kept; one whose router or questions changed is played again."""


_AT_ONCE = 64


@dataclass
class Played:
    """What came of each question; lists of the same length."""

    reward: list[float] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)
    usd: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    formed: list[float] = field(default_factory=list)
    """1 where every turn of the router's own was well-formed."""
    asked: list[dict[str, int]] = field(default_factory=list)
    """How often each kind of candidate was asked."""
    trail: list[list[list[str]]] = field(default_factory=list)
    """Every call to a candidate: who, what, and the reply."""

    def add(self, problem: Problem, trace: Trace, policy: Policy) -> None:
        """Take note of a finished episode."""
        right = outcome(trace.answer, problem.golds, problem.metric)
        usd = float(trace.bill.usd)
        own = isinstance(policy, RouterR1)
        broken = None
        if isinstance(policy, RouterR1):
            last = trace.steps[-1].decision
            fell_back = "fallback" in getattr(last, "fields", {})
            broken = malformed(policy)(trace) or (
                "no answer of its own" if trace.answer is None or fell_back else None
            )
        self.reward.append(-1.0 if own and broken else right - cost(problem, usd))
        self.quality.append(right)
        self.usd.append(usd)
        self.calls.append(len(trace.good_replies))
        self.formed.append(float(not broken))
        made = [
            [call.model, call.prompt or problem.request.prompt, reply.text]
            for call, reply in zip(trace.calls, trace.replies, strict=True)
            if call.model in problem.pool.ids and (reply.ok or reply.failure.kind != "budget")
        ]
        self.asked.append(dict(Counter(kind_of(problem, id) for id, *_ in made)))
        self.trail.append(made)

    @property
    def top(self) -> tuple[str, float]:
        """Who is asked most, and the share of the calls."""
        counts: Counter[str] = Counter()
        for each in self.asked:
            counts.update(each)
        if not counts:
            return "nobody", 0.0
        name, count = counts.most_common(1)[0]
        return name, count / counts.total()


def cost(problem: Problem, usd: float) -> float:
    """Return the cost term of the reward: min(1, C / W)."""
    worth = problem.request.budget.usd_per_quality
    return 0.0 if worth is None or usd == 0 else min(1.0, usd / worth)


@dataclass
class Arm:
    """One way to answer the questions."""

    name: str
    policy: Callable[[Problem], Policy]
    problems: Sequence[Problem]
    router: Callable[[Sequence[Problem]], Backend] | None = None
    """Makes the backend of the router model for these problems, where the policy has one."""
    key: str = ""
    """What tells two routers apart."""

    def play(self) -> Played:
        """Play what is not kept yet, question by question."""
        named = f"{self.name}|{self.key}"
        path = CELLS / f"{hashlib.sha256(named.encode()).hexdigest()[:24]}.json"
        kept = json.loads(path.read_text("utf-8"))["played"] if path.is_file() else {}
        keys = [_key(problem) for problem in self.problems]
        new = [k for k, key in enumerate(keys) if key not in kept]
        if new:
            start = time.process_time()
            found = asyncio.run(self._play([self.problems[k] for k in new]))
            columns = asdict(found)
            for place, k in enumerate(new):
                kept[keys[k]] = {name: values[place] for name, values in columns.items()}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"arm": named, "played": kept}) + "\n", "utf-8")
            self._say(found, time.process_time() - start)
        rows = [kept[key] for key in keys]
        return Played(**{each.name: [row[each.name] for row in rows] for each in fields(Played)})

    def _say(self, found: Played, seconds: float) -> None:
        top = found.top
        print(
            f"{self.name}: reward {np.mean(found.reward):.3f}, quality "
            f"{np.mean(found.quality):.3f}, ${np.mean(found.usd):.3g}, {top[0]} {top[1]:.0%} "
            f"({len(found.reward)} questions, {seconds:.0f} CPU-s)",
            flush=True,
        )

    async def _play(self, problems: Sequence[Problem]) -> Played:
        router = None if self.router is None else self.router(problems)
        policies = [self.policy(problem) for problem in problems]
        playing = [_episode(p, pi, router) for p, pi in zip(problems, policies, strict=True)]
        # side by side as far as a model decodes at once; many more make every one slower
        traces = [
            trace
            for first in range(0, len(playing), _AT_ONCE)
            for trace in await asyncio.gather(*playing[first : first + _AT_ONCE])
        ]
        found = Played()
        for problem, policy, trace in zip(problems, policies, traces, strict=True):
            found.add(problem, trace, policy)
        if router is not None:
            await router.close()
        return found


def _key(problem: Problem) -> str:
    """Return what tells a question from another: itself, whom one may ask, what it is worth."""
    cards = json.dumps([card.to_json() for card in problem.pool], sort_keys=True)
    said = [problem.request.id, problem.request.prompt, problem.request.budget.usd_per_quality]
    return hashlib.sha256(f"{said}{cards}".encode()).hexdigest()[:16]


async def _episode(problem: Problem, policy: Policy, router: Backend | None) -> Trace:
    backends = dict.fromkeys(problem.pool.ids, problem.backend)
    if router is None:
        return await run_episode(policy, ByCard(backends), problem.request, problem.pool)
    backend = ByCard({**backends, ROUTER.id: router})
    return await run_episode(policy, backend, problem.request, Pool([*problem.pool, ROUTER]))


def mean_of(seeds: Sequence[Played]) -> Played:
    """Return the mean over seeds, question by question."""
    lists = {
        name: np.mean([getattr(each, name) for each in seeds], axis=0).tolist()
        for name in ("reward", "quality", "usd", "calls", "formed")
    }
    asked = [
        dict(sum(map(Counter, each), Counter()))
        for each in zip(*(seed.asked for seed in seeds), strict=True)
    ]
    return Played(**lists, asked=asked)


def with_worth(problem: Problem, usd: float) -> Problem:
    """Return the problem with another willingness to pay."""
    budget = structs.replace(problem.request.budget, usd_per_quality=usd)
    return replace(problem, request=structs.replace(problem.request, budget=budget))


def cell(values: Sequence[float], digits: int = 3, scale: float = 1.0) -> str:
    """Return a mean and its 95 % interval over questions."""
    if not len(values):
        return "–"
    return shown(mean_interval(np.asarray(values) * scale), digits)


def difference(values: Sequence[float], others: Sequence[float], scale: float = 1.0) -> Interval:
    """Return the paired difference with its 95 % interval over questions."""
    return paired_interval(np.asarray(values) * scale, np.asarray(others) * scale)


def shown(found: Interval, digits: int = 3, *, signed: bool = False) -> str:
    """Return an estimate and its interval as text."""
    sign = "+" if signed else ""
    return (
        f"{found.estimate:{sign}.{digits}f} "
        f"[{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]"
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, its first column to the left."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def write_section(page: Path | None, name: str, program: str, text: str) -> None:
    """Print a section, and put it between its marks on the page.

    Raises
    ------
    ValueError
        If the page has no such marks.
    """
    print(text)
    if page is None:
        return
    begin, end = f"<!-- {name}: written by {program} -->", f"<!-- end of {name} -->"
    whole = page.read_text("utf-8")
    if begin not in whole or end not in whole:
        raise ValueError(f"{page} lacks the marks {begin!r} and {end!r}")
    before, _, rest = whole.partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")
