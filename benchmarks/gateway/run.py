"""Compare `polyroute serve` with the bare minimum of the same stack, and with other gateways.

    python benchmarks/gateway/run.py [--rounds 4] [--only polyroute,minimal-aiohttp]
    benchmarks/gateway.sh [--rounds 4]

The second installs the others, measures everything and writes the page of the documentation.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from load import (
    KEY,
    Cell,
    Load,
    Server,
    build_tools,
    free_port,
    measure,
    ratio,
    start,
    table,
    upstream,
)
from peers import PEERS

HERE = Path(__file__).parent

CONFIG = """\
version: 1
pool:
  - id: small
    price: {{input: 0.15, output: 0.6}}
    backend:
      name: openai
      instances: [{{url: "http://127.0.0.1:{upstream}/v1", model: mock-model}}]
      {transport}
policy: {{name: fixed, model: small}}
records: {{store: sqlite, path: "{folder}/records-{name}.sqlite"}}
server: {{port: {port}, keys_env: BENCH_KEYS}}
"""

LOADS = [
    Load("c=1", 1),
    Load("c=16", 16),
    Load("c=64", 64),
    Load("stream c=1", 1, stream=True, most=200),
    Load("stream c=16", 16, stream=True, most=2_000),
]


def polyroute(name: str, port_up: int, folder: Path, transport: str = "") -> Server:
    """Start this package's server, with a key and with records."""
    port = free_port()
    config = folder / f"{name}.yaml"
    config.write_text(
        CONFIG.format(upstream=port_up, port=port, folder=folder, name=name, transport=transport)
    )
    program = Path(sys.executable).parent / "polyroute"
    return start(name, [program, "serve", "--config", config], port, env={"BENCH_KEYS": KEY})


def minimal(name: str, port_up: int, client: str) -> Server:
    """Start the bare minimum over one client."""
    port = free_port()
    program = HERE / "minimal.py"
    return start(name, [sys.executable, program, client, str(port), str(port_up)], port)


PAGE = """\
# What a gateway costs

`benchmarks/gateway.sh` loads each server in turn with the same requests, through the same upstream
(a constant reply, from memory), in {rounds} rounds, each in a new order. The server is pinned to
one core, the upstream and the load to another. The figure is the CPU of the server's whole process
tree for one request, from the scheduler's accounts; ratios are taken within a round. polyroute
checks a key, decides, keeps its budget, writes a record of every episode, and reports tokens and
dollars; `minimal` checks a key, names the model and forwards.

{when}, commit {commit}, {machine}, Python {python}; load of the machine while measuring: {load}.

{table}

{missing}
"""


def begin(
    makers: Mapping[str, Callable[[], Server]], wanted: set[str]
) -> tuple[list[Server], dict[str, str]]:
    """Start what is wanted; return it, and why the others did not start."""
    servers, missing = [], {}
    for name, make in makers.items():
        if wanted and name not in wanted:
            continue
        try:
            servers.append(make())
        except (RuntimeError, OSError) as error:
            missing[name] = str(error)
            print(f"{name} is not measured: {error}", file=sys.stderr)
    return servers, missing


def page(cells: list[Cell], missing: dict[str, str], *, baseline: str, rounds: int) -> str:
    """Return the page of the documentation."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        PAGE.format(
            rounds=rounds,
            when=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            commit=commit or "unknown",
            machine=f"{os.cpu_count()} cores, {platform.machine()}",
            python=platform.python_version(),
            load=", ".join(f"{value:.1f}" for value in os.getloadavg()),
            table=table(cells, baseline),
            missing="\n".join(f"- {name} was not measured: {why}" for name, why in missing.items()),
        ).rstrip()
        + "\n"
    )


def main() -> None:
    """Measure what was asked for."""
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=4)
    options.add_argument("--only", default="")
    options.add_argument("--loads", default="")
    options.add_argument("--baseline", default="minimal-aiohttp")
    options.add_argument("--cache", type=Path, help="where the others are installed")
    options.add_argument("--write", type=Path, help="the page to write")
    options.add_argument("--no-peers", action="store_true")
    options.add_argument("--most", type=float, help="fail when polyroute's ratio is above this")
    asked = options.parse_args()
    loads = [load for load in LOADS if not asked.loads or load.name in asked.loads.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mock, lg = build_tools(folder)
        source = upstream(mock)
        makers: dict[str, Callable[[], Server]] = {
            "minimal-aiohttp": lambda: minimal("minimal-aiohttp", source.port, "aiohttp"),
            "minimal-own": lambda: minimal("minimal-own", source.port, "own"),
            "polyroute": lambda: polyroute("polyroute", source.port, folder, "transport: aiohttp"),
            "polyroute-own": lambda: polyroute(
                "polyroute-own", source.port, folder, "transport: plain"
            ),
        }
        if asked.cache is not None and not asked.no_peers:
            for peer, make in PEERS.items():
                makers[peer] = lambda make=make: make(source.port, folder, asked.cache)
        servers: list[Server] = []
        try:
            servers, missing = begin(makers, set(filter(None, asked.only.split(","))))
            if asked.no_peers:
                missing |= dict.fromkeys(PEERS, "left out of this run (--no-peers)")
            cells = measure(servers, loads, lg, rounds=asked.rounds)
        finally:
            for server in [*servers, source]:
                server.stop()
        print(table(cells, asked.baseline))
        if asked.most is not None:
            mine = {cell.server for cell in cells if cell.server.startswith("polyroute")}
            found = {name: ratio(cells, name, asked.baseline) for name in sorted(mine)}
            if any(value > asked.most for value in found.values()):
                raise SystemExit(f"{found} exceeds {asked.most} times {asked.baseline}")
        if asked.write is not None:
            told = page(cells, missing, baseline=asked.baseline, rounds=asked.rounds)
            asked.write.write_text(told)


if __name__ == "__main__":
    main()
