"""A small language model is shown the models of a table and names one for every question.

SmolLM2, untrained, is asked as `polyroute.policies.prompted` asks it. Every model's card says how
often it was right on the train split, over all and by data set. A grammar leaves it no text but a
name, since it hardly ever writes one by itself (*any text*). Judged are the first questions of
val in a random order, of those every model answered and that are short enough for a small context;
what the chosen model scored stands in the table. The choices are kept: a run that was stopped goes
on, and a longer one asks only what is new.

    OMP_NUM_THREADS=1 python benchmarks/prompted.py docs/benchmarks/routers.md
"""

import argparse
import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from routers import Table
from routers_report import points, ten_lines

from polyroute import Call, ModelCard, Pool, Reply, Request, Route, Trace, Usage, run_episode
from polyroute.backends.local import Local
from polyroute.evaluate.bootstrap import mean_interval, paired_interval
from polyroute.policies.prompted import Prompted
from polyroute.protocols import Backend, Emit, FloatArray
from polyroute.types import Json

BEGIN, END = "<!-- prompted: written by benchmarks/prompted.py -->", "<!-- end of prompted -->"
ROUTER = "smollm2"
LONGEST = 1_500
"""Characters of a question; longer ones are left out."""
KINDS = 4
"""Data sets that a card speaks of, the most frequent of train."""


class Choosing:
    """Asks the router model; the one it chose need not answer, since the table has its score."""

    def __init__(self, router: Backend) -> None:
        self._router = router

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Return the router model's reply, or a dash."""
        if call.model == ROUTER:
            return await self._router.complete(call, trace, emit)
        return Reply(model=call.model, text="-", usage=Usage())

    async def close(self) -> None:
        """Close the router model."""
        await self._router.close()


def cards(table: Table) -> list[ModelCard]:
    """Return cards whose skills are what the models scored on train."""
    datasets = np.array([kind.partition("/")[0] for kind in table.kinds])
    frequent = [name for name, _ in Counter(datasets.tolist()).most_common(KINDS)]
    rows = {"all": np.ones(len(datasets), bool)}
    if len(frequent) > 1:
        rows |= {name: datasets == name for name in frequent}
    mean_M = {name: np.nanmean(table.target_NM[row], axis=0) for name, row in rows.items()}
    return [
        ModelCard(id=card.id, skills={name: round(float(m[j]), 2) for name, m in mean_M.items()})
        for j, card in enumerate(table.pool)
    ]


async def choose(table: Table, numbers: list[int], stored: Path, *, free: bool) -> dict[str, Any]:
    """Return whom the router model names for some questions of val; ask what is not stored yet."""
    found: dict[str, Any] = {"numbers": [], "picks": [], "read": 0, "seconds": 0.0}
    if stored.is_file():
        found = json.loads(stored.read_text("utf-8"))
    pool = Pool([*cards(table), ModelCard(id=ROUTER, kind="router")])
    backend = Choosing(Local(gguf="smollm2", context=4_096, parallel=1))
    params: dict[str, Json] = {"max_tokens": 32, "temperature": 0}
    if not free:
        params["grammar"] = "root ::= " + " | ".join(json.dumps(card.id) for card in table.pool)
    policy = Prompted(router=ROUTER, router_params=params)
    for n in numbers[len(found["numbers"]) :]:
        began = time.process_time()
        trace = await run_episode(policy, backend, Request.of(table.val[n].prompt), pool)
        last = trace.steps[-1].decision
        if not isinstance(last, Route):
            raise SystemExit(f"no model was chosen: {trace.failure}")
        found["numbers"].append(n)
        found["picks"].append(pool.index_of(last.calls[0].model))
        found["read"] += "named it" in last.reason
        found["seconds"] += time.process_time() - began
        stored.write_text(json.dumps(found), "utf-8")
    await backend.close()
    return found


def row(name: str, table: Table, found: dict[str, Any], ridge_NM: FloatArray) -> str:
    """Return a line of the document."""
    numbers, picks = np.array(found["numbers"]), np.array(found["picks"])
    judged_NM = table.judged_NM[numbers]
    own_N, single_N = judged_NM[np.arange(len(picks)), picks], judged_NM[:, table.best]
    ridge_N = judged_NM[np.arange(len(picks)), ridge_NM[numbers].argmax(axis=1)]
    most, often = Counter(picks.tolist()).most_common(1)[0]
    quality = mean_interval(own_N)
    return (
        f"| {name} | {len(picks)} of {len(table.val)} | {100 * quality.estimate:.1f} "
        f"[{100 * quality.low:.1f}, {100 * quality.high:.1f}] "
        f"| {points(paired_interval(own_N, single_N))} "
        f"| {points(paired_interval(own_N, ridge_N))} "
        f"| {points(paired_interval(own_N, judged_NM.mean(axis=1)))} "
        f"| {found['read']} | `{table.pool[most].id}` {100 * often / len(picks):.0f} % "
        f"| {found['seconds'] / len(picks):.1f} |"
    )


def main() -> None:
    """Write the rows into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("document", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    parser.add_argument("--tables", nargs="+", default=["llmrouter_mix", "evouna"])
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--free", type=int, default=12, help="of them asked without the grammar")
    parser.add_argument("--out", type=Path, default=Path("build/prompted"), help="finished tables")
    parser.add_argument("--cells", type=Path, default=Path("build/routers"), help="of routers.py")
    options = parser.parse_args()
    lines = [
        "| table | questions | quality | less best single | less the ten lines "
        "| less a model at random | names read | most asked | CPU s a choice |",
        "| --- | ---: | --- | --- | --- | --- | ---: | --- | ---: |",
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.tables:
        table = Table(options.data / name)
        ridge_NM = ten_lines(options.cells / name, table)
        order = np.random.default_rng(0).permutation(len(table.val))
        short = [int(n) for n in order if len(table.val[n].prompt) <= LONGEST]
        for free, count in ((False, options.questions), (True, options.free)):
            stored = options.out / f"{name}{'-free' if free else ''}.json"
            if count:
                found = asyncio.run(choose(table, short[:count], stored, free=free))
                lines.append(row(f"{name}{', any text' if free else ''}", table, found, ridge_NM))
                print(lines[-1], flush=True)
    before, _, rest = options.document.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n".join(lines)
    options.document.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
