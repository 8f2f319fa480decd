"""Compare `polyroute serve` with the bare minimum of the same stack, and with other gateways.

    python benchmarks/gateway/run.py [--rounds 4] [--only polyroute,minimal-aiohttp]
    benchmarks/gateway.sh [--rounds 4]

The second installs the others, measures everything and writes the page of the documentation.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from goals import goals
from load import (
    CORES,
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
from page import page
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
    Load("paced stream c=1", 1, stream=True, paced=True, most=200),
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


def begin(
    makers: Mapping[str, Callable[[], Server]], wanted: set[str]
) -> tuple[list[Server], dict[str, str]]:
    """Start what is wanted; return it, and why the others did not start."""
    servers, missing = [], {}
    with ThreadPoolExecutor() as pool:
        asked = {
            name: pool.submit(make) for name, make in makers.items() if not wanted or name in wanted
        }
    for name, begun in asked.items():
        try:
            servers.append(begun.result())
        except (RuntimeError, OSError) as error:
            missing[name] = str(error)
            print(f"{name} is not measured: {error}", file=sys.stderr)
    return servers, missing


def measured(cells: list[Cell], missing: dict[str, str], rounds: int) -> dict:
    """Return what was measured, and when and where, as JSON has it."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cells": [asdict(cell) for cell in cells],
        "missing": missing,
        "rounds": rounds,
        "cores": CORES,
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit or "unknown",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        "load": ", ".join(f"{value:.1f}" for value in os.getloadavg()),
    }


def options() -> argparse.Namespace:
    """Read the command line."""
    known = argparse.ArgumentParser()
    known.add_argument("--rounds", type=int, default=4)
    known.add_argument("--only", default="")
    known.add_argument("--loads", default="")
    known.add_argument("--baseline", default="minimal-aiohttp")
    known.add_argument("--cache", type=Path, help="where the others are installed")
    known.add_argument("--write", type=Path, help="the page to write")
    known.add_argument("--keep", type=Path, help="where to write what was measured, as JSON")
    known.add_argument("--no-peers", action="store_true")
    known.add_argument("--most", type=float, help="fail when polyroute's ratio is above this")
    return known.parse_args()


def run(asked: argparse.Namespace, folder: Path) -> tuple[list[Cell], dict[str, str]]:
    """Start what was asked for, load it, and end it."""
    loads = [load for load in LOADS if not asked.loads or load.name in asked.loads.split(",")]
    mock, lg = build_tools(folder)
    source = upstream(mock)
    makers: dict[str, Callable[[], Server]] = {
        "upstream": lambda: source,
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
        return measure(servers, loads, lg, rounds=asked.rounds), missing
    finally:
        for server in servers:
            server.stop()
        if source not in servers:
            source.stop()


def main() -> None:
    """Measure what was asked for."""
    asked = options()
    with tempfile.TemporaryDirectory() as name:
        cells, missing = run(asked, Path(name))
    found = measured(cells, missing, asked.rounds)
    if asked.keep is not None:
        asked.keep.write_text(json.dumps(found))
    print(goals(cells), table(cells, asked.baseline), sep="\n\n")
    if asked.most is not None:
        mine = sorted({cell.server for cell in cells if cell.server.startswith("polyroute")})
        ratios = {name: ratio(cells, name, asked.baseline) for name in mine}
        if any(value > asked.most for value in ratios.values()):
            raise SystemExit(f"{ratios} exceeds {asked.most} times {asked.baseline}")
    if asked.write is not None:
        asked.write.write_text(page(found))


if __name__ == "__main__":
    main()
