"""Compare `polyroute serve` with the bare minimum of the same stack, and with other gateways.

    python benchmarks/gateway/run.py [--rounds 4] [--only polyroute,minimal-aiohttp]
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from load import KEY, Load, Server, build_tools, free_port, measure, start, table, upstream

HERE = Path(__file__).parent

CONFIG = """\
version: 1
pool:
  - id: small
    price: {{input: 0.15, output: 0.6}}
    backend: {{name: openai, instances: [{{url: "http://127.0.0.1:{upstream}/v1", model: mock-model}}]{transport}}}
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
    port = free_port()
    config = folder / f"{name}.yaml"
    config.write_text(
        CONFIG.format(upstream=port_up, port=port, folder=folder, name=name, transport=transport)
    )
    program = Path(sys.executable).parent / "polyroute"
    return start(
        name, [program, "serve", "--config", config], port, env={"BENCH_KEYS": KEY}
    )


def minimal(name: str, port_up: int, client: str) -> Server:
    port = free_port()
    program = HERE / "minimal.py"
    return start(name, [sys.executable, program, client, str(port), str(port_up)], port)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=4)
    options.add_argument("--only", default="")
    options.add_argument("--loads", default="")
    options.add_argument("--baseline", default="minimal-aiohttp")
    asked = options.parse_args()
    wanted = set(filter(None, asked.only.split(",")))
    loads = [load for load in LOADS if not asked.loads or load.name in asked.loads.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mock, lg = build_tools(folder)
        source = upstream(mock)
        makers = {
            "minimal-aiohttp": lambda: minimal("minimal-aiohttp", source.port, "aiohttp"),
            "minimal-own": lambda: minimal("minimal-own", source.port, "own"),
            "polyroute": lambda: polyroute(
                "polyroute", source.port, folder, ", transport: aiohttp"
            ),
            "polyroute-own": lambda: polyroute(
                "polyroute-own", source.port, folder, ", transport: plain"
            ),
        }
        servers: list[Server] = []
        try:
            servers += [make() for key, make in makers.items() if not wanted or key in wanted]
            cells = measure(servers, loads, lg, rounds=asked.rounds)
        finally:
            for server in [*servers, source]:
                server.stop()
        print(table(cells, asked.baseline))


if __name__ == "__main__":
    main()
