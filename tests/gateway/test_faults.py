"""A real server over real instances, of which one is killed, and told to reload and to stop."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import aiohttp
import pytest

pytestmark = pytest.mark.slow

UPSTREAM = """
import asyncio, json, sys
from aiohttp import web

name = sys.argv[2]
usage = {"prompt_tokens": 9, "completion_tokens": 3}

async def answer(request):
    body = await request.json()
    await asyncio.sleep(0.02)
    if not body.get("stream"):
        said = {"role": "assistant", "content": name}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        return web.json_response({"model": "m", "choices": [choice], "usage": usage})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    async def say(chunk):
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\\n\\n")
    for _ in range(20):
        await say({"model": "m", "choices": [{"index": 0, "delta": {"content": name}}]})
        await asyncio.sleep(0.05)
    await say({"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    await say({"choices": [], "usage": usage})
    await response.write(b"data: [DONE]\\n\\n")
    return response

app = web.Application()
app.router.add_post("/v1/chat/completions", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""

CONFIG = """
pool:
  - id: m
    price: {{input: 1, output: 2}}
    max_output: 100
    backend:
      name: openai
      balance: {balance}
      health: {{in_a_row: 3, open_s: 1}}
      instances: {instances}
policy: {{name: fixed, model: m}}
budget: {{seconds: 30}}
records: {{store: none}}
server: {{port: {port}, grace_s: 20}}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


def until(what, seconds=300):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


class Place:
    """Three upstreams and a gateway, each a process."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = [free_port() for _ in range(3)]
        self.port = free_port()
        self.config = folder / "polyroute.yaml"
        self.configure()
        self.log = folder / "log"
        self.upstreams = [self.start(k) for k in range(3)]
        program = Path(sys.executable).parent / "polyroute"
        with self.log.open("w") as said:
            self.gateway = subprocess.Popen(
                [program, "serve", "--config", self.config], stdout=said, stderr=subprocess.STDOUT
            )

    def await_listening(self):
        until(self.listening)
        url = f"http://127.0.0.1:{self.port}/health"
        with urllib.request.urlopen(url, timeout=300) as answer:  # it listens before it is ready
            assert answer.status == 200

    def listening(self):
        assert self.gateway.poll() is None, self.log.read_text()
        return all(map(listens, (*self.ports, self.port)))

    def configure(self, balance="round_robin"):
        instances = [
            {"url": f"http://127.0.0.1:{port}/v1", "name": "abc"[k]}
            for k, port in enumerate(self.ports)
        ]
        text = CONFIG.format(balance=balance, instances=json.dumps(instances), port=self.port)
        self.config.write_text(text)

    def start(self, k):
        return subprocess.Popen([sys.executable, "-c", UPSTREAM, str(self.ports[k]), "abc"[k]])

    def end(self):
        for process in (*self.upstreams, self.gateway):
            process.kill()
            process.wait()

    async def ask(self, session, *, stream=False):
        """Return what was said, the ending, and the `polyroute` part of the reply."""
        body = {"model": "m", "messages": [{"role": "user", "content": "?"}], "stream": stream}
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        async with session.post(url, json=body) as response:
            if not stream:
                wire = await response.json()
                said = wire["choices"][0]["message"]["content"] if response.ok else ""
                return said, response.status, wire.get("polyroute")
            said, ending = "", "cut"
            async for line in response.content:
                text = line.decode().strip().removeprefix("data: ")
                if text == "[DONE]":
                    ending = "done"
                elif text.startswith("{"):
                    wire = json.loads(text)
                    if wire.get("error"):
                        ending = "error"
                    for choice in wire.get("choices") or ():
                        said += choice["delta"].get("content") or ""
            return said, ending, None

    async def health(self, session):
        async with session.get(f"http://127.0.0.1:{self.port}/health") as response:
            return await response.json()


@pytest.fixture
def place(tmp_path):
    built = Place(tmp_path)
    try:
        built.await_listening()
        yield built
    finally:
        built.end()


def test_killing_one_of_three_loses_only_the_streams_that_had_begun_there(place):
    async def test():
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            stop = asyncio.Event()

            async def load():
                heard = []
                while not stop.is_set():
                    heard.append(await place.ask(session))
                return heard

            loading = [asyncio.create_task(load()) for _ in range(12)]
            await asyncio.sleep(0.5)
            streams = [asyncio.create_task(place.ask(session, stream=True)) for _ in range(9)]
            await asyncio.sleep(0.6)
            place.upstreams[1].kill()
            place.upstreams[1].wait()
            await asyncio.sleep(1.5)
            down = await place.health(session)
            streamed = await asyncio.gather(*streams)
            place.upstreams[1] = place.start(1)
            await asyncio.to_thread(until, lambda: listens(place.ports[1]))
            back = time.monotonic()
            while (await place.health(session))["instances"]["m"]["fit"] < 3:
                await asyncio.sleep(0.05)
            recovered_s = time.monotonic() - back
            stop.set()
            heard = [one for each in await asyncio.gather(*loading) for one in each]
            after = [await place.ask(session) for _ in range(6)]
            return heard, streamed, down, recovered_s, after

    heard, streamed, down, recovered_s, after = asyncio.run(test())
    assert len(heard) > 100
    assert {status for _, status, _ in heard} == {200}
    assert down["instances"]["m"] == {"fit": 2, "of": 3}
    for said, ending, _ in streamed:
        assert ending == ("error" if set(said) == {"b"} else "done"), (said, ending)
        assert ending == "error" or len(said) == 20
    assert any(ending == "error" for _, ending, _ in streamed)
    resent = [call for _, _, about in heard for call in about["calls"] if call.get("discarded")]
    for call in resent:
        assert [lost["instance"] for lost in call["discarded"]] == ["b"]
        assert call["discarded"][0]["usd"] is None
    # a trial is due every second, and the next request is the trial
    assert recovered_s < 1 + 10
    assert {said for said, _, _ in after} == {"a", "b", "c"}


def test_a_reload_under_load_drops_nothing_and_a_wrong_file_changes_nothing(place):
    async def test():
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            streams = [asyncio.create_task(place.ask(session, stream=True)) for _ in range(6)]
            await asyncio.sleep(0.5)
            place.configure(balance="no_such")
            os.kill(place.gateway.pid, signal.SIGHUP)
            while not (said := await place.health(session))["configuration"]["refused"]:
                await asyncio.sleep(0.05)
            asked = [asyncio.create_task(place.ask(session)) for _ in range(30)]
            place.configure(balance="least_outstanding")
            os.kill(place.gateway.pid, signal.SIGHUP)
            while not (now := await place.health(session))["configuration"]["reloads"]:
                await asyncio.sleep(0.05)
            return said, now, await asyncio.gather(*streams), await asyncio.gather(*asked)

    said, now, streamed, asked = asyncio.run(test())
    assert "no_such" in said["configuration"]["refused"]
    assert now["configuration"]["refused"] is None
    assert [(len(text), ending) for text, ending, _ in streamed] == [(20, "done")] * 6
    assert {status for _, status, _ in asked} == {200}
    assert "no_such" in place.log.read_text()


def test_a_server_that_is_told_to_stop_ends_its_streams_first(place):
    async def test():
        async with aiohttp.ClientSession() as session:
            streams = [asyncio.create_task(place.ask(session, stream=True)) for _ in range(6)]
            await asyncio.sleep(0.5)
            place.gateway.terminate()
            return await asyncio.gather(*streams)

    streamed = asyncio.run(test())
    assert [(len(text), ending) for text, ending, _ in streamed] == [(20, "done")] * 6
    assert place.gateway.wait(timeout=120) in (0, -signal.SIGTERM)
