"""A router model that writes what it was told, behind servers of three kinds."""

import asyncio
from decimal import Decimal

import pytest

from polyroute import Budget, Message, ModelCard, Pool, Price, Reply, Request, Usage, run_episode
from polyroute.errors import BackendError
from polyroute.policies.router_r1 import RouterR1

POOL = Pool(
    [
        ModelCard(id="router", price=Price.per_million("0.1", "0.2"), max_output=1024),
        ModelCard(
            id="geo",
            description="Countries and their capitals.",
            price=Price(call=Decimal("0.00003")),
            skills={"capitals": 0.95},
            latency_s=0.4,
            aliases=("geography",),
        ),
        ModelCard(id="calc", kind="tool", price=Price(call=Decimal("0.000001"))),
        ModelCard(id="llama3:8b", price=Price.per_million(1, 2), context=8_000, max_output=512),
    ]
)


class Writer:
    """Answers for every card of the pool.

    ``turns`` are the router model's, one after the other, the last one again and again. ``server``
    is what happens at a stop string: ``strips`` it (llama.cpp), ``tells`` which it was (our
    openai backend on vLLM), ``keeps`` it, or ``ignores`` all of them.
    """

    def __init__(self, turns, says=None, *, server="strips"):
        self.turns = turns
        self.says = says or {}
        self.server = server
        self.asked = []
        self.at_once = 0
        self._running = 0

    async def complete(self, call, trace, emit=None):
        self.asked.append(call)
        if call.model != "router":
            return await self._candidate(call)
        number = sum(asked.model == "router" for asked in self.asked)
        turn = self.turns[min(number, len(self.turns)) - 1]
        if isinstance(turn, Reply):
            return turn
        if isinstance(turn, Exception):
            raise turn
        return self._reply(turn, call.params["stop"])

    def _reply(self, turn, stops):
        found = [(turn.index(stop), stop) for stop in stops if stop in turn]
        fields = {}
        text = turn
        if found and self.server != "ignores":
            at, stop = min(found)
            text = turn[: at + len(stop)] if self.server == "keeps" else turn[:at]
            fields = {"stop": stop} if self.server == "tells" else {}
        elif self.server == "tells":
            fields = {"stop": None}
        usage = Usage(20, len(turn.split()))
        return Reply(model="router", text=text, usage=usage, finish_reason="stop", fields=fields)

    async def _candidate(self, call):
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        await asyncio.sleep(0)
        self._running -= 1
        said = self.says.get(call.model, "I do not know.")
        if isinstance(said, Exception):
            raise said
        return Reply(model=call.model, text=said, usage=Usage(5, 5), finish_reason="stop")

    async def close(self):
        pass


def ask(question="Capital of Peru?", **budget):
    return Request(id="q", messages=(Message("user", question),), budget=Budget(**budget))


def run(writer, *, request=None, pool=POOL, **policy):
    """Run an episode; return its trace."""
    return asyncio.run(
        run_episode(RouterR1(router="router", **policy), writer, request or ask(), pool)
    )


@pytest.fixture(scope="session")
def written():
    """Return `run`, `ask`, `Writer`, `POOL` and an error, by name."""

    class Written:
        pass

    Written.run = staticmethod(run)
    Written.ask = staticmethod(ask)
    Written.Writer = Writer
    Written.POOL = POOL
    Written.down = BackendError("down")
    return Written
