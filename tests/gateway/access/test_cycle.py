"""What goes over a connection of ours is what uvicorn's own would have sent, byte for byte."""

import asyncio
import time
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from polyroute.config import AccessSettings
from polyroute.gateway.access.connections import Guarded, protocol

DEFAULT = [(b"date", b"Sun, 22 Nov 2026 12:00:00 GMT"), (b"x-frame-options", b"DENY")]


class Wire(asyncio.Transport):
    """What a connection writes to, kept."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = self.paused = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


HEADERS: dict[str, list[tuple[bytes, bytes]]] = {
    "/stream": [(b"content-type", b"text/plain")],
    "/nothing": [],
    "/long": [(b"content-length", b"5")],
    "/short": [(b"content-length", b"99999")],
    "/inject": [(b"content-length", b"5"), (b"x-b", b"a\r\nx-c: d")],
    "/close": [(b"content-length", b"5"), (b"connection", b"close")],
}
"""What the application answers with at a path, where it is not the length of what it says."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Do what the path says, and say what was received."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    path = scope["path"]
    seen = [scope[k] for k in ("method", "path", "raw_path", "query_string", "http_version")]
    said = repr((seen, scope["headers"], body)).encode()
    if path == "/breaks":
        raise ValueError("the application breaks")
    if path == "/says-nothing":
        return
    if path in ("/nothing", "/close"):
        said = b"" if path == "/nothing" else b"hello"
    headers = HEADERS.get(path, [(b"content-length", b"%d" % len(said)), (b"x-a", b"tab\there")])
    if path != "/body-first":
        status = 204 if path == "/nothing" else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in (b"one", b"", b"two") if path == "/stream" else ():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": said})
    if path == "/twice":
        await send({"type": "http.response.body", "body": said})


async def sent(kind: type[HttpToolsProtocol], pieces: tuple[bytes, ...]) -> tuple[bytes, bool]:
    """Return all that is sent for `pieces`, and whether the connection was closed."""
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(
        application, lifespan="off", log_config=None, access_log=False, ws="none"
    )
    config.load()
    state = ServerState()
    state.default_headers = list(DEFAULT)
    make: Any = protocol(AccessSettings()) if kind is Guarded else kind
    connection = make(config=config, server_state=state, app_state={}, _loop=loop)
    wire = Wire()
    connection.connection_made(wire)
    for piece in pieces:
        connection.data_received(piece)
        for _ in range(12):
            await asyncio.sleep(0)
    while state.tasks and not wire.closed:
        await asyncio.sleep(0)
    connection.connection_lost(None)
    for _ in range(3):
        await asyncio.sleep(0)
    if getattr(state, "looks", None) is not None:
        state.looks.cancel()  # type: ignore[attr-defined]
    return b"".join(wire.written), wire.closed


def ask(path: str, *, method: str = "GET", version: str = "1.1", more: str = "") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: x\r\n{more}\r\n".encode()


POST = ask("/", method="POST", more="Content-Length: 5\r\n")
CHUNKED = ask("/", method="POST", more="Transfer-Encoding: chunked\r\n")
EXPECT = ask("/", method="POST", more="Content-Length: 5\r\nExpect: 100-continue\r\n")


@pytest.mark.parametrize(
    "pieces",
    [
        (ask("/"),),
        (ask("/a%20b?c=%20d"),),
        (ask("/", method="HEAD"),),
        (ask("/stream"),),
        (ask("/stream", method="HEAD"),),
        (ask("/stream", version="1.0"),),
        (ask("/", version="1.0"),),
        (ask("/", version="1.0", more="Connection: keep-alive\r\n"),),
        (ask("/", more="Connection: close\r\n"),),
        (ask("/", more="Connection: Upgrade\r\nUpgrade: websocket\r\n"),),
        (ask("/nothing"),),
        (ask("/close"),),
        (ask("/breaks"),),
        (ask("/says-nothing"),),
        (ask("/body-first"),),
        (ask("/twice"),),
        (POST + b"hello",),
        (POST, b"hel", b"lo"),
        (POST + b"hello" + POST + b"again" + ask("/stream"),),
        (POST + b"hello", POST + b"again"),
        (POST + b"hello", b"no http\r\n\r\n"),
        (CHUNKED + b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"),
        (EXPECT, b"hello"),
        (POST[:30], POST[30:] + b"hello"),
        (ask("/", method="POST", more="Content-Length: 200000\r\n"), b"x" * 150_000, b"y" * 50_000),
    ],
    ids=lambda pieces: pieces[0][:40].decode().replace("\r\n", " ") + f"x{len(pieces)}",
)
def test_it_is_what_uvicorn_would_have_sent(pieces: tuple[bytes, ...]) -> None:
    ours = asyncio.run(sent(Guarded, pieces))
    assert ours == asyncio.run(sent(HttpToolsProtocol, pieces))


@pytest.mark.parametrize("path", ["/long", "/short"])
def test_a_body_of_another_length_than_said_is_not_begun(path: str) -> None:
    assert asyncio.run(sent(Guarded, (ask(path),))) == (b"", True)


def test_a_header_that_would_be_two_is_an_error_and_not_sent() -> None:
    said, closed = asyncio.run(sent(Guarded, (ask("/inject"),)))
    assert said.startswith(b"HTTP/1.1 500")
    assert b"x-c" not in said
    assert closed


def connected() -> tuple[Any, Wire, ServerState]:
    """Return a connection as the gateway makes it, what it writes to, and its server's state."""
    config = uvicorn.Config(application, lifespan="off", log_config=None, ws="none")
    config.load()
    state = ServerState()
    connection = protocol(AccessSettings())(
        config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop()
    )
    wire = Wire()
    connection.connection_made(wire)
    return connection, wire, state


def test_the_head_of_a_whole_response_goes_out_with_its_body_and_that_of_a_stream_before() -> None:
    async def writes(path: str) -> list[bytes]:
        connection, wire, state = connected()
        connection.data_received(ask(path))
        while state.tasks:
            await asyncio.sleep(0)
        state.looks.cancel()  # type: ignore[attr-defined]
        return wire.written

    assert len(asyncio.run(writes("/"))) == 1
    assert asyncio.run(writes("/stream"))[0].endswith(b"\r\n\r\n")


def test_a_connection_that_asks_nothing_more_is_closed_without_a_word() -> None:
    async def test() -> None:
        connection, wire, state = connected()
        for _ in range(2):
            connection.data_received(ask("/"))
            assert not connection.late(time.monotonic() + 6)
            while state.tasks:
                await asyncio.sleep(0)
            assert not connection.late(time.monotonic() + 4)
            assert connection.late(time.monotonic() + 6)
        said = len(wire.written)
        connection.refuse(408, "late")
        assert (len(wire.written), wire.closed) == (said, True)
        state.looks.cancel()  # type: ignore[attr-defined]

    asyncio.run(test())


def test_the_date_is_that_of_now() -> None:
    async def test() -> list[bytes]:
        connection, wire, state = connected()
        for date in (b"Monday", b"Tuesday"):
            state.default_headers = [(b"date", date)]
            connection.data_received(ask("/"))
            while state.tasks:
                await asyncio.sleep(0)
        state.looks.cancel()  # type: ignore[attr-defined]
        return wire.written

    first, second = asyncio.run(test())
    assert b"date: Monday\r\n" in first
    assert b"date: Tuesday\r\n" in second
