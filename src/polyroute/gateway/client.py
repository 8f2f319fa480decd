"""Whether the client of a request is still there.

The one decision here: the connection says so. It knows at once, and costs nothing to ask; a task
that waits for each client to go would cost as much as the rest of its request.
"""

import asyncio
from typing import Protocol

__all__ = ["CLIENT", "Client", "Connected"]

CLIENT = "polyroute.client"
"""Where the scope of a request has its client, on a server that knows it."""


class Client(Protocol):
    """Cancels what is done for a client when it goes."""

    def serve(self, task: asyncio.Task[None]) -> None:
        """Cancel `task` when the client goes, or now when it has."""
        ...

    def served(self, task: asyncio.Task[None]) -> None:
        """Leave `task` alone from now on."""
        ...


class Connected:
    """The client at the other end of one connection."""

    __slots__ = ("_gone", "_tasks")

    def __init__(self) -> None:
        self._gone = False
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, task: asyncio.Task[None]) -> None:
        """Cancel `task` when the client goes, or now when it has."""
        if self._gone:
            task.cancel()
        self._tasks.add(task)

    def served(self, task: asyncio.Task[None]) -> None:
        """Leave `task` alone from now on."""
        self._tasks.discard(task)

    def go(self) -> None:
        """Take note that the client has gone."""
        self._gone = True
        for task in self._tasks:
            task.cancel()
