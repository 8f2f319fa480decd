"""A Python callable as a candidate: it runs in a process of its own, with limits that hold.

The one decision here: a tool is asked over a socket pair that is its standard input and output.
The socket belongs to no event loop, so the same tool serves one loop after the other, and killing
the process is all it takes to end a call: there is nothing in this process to clean up after it.
"""

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field

from polyroute import registry
from polyroute.decision import Call, Failure
from polyroute.errors import BackendError, ConfigError, UpstreamTimeoutError
from polyroute.protocols import Emit
from polyroute.trace import Reply, Trace
from polyroute.types import Json, JsonObject, Usage

__all__ = ["Tool"]

_START_SECONDS = 60.0
"""Time to start a process and import the tool; not part of the limit of a call."""

_LEAST_MEMORY_MB = 256
"""Python, numpy and this package take about 150 MB of addresses before any tool is loaded."""

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
"""What a tool sees of our environment: no key is among it."""

_PATIENCE = 50
"""Hundredths of a second in which a process that closed its side must have ended."""

_CHUNK = 65_536
_BYTES_PER_CHAR = 12  # JSON writes a character beyond the basic plane as two \uXXXX


class Tool:
    """Ask a callable ``answer(question: str) -> str | None``.

    The question is the call's prompt, or the text of the last user message. `None` means "not a
    question for me"; it becomes a refusal that costs the flat price of the call.

    Parameters
    ----------
    tool : str
        A name registered under the entry-point group ``polyroute.tools``, or
        ``package.module:function``, importable from where this program runs.
    seconds : float, default=5.0
        Wall-clock limit of one call; loading the tool, once per process, is not counted.
    memory_mb : int, default=1024
        Limit of the process's address space, Python and the loaded tool included; 256 or more.
    output_chars : int, default=10_000
        Longer answers are cut, and say so.

    Raises
    ------
    ConfigError
        If a limit cannot be used, or `tool` is neither a known name nor a path of that form.

    Notes
    -----
    One process, started at the first call; one call at a time, further ones wait their turn. A
    process is killed, and the next call starts a new one, when a call is cancelled, passes its
    time or exhausts the memory. A tool keeps what it caches in between, and what it prints goes
    to standard error. The limits guard against accidents; they are no sandbox for hostile code,
    which could still read files and open connections.
    """

    def __init__(
        self,
        *,
        tool: str,
        seconds: float = 5.0,
        memory_mb: int = 1024,
        output_chars: int = 10_000,
    ) -> None:
        if not 0 < seconds < math.inf:
            raise ConfigError(f"tool.seconds must be above 0 and finite, got {seconds!r}")
        if memory_mb < _LEAST_MEMORY_MB:
            raise ConfigError(f"tool.memory_mb must be {_LEAST_MEMORY_MB} or more, got {memory_mb}")
        if output_chars < 1:
            raise ConfigError(f"tool.output_chars must be 1 or more, got {output_chars!r}")
        _check_name(tool)
        self.tool = tool
        self.seconds = seconds
        self.memory_mb = memory_mb
        self.output_chars = output_chars
        self._seats: dict[asyncio.AbstractEventLoop, _Seat] = {}

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Return the tool's answer, or its refusal as a failed reply that is billed.

        Raises
        ------
        UpstreamTimeoutError
            If the call passed its limit of seconds.
        BackendError
            Kind ``bad_request`` if the tool raised, with its exception in words; kind
            ``unavailable`` if its process died, exhausted its memory or could not load the tool.
        """
        if call.prefix:
            raise BackendError(
                f"the tool {self.tool!r} cannot go on from the beginning of a turn; ask a model",
                kind="bad_request",
            )
        question = call.prompt if call.prompt is not None else trace.request.prompt
        seat = self._seat()
        async with seat.lock:
            said = await self._ask(seat, question)
        if "error" in said:
            raise BackendError(f"the tool {self.tool!r} raised {said['error']}", kind="bad_request")
        if said["text"] is None:
            message = f"{call.model} says this is not a question of its field: {question!r:.200}"
            return Reply(model=call.model, usage=Usage(), failure=Failure("refusal", message))
        return Reply(model=call.model, text=said["text"], usage=Usage(), finish_reason="stop")

    async def close(self) -> None:
        """Kill the processes. May be called twice; a later call starts anew."""
        for seat in self._seats.values():
            seat.vacate()
        self._seats.clear()

    def _seat(self) -> "_Seat":
        """Return the place of the running loop; it inherits the process of a loop that is over."""
        loop = asyncio.get_running_loop()
        if loop not in self._seats:
            over = [old for old in self._seats if old.is_closed()]
            workers = [w for old in over if (w := self._seats.pop(old).worker) is not None]
            for spare in workers[1:]:
                spare.kill()
            self._seats[loop] = _Seat(workers[0] if workers else None)
        return self._seats[loop]

    async def _ask(self, seat: "_Seat", question: str) -> JsonObject:
        """Ask the seat's process; whatever cuts the exchange short ends the process.

        Raises
        ------
        UpstreamTimeoutError
            If there was no answer in time.
        BackendError
            If there is no process that answers.
        """
        worker = seat.worker
        if worker is None or not worker.alive:
            worker = await self._start_worker(seat)
        try:
            async with asyncio.timeout(self.seconds):
                said = await worker.exchange({"question": question, "seconds": self.seconds})
            if "memory" in said:
                raise BackendError(
                    f"the tool {self.tool!r} needed more than its {self.memory_mb} MB of memory"
                )
        except TimeoutError:
            seat.vacate()
            raise UpstreamTimeoutError(
                f"the tool {self.tool!r} did not answer within its {self.seconds:g} s"
            ) from None
        except (EOFError, OSError):
            await worker.end()
            raise BackendError(
                f"the process of the tool {self.tool!r} {seat.vacate()}; its limits are "
                f"{self.memory_mb} MB of memory and {self.seconds:g} s"
            ) from None
        except BaseException:
            seat.vacate()
            raise
        return said

    async def _start_worker(self, seat: "_Seat") -> "_Worker":
        """Give the seat a new process that has loaded the tool.

        Raises
        ------
        BackendError
            If the tool cannot be loaded.
        """
        seat.vacate()
        worker = seat.worker = _Worker(self.tool, self.memory_mb, self.output_chars)
        try:
            async with asyncio.timeout(_START_SECONDS):
                said = await worker.hear()
            if "memory" in said:
                why = f"it needs more than its {self.memory_mb} MB of memory"
            else:
                why = said.get("error", "")
        except TimeoutError:
            why = f"it took more than {_START_SECONDS:g} s"
        except (EOFError, OSError):
            await worker.end()
            why = f"its process {seat.vacate()}; its limit is {self.memory_mb} MB of memory"
        except BaseException:
            seat.vacate()
            raise
        if why:
            seat.vacate()
            raise BackendError(f"the tool {self.tool!r} cannot be loaded: {why}")
        return worker


@dataclass(slots=True)
class _Seat:
    """What one event loop uses: a lock, since asyncio's belong to one loop, and a process."""

    worker: "_Worker | None" = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def vacate(self) -> str:
        """End the process; return how it ended, in words."""
        worker, self.worker = self.worker, None
        return "" if worker is None else worker.kill()


