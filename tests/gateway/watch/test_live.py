"""Episodes as they happen, for any number of readers, fast and slow."""

import asyncio
import json

from polyroute.episode import Decided, Finished, Replied
from polyroute.gateway.errors import ApiError
from polyroute.gateway.watch.live import EPISODES, Live


def read(piece):
    assert piece.startswith(b"data: ")
    assert piece.endswith(b"\n\n")
    return json.loads(piece[6:])


def play(live, account):
    """Tell `live` what happened in the episode of `account`."""
    asked = account.asked
    live.began(asked)
    for step in account.outcome.trace.steps:
        live.happened(asked, Decided(step.decision))
        for k, reply in enumerate(step.replies):
            live.happened(asked, Replied(k, step.decision.calls[k], reply))
    live.happened(asked, Finished(account.outcome.trace))
    live.ended(account)


def test_a_reader_hears_every_round_in_order(done):
    async def run():
        live = Live(texts=True)
        events = await live.events()
        assert read(await anext(events)) == {"type": "picture", "running": [], "ended": []}
        play(live, done)
        return [read(await anext(events)) for _ in range(8)]

    told = asyncio.run(run())
    kinds = [
        next(k for k in ("decided", "replied", "episode", "question") if k in one) for one in told
    ]
    assert kinds == [
        "question", "decided", "replied", "decided", "replied", "replied", "decided", "episode",
    ]  # fmt: skip
    assert told[-1]["episode"]["usd"] == f"{done.usd:f}"
    assert [len(step["calls"]) for step in told[-1]["episode"]["steps"]] == [1, 2, 0]


def test_who_comes_late_sees_what_runs_and_what_has_ended(done, made):
    running = made.finish(made.ask())

    async def run():
        live = Live(texts=True)
        play(live, done)
        live.began(running.asked)
        live.happened(running.asked, Decided(running.outcome.trace.steps[0].decision))
        return read(await anext(await live.events()))

    picture = asyncio.run(run())
    assert [one["id"] for one in picture["ended"]] == [done.id]
    assert len(picture["running"]) == 1
    assert len(picture["running"][0]["events"]) == 1


def test_a_reader_that_is_too_slow_gets_the_picture_anew_and_stops_nobody(done):
    async def run():
        live = Live(texts=True)
        events = await live.events()
        for _ in range(1_000):
            play(live, done)
        waiting = next(iter(live._readers)).qsize()
        assert waiting <= 256
        told = [read(await anext(events)) for _ in range(waiting)]
        assert told[0]["type"] == "picture"
        return told

    told = asyncio.run(run())
    ended = len(told[0]["ended"]) + sum(one["type"] == "ended" for one in told)
    assert EPISODES <= ended <= EPISODES + 40, "the newest, and those since"


def test_what_is_kept_is_bounded(done):
    live = Live(texts=True)
    for _ in range(1_000):
        play(live, done)
    assert (len(live._ended), len(live._running)) == (EPISODES, 0)


def test_where_records_keep_no_texts_none_are_shown(done, made):
    async def run():
        live = Live(texts=False)
        events = await live.events()
        play(live, done)
        return b"".join([await anext(events) for _ in range(9)])

    told = asyncio.run(run())
    assert made.secret.encode() not in told
    assert b"says two" not in told


def test_readers_are_let_go_at_the_end_and_bounded_in_number():
    async def run():
        live = Live(texts=True)
        readers = [await live.events() for _ in range(32)]
        try:
            await live.events()
        except ApiError as error:
            refused = error.status
        for reader in readers:
            await anext(reader)
        live.close()
        ended = [[piece async for piece in reader] for reader in readers]
        return refused, ended, len(live._readers)

    assert asyncio.run(run()) == (503, [[]] * 32, 0)


def test_a_reader_has_to_come_again_after_a_while(done, monkeypatch):
    monkeypatch.setattr("polyroute.gateway.watch.live._LONGEST_S", 0.05)

    async def run():
        live = Live(texts=True)
        pieces = [piece async for piece in await live.events()]
        return len(pieces), len(live._readers)

    pieces, readers = asyncio.run(run())
    assert (pieces >= 1, readers) == (True, 0)
