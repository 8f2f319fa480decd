"""Requests over plain HTTP/1.1, for instances next door: what is needed for that, and no more.

The one decision here: a connection is one object that is both the parser's target and the answer
it carries, so that a reply that comes in one read costs one wake-up. What it cannot do (TLS,
proxies) is the other transport's.

References
----------
RFC 9112: message body length (section 6.3), persistence (section 9.3).
"""

import asyncio
import re
import socket
import zlib
from collections.abc import Callable
from typing import cast

from polyroute.backends.openai.transport import Address, ConnectTimeoutError, TransportError
from polyroute.errors import MissingExtraError

try:
    import httptools
except ModuleNotFoundError:  # what asks for it says so
    httptools = None  # type: ignore[assignment]

__all__ = ["Plain", "can_be_used", "check"]

_LONGEST_HEAD = 64 * 2**10
"""Bytes of a status line with its headers."""
_MOST_WAITING = 256 * 2**10
"""Bytes that may wait to be read before the connection has to."""
_LONGEST_EXPANDED = 64 * 2**20
"""Bytes that one compressed piece may become."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name (RFC 9110, section 5.6.2)."""
_SWITCHING = 101


def can_be_used() -> bool:
    """Return whether what it needs is installed."""
    return httptools is not None


def check() -> None:
    """Raise, with the remedy, when what it needs is not installed.

    Raises
    ------
    MissingExtraError
        If `httptools` is not installed.
    """
    if not can_be_used():
        raise MissingExtraError(
            "the transport 'plain' needs the package 'httptools', which is not installed; "
            "run: pip install 'polyroute[serve]'"
        )


class Plain:
    """Connections of one event loop to any number of hosts, kept while they are in use.

    Parameters
    ----------
    keep_alive_s : float
        Seconds for which an idle connection is kept.

    Raises
    ------
    MissingExtraError
        If `httptools` is not installed.
    """

    def __init__(self, *, keep_alive_s: float) -> None:
        check()
        self._keep_alive_s = keep_alive_s
        self._loop = asyncio.get_running_loop()
        self._idle: dict[tuple[str, int], list[_Link]] = {}
        self._links: set[_Link] = set()
        self._heads: dict[tuple[str, Address], tuple[bytes, tuple[str, int]]] = {}
        self._reaper: asyncio.TimerHandle | None = None

    async def send(
        self,
        method: str,
        address: Address,
        body: bytes = b"",
        note: Callable[[], None] = lambda: None,
    ) -> "_Link":
        """Send one request; see `polyroute.backends.openai.transport.Transport`."""
        known = self._heads.get((method, address))
        if known is None:
            if len(self._heads) > len(self._idle) + _MOST_HEADS:
                self._heads.clear()  # of keys that were rotated
            known = self._heads[method, address] = _head(method, address), _place(address)
        head, place = known
        link = self._take(place) or await self._connect(address)
        try:
            await link.exchange(b"%b%d\r\n\r\n%b" % (head, len(body), body), note)
        except BaseException:
            link.abort()
            raise
        return link

    async def close(self) -> None:
        """Close all connections."""
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for link in tuple(self._links):
            link.abort()
        await asyncio.sleep(0)

    def park(self, link: "_Link") -> None:
        """Keep `link` for the next request."""
        link.idle_since = self._loop.time()
        self._idle.setdefault(link.place, []).append(link)
        if self._reaper is None:
            self._reaper = self._loop.call_later(self._keep_alive_s, self._reap)

    def forget(self, link: "_Link") -> None:
        """Take note that `link` is closed."""
        self._links.discard(link)
        parked = self._idle.get(link.place, [])
        if link in parked:
            parked.remove(link)

    def _take(self, place: tuple[str, int]) -> "_Link | None":
        """Return the connection that was used last: the others may grow old and be closed."""
        parked = self._idle.get(place)
        oldest = self._loop.time() - self._keep_alive_s
        while parked:
            link = parked.pop()
            if link.idle_since > oldest and link.usable:
                return link
            link.abort()
        return None

    async def _connect(self, address: Address) -> "_Link":
        place = host, port = _place(address)
        try:
            async with asyncio.timeout(address.connect_s):
                _, link = await self._loop.create_connection(lambda: _Link(self, place), host, port)
        except TimeoutError:
            raise ConnectTimeoutError(
                f"no connection to {host}:{port} within {address.connect_s:g} s"
            ) from None
        self._links.add(link)
        return link

    def _reap(self) -> None:
        """Close what has been idle for too long, and come again while anything is idle."""
        self._reaper = None
        oldest = self._loop.time() - self._keep_alive_s
        for parked in self._idle.values():
            for link in [link for link in parked if link.idle_since <= oldest]:
                parked.remove(link)
                link.abort()
        if any(self._idle.values()):
            self._reaper = self._loop.call_later(self._keep_alive_s, self._reap)


_MOST_HEADS = 256


