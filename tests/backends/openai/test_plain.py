"""Our own HTTP client, against servers that write bytes as they are told."""

import asyncio
import gzip
import json
import os
import socket
import zlib
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from polyroute.backends.openai import Instance, OpenAI
from polyroute.backends.openai.over_aiohttp import OverAiohttp
from polyroute.backends.openai.plain import Plain
from polyroute.backends.openai.transport import Address, TransportError
from polyroute.errors import ConfigError

try:
    import uvloop
except ModuleNotFoundError:
    uvloop = None

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"


@asynccontextmanager
async def upstream(*answers, after="keep"):
    """Answer each request, on whatever connection, by the next of `answers`: bytes, or pieces."""
    heard, connections = [], []
    left = list(answers)

    async def serve(reader, writer):
        connections.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                heard.append(head + await reader.readexactly(length))
                answer = left.pop(0) if len(left) > 1 else left[0]
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if after == "close":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield (
            Address(URL(f"http://127.0.0.1:{port}/v1/x?a=1"), {"X-A": "b"}, 2.0),
            heard,
            connections,
        )
    finally:
        server.close()


async def ask(client, address, body=b"{}"):
    """Return the status and the whole body of one answer."""
    answer = await client.send("POST", address, body)
    try:
        pieces = []
        while piece := await answer.read():
            pieces.append(piece)
        return answer.status, b"".join(pieces)
    finally:
        answer.release()


def run(*answers, times=1, after="keep", loop=asyncio.run):
    """Ask `times` times; return the answers, what was heard, and over how many connections."""

    async def whole():
        async with upstream(*answers, after=after) as (address, heard, connections):
            client = Plain(keep_alive_s=4.0)
            try:
                said = [await ask(client, address) for _ in range(times)]
            finally:
                await client.close()
            return said, heard, len(connections)

    return loop(whole())


def chunked(*pieces):
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def test_what_is_sent_is_one_request_with_its_headers_and_its_length():
    _, (heard,), _ = run(OK + b"Content-Length: 0\r\n\r\n")
    lines = heard.split(b"\r\n")
    assert lines[0] == b"POST /v1/x?a=1 HTTP/1.1"
    assert lines[1].startswith(b"Host: 127.0.0.1:")
    assert {b"X-A: b", b"Content-Length: 2"} <= set(lines)
    assert heard.endswith(b"\r\n\r\n{}")


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=5), st.integers(1, 40))
@settings(max_examples=8, deadline=None)
def test_a_body_is_the_same_however_it_is_framed_and_cut(parts, step):
    body = b"".join(parts)
    for wire in (chunked(*parts), OK + b"Content-Length: %d\r\n\r\n" % len(body) + body):
        pieces = [wire[k : k + step] for k in range(0, len(wire), step)]
        ((said,), _, _) = run(pieces)
        assert said == (200, body)


@pytest.mark.parametrize("loop", [asyncio.run, getattr(uvloop, "run", None)])
def test_a_connection_is_used_again_after_a_whole_answer(loop):
    if loop is None:
        pytest.skip("uvloop is not installed")
    said, _, connections = run(chunked(b"one"), chunked(b"two"), times=3, loop=loop)
    assert said == [(200, b"one"), (200, b"two"), (200, b"two")]
    assert connections == 1


def test_a_body_without_a_length_ends_with_its_connection():
    said, _, connections = run(OK + b"\r\nuntil the end", times=2, after="close")
    assert said == [(200, b"until the end")] * 2
    assert connections == 2


def test_a_connection_that_the_server_will_close_is_not_used_again():
    closing = OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok"
    said, _, connections = run(closing, times=2)
    assert (said, connections) == ([(200, b"ok")] * 2, 2)


def test_informational_answers_are_passed_over():
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    ((said,), _, _) = run(early + OK + b"Content-Length: 2\r\n\r\nok")
    assert said == (200, b"ok")


