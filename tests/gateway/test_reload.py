import asyncio
import os
import signal

from polyroute.errors import ConfigError
from polyroute.gateway import reload
from polyroute.gateway.reload import PLACE, Early, Reloading


class App:
    """An application that answers when it is let, and notes its start and its end."""

    def __init__(self, name, starts=True):
        self.name, self.starts = name, starts
        self.events = []
        self.gate = asyncio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            self.events.append("started")
            if not self.starts:
                await send({"type": "lifespan.startup.failed", "message": "no room"})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.events.append("ended")
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.events.append("asked")
        await self.gate.wait()
        await send({"app": self.name, "refused": scope[PLACE].refused})


class Server:
    """Drives a reloading application as a server does."""

    def __init__(self, *apps, file=None, every_s=None, early=None):
        self.apps = list(apps)
        self.heard, self.said = asyncio.Queue(), asyncio.Queue()
        self.ended = []
        self.app = Reloading(
            self.apps.pop(0), self.renew, end=self.end, file=file, every_s=every_s, early=early
        )

    async def renew(self):
        following = self.apps.pop(0)
        if isinstance(following, Exception):
            raise following
        return following

    async def end(self):
        self.ended.append(True)

    async def __aenter__(self):
        self.task = asyncio.create_task(
            self.app({"type": "lifespan"}, self.heard.get, self.said.put)
        )
        await self.heard.put({"type": "lifespan.startup"})
        assert (await self.said.get())["type"] == "lifespan.startup.complete"
        return self

    async def __aexit__(self, *_):
        await self.heard.put({"type": "lifespan.shutdown"})
        assert (await self.said.get())["type"] == "lifespan.shutdown.complete"
        await self.task

    def ask(self):
        answers = []

        async def send(message):
            answers.append(message)

        async def ask():
            await self.app({"type": "http"}, None, send)
            return answers[0]

        return asyncio.create_task(ask())


def test_a_running_request_ends_where_it_began_and_new_ones_begin_on_the_new():
    async def test():
        old, new = App("old"), App("new")
        new.gate.set()
        async with Server(old, new) as server:
            running = server.ask()
            await asyncio.sleep(0)
            assert await server.app.reload()
            assert (await server.ask())["app"] == "new"
            assert old.events == ["started", "asked"]
            old.gate.set()
            assert (await running)["app"] == "old"
            while old.events[-1] != "ended":
                await asyncio.sleep(0)
        assert new.events == ["started", "asked", "ended"]
        assert server.ended == [True]

    asyncio.run(test())


def test_what_is_refused_is_refused_as_a_whole_and_says_why():
    async def test():
        old = App("old")
        old.gate.set()
        wrong = ConfigError("pool.0: unknown key 'modle'")
        broken, good = App("broken", starts=False), App("good")
        good.gate.set()
        async with Server(old, wrong, broken, good) as server:
            assert not await server.app.reload()
            assert await server.ask() == {"app": "old", "refused": str(wrong)}
            assert not await server.app.reload()
            assert await server.ask() == {"app": "old", "refused": "no room"}
            assert await server.app.reload()
            assert await server.ask() == {"app": "good", "refused": None}
            assert server.app.report.to_json()["reloads"] == 1

    asyncio.run(test())


def test_why_a_file_is_refused_is_not_for_everybody():
    async def test():
        async with Server(App("old"), ConfigError("pool.0: 'sk-'")) as server:
            assert server.app.report.to_json(why=False)["refused"] is None
            await server.app.reload()
            assert server.app.report.to_json(why=False)["refused"] == "the log says why"
            assert server.app.report.to_json()["refused"] == "pool.0: 'sk-'"

    asyncio.run(test())


def test_a_reload_that_is_asked_for_during_the_start_is_made_after_it():
    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        signal.raise_signal(signal.SIGHUP)  # to this thread, before anybody listens
        early = Early()
        early.listen()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGHUP, before)
    assert early.asked

    async def test():
        old, new = App("old"), App("new")
        new.gate.set()
        async with Server(old, new, early=early) as server:
            while not server.app.report.done:
                await asyncio.sleep(0)
            assert (await server.ask())["app"] == "new"

    asyncio.run(test())


def test_a_file_that_changes_is_taken_up(tmp_path, monkeypatch):
    looked, stamp = [], reload._stamp
    monkeypatch.setattr(reload, "_stamp", lambda file: looked.append(file) or stamp(file))

    async def test():
        file = tmp_path / "polyroute.yaml"
        file.write_text("a")
        old, new = App("old"), App("new")
        new.gate.set()
        async with Server(old, new, file=file, every_s=0.005) as server:
            while len(looked) < 4:
                await asyncio.sleep(0.005)
            assert server.app.report.done == 0
            other = tmp_path / "new.yaml"
            other.write_text("other")
            os.replace(other, file)
            while not server.app.report.done:
                await asyncio.sleep(0.005)
            assert (await server.ask())["app"] == "new"

    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_server_that_stops_closes_all_that_still_runs():
    async def test():
        old, new = App("old"), App("new")
        async with Server(old, new) as server:
            running = server.ask()
            await asyncio.sleep(0)
            await server.app.reload()
        running.cancel()
        assert [app.events[-1] for app in (old, new)] == ["ended", "ended"]
        assert server.ended == [True]

    asyncio.run(test())
