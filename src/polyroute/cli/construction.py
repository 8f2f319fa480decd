"""From a configuration to what a command needs, and back to nothing: built, run, closed.

The one decision here: a name given for a policy means a configured policy, else a registered one
that needs no parameters, else a card of the pool, in this order, and nothing else.
"""

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from polyroute.backends.by_card import ByCard
from polyroute.config import Setup, build, open_records, read, why_not, with_fallbacks
from polyroute.errors import ConfigError, RecordError, UnknownPluginError
from polyroute.pool import Pool
from polyroute.protocols import Backend, Policy
from polyroute.records.store import RecordStore
from polyroute.registry import names
from polyroute.spec import construct, nearest, normal
from polyroute.types import Budget, Json

__all__ = [
    # a policy by name
    "Chosen", "choose", "configured_specs",
    # what a command needs
    "new_id", "opened", "refuse_unknown_prices", "setup_from", "store_at", "store_from",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chosen:
    """The policy that a command runs, and how a record spells it."""

    policy: Policy
    spec: Mapping[str, Json]


def setup_from(config: Path | None) -> Setup:
    """Read and build a configuration; see `polyroute.config.find` for `None`."""
    return build(read(config))


def store_from(config: Path | None) -> RecordStore:
    """Return the record store of a configuration, without building its pool.

    Raises
    ------
    ConfigError
        If the configuration keeps no records.
    """
    store: RecordStore | None = open_records(read(config).records)
    if store is None:
        raise ConfigError("this configuration keeps no records (records.store: none)")
    return store


def store_at(path: Path) -> RecordStore:
    """Return the store in the file `path`, by what the file holds.

    Raises
    ------
    RecordError
        If there is no such file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise RecordError(f"cannot read the records {str(path)!r}: {error.strerror}") from error
    sqlite = start.startswith(b"SQLite format 3") or path.suffix in (".sqlite", ".db")
    name = "sqlite" if sqlite else "jsonl"
    store: RecordStore = construct("records", {"name": name, "path": str(path)}, where="records")
    return store


def configured_specs(config: Path | None) -> dict[str, Mapping[str, Json]]:
    """Return the configured policies by name, as `Setup.specs` does, without building the pool."""
    settings = read(config)
    specs: dict[str, Mapping[str, Json]] = {
        name: normal(spec, where=f"policies.{name}") for name, spec in settings.policies.items()
    }
    default = settings.policy
    named = isinstance(default, str) and default in specs
    specs["default"] = specs[str(default)] if named else normal(default, where="policy")
    return {name: with_fallbacks(spec, settings) for name, spec in specs.items()}


def choose(name: str | None, specs: Mapping[str, Mapping[str, Json]], pool: Pool) -> Chosen:
    """Return the policy `name` of `specs`, of the registry, or of the pool; the default for `None`.

    Raises
    ------
    UnknownPluginError
        If `name` is none of these; the message lists them and names the nearest.
    ConfigError
        If the policy cannot be built, or is a router that is not there.
    """
    name = name or "default"
    if name in specs:
        spec = specs[name]
    elif name in names("policies"):
        spec = {"name": name}
    elif any(name in (card.id, *card.aliases) for card in pool):
        spec = {"name": "fixed", "model": pool.card(name).id}
    elif (why := why_not(name)) is not None:
        raise ConfigError(why)
    else:
        known = [*specs, *names("policies"), *pool.ids]
        raise UnknownPluginError(
            f"{name!r} is no configured policy, no registered one and no card; "
            f"{nearest(name, list(dict.fromkeys(known)))}"
        )
    return Chosen(construct("policies", spec, where=f"policies.{name}"), spec)


def refuse_unknown_prices(pool: Pool, budget: Budget) -> None:
    """Refuse to start when a budget in dollars could not hold.

    Raises
    ------
    ConfigError
        If `budget` has a limit in dollars and a card of `pool` has no price.
    """
    unknown = [card.id for card in pool if card.price is None]
    if budget.usd is not None and unknown:
        raise ConfigError(
            f"a budget of {budget.usd:f} usd cannot hold: the price of {', '.join(unknown)} is "
            "unknown, and unknown is not free; give each its 'price' in the pool (0 when it is "
            "free), or drop the limit (budget.usd, --max-usd)"
        )


@asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Backend]:
    """Hold the backend of the whole pool; close every connection, process and model at the end."""
    backend = ByCard(setup.backends, setup.first_token_s)
    try:
        yield backend
    finally:
        await backend.close()


def new_id() -> str:
    """Return a unique id whose order is that of time: a UUID of version 7, as hexadecimal.

    References
    ----------
    RFC 9562, section 5.7: 48 bits of milliseconds, then version, variant and 74 random bits.
    """
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"{value:032x}"
