"""What stands between a request and its episode: who asks, what they may, what is remembered.

The one decision here: each is a protocol of a few methods, and the endpoint calls them at one place
each. An open server has none of them but the form it answers in.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from msgspec import Struct

from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import Happening, Outcome
from polyroute.types import Json, JsonObject

__all__ = ["Admission", "Gate", "Lease", "Listener", "Memory", "Open", "Shape", "Watcher", "Writer"]


class Lease(Protocol):
    """What an admitted request holds until it has ended."""

    async def settle(self, outcome: Outcome | None) -> None:
        """Give back what was not used; `None` when its episode never began.

        The outcome of a request that was cut short has what was spent until then.
        """
        ...


class Admission(Struct, frozen=True):
    """A request that may go on."""

    asked: Asked
    """As it was asked, or with a budget made smaller by what its caller has left."""
    lease: Lease


class Gate(Protocol):
    """Decides whether a caller may ask this now: limits and budgets."""

    async def admit(self, caller: Caller, asked: Asked) -> Admission:
        """Let the request in, and hold what it may spend at most.

        Raises
        ------
        ApiError
            429 with ``retry-after``, or 403, when it may not.
        """
        ...


class Memory(Protocol):
    """Remembers answers."""

    async def recall(self, caller: Caller, asked: Asked) -> Outcome | None:
        """Return the outcome of a run that need not be made; `None` when it must."""
        ...

    async def remember(self, caller: Caller, asked: Asked, outcome: Outcome) -> None:
        """Take note of an outcome."""
        ...


class Watcher(Protocol):
    """Is told what happens, and must neither wait nor raise."""

    def refused(self, caller: Caller, error: ApiError) -> None:
        """Take note that a request was not admitted."""
        ...

    def began(self, caller: Caller, asked: Asked) -> None:
        """Take note that a request was admitted."""
        ...

    def ended(self, caller: Caller, asked: Asked, outcome: Outcome | None) -> None:
        """Take note that it is over; `None` when its episode never began."""
        ...


Listener: TypeAlias = Callable[[Asked, Happening], None]
"""Is told what happens in an episode, pieces of streams left out; must neither wait nor raise."""


class Writer(Protocol):
    """Writes one streamed reply. Each method returns the bytes to send, perhaps none."""

    def feed(self, event: Happening) -> bytes:
        """Take in what happened."""
        ...

    def finish(self, outcome: Outcome) -> bytes:
        """Write what is left of the answer, and the end."""
        ...

    def fail(self, error: ApiError, about: JsonObject | None) -> bytes:
        """Write an error into a stream that has begun, and end it."""
        ...


class Shape(Protocol):
    """The form in which a client asks and is answered."""

    async def read(self, wire: dict[str, Json], caller: Caller) -> dict[str, Json]:
        """Return the body as one of OpenAI's chat completions.

        Raises
        ------
        ApiError
            If a field is wrong.
        """
        ...

    def whole(self, outcome: Outcome, asked: Asked) -> JsonObject:
        """Return the body of a reply that is not streamed.

        Raises
        ------
        ApiError
            If the answer cannot be said in this form.
        """
        ...

    def writer(self, asked: Asked) -> Writer:
        """Return what writes one streamed reply."""
        ...

    def error(self, error: ApiError, report: JsonObject | None = None) -> JsonObject:
        """Return the body of a refusal."""
        ...


class Open:
    """Lets everybody in."""

    async def admit(self, caller: Caller, asked: Asked) -> Admission:
        """Let the request in."""
        return Admission(asked, self)

    async def settle(self, outcome: Outcome | None) -> None:
        """Nothing is held."""
