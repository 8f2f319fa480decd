"""A server that takes a new configuration without losing a request.

The one decision here: a configuration is taken as a whole or not at all. A request ends in the
application it began in; the new one is built and started beside it, and the old one is closed when
its last request has ended.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polyroute.types import Json

__all__ = ["PLACE", "Early", "Reloading", "Report"]

_log = logging.getLogger(__name__)

PLACE = "polyroute.reloads"
"""Where a request finds the `Report` in its scope."""


@dataclass(slots=True)
class Report:
    """What became of the reloads so far."""

    done: int = 0
    """How many configurations were taken since the server started."""
    refused: str | None = None
    """Why the last one was not; `None` when it was."""
    at: float = field(default_factory=time.time)
    """When the configuration that serves was taken, in seconds since 1970."""

    def to_json(self, *, why: bool = True) -> dict[str, Json]:
        """Return the JSON form; without `why`, the reason of a refusal is left to the log.

        It quotes the configuration, and so is not for everybody who can reach the server.
        """
        refused = self.refused if why or self.refused is None else "the log says why"
        return {"reloads": self.done, "since": round(self.at, 3), "refused": refused}


class Early:
    """A reload that is asked for while there is nothing yet that could be replaced.

    Attributes
    ----------
    asked : bool
        Whether it was: the server then reads its configuration again as soon as it serves.
    """

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> None:
        """Take note of SIGHUP, which would end the process, also of one that came before."""
        # not on every system, and in the main thread only
        with suppress(AttributeError, ValueError):
            if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
                signal.signal(signal.SIGHUP, self._note)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _note(self, _: int, __: FrameType | None) -> None:
        self.asked = True


class _Generation:
    """One application, from its start to its end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.running = 0
        """Requests that have begun here and not ended."""
        self.idle = asyncio.Event()
        self._says: asyncio.Queue[Message] = asyncio.Queue()
        self._hears: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the application.

        Raises
        ------
        RuntimeError
            If it says that it cannot.
        """
        scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self._task = asyncio.create_task(self._live(scope))
        await self._hears.put({"type": "lifespan.startup"})
        said = await self._says.get()
        if said["type"] != "lifespan.startup.complete":
            raise RuntimeError(said.get("message") or "the application did not start")

    async def stop(self) -> None:
        """Close the application."""
        if self._task is None:
            return
        await self._hears.put({"type": "lifespan.shutdown"})
        await self._task
        self._task = None

    async def _live(self, scope: Scope) -> None:
        try:
            await self.app(scope, self._hears.get, self._says.put)
        except Exception as error:  # noqa: BLE001 - said to who starts it
            await self._says.put({"type": "lifespan.startup.failed", "message": str(error)})


class Reloading:
    """An ASGI application that can be replaced while it serves.

    Parameters
    ----------
    app : ASGIApp
        What serves first.
    renew : callable
        Builds the application of the configuration as it is now; whatever it raises refuses it.
    end : callable, optional
        Closes what the applications share, after the last of them.
    file : path, optional
        The configuration file.
    every_s : float, optional
        Look at the file so often, in seconds, and reload when it has changed; `None`: only on
        SIGHUP.
    early : Early, optional
        What was asked for before it started.
    """

    def __init__(
        self,
        app: ASGIApp,
        renew: Callable[[], Awaitable[ASGIApp]],
        *,
        end: Callable[[], Awaitable[None]] | None = None,
        file: Path | None = None,
        every_s: float | None = None,
        early: Early | None = None,
    ) -> None:
        self.report = Report()
        self._now = _Generation(app)
        self._renew = renew
        self._end = end
        self._file = file
        self._every_s = every_s
        self._early = early
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._retired: list[_Generation] = []
        """Where requests still run."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the application that serves now."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        generation = self._now
        scope[PLACE] = self.report
        generation.running += 1
        try:
            await generation.app(scope, receive, send)
        finally:
            generation.running -= 1
            if not generation.running and generation is not self._now:
                generation.idle.set()

    async def reload(self) -> bool:
        """Take the configuration as it is now; return whether it could be used."""
        async with self._lock:
            try:
                following = _Generation(await self._renew())
                await following.start()
            except Exception as error:  # noqa: BLE001 - whatever it is, what serves goes on
                self.report.refused = str(error)
                _log.error("the new configuration is refused, the old one serves on: %s", error)
                return False
            before, self._now = self._now, following
            self.report.done += 1
            self.report.refused = None
            self.report.at = time.time()
            _log.info("the new configuration serves; %d requests end on the old", before.running)
            self._retired.append(before)
            self._spawn(self._retire(before))
            return True

    async def _retire(self, generation: _Generation) -> None:
        if generation.running:
            await generation.idle.wait()
        await generation.stop()
        self._retired.remove(generation)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start and end with the server."""
        await receive()
        try:
            await self._now.start()
        except RuntimeError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        loop = asyncio.get_running_loop()
        # not on every system, and in the main thread only
        with suppress(NotImplementedError, RuntimeError, ValueError, AttributeError):
            loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload()))
        if self._early is not None and self._early.asked:
            self._spawn(self._reload())
        watching = None
        if self._file is not None and self._every_s is not None:
            watching = asyncio.create_task(self._watch(self._file, self._every_s))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        # the server has given running requests their time: what is left is closed now
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for generation in (*self._retired, self._now):
            await generation.stop()
        if self._end is not None:
            await self._end()
        await send({"type": "lifespan.shutdown.complete"})

    async def _reload(self) -> None:
        await self.reload()

    async def _watch(self, file: Path, every_s: float) -> None:
        """Reload when the file has changed."""
        seen = _stamp(file)
        while True:
            await asyncio.sleep(every_s)
            found = _stamp(file)
            if found is not None and found != seen:
                seen = found
                await self.reload()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Return what changes with the file; `None` while an editor is replacing it."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
