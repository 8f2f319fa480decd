"""Episodes of a router, written down step by step."""

from decimal import Decimal

import pytest

from polyroute import Answer, Call, ModelCard, Pool, Price, Reply, Request, Route, Step, Trace
from polyroute.decision import Failure
from polyroute.types import Budget, Usage

POOL = Pool([
    ModelCard(id="router", price=Price.per_million(0.1, 0.1)),
    ModelCard(id="gemma", price=Price.per_million(0.8, 0.8)),
    ModelCard(id="llama-70b", aliases=("llama",), price=Price.per_million(0.88, 0.88)),
    ModelCard(id="nobody-knows"),
])  # fmt: skip


class Script:
    """An episode as it is written: `own` is a turn of the router, `asked` a call to a candidate."""

    def __init__(self, worth=None, pool=POOL):
        budget = Budget(usd_per_quality=worth)
        self.trace = Trace(Request.of("Who?", budget=budget), pool)

    def _step(self, decision, *replies):
        self.trace = self.trace.with_step(Step(decision, replies))
        return self

    def own(self, text, prompt=100, **fields):
        usage = Usage(input=prompt, output=len(text.split()))
        reply = Reply(
            model="router", text=text, usage=usage, usd=POOL.card("router").price.cost(usage),
            finish_reason="stop", **fields,
        )  # fmt: skip
        return self._step(Route(calls=(Call("router", "prompt"),), own=True), reply)

    def asked(self, model, text="said", prompt=10, completion=100, failure=None):
        """Ask a candidate; with a failure "timeout" the bill is unknown, else nothing is due."""
        usage = Usage(input=prompt, output=completion)
        if failure is not None:
            unknown = failure == "timeout"
            usage, usd = (None, None) if unknown else (Usage(), Decimal(0))
            reply = Reply(model=model, usage=usage, usd=usd, failure=Failure(failure, "broken"))
        else:
            price = self.trace.pool.card(model).price
            usd = None if price is None else price.cost(usage)
            reply = Reply(model=model, text=text, usage=usage, usd=usd)
        return self._step(Route(calls=(Call(model, "query"),)), reply)

    def answers(self, text, **fields):
        return self._step(Answer(text=text, fields=fields)).trace

    def fallback(self, model, text):
        reply = Reply(model=model, text=text, usage=Usage(1, 1), usd=Decimal(0))
        return self._step(Route(calls=(Call(model),), final=True), reply).trace


@pytest.fixture
def script():
    return Script
