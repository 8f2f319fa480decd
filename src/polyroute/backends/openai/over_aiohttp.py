"""Requests over aiohttp: TLS, and every kind of name and network.

The one decision here: aiohttp's errors end here, because they hold the request's headers, and so
the key.
"""

from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from polyroute.backends.openai.transport import (
    Address,
    ConnectTimeoutError,
    TransportError,
    in_words,
)

__all__ = ["OverAiohttp"]


class OverAiohttp:
    """A client session of one event loop.

    Parameters
    ----------
    keep_alive_s : float
        Seconds for which an idle connection is kept.
    """

    def __init__(self, *, keep_alive_s: float) -> None:
        self._session = aiohttp.ClientSession(
            # how many calls run at once is decided above, by budgets and the gateway
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=keep_alive_s),
            # one session serves many callers: a cookie of one must not reach the next
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def send(
        self,
        method: str,
        address: Address,
        body: bytes = b"",
        note: Callable[[], None] = lambda: None,
    ) -> "_Answer":
        """Send one request; see `polyroute.backends.openai.transport.Transport`."""
        timeout = self._timeouts.get(address.connect_s)
        if timeout is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=address.connect_s)
            self._timeouts[address.connect_s] = timeout
        try:
            response = await self._session.request(
                method,
                address.url,
                data=_Body(body, note) if body else None,
                headers=address.headers,
                timeout=timeout,
                # a redirect would carry the key to a host that nobody configured
                allow_redirects=False,
            )
        except aiohttp.ClientError as error:
            failure = _translated(error)
        else:
            return _Answer(response)
        # raised out of the `except`, so that it does not hold the other
        raise failure

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


class _Answer:
    """A response of aiohttp."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def content_type(self) -> str:
        return self._response.content_type

    def header(self, name: str) -> str | None:
        return self._response.headers.get(name)

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except aiohttp.ClientError as error:
            failure = _translated(error)
        raise failure

    def release(self) -> None:
        self._response.release()


class _Body(Payload):
    """A body that says when it goes out: its headers go with it, in one piece."""

    _autoclose = True
    _value: bytes

    def __init__(self, body: bytes, note: Callable[[], None]) -> None:
        super().__init__(body)
        self._size = len(body)
        self._note = note

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._note()
        await writer.write(self._value)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        await self.write(writer)


def _translated(error: aiohttp.ClientError) -> TransportError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ConnectTimeoutError(in_words(error))
    return TransportError(in_words(error))
