"""Slow clients, long headers, TLS and proxies, over real connections."""

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from polyroute.config import AccessSettings, Settings, TlsSettings
from polyroute.errors import ConfigError
from polyroute.gateway.access import connections
from polyroute.gateway.access.connections import Guarded, _look, transport_options
from polyroute.gateway.serve import serve


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, and say who asks."""
    if scope["type"] != "http":
        return
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if not message["more_body"]:
            break
    said = f"{scope['client'][0]} {scope['scheme']} {size}".encode()
    length = (b"content-length", b"%d" % len(said))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": said})


@contextmanager
def listening(**access: Any) -> Iterator[int]:
    options = transport_options(AccessSettings(**access))
    config = uvicorn.Config(
        application, port=0, log_level="critical", lifespan="off", server_header=False, **options
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


def exchange(port: int, *pieces: bytes, end: bool = False) -> bytes:
    """Send `pieces`, and return what comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if end:
            connection.shutdown(socket.SHUT_WR)
        said = b""
        while True:
            try:
                if not (piece := connection.recv(65_536)):
                    return said
            except ConnectionResetError:
                return said
            said += piece


GET = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%s\r\n"


@pytest.fixture(scope="module")
def strict() -> Iterator[int]:
    limits = {"header_timeout_s": 0.2, "body_timeout_s": 0.2, "max_header_kb": 4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "_LOOK_S", 0.05)
        with listening(**limits) as port:
            yield port


def test_every_response_tells_browsers_not_to_guess(strict: int) -> None:
    said = exchange(strict, GET % b"").lower()
    assert said.startswith(b"http/1.1 200")
    for header in (b"x-content-type-options: nosniff", b"x-frame-options: deny"):
        assert header in said
    assert b"server:" not in said
    assert b"strict-transport-security" not in said


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ", b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf", b"HTTP/1.1 408"),
        (
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            b"HTTP/1.1 408",
        ),
    ],
    ids=["nothing", "headers", "body", "chunks"],
)
def test_slow_clients_are_sent_away(strict: int, sent: bytes, status: bytes) -> None:
    said = exchange(strict, sent)
    assert said.startswith(status)
    assert bool(said) == bool(status)


@pytest.mark.parametrize(
    "sent",
    [
        GET % (b"x-long: " + b"a" * 5_000 + b"\r\n"),
        GET % (b"x-a: b\r\n" * 900),
        b"GET /" + b"a" * 6_000,
    ],
    ids=["one header", "many headers", "path without an end"],
)
def test_long_headers_are_refused(strict: int, sent: bytes) -> None:
    assert exchange(strict, sent).startswith(b"HTTP/1.1 431")


def test_a_client_whose_request_a_busy_server_has_not_read_yet_is_not_sent_away() -> None:
    class Connection(Guarded):
        overdue = True

        def __init__(self) -> None:
            self.refused: list[int] = []

        def late(self, now: float) -> bool:
            return self.overdue

        def refuse(self, status: int, message: str) -> None:
            self.refused.append(status)

    looks: list[Any] = []
    loop: Any = SimpleNamespace(call_later=lambda _, look, *args: looks.append((look, args)))
    slow, read = Connection(), Connection()
    state = SimpleNamespace(connections={slow, read})
    _look(loop, state)
    assert not slow.refused
    read.overdue = False  # what it had sent was read between the two looks
    look, args = looks.pop()
    look(*args)
    assert (slow.refused, read.refused) == ([408], [])


def test_a_client_in_time_keeps_its_connection_and_its_long_body(strict: int) -> None:
    body = b"x" * 300_000
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(body)
    said = exchange(strict, head + b"\r\n" + body, head + b"connection: close\r\n\r\n" + body)
    assert said.count(b"HTTP/1.1 200") == 2
    assert said.count(b"http 300000") == 2


def test_a_forwarded_address_is_believed_from_a_trusted_proxy_only(strict: int) -> None:
    forwarded = GET % b"x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n"
    assert b"127.0.0.1 http 0" in exchange(strict, forwarded)
    with listening(trusted_proxies=["127.0.0.0/8"]) as port:
        assert b"203.0.113.9 https 0" in exchange(port, forwarded)
    with listening(trusted_proxies=["10.0.0.1"]) as port:
        assert b"127.0.0.1 http 0" in exchange(port, forwarded)


@pytest.mark.parametrize(
    "lines",
    [
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"content-length: -1\r\n",
        b"bad name: 1\r\n",
        b"x: a\x00b\r\n",
        b"transfer-encoding: chunked, identity\r\n",
    ],
)
def test_requests_that_two_servers_could_read_differently_are_refused(
    strict: int, lines: bytes
) -> None:
    sent = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + lines + b"\r\nhello"
    assert exchange(strict, sent).startswith(b"HTTP/1.1 400")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of our own, made by the openssl program."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl")
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-out", str(files[0])]
    command += ["-keyout", str(files[1]), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return files


def test_a_server_with_a_certificate_speaks_tls_and_says_so(
    certificate: tuple[Path, Path],
) -> None:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    tls = TlsSettings(certificate=certificate[0], key=certificate[1])
    with (
        listening(tls=tls) as port,
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(GET % b"")
        said = b""
        while b"https 0" not in said:
            said += connection.recv(4096)
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
    assert b"strict-transport-security: max-age=" in said


def test_networks_of_proxies_are_checked() -> None:
    with pytest.raises(ValueError, match="no address or network"):
        AccessSettings(trusted_proxies=("proxy.local",))


def test_a_certificate_that_is_not_there_is_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYROUTE_HOME", str(tmp_path))
    settings = Settings.model_validate(
        {
            "pool": [{"id": "a", "backend": {"name": "scripted", "say": "builtins:str"}}],
            "policy": {"name": "fixed", "model": "a"},
            "records": {"store": "none"},
            "access": {"tls": {"certificate": "none.pem", "key": "none.pem"}},
        }
    )
    with pytest.raises(ConfigError, match=r"access\.tls"):
        serve(settings, port=0)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux lists a process's sockets")
def test_a_piece_of_a_stream_does_not_wait_for_the_acknowledgement_of_the_one_before() -> None:
    found = []
    with listening() as port, socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200")
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as one:
                if one.family == socket.AF_INET and one.getpeername() == client.getsockname():
                    found.append(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
    assert found == [True]
