"""Servers under load: start them, load them in shuffled rounds, and read the CPU they took.

Everything runs on this machine. A server is pinned to the second core, the upstream and the load
generator to the first. The CPU of a server is that of its whole process tree, from the scheduler's
own accounts, so that other work on the machine moves it less than a clock would.
"""

import json
import os
import random
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "KEY",
    "Cell",
    "Load",
    "Server",
    "build_tools",
    "free_port",
    "measure",
    "ratio",
    "upstream",
]

HERE = Path(__file__).parent
KEY = "sk-8f2b1d7c4e9a60b35d7e1f42a9c86b03"
"""The key that the load generator sends."""

_SECOND_CORE = os.cpu_count() - 1 if (os.cpu_count() or 1) > 1 else 0
_BODY = {
    "model": "small",
    "messages": [
        {"role": "system", "content": "You are a careful assistant. Answer in one sentence."},
        {"role": "user", "content": "Which river flows through the capital of Austria?"},
    ],
    "temperature": 0.2,
    "max_tokens": 64,
}


@dataclass(slots=True)
class Server:
    """A server that is running."""

    name: str
    process: subprocess.Popen
    port: int
    path: str = "/v1/chat/completions"
    model: str = "small"

    def cpu_s(self) -> float:
        """CPU seconds of the process and all its children, as far as they still run."""
        return sum(_cpu_s(pid) for pid in _tree(self.process.pid))

    def pss_mb(self) -> float:
        """Proportional share of memory of the whole tree, in MB."""
        return sum(_pss_kb(pid) for pid in _tree(self.process.pid)) / 1024

    def stop(self) -> None:
        """End it, and whatever it started."""
        children = _tree(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in children:
                _kill(pid)
            self.process.wait(10)


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of load."""

    name: str
    connections: int
    seconds: float = 1.0
    stream: bool = False
    rate: float = 0.0
    """Requests a second, open loop; 0 sends the next request when one is answered."""
    most: int = 100_000


@dataclass(frozen=True, slots=True)
class Cell:
    """One server under one load in one round."""

    server: str
    load: str
    requests: int
    errors: int
    cpu_us: float
    """CPU of the server per request, in microseconds."""
    p50_us: float
    chunks: int = 0
    first_p50_us: float = 0.0
    pss_mb: float = field(default=0.0)


def build_tools(folder: Path) -> tuple[Path, Path]:
    """Compile the upstream and the load generator; return their paths."""
    built = []
    for name in ("mock", "lg"):
        target = folder / name
        subprocess.run(["gcc", "-O2", "-w", "-o", target, HERE / f"{name}.c"], check=True)
        built.append(target)
    return built[0], built[1]


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def upstream(mock: Path, *, chunks: int = 50, gap_us: int = 0) -> Server:
    """Start the upstream on the first core."""
    port = free_port()
    command = ["taskset", "-c", "0", str(mock), str(port), str(chunks), str(gap_us), "0"]
    server = Server("upstream", subprocess.Popen(command), port)
    wait_for(port)
    return server


def start(name: str, command: Sequence[str], port: int, **extra: str) -> Server:
    """Start a server on the second core and wait until it listens."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **extra.pop("env", {})}
    process = subprocess.Popen(
        ["taskset", "-c", str(_SECOND_CORE), *map(str, command)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if not os.environ.get("SHOW") else None,
    )
    server = Server(name, process, port, **extra)
    wait_for(port, process)
    return server


def wait_for(port: int, process: subprocess.Popen | None = None, seconds: float = 90) -> None:
    """Wait until something listens on `port`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} before it listened")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port} after {seconds} s")


def measure(
    servers: Sequence[Server], loads: Sequence[Load], lg: Path, *, rounds: int, seed: int = 0
) -> list[Cell]:
    """Load every server in every round, in a shuffled order; the first round warms up."""
    order = random.Random(seed)
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(rounds + 1):
            for load in loads:
                shuffled = list(servers)
                order.shuffle(shuffled)
                for server in shuffled:
                    cell = _load(server, load, lg, Path(folder))
                    if round_:
                        cells.append(cell)
    return cells


def table(cells: Sequence[Cell], baseline: str) -> str:
    """Return a Markdown table: medians, ranges, and ratios within a round to `baseline`."""
    lines = [
        f"| server | load | CPU µs a request, median [range] | ratio to {baseline} | p50 µs "
        "| first chunk p50 µs | MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    by: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        by.setdefault((cell.load, cell.server), []).append(cell)
    for (load, server), mine in by.items():
        theirs = by.get((load, baseline), mine)
        ratios = [a.cpu_us / b.cpu_us for a, b in zip(mine, theirs, strict=True)]
        cpu = [cell.cpu_us for cell in mine]
        first = statistics.median(cell.first_p50_us for cell in mine)
        lines.append(
            f"| {server} | {load} | {_spread(cpu, 0)} | {_spread(ratios, 2)} "
            f"| {statistics.median(cell.p50_us for cell in mine):.0f} | {first:.0f} "
            f"| {mine[-1].pss_mb:.0f} |"
        )
    errors = sum(cell.errors for cell in cells)
    return "\n".join([*lines, "", f"{errors} errors in {sum(c.requests for c in cells)} requests."])


def ratio(cells: Sequence[Cell], server: str, baseline: str) -> float:
    """Return the median, over loads and rounds, of the CPU of `server` to that of `baseline`."""
    mine = [cell for cell in cells if cell.server == server]
    theirs = {load: [] for load in dict.fromkeys(cell.load for cell in mine)}
    for cell in cells:
        if cell.server == baseline:
            theirs[cell.load].append(cell.cpu_us)
    return statistics.median(cell.cpu_us / theirs[cell.load].pop(0) for cell in mine)


def _spread(values: Sequence[float], digits: int) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _load(server: Server, load: Load, lg: Path, folder: Path) -> Cell:
    body = folder / f"{server.name}-{load.stream}.json"
    streamed: Mapping[str, object] = {"stream": True} if load.stream else {}
    body.write_text(json.dumps({**_BODY, "model": server.model, **streamed}))
    before = server.cpu_s()
    done = subprocess.run(
        [
            *("taskset", "-c", "0", lg, str(server.port), server.path, body),
            *map(str, (load.connections, load.seconds, load.most, load.rate)),
        ],
        capture_output=True,
        text=True,
        timeout=load.seconds + 60,
        check=True,
    )
    told = json.loads(done.stdout)
    if told["errs"]:
        print(f"{server.name}, {load.name}: {told['errs']} errors: {done.stderr.strip()[:200]}")
    requests = max(1, told["n"])
    return Cell(
        server=server.name,
        load=load.name,
        requests=told["n"],
        errors=told["errs"],
        cpu_us=(server.cpu_s() - before) / requests * 1e6,
        p50_us=told["p50"],
        chunks=told["chunks"],
        first_p50_us=told["ttf50"] if load.stream else 0.0,
        pss_mb=server.pss_mb(),
    )


def _tree(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [p for child in task.read_text().split() for p in _tree(int(child))]
        except OSError:
            continue
    return found


def _cpu_s(pid: int) -> float:
    total = 0
    for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(stat.read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
