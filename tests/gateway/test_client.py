"""A client that goes, and the tasks that work for it."""

import asyncio
from collections.abc import Callable

import pytest

from polyroute.gateway.client import Connected


def ended(when: Callable[[Connected, asyncio.Task[None]], None]) -> bool:
    """Return whether a task has been cancelled after `when` was done."""

    async def run() -> bool:
        task: asyncio.Task[None] = asyncio.ensure_future(asyncio.sleep(60))
        when(Connected(), task)
        await asyncio.sleep(0)
        cancelled = task.cancelling() > 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return cancelled

    return asyncio.run(run())


def first_serve(client: Connected, task: asyncio.Task[None]) -> None:
    client.serve(task)
    client.go()


def first_go(client: Connected, task: asyncio.Task[None]) -> None:
    client.go()
    client.serve(task)


@pytest.mark.parametrize("when", [first_serve, first_go])
def test_a_client_that_goes_ends_what_is_done_for_it(
    when: Callable[[Connected, asyncio.Task[None]], None],
) -> None:
    assert ended(when)


def test_what_is_done_is_left_alone() -> None:
    def when(client: Connected, task: asyncio.Task[None]) -> None:
        client.serve(task)
        client.served(task)
        client.go()

    assert not ended(when)