@pytest.mark.parametrize(("name", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_a_compressed_body_is_read(name, pack):
    packed = pack(b"the text " * 99)
    head = OK + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (name, len(packed))
    ((said,), _, _) = run(head + packed)
    assert said == (200, b"the text " * 99)


@pytest.mark.parametrize(("answer", "why"), [
    (b"nonsense\r\n\r\n", "not HTTP"),
    (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "HTTP|protocol"),
    (OK + b"X: " + b"y" * 2**17, "headers are longer"),
    (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "not HTTP"),
    (OK + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\nab", "nobody asked for"),
])  # fmt: skip
def test_what_is_not_http_is_said_to_be_so(answer, why):
    with pytest.raises(TransportError, match=why):
        run(answer)


def test_a_connection_that_breaks_says_where():
    with pytest.raises(TransportError, match="before it answered"):
        run(b"", after="close")
    with pytest.raises(TransportError, match="in the middle"):
        run(OK + b"Content-Length: 9\r\n\r\nabc", after="close")


def test_an_answer_that_nobody_asked_for_is_never_taken_for_the_next():
    whole = OK + b"Content-Length: 2\r\n\r\nok"
    stray = OK + b"Content-Length: 4\r\n\r\nevil"
    said, _, connections = run(whole + stray, whole, times=2)
    assert (said, connections) == ([(200, b"ok")] * 2, 2)


def test_a_connection_that_was_closed_while_idle_is_not_asked():
    async def whole():
        async with upstream(OK + b"Content-Length: 2\r\n\r\nok") as (address, heard, connections):
            client = Plain(keep_alive_s=4.0)
            await ask(client, address)
            connections[0].close()
            await connections[0].wait_closed()
            while any(client._idle.values()):
                await asyncio.sleep(0)
            assert await ask(client, address) == (200, b"ok")
            await client.close()
            return len(heard), len(connections)

    assert asyncio.run(whole()) == (2, 2)


def test_a_connection_is_closed_when_it_was_idle_for_too_long():
    async def whole():
        async with upstream(OK + b"Content-Length: 2\r\n\r\nok") as (address, _, connections):
            client = Plain(keep_alive_s=0.01)
            await ask(client, address)
            while client._links:
                await asyncio.sleep(0.005)
            await ask(client, address)
            await client.close()
            return len(connections)

    assert asyncio.run(whole()) == 2


def test_a_slow_reader_holds_the_server_back():
    async def whole():
        size = 16 * 2**20
        pieces = [OK + b"Content-Length: %d\r\n\r\n" % size, *[b"x" * 2**20] * 16]
        async with upstream(pieces) as (address, _, _):
            client = Plain(keep_alive_s=4.0)
            answer = await client.send("POST", address, b"{}")
            most = length = 0
            while piece := await answer.read():
                most, length = max(most, len(piece)), length + len(piece)
                await asyncio.sleep(0)
            answer.release()
            await client.close()
            return most, length == size

    most, complete = asyncio.run(whole())
    assert complete
    assert most <= 2**20, "never more than what is waited for and one read"


def test_a_request_that_is_cancelled_closes_its_connection():
    async def whole():
        async with upstream([b""]) as (address, heard, connections):
            client = Plain(keep_alive_s=4.0)
            task = asyncio.create_task(client.send("POST", address, b"{}"))
            while not heard:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while client._links:
                await asyncio.sleep(0)
            await connections[0].wait_closed()
            await client.close()

    asyncio.run(asyncio.wait_for(whole(), 20))


def test_plain_is_for_plain_http_and_auto_knows_it():
    secure = Instance(url="https://h.example/v1")
    with pytest.raises(ConfigError, match="http:// only"):
        OpenAI(instances=(secure,), transport="plain")
    here = Instance(url="http://h.example/v1")
    assert json.dumps(OpenAI(instances=(here, secure))._names) == '["plain", "aiohttp"]'


def test_a_header_that_would_be_two_is_not_sent():
    async def whole():
        client = Plain(keep_alive_s=4.0)
        for headers in ({"X A": "b"}, {"X\r\nB": "c"}, {"X": "a\r\nB: c"}):
            address = Address(URL("http://127.0.0.1:9/"), headers, 1.0)
            with pytest.raises(TransportError, match="cannot be sent"):
                await client.send("POST", address, b"")

    asyncio.run(whole())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux lists a process's sockets")
@pytest.mark.parametrize("client", [Plain, OverAiohttp])
def test_nothing_that_is_sent_waits_for_the_acknowledgement_of_what_went_before(client):
    """Else a body behind its headers waits 40 ms for the other side's delayed acknowledgement."""

    async def run():
        async with upstream(OK + b"Content-Length: 2\r\n\r\nok") as (address, _, _):
            transport = client(keep_alive_s=4.0)
            assert await ask(transport, address) == (200, b"ok")
            found = [*_without_delay(address.url.port)]
            await transport.close()
            return found

    assert asyncio.run(run()) == [True]


def _without_delay(port):
    """Yield of every connection of this process to `port` whether it has TCP_NODELAY."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as one:
            if one.family == socket.AF_INET and one.getpeername()[1] == port:
                yield one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
