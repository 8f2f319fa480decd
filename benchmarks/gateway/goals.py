"""What the gateway is to cost at most, and what a run of the benchmark says to that."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from load import Cell, of_a_round

__all__ = ["GOALS", "Goal", "goals"]


def _cpu(cell: Cell) -> float:
    return cell.cpu_us


def _chunk(cell: Cell) -> float:
    return cell.chunk_us


@dataclass(frozen=True, slots=True)
class Goal:
    """One value that is aimed at: of a server, or in relation to another in the same round."""

    what: str
    aim: str
    """As a person reads it, with the prototype's value in brackets."""
    load: str
    server: str
    other: str | None
    value: Callable[[Cell], float]
    holds: Callable[[float], bool]
    of: Callable[[float, float], float] = lambda mine, theirs: mine / theirs
    unit: str = ""

    def row(self, cells: Sequence[Cell]) -> str:
        """Return the row of the table."""
        value = self.value
        mine = [c for c in cells if (c.server, c.load) == (self.server, self.load)]
        found = [value(cell) for cell in mine]
        if self.other is not None:
            theirs = [c for c in cells if (c.server, c.load) == (self.other, self.load)]
            found = of_a_round(mine, theirs, lambda a, b: self.of(value(a), value(b)))
        if not found:
            return f"| {self.what} | {self.aim} | not measured | |"
        middle = statistics.median(found)
        shown = f"{middle:.3g} [{min(found):.3g}, {max(found):.3g}]{self.unit}"
        return f"| {self.what} | {self.aim} | {shown} | {'yes' if self.holds(middle) else 'no'} |"


def _times(mine: float, theirs: float) -> float:
    """How many requests of ours take the CPU of one of theirs."""
    return theirs / mine


def _added(mine: float, theirs: float) -> float:
    return (mine - theirs) / 1e3


_LITELLM, _SGLANG, _TENSORZERO = "litellm 1.106.2", "sglang-router 0.3.2", "tensorzero 2026.6.0"
_PACED, _BURST = "paced stream c=1", "stream c=16"

GOALS = (
    Goal("CPU a request, aiohttp, times the minimum on the same stack", "<= 1.25 [1.06]",
         "c=16", "polyroute", "minimal-aiohttp", _cpu, lambda x: x <= 1.25),
    Goal("the same, over our own client", "<= 2.2 [2.0]",
         "c=16", "polyroute-own", "minimal-own", _cpu, lambda x: x <= 2.2),
    Goal("requests per core, aiohttp, times LiteLLM", ">= 40 [71]",
         "c=16", "polyroute", _LITELLM, _cpu, lambda x: x >= 40, _times),
    Goal("requests per core, own client, times LiteLLM", ">= 100 [195]",
         "c=16", "polyroute-own", _LITELLM, _cpu, lambda x: x >= 100, _times),
    Goal("requests per core, aiohttp, times sglang-router", ">= 0.35 [0.39]",
         "c=16", "polyroute", _SGLANG, _cpu, lambda x: x >= 0.35, _times),
    Goal("requests per core, own client, times sglang-router", ">= 0.9 [1.0]",
         "c=16", "polyroute-own", _SGLANG, _cpu, lambda x: x >= 0.9, _times),
    Goal("requests per core, own client, times TensorZero", ">= 1.2 [1.6]",
         "c=16", "polyroute-own", _TENSORZERO, _cpu, lambda x: x >= 1.2, _times),
    Goal("chunks per core of a paced stream, aiohttp, times LiteLLM", ">= 10 [11]",
         _PACED, "polyroute", _LITELLM, _chunk, lambda x: x >= 10, _times),
    Goal("chunks per core of a paced stream, own client, times LiteLLM", ">= 10 [16]",
         _PACED, "polyroute-own", _LITELLM, _chunk, lambda x: x >= 10, _times),
    Goal("CPU a chunk in a burst, own client, times sglang-router", "<= 0.9 [0.56 to 0.70]",
         _BURST, "polyroute-own", _SGLANG, _chunk, lambda x: x <= 0.9),
    Goal("added to the first chunk at c=1, aiohttp", "<= 1.2 ms [0.93]",
         _PACED, "polyroute", "upstream", lambda c: c.first_p50_us, lambda x: x <= 1.2,
         _added, " ms"),
    Goal("added to the first chunk at c=1, own client", "<= 0.6 ms [0.43]",
         _PACED, "polyroute-own", "upstream", lambda c: c.first_p50_us, lambda x: x <= 0.6,
         _added, " ms"),
    Goal("p50 of a request at c=1, own client, times the minimum's", "<= 2 [1.6]",
         "c=1", "polyroute-own", "minimal-own", lambda c: c.p50_us, lambda x: x <= 2),
    Goal("memory of a worker, aiohttp", "<= 60 MB [31]",
         "c=16", "polyroute", None, lambda c: c.pss_mb, lambda x: x <= 60, unit=" MB"),
    Goal("memory of a worker, own client", "<= 60 MB [23]",
         "c=16", "polyroute-own", None, lambda c: c.pss_mb, lambda x: x <= 60, unit=" MB"),
)  # fmt: skip


def goals(cells: Sequence[Cell]) -> str:
    """Return a Markdown table of every goal, what was measured, and whether it is reached."""
    lines = ["| what | aimed at | measured | reached |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *(goal.row(cells) for goal in GOALS)])
