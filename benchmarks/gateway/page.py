"""What a run of the benchmark found -> the page of the documentation.

    python benchmarks/gateway/page.py found.json docs/benchmarks/gateway.md

writes it again from what ``run.py --keep found.json`` has kept.
"""

import json
import sys
from pathlib import Path

from goals import goals
from load import Cell, table

__all__ = ["page"]

PAGE = """\
# What a gateway costs

`benchmarks/gateway.sh` loads each server in turn with the same requests, through the same upstream
(a constant reply, from memory), in {rounds} rounds, each in a new order. The server is pinned to
core {cores[0]}, the upstream and the load to core {cores[1]} (`BENCH_CORES`). The figure is the CPU
of the server's whole process tree for one request, from the scheduler's accounts; ratios are taken
within a round. polyroute checks a key, decides, keeps its budget, writes a record of every episode,
counts for `/metrics` and the page, and reports tokens and dollars; `minimal` checks a key, names
the model and forwards. `polyroute` asks the upstream over aiohttp, `polyroute-own` over its own
client for plain HTTP.

{when}, commit {commit}, {machine}, Python {python}; load of the machine while measuring: {load}.

## Aimed at, and reached

What was aimed at is the middle column, what a prototype with fewer features had in a quiet hour
stands in brackets. A ratio is the median of the rounds, with its range.

{goals}

Nor does compiling help: Cython 3.3 over the 26 modules that a request spends its time in, as they
are, made a request cost 1.13, 1.21 and 1.26 times the CPU of the same modules interpreted (three
interleaved pairs of runs in one process each, beside other work), a burst of 50 chunks 1.19 times,
and a worker 7 MB more. mypyc 2.4 does not take the modules as they are, and most of their values,
being msgspec Structs, would stay ordinary classes to it. The scripts of that are not kept, and
neither is a build step.

Where the rest goes, `python benchmarks/gateway/where.py` says (own client, 16 connections, 12,000
requests beside other work): asking the upstream 24 %, HTTP in and out 18 %, the loop of an episode
15 %, metrics and the page 8 %, and 3 % each for noting what is owed, saying the answer, reading the
request, keys and limits, the endpoint, and the event loop itself; the records' own thread takes
17 %. Of all that 9 % is the system's (`strace -f -c`, `perf record -e cpu-clock`): two reads, two
writes, four of SQLite's pages, less than one wait, and some eleven `getpid`, which Python 3.11 asks
for whenever code looks for its event loop; 73 % is the interpreter, 29 % the evaluation of bytecode
alone. No part is large enough that doing without it would reach the goals. What a count of calls
does not show is memory that falls out of the caches: keeping 50 episodes for the page and not 200
took .96 [.95, 1.00] of a request's CPU (it keeps 100 now). And which interpreter it is: under the
same load at the same time, Debian's 3.11.2 took .94 [.92, .95] of the CPU of the one measured here,
which was built without a profile; 3.12.1 and 3.13.0, built like it, 1.05 [1.03, 1.10] and 1.07
[1.06, 1.11].

A worker holds what its configuration names: one whose policies estimate nothing has not imported
numpy, one that asks nobody over aiohttp has not imported that (`tests/cli/test_start.py`). A client
that asks for `GET /v1/models` makes it load every policy, and numpy with them, some 10 MB. Under 64
clients and an upstream that fails in every way it can, memory stays where it was
([the soak](../guides/deploy.md#before-a-release-of-your-own)).

## Everything that was measured

`upstream` is the upstream itself, asked directly. A paced stream comes in five chunks, 2 ms apart;
any other stream is 50 chunks in one piece.

{table}

{missing}

The machine is shared: its absolute figures move by half from one minute to the next, and stand
several times above those of a quiet one. p50 and first chunk are times on the clock: where more
work waits than there are cores, they say how long a server waited for its turn, and little of what
it adds.
"""


def page(found: dict) -> str:
    """Return the page of what `run.measured` returned."""
    cells = [Cell(**cell) for cell in found["cells"]]
    missing = found["missing"].items()
    return PAGE.format(
        **{key: value for key, value in found.items() if key not in ("cells", "missing")},
        goals=goals(cells),
        table=table(cells, "minimal-aiohttp"),
        missing="\n".join(f"- {name} was not measured: {why}" for name, why in missing),
    )


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(page(json.loads(Path(sys.argv[1]).read_text())))
