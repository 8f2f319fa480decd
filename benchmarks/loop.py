"""What the loop costs: episodes per second, and the ratio to awaiting the backend directly.

The two are timed in turn, round by round, so that the ratio holds on a machine whose speed drifts;
medians over the rounds, with the range. CPU seconds of this process, not wall clock.

    python benchmarks/loop.py [--episodes 2000] [--rounds 7]
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from msgspec.structs import replace

from polyroute import (
    Answer,
    Call,
    Method,
    ModelCard,
    Pool,
    Price,
    Request,
    Route,
    Trace,
    run_episode,
)
from polyroute.backends.scripted import Scripted
from polyroute.records.jsonl import JsonlStore
from polyroute.records.record import Record
from polyroute.records.sqlite import SqliteStore

POOL = Pool(
    [
        ModelCard(id="a", price=Price.per_million("0.1", "0.4")),
        ModelCard(id="b", price=Price.per_million(2, 8)),
    ]
)
REQUEST = Request.of("What is the population of the capital of Peru?")
BACKEND = Scripted(lambda model, prompt: "About ten million people live in Lima.")


@dataclass(frozen=True, slots=True)
class Rounds:
    """Ask `width` candidates in each of `depth` rounds, then answer."""

    method: ClassVar[Method] = Method(when="multi-stage", what=(), how="heuristic")

    depth: int
    width: int

    async def decide(self, trace: Trace) -> Route | Answer:
        """Return the next route, or the end."""
        if self.depth == 1:
            return Route(calls=(Call("a"),), final=True)
        if len(trace.steps) == self.depth:
            return Answer(text=trace.replies[-1].text)
        return Route(calls=tuple(Call(card.id) for card in POOL[: self.width]))


async def directly(policy: Rounds) -> None:
    """Await the backend as often as the policy would, with nothing around it."""
    trace = Trace(REQUEST, POOL)
    for _ in range(policy.depth):
        calls = [Call(card.id) for card in POOL[: policy.width]]
        if len(calls) == 1:
            await BACKEND.complete(calls[0], trace)
        else:
            await asyncio.gather(*(BACKEND.complete(call, trace) for call in calls))


async def cpu_seconds(work: Callable[[int], Awaitable[object]], episodes: int) -> float:
    """CPU seconds per piece of work."""
    start = time.process_time()
    for k in range(episodes):
        await work(k)
    return (time.process_time() - start) / episodes


async def measure(policy: Rounds, *, episodes: int, rounds: int, folder: Path) -> list[str]:
    """Return the rows of the table for one shape of episode."""
    stores = {
        "off": None,
        "sqlite": SqliteStore(folder / f"{policy.depth}.sqlite"),
        "jsonl": JsonlStore(folder / f"{policy.depth}.jsonl"),
    }
    times: dict[str, list[float]] = {name: [] for name in ("direct", *stores)}
    for turn in range(rounds):
        times["direct"].append(await cpu_seconds(lambda _: directly(policy), episodes))
        for name, store in stores.items():

            async def episode(k: int, store=store, turn=turn) -> None:  # noqa: ANN001
                request = replace(REQUEST, id=f"{turn}-{k}")
                trace = await run_episode(policy, BACKEND, request, POOL)
                if store is not None:
                    store.append(Record.of(trace, policy={"name": "rounds"}))

            times[name].append(await cpu_seconds(episode, episodes))
    rows = []
    for name in stores:
        per_s = [1 / t for t in times[name]]
        ratios = [t / d for t, d in zip(times[name], times["direct"], strict=True)]
        rows.append(
            f"| {policy.depth} | {policy.width} | {name} | {statistics.median(per_s):,.0f} "
            f"| {statistics.median(times[name]) * 1e6:,.0f} "
            f"| {statistics.median(ratios):.1f} [{min(ratios):.1f}, {max(ratios):.1f}] |"
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print("| rounds | calls a round | records | episodes/s | CPU µs an episode | × direct |")
    print("| ---: | ---: | --- | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for policy in (Rounds(1, 1), Rounds(4, 2)):
            rows = asyncio.run(
                measure(policy, episodes=args.episodes, rounds=args.rounds, folder=Path(folder))
            )
            print("\n".join(rows))


if __name__ == "__main__":
    main()
