"""Several processes that listen on one port, and one that looks after them.

The one decision here: the one that looks after the others does nothing else. It starts them, starts
a dead one again, hands on signals and ends last; what listens, reads and answers are the others,
each with an event loop and connections of its own.
"""

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from polyroute.errors import PolyrouteError

__all__ = ["supervise"]

_log = logging.getLogger(__name__)

_SETTLED_S = 5.0
"""A worker that has lived for so long has started well."""

_LONGEST_PAUSE_S = 30.0
"""Before a worker that keeps dying is started again."""

_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def supervise(
    work: Callable[..., None],
    arguments: Mapping[str, Any],
    *,
    count: int,
    watched: bool = False,
) -> None:
    """Run `work` in `count` processes until this one is told to end.

    SIGTERM and SIGINT end them all, gently the first time, at once the second; SIGHUP is handed
    on. A worker that dies is started again, after a pause that grows while it keeps dying; it is
    sent SIGHUP when the others may have reloaded, so that all serve the same. SIGHUP is blocked in
    a process until it unblocks it.

    Parameters
    ----------
    work : callable
        What each process does; a function of a module, because the processes start anew.
    arguments : mapping
        Its keyword arguments, which can be pickled.
    count : int
        How many processes, 1 or more.
    watched : bool, default=False
        Whether processes reload without being told.

    Raises
    ------
    SystemExit
        With the status of a worker that ended before any had started well: it has said why.
    """
    _Supervisor(work, arguments, count, reloaded=watched).run()


@dataclass(slots=True)
class _Worker:
    """One process, or the place of one that is to be started."""

    process: BaseProcess | None = None
    since: Any = None
    """When it began to work, as it says itself: a busy machine may take long to get so far."""
    due: float = 0.0
    """When to start it."""
    pause_s: float = 0.5
    again: bool = False
    """Whether it takes the place of another."""

    def lived_s(self) -> float:
        """Return for how many seconds it has worked."""
        return time.monotonic() - self.since.value if self.since and self.since.value else 0.0


class _Supervisor:
    def __init__(
        self,
        work: Callable[..., None],
        arguments: Mapping[str, Any],
        count: int,
        *,
        reloaded: bool,
    ) -> None:
        self._work = work
        self._arguments = arguments
        self._workers = [_Worker() for _ in range(count)]
        self._processes = multiprocessing.get_context("spawn")
        # the workers notice by it that this process is gone, however it ended
        self._lifeline, self._ours = self._processes.Pipe(duplex=False)
        self._signals: list[int] = []
        self._settled = False
        self._stopping = False
        self._reloaded = reloaded
        """Whether workers may serve something newer than the arguments."""

    def run(self) -> None:
        wake, told = socket.socketpair()
        wake.setblocking(False)
        told.setblocking(False)
        before = {number: signal.signal(number, self._note) for number in _HANDED_ON}
        woken = signal.set_wakeup_fd(told.fileno())
        try:
            while not self._stopping or self._running():
                self._start_what_is_due()
                wait([wake, *(process.sentinel for process in self._running())], self._patience())
                while self._signals:
                    self._hand_on(self._signals.pop(0))
                _drain(wake)
                self._bury_the_dead()
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)
            for process in self._running():
                process.kill()
            self._ours.close()
            wake.close()
            told.close()

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _running(self) -> list[BaseProcess]:
        return [worker.process for worker in self._workers if worker.process is not None]

    def _patience(self) -> float | None:
        """Seconds until a worker is due, or has lived long enough; `None` when none is awaited."""
        now = time.monotonic()
        dues = [worker.due for worker in self._workers if worker.process is None]
        if not self._settled:
            dues += [now + _SETTLED_S - one.lived_s() for one in self._workers if one.process]
        return None if not dues or self._stopping else max(0.0, min(dues) - now)

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        self._settled = self._settled or any(
            worker.process is not None and worker.lived_s() >= _SETTLED_S
            for worker in self._workers
        )
        for worker in self._workers:
            if worker.process is None and worker.due <= now and not self._stopping:
                worker.since = self._processes.RawValue("d", 0.0)
                worker.process = self._processes.Process(
                    target=_live,
                    args=(worker.since, self._lifeline, self._work, dict(self._arguments)),
                )
                _start(worker.process)
                if worker.again and self._reloaded:
                    _send(worker.process, signal.SIGHUP)

    def _bury_the_dead(self) -> None:
        for worker in self._workers:
            process = worker.process
            if process is None or process.is_alive():
                continue
            process.join()
            worker.process = None
            worker.again = True
            if self._stopping:
                continue
            now = time.monotonic()
            gave_up = (process.exitcode or 0) >= 0  # somebody else's signal says nothing of it
            lived = worker.lived_s() >= _SETTLED_S
            if gave_up and not self._settled and not lived:
                raise SystemExit(process.exitcode or 1)
            worker.pause_s = 0.5 if lived else min(2 * worker.pause_s, _LONGEST_PAUSE_S)
            worker.due = now + worker.pause_s
            _log.warning(
                "worker %s ended with %s; another is started in %g s",
                process.pid,
                process.exitcode,
                worker.pause_s,
            )

    def _hand_on(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reloaded = True
            for process in self._running():
                _send(process, signal.SIGHUP)
            return
        again, self._stopping = self._stopping, True
        for process in self._running():
            _send(process, signal.SIGKILL if again else signal.SIGTERM)


def _start(process: BaseProcess) -> None:
    """Start `process` with SIGHUP blocked: sent before it listens, it waits and does not kill."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send(process: BaseProcess, number: int) -> None:
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, number)


def _drain(wake: socket.socket) -> None:
    try:
        while wake.recv(4096):
            pass
    except BlockingIOError:
        return


def _live(
    since: Any,  # noqa: ANN401 - a number that both processes see
    lifeline: Connection,
    work: Callable[..., None],
    arguments: dict[str, Any],
) -> None:
    """Do the work of one process, until told to end, or until the one that started it is gone."""
    since.value = time.monotonic()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    try:
        work(**arguments)
    except PolyrouteError as error:
        _log.error("%s", error)
        raise SystemExit(2) from None


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
