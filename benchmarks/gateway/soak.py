"""Hours of bad luck in minutes: a gateway before an upstream that fails in every way it can.

    python benchmarks/gateway/soak.py [--seconds 180] [--clients 64] [--seed 0] [--patience 1]
                                      [--pause 0] [--store sqlite]

Two thirds of the time the gateway runs, and is then told to stop; in the last third it is killed in
the middle, without a warning. Prints the figures as JSON, and on the error output what it is doing;
whatever becomes of it, nothing that it started runs on. The exit code is 1 when a promise broke:

- every request has a whole answer or a typed error;
- no connection is left, nothing runs on, memory does not grow;
- what the records say was spent is what the upstream billed, request by request, to the last digit,
  wherever the upstream said what it billed before the time for its answer was over;
- after the kill, the record of every finished request is there, or `trace verify` names it as
  missing; none is half-written.

Memory is read two hundred times, and compared by a line of least squares through the means of ten
stretches of the second half, over the requests that had ended by then; ``two_errors`` is twice the
standard error of its slope. It is the process's own memory: pages of files, which the system takes
away and brings back as it likes, are in ``resident_mb`` only. ``--pause`` lets every client wait so
many seconds between two requests.

``--patience`` multiplies every time limit. On a machine that gives the servers a small share of a
core, answers are there and are not read in time: what such a run says of time-outs is of no use.
"""

import argparse
import asyncio
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import aiohttp
from aiohttp import web

from polyroute.records.jsonl import JsonlStore
from polyroute.records.record import Record
from polyroute.records.sqlite import SqliteStore

STORES = {"sqlite": SqliteStore, "jsonl": JsonlStore}

INPUT, OUTPUT = Decimal("0.15"), Decimal("0.6")
"""Dollars per million tokens."""

FIRST_S, TOTAL_S, BUDGET_S, CLIENT_S, STOP_S, HANG_S = 1, 3, 10, 30, 10, 30
"""Limits of the gateway on a call and on a request, of its clients, and on its end; and how long
an upstream says nothing that is past all of them."""

CONFIG = """\
pool:
  - id: m
    price: {{input: {input}, output: {output}}}
    max_output: 400
    backend:
      name: openai
      instances:
        - {{url: "http://127.0.0.1:{upstream}/v1", name: a, {limits}}}
        - {{url: "http://localhost:{upstream}/v1", name: b, {limits}}}
      health: {{open_s: 0.2, cooldown_s: 0.05}}
policy: {{name: fixed, model: m}}
budget: {{usd: 0.01, seconds: {budget_s}}}
records: {{store: {store}, path: "{records}"}}
server: {{port: {port}, grace_s: 20}}
"""

GROWTH_MB = 0.1
"""Memory that a thousand requests may leave behind, less twice the error of its measurement, where
there were enough of them to say."""
ENOUGH = 5_000

FAULTS = (
    ("5xx", 0.10),
    ("hang", 0.05),
    ("cut", 0.05),
    ("429", 0.05),
    ("garbage", 0.03),
    ("lie", 0.05),
)
"""Share of the calls that each happens to."""

Usage: TypeAlias = dict[str, int | str] | None

LIES: tuple[Usage, ...] = (
    None,
    {},
    {"prompt_tokens": -5, "completion_tokens": 7},
    {"prompt_tokens": "many", "completion_tokens": 3},
)
"""What is said in place of a usage: nobody knows then what a call cost."""

START_S = 300.0
"""How long a program may take to start or to end, on a machine that is busy with something else."""
LAST_WORDS = 3000
"""Characters of the log that are shown of a gateway that did not do its work."""


