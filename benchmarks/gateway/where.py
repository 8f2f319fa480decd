"""Say where the CPU of a request goes: by the parts of the server, its other thread, the system.

    python benchmarks/gateway/where.py [--requests 20000] [--connections 16]

It loads one `polyroute serve` over its own client, and looks a few hundred times a second what
its event loop is at; a part has the CPU that the loop has used since the look before.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parent))

from load import KEY, Load, Server, _load, build_tools, free_port, start, upstream
from run import CONFIG

_EVERY_S = 0.002

PARTS = {
    "HTTP in and out": (
        "uvicorn/protocols",
        "gateway/access/co",
        "gateway/access/cy",
        "gateway/wire",
    ),
    "metrics and the page": ("gateway/watch",),
    "keys and limits": ("gateway/access", "gateway/caller"),
    "reading the request": ("gateway/asked", "gateway/catalogue", "gateway/knobs"),
    "saying the answer": ("gateway/completion", "gateway/shapes"),
    "asking the upstream": ("polyroute/backends", "polyroute/balance"),
    "noting what is owed": ("gateway/keeper", "polyroute/records"),
    "the endpoint": ("polyroute/gateway/app", "gateway/endpoint", "gateway/reload"),
    "the event loop itself": ("gateway/serve", "polyroute/cli"),
    "the loop of an episode": ("polyroute/",),
}
"""By what stands in the path of a file, the first that fits; the innermost frame decides."""


def serve(config: str, told: str) -> None:
    """Serve, and look on from the first SIGUSR1 to the next."""
    spent: Counter[str] = Counter()
    last = [0.0]

    def look(_: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        spent[_part(frame)] += now - last[0]
        last[0] = now

    def begin(_: int, __: FrameType | None) -> None:
        if not last[0]:
            last[0] = time.thread_time()
            signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)
        else:
            signal.setitimer(signal.ITIMER_PROF, 0)
            Path(told).write_text(json.dumps(spent))

    signal.signal(signal.SIGPROF, look)
    signal.siginterrupt(signal.SIGPROF, False)
    signal.signal(signal.SIGUSR1, begin)
    from polyroute.cli import main

    sys.argv = ["polyroute", "serve", "--config", config]
    main()


def _part(frame: FrameType | None) -> str:
    while frame is not None:
        file = frame.f_code.co_filename
        for part, names in PARTS.items():
            if any(name in file for name in names):
                return part
        frame = frame.f_back
    return "the event loop itself"


def _seconds(pid: int) -> tuple[float, float, float]:
    """CPU of a process: all of it, what of it the system took, and that of its first thread."""
    tick = os.sysconf("SC_CLK_TCK")

    def read(file: str) -> list[float]:
        fields = Path(file).read_text().rsplit(")", 1)[1].split()
        return [int(field) / tick for field in fields[11:13]]

    user, system = read(f"/proc/{pid}/stat")
    return user + system, system, sum(read(f"/proc/{pid}/task/{pid}/stat"))


def measure(server: Server, told: Path, lg: Path, asked: argparse.Namespace) -> str:
    """Load `server`; return the table."""
    folder = told.parent
    load = Load("where", asked.connections, seconds=600, most=asked.requests)
    _load(server, Load("warm", asked.connections, seconds=600, most=1000), lg, folder)
    before = _seconds(server.process.pid)
    server.process.send_signal(signal.SIGUSR1)
    cell = _load(server, load, lg, folder)
    server.process.send_signal(signal.SIGUSR1)
    all_s, system_s, loop_s = (
        after - was for after, was in zip(_seconds(server.process.pid), before, strict=True)
    )
    while not told.exists() or not told.read_text():
        time.sleep(0.1)
    spent: dict[str, float] = json.loads(told.read_text())
    share = loop_s / all_s / sum(spent.values())
    lines = [f"{cell.requests} requests, {cell.errors} errors, {cell.cpu_us:.0f} us of CPU each"]
    lines += [
        f"{100 * seconds * share:5.1f} %  {part}"
        for part, seconds in sorted(spent.items(), key=lambda item: -item[1])
    ]
    lines.append(f"{100 * (1 - loop_s / all_s):5.1f} %  writing the records (the other thread)")
    lines.append(f"{100 * system_s / all_s:5.1f} %  of all that is the system's")
    return "\n".join(lines)


def main() -> None:
    """Measure, and say what was found."""
    known = argparse.ArgumentParser()
    known.add_argument("--requests", type=int, default=20_000)
    known.add_argument("--connections", type=int, default=16)
    asked = known.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mock, lg = build_tools(folder)
        source = upstream(mock)
        port, config, told = free_port(), folder / "where.yaml", folder / "told.json"
        fill = {"upstream": source.port, "port": port, "folder": folder, "name": "where"}
        config.write_text(CONFIG.format(**fill, transport="transport: plain"))
        command = [sys.executable, __file__, "--serve", config, told]
        try:
            server = start("where", command, port, env={"BENCH_KEYS": KEY})
            try:
                print(measure(server, told, lg, asked))
            finally:
                server.stop()
        finally:
            source.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main()
