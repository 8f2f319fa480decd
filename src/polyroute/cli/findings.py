"""What is wrong with a configuration that is well-formed: found without calling anything.

`polyroute config check` prints these, `polyroute doctor` adds what only a call can tell.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from polyroute.backends.scripted import Scripted
from polyroute.config import Setup, left_out
from polyroute.episode import run_episode
from polyroute.errors import PolicyError, UnknownModelError
from polyroute.types import Budget, Request

__all__ = ["Finding", "Level", "findings"]

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    """What was looked at: ``pool.gpt``, ``policies.two-hop``."""
    level: Level = "ok"
    problem: str = ""
    """What is wrong; for something that is well, what there is to say of it."""
    remedy: str = ""
    """What to do, as a sentence or a command."""


def findings(setup: Setup) -> list[Finding]:
    """Return everything that is wrong with `setup`, most serious first; nothing is called."""
    found = [
        *(found for name in setup.specs for found in _rehearse(setup, name)),
        *_unknown_prices(setup),
        *_missing_keys(setup),
        *_missing_routers(setup),
    ]
    return sorted(found, key=lambda finding: finding.level != "error")


@runtime_checkable
class _HasKeys(Protocol):
    def missing_keys(self) -> tuple[str, ...]: ...


def _missing_keys(setup: Setup) -> Iterator[Finding]:
    for id, backend in setup.backends.items():
        for name in backend.missing_keys() if isinstance(backend, _HasKeys) else ():
            problem = f"the environment variable {name} holds no key"
            yield Finding(f"pool.{id}", "warning", problem, f"export {name}=...")


def _missing_routers(setup: Setup) -> Iterator[Finding]:
    for name, why in left_out(setup.settings).items():
        remedy = "only where it is wanted; otherwise drop it from 'routers'"
        yield Finding(f"routers.{name}", "warning", why, remedy)


def _unknown_prices(setup: Setup) -> Iterator[Finding]:
    for card in setup.pool:
        if card.price is None and setup.budget.usd is not None:
            problem = f"price unknown, so the budget of {setup.budget.usd:f} usd cannot hold"
            yield Finding(f"pool.{card.id}", "error", problem, f"give {card.id} a price: {{...}}")
        elif card.price is None:
            problem = "price unknown: its bills will say 'unknown', and --max-usd will refuse it"
            yield Finding(f"pool.{card.id}", "warning", problem, f"give {card.id} a price: {{...}}")


def _rehearse(setup: Setup, name: str) -> Iterator[Finding]:
    """Run the policy on replies that are made up: what it would ask must be in the pool."""
    request = Request.of("What is 6 times 7?", budget=Budget(rounds=setup.budget.rounds))
    place = "policy" if name == "default" else f"policies.{name}"
    made_up = Scripted(lambda model, prompt: "42")
    try:
        asyncio.run(run_episode(setup.policy(name), made_up, request, setup.pool))
    except PolicyError as error:
        known = isinstance(error.__cause__, UnknownModelError)
        remedy = "name a card of the pool" if known else "the policy is broken; report it"
        yield Finding(place, "error", str(error), remedy)
