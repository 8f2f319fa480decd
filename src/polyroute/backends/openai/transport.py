"""What carries requests to an instance, and the pieces of its answers back.

The one decision here: whether a request may have been billed is the transport's to say. It calls
`note` right before the request goes out; what fails earlier was never asked of anybody.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from yarl import URL

__all__ = [
    # where to, and what comes back
    "Address", "Answer", "Transport", "TransportName",
    # what goes wrong
    "ConnectTimeoutError", "TransportError", "in_words",
]  # fmt: skip

TransportName = Literal["auto", "aiohttp", "plain"]


@dataclass(frozen=True, eq=False)
class Address:
    """Where requests go, and what they carry besides their bodies. One object for many of them."""

    url: URL
    headers: Mapping[str, str] = field(repr=False)
    """With the key in them."""
    connect_s: float
    """Seconds to make a connection."""


class TransportError(Exception):
    """The connection was not made, or broke, or what came over it was not HTTP.

    It never holds the request: its headers hold a key.
    """


class ConnectTimeoutError(TransportError):
    """There was no connection in time."""


class Answer(Protocol):
    """The answer to one request; its body is read in pieces, by one reader, once."""

    @property
    def status(self) -> int:
        """Status code."""
        ...

    @property
    def content_type(self) -> str:
        """Media type, in lower case, without parameters."""
        ...

    def header(self, name: str) -> str | None:
        """Return a header by its name in lower case."""
        ...

    async def read(self) -> bytes:
        """Return what has come since the last time, waiting for something; empty at the end.

        Raises
        ------
        TransportError
            If the connection breaks before the end.
        """
        ...

    def release(self) -> None:
        """Let go: a connection whose answer was whole is used again, any other is closed."""
        ...


class Transport(Protocol):
    """Sends requests over connections that it keeps."""

    async def send(
        self, method: str, address: Address, body: bytes = b"", note: Callable[[], None] = ...
    ) -> Answer:
        """Send one request and return its answer, when the headers have come.

        Cancelling it closes the connection.

        Raises
        ------
        ConnectTimeoutError
            When there was no connection in time.
        TransportError, OSError
            When there was none at all, or it broke.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def in_words(error: Exception) -> str:
    """Return the class and the message of an error of a connection."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
