"""Requests that are over, made without a server."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from polyroute import ModelCard, Pool, Price
from polyroute.backends.scripted import Scripted
from polyroute.config import Settings, Setup
from polyroute.decision import Answer, Call, Route
from polyroute.errors import BackendError
from polyroute.gateway.asked import Asked, Reader
from polyroute.gateway.caller import Caller
from polyroute.gateway.catalogue import Catalogue
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.run import Run
from polyroute.gateway.watch.account import Account, account_of
from polyroute.policies.fixed import Fixed
from polyroute.protocols import Method
from polyroute.types import Budget

CALLER = Caller(id="k-1", tenant="acme")
SECRET = "the patient's name is Quispe"


class Asks:
    """Asks itself, then two at once, of which one fails, then answers."""

    method = Method(when="multi-stage", what=("response",), how="heuristic")

    async def decide(self, trace: Any) -> Any:
        if not trace.steps:
            return Route(calls=(Call("small", "hard?"),), own=True, reason="thinks")
        if len(trace.steps) == 1:
            return Route(calls=(Call("large"), Call("down")), propensity=0.25)
        return Answer(text=trace.good_replies[0].text)


POLICIES: dict[str, Callable[[], Any]] = {
    "default": Asks,
    "to-large": lambda: Fixed("large"),
    "to-down": lambda: Fixed("down"),
}


class OwnPolicies(Setup):
    def policy(self, name: str = "default") -> Any:
        return POLICIES[name]() if name in POLICIES else super().policy(name)


def say(model: str, prompt: str) -> str:
    if model == "down":
        raise BackendError("it is down", kind="unavailable")
    return f"{model} says two"


def make_setup(watch: dict[str, Any] | None = None, **changes: Any) -> Setup:
    pool = Pool(
        [
            ModelCard(id="small", price=Price.per_million(1, 2)),
            ModelCard(id="large", price=Price.per_million(10, 20), aliases=("big",)),
            ModelCard(id="down", price=Price.per_million(5, 5)),
        ]
    )
    settings = Settings.model_validate(
        {
            "pool": [{"id": card.id, "backend": "scripted"} for card in pool],
            "policy": "default",
            "watch": watch or {},
            **changes,
        }
    )
    backend = Scripted(say)
    return OwnPolicies(
        settings,
        pool,
        {card.id: backend for card in pool},
        {name: {"name": name} for name in POLICIES},
        Budget(seconds=30, rounds=4),
        None,
    )


SETUP = make_setup()
_READER = Reader(SETUP, Catalogue(SETUP))


def ask(model: str = "polyroute", **more: Any) -> Asked:
    messages = [{"role": "user", "content": SECRET}]
    return _READER.read({"model": model, "messages": messages, **more})


def finish(asked: Asked, *, began: float = 1_000.0, seconds: float = 0.5) -> Account:
    """Run what is asked, and return its account."""

    async def run() -> Account:
        one = Run(asked, SETUP.backends["small"], Keeper(None), fallback=None)

        async def nobody(_: object) -> None: ...

        await one.carry_out(nobody, stream=False)
        return account_of(CALLER, asked, one.outcome, began=began, seconds=seconds)

    return asyncio.run(run())


@pytest.fixture
def done() -> Account:
    return finish(ask())


@pytest.fixture
def made() -> SimpleNamespace:
    """What tests make requests with."""
    return SimpleNamespace(
        setup=SETUP,
        make_setup=make_setup,
        ask=ask,
        finish=finish,
        caller=CALLER,
        secret=SECRET,
    )
