"""A remote encoder, against a server in this process."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from polyroute.errors import BackendError, ConfigError, RateLimitError, UpstreamTimeoutError
from polyroute.protocols import Encoder, State
from polyroute.signals.encoders.remote import Remote


class Upstream(BaseHTTPRequestHandler):
    """Says what `server.script` says, else embeds a text as its length and a one."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        status, headers, reply = 200, {}, None
        if self.server.script:
            status, headers, reply = self.server.script.pop(0)
        if reply is None:
            data = [
                {"index": k, "embedding": [len(text), 1.0, 0.0]}
                for k, text in enumerate(body["input"])
            ]
            reply = {"data": data[::-1]}
        raw = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args):
        pass


@pytest.fixture
def upstream():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.asked, server.script = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def build(upstream, **parameters):
    encoder = Remote(url=f"http://127.0.0.1:{upstream.server_port}/v1/", model="e", **parameters)
    encoder.slept = []
    encoder._sleep = encoder.slept.append
    return encoder


def test_rows_are_those_of_their_texts_whatever_order_they_come_in(upstream):
    encoder = build(upstream, batch=2)
    assert isinstance(encoder, Encoder)
    rows = encoder.fit([]).encode(["a", "bbb", "cc"])
    expected = np.array([[1, 1, 0], [3, 1, 0], [2, 1, 0]]) / np.sqrt([[2], [10], [5]])
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    assert rows.dtype == np.float32
    assert [body["input"] for _, _, body in upstream.asked] == [["a", "bbb"], ["cc"]]
    assert upstream.asked[0][0] == "/v1/embeddings"


def test_blank_texts_are_not_sent_and_are_rows_of_zeros(upstream):
    rows = build(upstream).encode(["", "a", " \n"])
    assert not rows[[0, 2]].any()
    assert rows[1].any()
    assert [body["input"] for _, _, body in upstream.asked] == [["a"]]


def test_how_wide_a_row_is_is_known_without_any_text(upstream):
    assert build(upstream).encode([]).shape == (0, 3)
    assert build(upstream, dimensions=3).encode([""]).shape == (1, 3)
    assert len(upstream.asked) == 1
    other = build(upstream).restore(build(upstream, dimensions=3).state())
    assert other.encode([]).shape == (0, 3)
    assert len(upstream.asked) == 1


def test_the_key_is_read_from_the_environment_and_never_shown(upstream, monkeypatch):
    encoder = build(upstream, key_env="EMBEDDING_KEY", dimensions=3)
    with pytest.raises(BackendError, match="EMBEDDING_KEY") as caught:
        encoder.encode(["a"])
    assert caught.value.failure_kind == "auth"
    monkeypatch.setenv("EMBEDDING_KEY", "sk-secret")
    encoder.encode(["a"])
    _, headers, body = upstream.asked[0]
    assert headers["Authorization"] == "Bearer sk-secret"
    assert body["dimensions"] == 3
    upstream.script = [(401, {}, {"error": {"message": "bad key sk-secret"}})]
    with pytest.raises(BackendError, match=r"bad key \*\*\*") as caught:
        encoder.encode(["a"])
    assert caught.value.failure_kind == "auth"


def test_it_asks_again_after_a_429_and_a_5xx_and_waits_as_told(upstream):
    upstream.script = [(429, {"Retry-After": "3"}, {}), (503, {}, {})]
    encoder = build(upstream)
    assert encoder.encode(["a"]).shape == (1, 3)
    assert encoder.slept == [3.0, 1.0]


def test_it_gives_up_after_the_last_attempt_or_when_told_to_wait_too_long(upstream):
    upstream.script = [(500, {}, {})] * 2
    with pytest.raises(BackendError) as caught:
        build(upstream, retries=1).encode(["a"])
    assert (caught.value.failure_kind, caught.value.status) == ("unavailable", 500)
    upstream.script = [(429, {"Retry-After": "3600"}, {})]
    with pytest.raises(RateLimitError):
        build(upstream).encode(["a"])
    assert len(upstream.asked) == 3


def test_a_redirect_is_not_followed(upstream):
    upstream.script = [(302, {"Location": "http://127.0.0.1:9/elsewhere"}, {})]
    with pytest.raises(BackendError, match="HTTP 302") as caught:
        build(upstream).encode(["a"])
    assert caught.value.failure_kind == "invalid_reply"


@pytest.mark.parametrize(
    "reply",
    [
        b"<html>",
        b"[]",
        {"data": []},
        {"data": [{"index": 0, "embedding": []}]},
        {"data": [{"index": 0, "embedding": "base64"}]},
        {"data": [{"index": 1, "embedding": [1.0]}]},
        b'{"data": [{"index": 0, "embedding": [NaN]}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_embedding_is_an_invalid_reply(upstream, reply):
    upstream.script = [(200, {}, reply)]
    with pytest.raises(BackendError) as caught:
        build(upstream).encode(["a"])
    assert caught.value.failure_kind == "invalid_reply"


def test_a_model_that_changes_its_width_is_noticed(upstream):
    encoder = build(upstream).restore(State(values={"model": "e", "width": 8}))
    with pytest.raises(BackendError, match="used to be 8"):
        encoder.encode(["a"])


def test_the_state_of_another_model_is_refused(upstream):
    with pytest.raises(ConfigError, match="'other'"):
        build(upstream).restore(State(values={"model": "other", "width": 3}))


def test_silence_is_a_timeout_and_no_server_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1"
        with pytest.raises(UpstreamTimeoutError):
            Remote(url=url, model="e", seconds=0.05, retries=0).encode(["a"])
    with pytest.raises(BackendError) as caught:
        Remote(url=url, model="e", retries=0).encode(["a"])
    assert caught.value.failure_kind == "unavailable"


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://x/v1"},
        {"url": "x"},
        {"url": "http://user:pw@x/v1"},
        {"batch": 0},
        {"seconds": 0.0},
        {"retries": -1},
        {"dimensions": 0},
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused(wrong):
    with pytest.raises(ConfigError):
        Remote(**{"url": "http://x/v1", "model": "e", **wrong})