class _Link(asyncio.Protocol):
    """One connection, and the answer that it carries; one at a time."""

    __slots__ = (
        "_complete", "_error", "_expand", "_framed", "_head_size", "_headed", "_headers", "_home",
        "_parser", "_paused", "_pieces", "_reusable", "_transport", "_waiter", "_waiting",
        "content_type", "idle_since", "place", "status",
    )  # fmt: skip

    def __init__(self, home: Plain, place: tuple[str, int]) -> None:
        self.place = place
        self.idle_since = 0.0
        self.status = 0
        self.content_type = ""
        self._home = home
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: TransportError | None = None
        self._pieces: list[bytes] = []
        self._paused = False
        self._reset()
        self._complete = True  # nothing has been asked yet

    def _reset(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._expand: zlib._Decompress | None = None
        self._pieces.clear()
        self._waiting = 0
        self._head_size = 0
        self._headed = False
        self._framed = False
        self._complete = False
        self._reusable = False

    # ---- for the transport

    @property
    def usable(self) -> bool:
        """Whether a request may be sent over it."""
        return self._error is None and self._transport is not None

    async def exchange(self, request: bytes, note: Callable[[], None]) -> None:
        """Send `request` and wait for the head of its answer."""
        assert self._transport is not None, "it is connected"
        self._reset()
        note()
        self._transport.write(request)
        while not self._headed:
            await self._news()

    def abort(self) -> None:
        """Close the connection, now."""
        if self._transport is not None:
            self._error = self._error or TransportError("the connection is closed")
            self._transport.abort()

    # ---- the answer

    def header(self, name: str) -> str | None:
        value = self._headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    async def read(self) -> bytes:
        while True:
            if self._pieces:
                piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
                self._pieces.clear()
                self._waiting = 0
                if self._paused and self._transport is not None:
                    self._paused = False
                    self._transport.resume_reading()
                if self._expand is None:
                    return piece
                if expanded := self._expanded(piece):
                    return expanded
            elif self._complete:
                return b""
            else:
                await self._news()

    def release(self) -> None:
        transport = self._transport
        if (
            transport is None
            or self._error is not None
            or self._paused
            or not (self._complete and self._reusable)
            or transport.get_write_buffer_size()
        ):
            self.abort()
        else:
            self._home.park(self)

    async def _news(self) -> None:
        """Wait until something has come.

        Raises
        ------
        TransportError
            If the connection is broken.
        """
        if self._error is not None:
            raise TransportError(str(self._error))  # an error that is raised holds who raises it
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _expanded(self, piece: bytes) -> bytes:
        assert self._expand is not None, "only what is compressed"
        try:
            expanded = self._expand.decompress(piece, _LONGEST_EXPANDED)
        except zlib.error as error:
            raise TransportError(
                f"the body is not what its Content-Encoding says: {error}"
            ) from None
        if self._expand.unconsumed_tail:
            raise TransportError("a compressed body grows beyond all measure")
        return expanded

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _break(self, why: str) -> None:
        """Close the connection because of `why`."""
        if self._error is None:
            self._error = TransportError(why)
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    # ---- what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        plug = transport.get_extra_info("socket")
        if plug is not None:
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self._complete:
            self._break("the upstream sent something that nobody had asked for")
            return
        if not self._headed:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self._break(f"what it sent is not HTTP: {error}")
            self._reusable = False
        if not self._headed and self._head_size > _LONGEST_HEAD:
            self._break(f"its headers are longer than {_LONGEST_HEAD} bytes")
        if self._waiting > _MOST_WAITING and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._headed and not self._framed and exc is None:
            self._complete = True  # a body without a length ends with its connection
        if self._error is None:
            said = "in the middle of its answer" if self._headed else "before it answered"
            told = "" if exc is None else f" ({exc})"
            self._error = TransportError(f"the upstream closed the connection {said}{told}")
        self._transport = None
        self._home.forget(self)
        self._wake()
        del self._parser  # it holds this connection: who comes last would be kept by the other

    # ---- what the parser tells

    def on_message_begin(self) -> None:
        if self._complete:
            self._reusable = False
            self._break("the upstream sent something that nobody had asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._complete:
            name = name.lower()
            self._headers[name] = value
            self._framed = self._framed or name in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status == _SWITCHING:
            self._break("it switches to another protocol")
            return
        if status < 200:  # to be continued (RFC 9110, section 15.2)
            return
        self.status = status
        kind = self._headers.get(b"content-type", b"application/octet-stream")
        self.content_type = kind.partition(b";")[0].strip().lower().decode("latin-1")
        if (encoding := self._headers.get(b"content-encoding", b"").strip().lower()) not in _AS_IS:
            if encoding not in _ZLIB:
                self._break(f"its body is in an encoding that nobody asked for: {encoding!r:.40}")
                return
            self._expand = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._headed = True

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._pieces.append(body)
            self._waiting += len(body)

    def on_message_complete(self) -> None:
        if not self._headed:  # an informational answer: the real one follows
            self._headers.clear()
            self._framed = False
            return
        if not self._complete:
            self._complete = True
            self._reusable = self._parser.should_keep_alive()


_AS_IS = (b"", b"identity")
_ZLIB = (b"gzip", b"x-gzip", b"deflate")


def _place(address: Address) -> tuple[str, int]:
    url = address.url
    assert url.host is not None, "checked by the instance"
    assert url.port is not None, "http has one"
    return url.host, url.port


def _head(method: str, address: Address) -> bytes:
    """Return a request's head, up to the number of its body's bytes."""
    url = address.url
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1", f"Host: {url.host_port_subcomponent}"]
    for name, value in {"Accept": "*/*", **address.headers}.items():
        if not _TOKEN.fullmatch(name) or "\r" in value or "\n" in value:
            raise TransportError(f"{name!r:.40} cannot be sent as a header")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "Content-Length: "]).encode()
