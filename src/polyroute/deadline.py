"""Cut short what is not done in time, at one timer for all that runs.

The one decision here: nearly everything is done in time. So what has a deadline is put on a list,
and one timer waits for the earliest of them; `asyncio.timeout_at` sets and cancels a timer each.
"""

import asyncio
import threading
from types import TracebackType
from typing import Literal

__all__ = ["Deadline"]


class Deadline:
    """What runs inside of it is cancelled when its time is over, and ends in a `TimeoutError`.

    Parameters
    ----------
    when : float or None
        By the clock of the event loop; `None`: it is never over.

    Raises
    ------
    TimeoutError
        At its end, when it cut short what ran inside of it.

    Examples
    --------
    >>> async def slowly() -> str:
    ...     loop = asyncio.get_running_loop()
    ...     try:
    ...         with Deadline(loop.time() + 0.01):
    ...             await asyncio.sleep(60)
    ...     except TimeoutError:
    ...         return "cut short"
    ...     return "done"
    >>> asyncio.run(slowly())
    'cut short'
    """

    __slots__ = ("_alarm", "_cancelling", "_over", "_task", "when")

    def __init__(self, when: float | None) -> None:
        self.when = when
        self._alarm: _Alarm | None = None
        self._over = False

    def __enter__(self) -> "Deadline":
        """Begin to watch the task that runs this."""
        if self.when is not None:
            loop = asyncio.get_running_loop()
            task = asyncio.current_task(loop)
            assert task is not None, "a coroutine runs in a task"
            self._task = task
            self._cancelling = task.cancelling()
            alarm = getattr(_LOCAL, "alarm", None)
            if alarm is None or alarm.loop is not loop:
                alarm = _LOCAL.alarm = _Alarm(loop)
            self._alarm = alarm
            alarm.waiting[self] = self.when
            if alarm.timer is None or self.when < alarm.at:
                alarm.set(self.when)
        return self

    def move(self, when: float) -> None:
        """Give what runs inside another deadline; nothing, when it is over already."""
        self.when = when
        alarm = self._alarm
        if alarm is not None and not self._over:
            alarm.waiting[self] = when
            if alarm.timer is None or when < alarm.at:
                alarm.set(when)

    def ring(self) -> None:
        """Cut short what runs inside."""
        self._over = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        """Watch no longer."""
        alarm = self._alarm
        if alarm is not None:
            self._alarm = None
            alarm.waiting.pop(self, None)
            if self._over:
                # a cancellation from elsewhere is not ours to swallow
                mine = self._task.uncancel() <= self._cancelling
                if mine and kind is asyncio.CancelledError:
                    raise TimeoutError from error
        return False


class _Alarm:
    """The timer of one event loop."""

    __slots__ = ("at", "loop", "timer", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiting: dict[Deadline, float] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.at = 0.0
        """When the timer goes off."""

    def set(self, when: float) -> None:
        """Go off at another time."""
        if self.timer is not None:
            self.timer.cancel()
        self.at = when
        self.timer = self.loop.call_at(when, self._go_off)

    def _go_off(self) -> None:
        """Let those know whose time is over, and wait for the next."""
        self.timer = None
        now = self.loop.time()
        for deadline in [each for each, when in self.waiting.items() if when <= now]:
            del self.waiting[deadline]
            deadline.ring()
        if self.waiting:
            self.set(min(self.waiting.values()))


_LOCAL = threading.local()
"""The alarm of the event loop that runs in this thread."""