class _Worker:
    """One running process of `polyroute.backends.tool_worker`."""

    def __init__(self, tool: str, memory_mb: int, output_chars: int) -> None:
        self._longest = output_chars * _BYTES_PER_CHAR + _CHUNK
        self._heard = bytearray()
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        limits = (str(memory_mb), str(output_chars))
        try:
            self._child = subprocess.Popen(
                (sys.executable, "-m", "polyroute.backends.tool_worker", tool, *limits),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env=_environment(),
                start_new_session=True,  # a Ctrl-C in the terminal is ours to handle
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()

    @property
    def alive(self) -> bool:
        """Whether the process runs. One that has ended stays unreaped: its number is kept."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return self._child.returncode is None and (
            os.waitid(os.P_PID, self._child.pid, options) is None
        )

    async def exchange(self, message: Json) -> JsonObject:
        """Send one line and return the line that answers it."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, json.dumps(message).encode() + b"\n")
        return await self.hear()

    async def hear(self) -> JsonObject:
        """Return the next line.

        Raises
        ------
        EOFError
            If the process ended, or said something that is not a line of the protocol.
        """
        loop = asyncio.get_running_loop()
        while b"\n" not in self._heard:
            chunk = await loop.sock_recv(self._socket, _CHUNK)
            if not chunk or len(self._heard) > self._longest:
                raise EOFError
            self._heard += chunk
        line, _, rest = bytes(self._heard).partition(b"\n")
        self._heard = bytearray(rest)
        try:
            said: JsonObject = json.loads(line)
        except ValueError:
            raise EOFError from None
        return said

    async def end(self) -> None:
        """Wait a moment for a process that has closed its side, to learn how it ended."""
        for _ in range(_PATIENCE):
            if not self.alive:
                return
            await asyncio.sleep(0.01)

    def kill(self) -> str:
        """End the process with all it started, and reap it; return how it ended, in words."""
        self._socket.close()
        was_alive = self.alive
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        code = self._child.wait()
        if was_alive:
            return "broke off the exchange"
        return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _check_name(tool: str) -> None:
    if ":" in tool:
        module, _, path = tool.partition(":")
        if all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
            return
        raise ConfigError(f"a tool is named 'package.module:function', got {tool!r}")
    if tool not in registry.names("tools"):
        registry.load("tools", tool)  # raises the error that lists the known names


def _environment() -> dict[str, str]:
    """Return what a tool's process needs to import what we can import, and nothing else."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**passed, **threads, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