class Upstream:
    """Answers, fails, and keeps the bill of every call: it is the other side of the account."""

    def __init__(self, seed: int, patience: float) -> None:
        self.random = random.Random(seed)
        self.patience = patience
        self.bill: list[tuple[int, str]] = []
        """Number of the request, and dollars, of every call whose usage was sent as it was."""
        self.faults: Counter[str] = Counter()
        self.running = 0

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer one call, or not, as the dice say."""
        self.running += 1
        try:
            return await self._chat(request, await request.json())
        finally:
            self.running -= 1

    async def _chat(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        fault = self._fault()
        self.faults[fault] += 1
        await asyncio.sleep(0.005 + 0.02 * self.random.random())
        if fault == "5xx":
            return web.json_response({"error": {"message": "down"}}, status=503)
        if fault == "429":
            return web.json_response({"error": {"message": "slowly"}}, status=429)
        if fault == "hang":
            await asyncio.sleep(HANG_S * self.patience)
        if fault == "garbage":
            return web.Response(body=b'{"choices": [{"mess', content_type="application/json")
        tokens = self.random.randint(5, 300), self.random.randint(1, 400)
        usage: Usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
        if fault == "lie":
            usage = self.random.choice(LIES)
        number = int(body["messages"][-1]["content"].split()[-1])
        answer = self._stream if body.get("stream") else self._whole
        response = await answer(request, usage, cut=fault == "cut")
        if fault == "none":
            usd = (tokens[0] * INPUT + tokens[1] * OUTPUT) / 1_000_000
            self.bill.append((number, str(usd)))
        return response

    def _fault(self) -> str:
        drawn = self.random.random()
        for name, share in FAULTS:
            drawn -= share
            if drawn < 0:
                return name
        return "none"

    async def _whole(self, request: web.Request, usage: Usage, *, cut: bool) -> web.StreamResponse:
        said = {"role": "assistant", "content": "word " * 20}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        wire = json.dumps({"model": "m", "choices": [choice], "usage": usage}).encode()
        if not cut:
            return web.Response(body=wire, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Length": str(len(wire))})
        await response.prepare(request)
        await response.write(wire[: len(wire) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    async def _stream(self, request: web.Request, usage: Usage, *, cut: bool) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)

        async def say(**chunk: object) -> None:
            await response.write(b"data: " + json.dumps({"model": "m", **chunk}).encode() + b"\n\n")

        for k in range(10):
            await say(choices=[{"index": 0, "delta": {"content": "word "}}])
            await asyncio.sleep(0.002)
            if cut and k == 5:
                assert request.transport is not None
                request.transport.close()
                return response
        await say(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
        await say(choices=[], usage=usage)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def account(self, _: web.Request) -> web.Response:
        """Say what was billed."""
        said = {"bill": self.bill, "faults": self.faults, "running": self.running}
        return web.json_response(said)


def run_upstream(port: int, seed: int, patience: float) -> None:
    """Serve the upstream until the process is killed, or the one that started it is gone."""
    upstream = Upstream(seed, patience)

    async def alone(app: web.Application) -> AsyncIterator[None]:
        # nothing is ever said on the standard input: it ends with the process that holds it
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin, os.kill, os.getpid(), signal.SIGTERM)
        yield
        loop.remove_reader(sys.stdin)

    app = web.Application()
    app.cleanup_ctx.append(alone)
    app.router.add_post("/v1/chat/completions", upstream.chat)
    app.router.add_get("/account", upstream.account)
    web.run_app(
        app, host="127.0.0.1", port=port, print=None, access_log=None, handler_cancellation=True
    )


@dataclass(slots=True)
class Heard:
    """What clients heard."""

    endings: Counter[str] = field(default_factory=Counter)
    """By kind: an answer, or the code of an error."""
    wrong: Counter[str] = field(default_factory=Counter)
    """Requests that had neither an answer nor a typed error."""
    finished: list[str] = field(default_factory=list)
    """Trace ids of requests that were ended in a way that a client can see."""


class Soak:
    """One run."""

    def __init__(
        self,
        folder: Path,
        *,
        clients: int,
        seed: int,
        patience: float,
        pause: float = 0.0,
        store: str = "sqlite",
    ) -> None:
        self.folder, self.clients, self.random = folder, clients, random.Random(seed)
        self.patience, self.pause, self.store = patience, pause, STORES[store]
        self.port, self.upstream_port = free_port(), free_port()
        self.config, self.records = folder / "polyroute.yaml", folder / f"records.{store}"
        self.config.write_text(
            CONFIG.format(
                input=INPUT,
                output=OUTPUT,
                upstream=self.upstream_port,
                port=self.port,
                records=self.records,
                store=store,
                limits=f"first_token_s: {FIRST_S * patience}, total_s: {TOTAL_S * patience}",
                budget_s=BUDGET_S * patience,
            )
        )
        self.broken: list[str] = []
        """Promises that did not hold."""
        self.number = 0
        self.options = ["--seed", str(seed), "--patience", str(patience)]
        self.started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        program = [sys.executable, __file__, "--upstream", str(self.upstream_port)]
        upstream = self.start([*program, *self.options], stdin=subprocess.PIPE)
        try:
            self.await_listening("the upstream", upstream, self.upstream_port)
            self.gateway = self.serve()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if error is not None:
            say(f"{type(error).__name__}: {error}; {self.last_words()}")
        self.end()

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the gateway, and wait until it listens."""
        program = Path(sys.executable).parent / "polyroute"
        gateway = self.start([str(program), "serve", "--config", str(self.config)])
        self.await_listening("the gateway", gateway, self.port)
        return gateway

    def start(self, command: list[str], stdin: int | None = None) -> subprocess.Popen[bytes]:
        """Start a process that ends with this one; it writes to the log."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, stdin=stdin, stdout=log, stderr=log)
        self.started.append(process)
        return process

    def await_listening(self, who: str, process: subprocess.Popen[bytes], port: int) -> None:
        """Wait until a process that was started listens."""
        start = time.monotonic()
        while not listens(port):
            waited = time.monotonic() - start
            if process.poll() is not None:
                raise SystemExit(f"{who} ended with {process.returncode}; {self.last_words()}")
            if waited > START_S:
                raise SystemExit(f"{who} did not listen in {waited:.0f} s; {self.last_words()}")
            time.sleep(0.1)
        say(f"{who} listens after {time.monotonic() - start:.1f} s")

    def last_words(self) -> str:
        """Return the end of what the servers wrote."""
        log = self.folder / "log"
        words = log.read_text("utf-8", "replace") if log.exists() else ""
        return f"the log ends with:\n{words[-LAST_WORDS:] or '(it is empty)'}"

    async def load(self, heard: Heard, until: float) -> None:
        """Ask from `clients` clients at once until the time `until`, or the gateway is gone."""
        patience = aiohttp.ClientTimeout(total=CLIENT_S * self.patience)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=patience) as session:

            async def client() -> None:
                while time.monotonic() < until:
                    await self.ask(session, heard)
                    await asyncio.sleep(self.pause)

            await asyncio.gather(*(client() for _ in range(self.clients)))

    async def ask(self, session: aiohttp.ClientSession, heard: Heard) -> None:
        """Ask once, and note how it ended."""
        self.number += 1
        stream = self.random.random() < 0.5
        messages = [{"role": "user", "content": f"soak {self.number}"}]
        body = {"model": "polyroute", "messages": messages, "stream": stream}
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        try:
            async with session.post(url, json=body) as response:
                id = response.headers.get("x-polyroute-trace-id")
                ending = ending_of(response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            heard.wrong[type(error).__name__] += 1
            await asyncio.sleep(0.01)
            return
        if ending is None:
            heard.wrong[f"status {response.status} without an ending"] += 1
        else:
            heard.endings[ending] += 1
            if id is not None:
                heard.finished.append(id)

    def expect(self, holds: bool, promise: str) -> None:
        """Note a promise that did not hold."""
        if not holds:
            self.broken.append(promise)

    def run(self, seconds: float) -> dict[str, Any]:
        """Return the figures of both parts, and the promises that broke."""
        say(f"{seconds * 2 / 3:.0f} s of load")
        steady = self.steady(seconds * 2 / 3)
        say(f"{seconds / 3:.0f} s of load, with a kill in the middle")
        killed = self.killed(seconds / 3)
        return {"steady": steady, "killed": killed, "broken": self.broken}

    def steady(self, seconds: float) -> dict[str, Any]:
        """Run the load, wait until all is quiet, stop the gateway, and compare the accounts."""
        heard = Heard()
        own: list[tuple[float, float]] = []
        """Requests that had ended, and megabytes."""
        resident: list[float] = []

        async def both() -> None:
            start = time.monotonic()
            loading = asyncio.create_task(self.load(heard, start + seconds))
            while not loading.done():
                if self.gateway.poll() is not None:
                    raise SystemExit(f"the gateway ended by itself: {self.gateway.returncode}")
                own.append((heard.endings.total(), memory_mb(self.gateway.pid, "RssAnon")))
                resident.append(memory_mb(self.gateway.pid, "VmRSS"))
                await asyncio.wait([loading], timeout=max(0.2, seconds / 200))
            await loading

        asyncio.run(both())
        self.expect(not heard.wrong, f"requests without an answer or a typed error: {heard.wrong}")
        left = self.quiet()
        slope, two_errors, requests = growth(own[len(own) // 2 :])
        grown = slope * requests / 1000
        self.expect(grown < 12, f"memory grew by {grown:.1f} MB in the second half")
        certain = slope - two_errors if requests >= ENOUGH else 0.0
        self.expect(certain < GROWTH_MB, f"memory grew by {slope:.2f} MB per 1,000 requests")
        account = self.account()
        start = time.monotonic()
        self.gateway.send_signal(signal.SIGTERM)
        status = self.gateway.wait(START_S)
        # the server ends by the signal it was told by, when it has done what it had to
        self.expect(status in {0, -signal.SIGTERM}, f"the gateway ended with {status}")
        stopped_s = time.monotonic() - start
        in_time = stopped_s < STOP_S * self.patience
        self.expect(in_time, f"with nothing to do it took {stopped_s:.1f} s to stop")
        return {
            "seconds": round(seconds),
            "requests": self.number,
            "endings": dict(heard.endings),
            "faults": account["faults"],
            "resident_mb": at_three_times(resident),
            "own_mb": at_three_times([mb for _, mb in own]),
            "grown_in_the_second_half_mb": round(grown, 2),
            "grown_mb_per_1000_requests": round(slope, 4),
            "two_errors": round(two_errors, 4),
            "requests_of_the_second_half": requests,
            "left_open": left,
            **self.compare(account["bill"], heard),
        }

    def quiet(self) -> dict[str, int]:
        """Return what is open in the gateway when all clients have gone; wait for it to end."""
        end = time.monotonic() + STOP_S * self.patience
        while True:
            left = {
                "to clients": connections(self.gateway.pid, self.port),
                "running upstream": self.account()["running"],
                "requests running": self.running(),
            }
            if not any(left.values()) or time.monotonic() > end:
                break
            time.sleep(0.2)
        self.expect(not any(left.values()), f"left open: {left}")
        return left

    def running(self) -> int:
        """Return how many requests the gateway says are being answered."""
        lines = fetch(f"http://127.0.0.1:{self.port}/metrics").decode().splitlines()
        return sum(
            int(float(line.split()[-1]))
            for line in lines
            if line.startswith("polyroute_requests_running")
        )

    def account(self) -> dict[str, Any]:
        """Return what the upstream says."""
        return json.loads(fetch(f"http://127.0.0.1:{self.upstream_port}/account"))

    def compare(self, bill: list[tuple[int, str]], heard: Heard) -> dict[str, Any]:
        """Compare the records with what the upstream billed, request by request."""
        billed: defaultdict[int, list[Decimal]] = defaultdict(list)
        for number, usd in bill:
            billed[number].append(Decimal(usd))
        recorded: dict[int, Decimal] = {}
        late: dict[int, int] = {}
        ids, unknown = set(), 0
        for record in self.store(self.records):
            number = int(record.request["messages"][-1]["content"].split()[-1])
            self.expect(number not in recorded, f"request {number} has two records")
            recorded[number] = record.bill.usd
            late[number] = given_up(record)
            ids.add(record.id)
            unknown += record.bill.unknown
        given_up_usd = Decimal(0)
        differ = []
        for number in recorded.keys() | billed.keys():
            usd, owed = recorded.get(number, Decimal(0)), sum(billed[number], Decimal(0))
            if not adds_up(usd, billed[number], late.get(number, 0)):
                differ.append((number, str(usd), str(owed)))
            else:
                given_up_usd += owed - usd
        self.expect(not differ, f"records differ from bills: {len(differ)}, first {differ[:3]}")
        lost = set(heard.finished) - ids
        self.expect(not lost, f"{len(lost)} finished requests have no record")
        return {
            "records": len(recorded),
            "usd_recorded": str(sum(recorded.values())),
            "usd_billed": str(sum(sum(bills, Decimal(0)) for bills in billed.values())),
            "usd_billed_for_what_was_given_up": f"{given_up_usd:f}",
            "replies_of_unknown_price": unknown,
        }

    def killed(self, seconds: float) -> dict[str, Any]:
        """Kill the gateway under load, and look for every request that had been finished."""
        self.gateway = self.serve()
        heard = Heard()

        async def both() -> None:
            start = time.monotonic()
            loading = asyncio.create_task(self.load(heard, start + seconds))
            await asyncio.sleep(seconds / 2)
            self.gateway.kill()
            finished = len(heard.finished)
            self.gateway.wait()
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            del heard.finished[finished:]

        asyncio.run(both())
        program = Path(sys.executable).parent / "polyroute"
        command = [program, "trace", "verify", "--json", "--config", self.config]
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=START_S, check=False)
        verdict = json.loads(done.stdout)
        self.expect(verdict["broken"] is None, f"the chain is broken: {verdict['broken']}")
        self.expect(not verdict["problems"], f"half-written: {verdict['problems'][:3]}")
        kept = {record.id for record in self.store(self.records)}
        silent = set(heard.finished) - kept - set(verdict["missing"])
        self.expect(not silent, f"{len(silent)} finished requests are missing and not named")
        self.gateway = self.serve()
        again = Heard()
        asyncio.run(self.load(again, time.monotonic() + 1))
        self.expect(not again.wrong, f"after the restart: {again.wrong}")
        self.expect(again.endings["answer"] > 0, "after the restart nobody was answered")
        return {
            "finished_before_the_kill": len(heard.finished),
            "of_them_recorded": len(set(heard.finished) & kept),
            "of_them_named_missing": len(set(heard.finished) & set(verdict["missing"])),
            "named_missing": len(verdict["missing"]),
            "answered_after_the_restart": again.endings["answer"],
        }

    def end(self) -> None:
        """End what was started."""
        for process in self.started:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()


def given_up(record: Record) -> int:
    """Return how many answers of a request were given up because the time for them was over."""
    replies = [reply for step in record.trace().steps for reply in step.replies]
    failures = [one.failure for reply in replies for one in (reply, *reply.discarded)]
    return sum(one is not None and one.kind in ("timeout", "cancelled") for one in failures)


def adds_up(usd: Decimal, bills: list[Decimal], late: int) -> bool:
    """Whether `usd` is the sum of `bills`, but for at most `late` of them, to the last digit."""
    return any(
        sum(kept, Decimal(0)) == usd
        for left_out in range(min(late, len(bills)) + 1)
        for kept in combinations(bills, len(bills) - left_out)
    )


def say(words: str) -> None:
    """Say to a person what is going on."""
    print(f"{time.strftime('%X')} {words}", file=sys.stderr, flush=True)


def ending_of(status: int, wire: bytes) -> str | None:
    """Return how a reply ended, ``answer`` or the code of its error; `None`: it did not."""
    if wire.startswith(b"data:") or wire.startswith(b":"):
        lines = [line.removeprefix(b"data: ") for line in wire.split(b"\n\n")]
        for line in lines:
            if line.startswith(b"{") and (error := json.loads(line).get("error")):
                return str(error["code"])
        return "answer" if b"[DONE]" in lines else None
    try:
        said = json.loads(wire)
        return "answer" if status == 200 and said["choices"] else str(said["error"]["code"])
    except (ValueError, KeyError):
        return None


def at_three_times(mb: list[float]) -> list[float]:
    """Return the first, the middle and the last of `mb`, rounded."""
    return [round(mb[at], 1) for at in (0, len(mb) // 2, len(mb) - 1)]


def growth(own: list[tuple[float, float]]) -> tuple[float, float, int]:
    """Return the slope in megabytes per 1,000 requests, twice its standard error, and of how many.

    Neighbouring samples say nearly the same; the means of ten stretches stand for them.
    """
    stretches = [own[k * len(own) // 10 : (k + 1) * len(own) // 10] for k in range(10)]
    points = [
        (sum(n for n, _ in part) / len(part) / 1000, sum(mb for _, mb in part) / len(part))
        for part in stretches
        if part
    ]
    mean_n = sum(n for n, _ in points) / len(points)
    mean_mb = sum(mb for _, mb in points) / len(points)
    spread = sum((n - mean_n) ** 2 for n, _ in points)
    if len(points) < 3 or not spread:
        return 0.0, 0.0, 0
    slope = sum((n - mean_n) * (mb - mean_mb) for n, mb in points) / spread
    left = sum((mb - mean_mb - slope * (n - mean_n)) ** 2 for n, mb in points)
    error = math.sqrt(left / (len(points) - 2) / spread)
    return slope, 2 * error, int(own[-1][0] - own[0][0])


def memory_mb(pid: int, kind: str) -> float:
    """Return a figure of the memory of a process, as the system names it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024 / 1e6


def connections(pid: int, port: int) -> int:
    """Return how many connections a process holds that came to its `port`."""
    held = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.add(os.readlink(link))
        except OSError:
            continue
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return sum(
        int(row[1].rpartition(":")[2], 16) == port
        and row[3] == "01"
        and f"socket:[{row[9]}]" in held
        for row in rows
    )


def fetch(url: str) -> bytes:
    """Return what is at a URL."""

    async def get() -> bytes:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.read()

    return asyncio.run(get())


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=1)
    parser.add_argument("--pause", type=float, default=0)
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.upstream:
        run_upstream(given.upstream, given.seed, given.patience)
        return
    # told to stop, it ends what it started as after any other failure
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    with (
        tempfile.TemporaryDirectory() as folder,
        Soak(
            Path(folder),
            clients=given.clients,
            seed=given.seed,
            patience=given.patience,
            pause=given.pause,
            store=given.store,
        ) as soak,
    ):
        said = soak.run(given.seconds)
    print(json.dumps(said, indent=2))
    raise SystemExit(1 if said["broken"] else 0)


if __name__ == "__main__":
    main()
