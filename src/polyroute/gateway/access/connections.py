"""Connections that take too long or say too much are closed, whatever they pretend to be sending.

The one decision here: no timer is set per request. Every connection notes since when it owes
something, and one look a second at all of them finds those that are late.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from polyroute.config import AccessSettings
from polyroute.gateway.access.cycle import Cycle
from polyroute.gateway.client import CLIENT, Connected

__all__ = ["RESPONSE_HEADERS", "Guarded", "protocol", "transport_options"]

RESPONSE_HEADERS: tuple[tuple[str, str], ...] = (
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
)
"""Sent with every response."""

_HSTS = ("strict-transport-security", "max-age=31536000")

_LOOK_S = 1.0

_KILOBYTE = 1024


class Guarded(HttpToolsProtocol):
    """A connection that has to send its headers, and then its body, in time.

    Parameters
    ----------
    header_s, body_s : float
        Seconds that a request may take for its headers, from the first byte of the connection or
        of the request, and for its body.
    header_bytes : int
        Longest request line and headers together.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: AccessSettings,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._headers_since: float | None = None
        self._body_since: float | None = None
        self._idle_since: float | None = None
        self._received = 0
        self._piece = self._at_most = 0
        """Bytes of the newest piece, and of all that can hold the headers of this request."""
        self._client = Connected()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the headers of a request."""
        super().connection_made(transport)
        self._headers_since = time.monotonic()
        state: Any = self.server_state
        if getattr(state, "looks", None) is None:  # one look for all connections of a server
            state.looks = self.loop.call_later(_LOOK_S, _look, self.loop, state)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is done for a client that has gone."""
        super().connection_lost(exc)
        self._client.go()

    def data_received(self, data: bytes) -> None:
        """Count what is sent before the headers are whole."""
        self._idle_since = None
        self._piece = len(data)
        self._at_most += self._piece
        if self._headers_since is not None or self._body_since is None:
            self._received += len(data)
        super().data_received(data)
        if (
            self._headers_since is not None
            and self._received > self._limits.max_header_kb * _KILOBYTE
        ):
            self.refuse(431, "the request line and the headers are too long")

    def on_message_begin(self) -> None:
        """Begin to wait for headers; those of a further request may come in the same piece."""
        super().on_message_begin()
        if self._headers_since is None:
            self._headers_since = time.monotonic()

    def on_headers_complete(self) -> None:
        """Begin to wait for the body."""
        limit = self._limits.max_header_kb * _KILOBYTE
        if self._at_most > limit:
            size = sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url)
            if size > limit:
                self.refuse(431, "the request line and the headers are too long")
                return
        self._headers_since, self._received = None, 0
        self._body_since = time.monotonic()
        self._begin()

    def _begin(self) -> None:
        """Let the application answer, when it has answered what this connection asked before."""
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["http_version"] = version
        scope["method"] = parser.get_method().decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        scope[CLIENT] = self._client  # type: ignore[literal-required]
        before = self.cycle
        self.cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start(self.cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _start(self, cycle: RequestResponseCycle) -> None:
        task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_message_complete(self) -> None:
        """Wait for nothing more of this request."""
        self._body_since = None
        self._received = 0
        self._at_most = self._piece
        cycle = self.cycle
        if cycle is None:
            return
        if cycle.response_complete:  # answered before all of it was there
            self._idle_since = time.monotonic()
        else:
            cycle.more_body = False
            cycle.message_event.set()

    def on_body(self, body: bytes) -> None:
        """Take in a piece of the body."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Begin with what the client has asked meanwhile, or wait for it to ask again."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start(self.pipeline.pop()[0])
        else:
            self._idle_since = time.monotonic()

    def late(self, now: float) -> bool:
        """Whether the headers, the body or another request are overdue."""
        headers, body, idle = self._headers_since, self._body_since, self._idle_since
        if idle is not None and now - idle > self.timeout_keep_alive:
            return True
        if headers is not None and now - headers > self._limits.header_timeout_s:
            return True
        # while we do not read, it is not the client that is slow
        waits = self.flow is not None and self.flow.read_paused
        return body is not None and not waits and now - body > self._limits.body_timeout_s

    def refuse(self, status: int, message: str) -> None:
        """Say why, where nothing has been said yet, and close the connection."""
        if self.transport is None or self.transport.is_closing():
            return
        cycle = self.cycle
        idle = cycle is None or cycle.response_complete or not cycle.response_started
        if idle and self._received + (self._body_since is not None):
            text = message.encode()
            reasons = {408: b"Request Timeout", 431: b"Request Header Fields Too Large"}
            head = b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\n" % (
                status,
                reasons[status],
            )
            tail = b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(text), text)
            self.transport.write(head + tail)
        self.transport.close()


def _look(loop: asyncio.AbstractEventLoop, state: Any) -> None:  # noqa: ANN401 - the server's own
    """Close the connections that are late, and look again while there are any.

    What a client has sent may wait to be read, because it is this process that had no time. So a
    connection is closed that is late twice: between two looks all that is there has been read.
    """
    now = time.monotonic()
    before, late = getattr(state, "late", ()), set()
    for connection in list(state.connections):
        if isinstance(connection, Guarded) and connection.late(now):
            if connection in before:
                connection.refuse(408, "the request did not come in time")
            else:
                late.add(connection)
    state.late = late
    state.looks = loop.call_later(_LOOK_S, _look, loop, state) if state.connections else None


def protocol(limits: AccessSettings) -> Callable[..., Guarded]:
    """Return what makes a connection of a server with these limits."""
    return partial(Guarded, limits=limits)


def transport_options(access: AccessSettings, password: str | None = None) -> dict[str, Any]:
    """Return how uvicorn is to listen: connections with limits, TLS, proxies that are believed.

    Parameters
    ----------
    access : AccessSettings
        The configuration.
    password : str, optional
        Of the TLS key.
    """
    headers = list(RESPONSE_HEADERS)
    options: dict[str, Any] = {
        "http": protocol(access),
        "ws": "none",
        "proxy_headers": bool(access.trusted_proxies),
        "forwarded_allow_ips": list(access.trusted_proxies),
        "date_header": True,
        "headers": headers,
    }
    if access.tls is not None:
        headers.append(_HSTS)
        options |= {
            "ssl_certfile": str(access.tls.certificate),
            "ssl_keyfile": str(access.tls.key),
            "ssl_keyfile_password": password,
            "ssl_version": ssl.PROTOCOL_TLS_SERVER,
        }
    return options
