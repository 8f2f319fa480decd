"""Requests as the gateway reads them, and their answers, without a server."""

from decimal import Decimal

import pytest

from polyroute.config import Settings, Setup
from polyroute.decision import Call, Route
from polyroute.gateway.asked import Reader
from polyroute.gateway.catalogue import Catalogue
from polyroute.gateway.run import Outcome
from polyroute.pool import ModelCard, Pool
from polyroute.trace import Reply, Step, Trace
from polyroute.types import Budget, Usage


class Desk:
    """Reads bodies, and answers them."""

    def __init__(self):
        settings = Settings.model_validate(
            {
                "pool": [{"id": name, "backend": "scripted"} for name in ("a", "b", "c")],
                "policy": "cheapest",
                "records": {"store": "none"},
            }
        )
        pool = Pool(ModelCard(id=name) for name in ("a", "b", "c"))
        specs = {"default": {"name": "cheapest"}, "other": {"name": "fixed", "model": "b"}}
        setup = Setup(settings, pool, {}, specs, Budget(seconds=120, rounds=4), None)
        self.reader = Reader(setup, Catalogue(setup))

    def ask(self, text="hello", *, before=(), **body):
        messages = [*before, {"role": "user", "content": text}]
        wire = {"model": "polyroute", "temperature": 0, "messages": messages, **body}
        return self.reader.read(wire)

    def answer(self, asked, text="an answer", *, model="a", **changes):
        fields = {"finish_reason": "stop", "usd": Decimal("0.001"), "usage": Usage(3, 2)}
        reply = Reply(model=model, text=text, **{**fields, **changes})
        step = Step(Route(calls=(Call(model),), final=True), (reply,), 0.5)
        return Outcome(trace=Trace(asked.request, asked.pool, (step,)))


@pytest.fixture(scope="session")
def desk():
    return Desk()
