"""Servers under load: start them, load them in shuffled rounds, and read the CPU they took.

Everything runs on this machine. A server is pinned to the second core, the upstream and the load
generator to the first, or each to the core that ``BENCH_CORES`` names (``1,1``: server, load). The
CPU of a server is that of its whole process tree, from the system's own accounts, so that other
work on the machine moves it less than a clock would.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = [
    "CORES",
    "KEY",
    "Cell",
    "Load",
    "Server",
    "build_tools",
    "free_port",
    "measure",
    "of_a_round",
    "ratio",
    "upstream",
]

HERE = Path(__file__).parent
KEY = "sk-8f2b1d7c4e9a60b35d7e1f42a9c86b03"
"""The key that the load generator sends."""

CORES: tuple[str, ...] = tuple(
    os.environ.get("BENCH_CORES", f"{(os.cpu_count() or 1) - 1},0").split(",")
)
"""Where servers run, and where the upstream and the load generator do."""

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
    paced: bool = False
    """Whether the stream comes in five chunks, 2 ms apart; else all of it at once."""
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
    """Events of all streams."""
    first_p50_us: float = 0.0
    pss_mb: float = 0.0
    round: int = 0
    """Ratios are taken between servers of one round."""

    @property
    def chunk_us(self) -> float:
        """CPU of the server per chunk, in microseconds; 0 without streams."""
        return self.cpu_us * self.requests / self.chunks if self.chunks else 0.0


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
    command = ["taskset", "-c", CORES[1], str(mock), str(port), str(chunks), str(gap_us), "0"]
    server = Server("upstream", subprocess.Popen(command), port)
    wait_for(port)
    return server


def start(
    name: str, command: Sequence[str], port: int, *, seconds: float = 420, **extra: str
) -> Server:
    """Start a server on the second core and wait until it listens."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **extra.pop("env", {})}
    process = subprocess.Popen(
        ["taskset", "-c", CORES[0], *map(str, command)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if not os.environ.get("SHOW") else None,
    )
    server = Server(name, process, port, **extra)
    try:
        wait_for(port, process, seconds)
    except RuntimeError:
        server.stop()
        raise
    return server


def wait_for(port: int, process: subprocess.Popen | None = None, seconds: float = 420) -> None:
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
    servers: Sequence[Server], loads: Sequence[Load], lg: Path, *, rounds: int, first: int = 1
) -> list[Cell]:
    """Load every server in every round, in a shuffled order, after one that warms up.

    The rounds are counted from `first`.
    """
    order = random.Random(first)
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(rounds + 1):
            for load in loads:
                shuffled = list(servers)
                order.shuffle(shuffled)
                for server in shuffled:
                    asked = load if round_ else replace(load, seconds=load.seconds / 3)
                    cell = _load(server, asked, lg, Path(folder))
                    if round_:
                        cells.append(replace(cell, round=first + round_ - 1))
    return cells


def table(cells: Sequence[Cell], baseline: str) -> str:
    """Return a Markdown table: medians, ranges, and ratios within a round to `baseline`."""
    lines = [
        f"| server | load | CPU µs a request, median [range] | ratio to {baseline} "
        "| CPU µs a chunk | p50 µs | first chunk p50 µs | MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    by: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        by.setdefault((cell.load, cell.server), []).append(cell)
    for (load, server), mine in by.items():
        ratios = of_a_round(mine, by.get((load, baseline), []), lambda a, b: a.cpu_us / b.cpu_us)
        cpu = [cell.cpu_us for cell in mine]
        first = statistics.median(cell.first_p50_us for cell in mine)
        lines.append(
            f"| {server} | {load} | {_spread(cpu, 0)} | {_spread(ratios, 2)} "
            f"| {statistics.median(cell.chunk_us for cell in mine):.1f} "
            f"| {statistics.median(cell.p50_us for cell in mine):.0f} | {first:.0f} "
            f"| {mine[-1].pss_mb:.0f} |"
        )
    sent = sum(cell.requests + cell.errors for cell in cells)
    wrong: dict[str, int] = {}
    for cell in cells:
        if cell.errors:
            place = f"{cell.server}, {cell.load}"
            wrong[place] = wrong.get(place, 0) + cell.errors
    told = [f"{sum(wrong.values())} errors in {sent} requests."]
    told += [f"{place}: {count}; its ratios leave them out." for place, count in wrong.items()]
    return "\n".join([*lines, "", "\n".join(told)])


def ratio(cells: Sequence[Cell], server: str, baseline: str) -> float:
    """Return the median, over loads and rounds, of the CPU of `server` to that of `baseline`."""
    mine = [cell for cell in cells if cell.server == server]
    theirs = [cell for cell in cells if cell.server == baseline]
    return statistics.median(of_a_round(mine, theirs, lambda a, b: a.cpu_us / b.cpu_us))


def of_a_round(
    mine: Sequence[Cell], theirs: Sequence[Cell], value: Callable[[Cell, Cell], float]
) -> list[float]:
    """Return `value` of every two cells of one load in one round that are without errors."""
    others = {(cell.load, cell.round): cell for cell in theirs if not cell.errors}
    return [
        value(cell, others[cell.load, cell.round])
        for cell in mine
        if (cell.load, cell.round) in others and not cell.errors
    ]


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _load(server: Server, load: Load, lg: Path, folder: Path) -> Cell:
    body = folder / f"{server.name}-{load.name}.json".replace(" ", "-")
    asked = {**_BODY, "model": server.model}
    asked |= {"stream": True} if load.stream else {}
    asked |= {"temperature": 0.25} if load.paced else {}
    body.write_text(json.dumps(asked))
    before = server.cpu_s()
    done = subprocess.run(
        [
            *("taskset", "-c", CORES[1], lg, str(server.port), server.path, body),
            *map(str, (load.connections, load.seconds, load.most, load.rate)),
        ],
        capture_output=True,
        text=True,
        timeout=load.seconds + 120,
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
    """Return the CPU seconds of a process, those of threads that have ended among them."""
    try:
        # Linux: the clock of the CPU time of another process (clock_getcpuclockid)
        return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
    except OSError:
        return 0.0


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
