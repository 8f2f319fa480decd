"""Deadlines, against what `asyncio.timeout_at` does."""

import asyncio

import pytest

from polyroute.deadline import Deadline

_SOON_S = 0.01
_NEVER_S = 3600.0


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def test_what_is_not_done_in_time_is_cut_short_and_the_task_lives_on() -> None:
    async def run() -> None:
        with pytest.raises(TimeoutError), Deadline(_in(_SOON_S)):
            await asyncio.sleep(_NEVER_S)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    asyncio.run(run())


def test_a_deadline_that_is_over_lets_what_does_not_wait_end() -> None:
    async def run() -> str:
        with Deadline(_in(-1)):
            return "done"

    assert asyncio.run(run()) == "done"


def test_no_deadline_is_none() -> None:
    async def run() -> str:
        with Deadline(None):
            await asyncio.sleep(0)
            return "done"

    assert asyncio.run(run()) == "done"


@pytest.mark.parametrize("inner", [True, False])
def test_the_earlier_of_two_cuts(inner: bool) -> None:
    async def run() -> list[str]:
        said = []
        early, late = _in(_SOON_S), _in(_NEVER_S)
        try:
            with Deadline(late if inner else early):
                try:
                    with Deadline(early if inner else late):
                        await asyncio.sleep(_NEVER_S)
                except TimeoutError:
                    said.append("inner")
        except TimeoutError:
            said.append("outer")
        return said

    assert asyncio.run(run()) == ["inner" if inner else "outer"]


def test_a_deadline_can_be_moved_both_ways() -> None:
    async def moved(before: float, after: float) -> str:
        with Deadline(_in(before)) as deadline:
            deadline.move(_in(after))
            await asyncio.sleep(3 * _SOON_S)
        return "done"

    assert asyncio.run(moved(_SOON_S, _NEVER_S)) == "done"
    with pytest.raises(TimeoutError):
        asyncio.run(moved(_NEVER_S, _SOON_S))


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def run() -> None:
        async def inside() -> None:
            with Deadline(_in(_NEVER_S)):
                await asyncio.sleep(_NEVER_S)

        task = asyncio.create_task(inside())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_many_deadlines_each_cut_their_own_task() -> None:
    async def run() -> list[str]:
        async def one(seconds: float) -> str:
            try:
                with Deadline(_in(seconds)):
                    await asyncio.sleep(3 * _SOON_S)
            except TimeoutError:
                return "cut"
            return "done"

        limits = [_NEVER_S, _SOON_S, _NEVER_S, 2 * _SOON_S, _SOON_S]
        return await asyncio.gather(*map(one, limits))

    assert asyncio.run(run()) == ["done", "cut", "done", "cut", "cut"]


def test_what_is_raised_inside_comes_out_as_it_is() -> None:
    async def run() -> None:
        with Deadline(_in(_NEVER_S)):
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        asyncio.run(run())
