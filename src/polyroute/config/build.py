"""Validated settings -> the objects that an episode needs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from polyroute.config.fallbacks import FallbackSettings
from polyroute.config.settings import CardSettings, RecordSettings, Settings
from polyroute.config.state import StateSettings
from polyroute.errors import ConfigError, UnknownModelError
from polyroute.pool import ModelCard, Pool, Price
from polyroute.protocols import Backend, Policy
from polyroute.spec import WITH_FALLBACKS, construct, named_cards, normal
from polyroute.types import Budget, Json

__all__ = [
    "Setup", "build", "cards_of", "open_records", "open_state", "state_folder", "with_fallbacks",
]  # fmt: skip


@runtime_checkable
class _ChecksPool(Protocol):
    """A policy that knows at once whether it can serve a pool: a trained one."""

    def check(self, pool: Pool) -> None: ...


@dataclass(frozen=True, slots=True)
class Setup:
    """What a configuration is for: the objects that an episode needs."""

    settings: Settings
    pool: Pool
    backends: Mapping[str, Backend]
    """By card id."""
    specs: Mapping[str, Mapping[str, Json]]
    """Every configured policy by name; ``default`` is the one used when none is named."""
    budget: Budget
    records: Any
    """The record store; `None` when nothing is to be kept."""
    built: Mapping[str, Policy] = field(default_factory=dict)
    """The configured policies, by name, as they were built once."""
    embeddings: Pool | None = None
    """The models that turn texts into vectors; `None` when there are none."""
    embedders: Mapping[str, Backend] = field(default_factory=dict)
    """Their backends, by card id."""
    first_token_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds after which a stream that has not begun counts as failed, by card id."""

    def spec(self, spec: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return the specification of a policy with the declared fallbacks around it."""
        return with_fallbacks(spec, self.settings)

    def policy(self, name: str = "default") -> Policy:
        """Return the policy `name`: a configured one, or a registered one without parameters.

        Raises
        ------
        ConfigError
            If there is no such policy, or it needs parameters that are not configured.
        """
        if name in self.built:
            return self.built[name]
        spec = self.specs.get(name) or self.spec({"name": name})
        inside = _inside(spec, self.settings)
        policy: Policy = construct("policies", inside, where=_place(name))
        if inside is not spec:
            # what is wrong inside is said of the place where the file has it
            around: dict[str, Any] = {**spec, "policy": policy}
            policy = construct("policies", around, where="fallbacks")
        return policy


def build(settings: Settings) -> Setup:
    """Build everything that `settings` describe; nothing is called yet.

    Raises
    ------
    ConfigError
        If a plug-in, a name or a parameter is wrong.
    """
    pool = cards_of(settings)
    backends = {
        card.id: construct("backends", card.backend, where=f"pool.{card.id}.backend")
        for card in settings.pool
    }
    embedders = {
        card.id: construct("backends", card.backend, where=f"embeddings.{card.id}.backend")
        for card in settings.embeddings
    }
    specs: dict[str, Mapping[str, Json]] = {
        name: normal(spec, where=f"policies.{name}") for name, spec in settings.policies.items()
    }
    if "default" in specs:
        raise ConfigError("policies.default: the default policy is the key 'policy'")
    default = settings.policy
    named = isinstance(default, str) and default in specs
    specs["default"] = specs[str(default)] if named else normal(default, where="policy")
    if settings.fallback is not None:
        pool.index_of(settings.fallback)
    specs = {name: with_fallbacks(spec, settings) for name, spec in specs.items()}
    records = open_records(settings.records)
    built: dict[str, Policy] = {}
    setup = Setup(
        settings,
        pool,
        backends,
        specs,
        _budget(settings),
        records,
        built,
        embeddings=_embeddings_of(settings, pool),
        embedders=embedders,
        first_token_s={
            pool.card(card).id: one.first_token_s
            for card, one in _fallbacks(settings)
            if one.first_token_s is not None
        },
    )
    for name, spec in specs.items():
        policy = setup.policy(name)
        if isinstance(policy, _ChecksPool):
            policy.check(pool)
        built[name] = policy
        _check_cards(_inside(spec, settings), pool, where=_place(name))
    for card, one in _fallbacks(settings):
        for each in (card, *one.to):
            _check_card(each, pool, where=f"fallbacks.{card}")
    return setup


def _place(name: str) -> str:
    """Return where a configuration file has the policy `name`."""
    return "policy" if name == "default" else f"policies.{name}"


def cards_of(settings: Settings) -> Pool:
    """Return the pool that `settings` describe, without building its backends."""
    return Pool(_card(card) for card in settings.pool)


def _embeddings_of(settings: Settings, pool: Pool) -> Pool | None:
    """Return the pool of the embedding models; `None` when there are none.

    Raises
    ------
    ConfigError
        If a name is in the pool too, or a fallback of one cannot be.
    """
    if not settings.embeddings:
        return None
    # vectors are no completion: what they cost is bounded by the prompt alone
    cards = Pool(replace(_card(card), max_output=0) for card in settings.embeddings)
    names = {name for card in pool for name in (card.id, *card.aliases)}
    for card in cards:
        for name in (card.id, *card.aliases):
            if name in names:
                raise ConfigError(f"embeddings.{card.id}: {name!r} is in the pool too; rename one")
    for name, one in settings.fallbacks.items():
        if not _of_vectors(name, settings):
            continue
        if one.first_token_s is not None:
            raise ConfigError(f"fallbacks.{name}.first_token_s: vectors are not streamed")
        for other in one.to:
            if other not in cards.ids:
                raise ConfigError(
                    f"fallbacks.{name}: {other!r} is not under embeddings; vectors come from there"
                )
    return cards


def state_folder() -> Path:
    """Return the folder for records: ``POLYROUTE_HOME``, or the user's state folder."""
    home = os.environ.get("POLYROUTE_HOME")
    if home:
        return Path(home)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "polyroute"


def with_fallbacks(spec: Mapping[str, Json], settings: Settings) -> Mapping[str, Json]:
    """Return the specification of a policy with the fallbacks that `settings` declare around it.

    Those of embedding models are none of it: policies do not ask these.
    """
    declared = [one.spec(card) for card, one in _fallbacks(settings)]
    if not declared:
        return spec
    return {"name": WITH_FALLBACKS, "policy": spec, "fallbacks": declared}


def _inside(spec: Mapping[str, Json], settings: Settings) -> Mapping[str, Json]:
    """Return what `with_fallbacks` was given."""
    return spec["policy"] if _fallbacks(settings) else spec


def _fallbacks(settings: Settings) -> list[tuple[str, FallbackSettings]]:
    return [one for one in settings.fallbacks.items() if not _of_vectors(one[0], settings)]


def _of_vectors(name: str, settings: Settings) -> bool:
    return any(name in (card.id, *card.aliases) for card in settings.embeddings)


def _check_cards(spec: Mapping[str, Json], pool: Pool, *, where: str) -> None:
    for place, name in named_cards("policies", spec, where=where):
        _check_card(name, pool, where=place)


def _check_card(name: str, pool: Pool, *, where: str) -> None:
    try:
        pool.index_of(name)
    except UnknownModelError as error:
        raise UnknownModelError(f"{where}: {error}") from None


def _card(card: CardSettings) -> ModelCard:
    fields = card.model_dump(exclude={"backend", "price"})
    price = None if card.price is None else Price(**card.price.model_dump())
    return ModelCard(**fields, price=price)


def _budget(settings: Settings) -> Budget:
    return Budget(**settings.budget.model_dump())


def open_records(records: RecordSettings) -> Any:  # noqa: ANN401 - the family's protocol is above us
    """Return the store that `records` describe; `None` when nothing is to be kept.

    Raises
    ------
    ConfigError
        If it is to be Postgres, and nothing says where that is.
    """
    if records.store == "none":
        return None
    if records.store == "postgres":
        if records.url_env is None:
            raise ConfigError(
                "records.url_env is missing: put the URL of Postgres into an environment variable, "
                "and name it there"
            )
        return construct(
            "records",
            {
                "name": "postgres",
                "url_env": records.url_env,
                "path": str(records.path or state_folder() / "records.postgres"),
            },
            where="records",
        )
    path = records.path or state_folder() / f"records.{records.store}"
    return construct("records", {"name": records.store, "path": str(path)}, where="records")


def open_state(state: StateSettings) -> Any:  # noqa: ANN401 - the family's protocol is above us
    """Return the shared state that `state` describes; nothing is connected yet."""
    spec: dict[str, Json] = {"name": state.store}
    if state.store == "sqlite":
        path = state.path or state_folder() / "state.sqlite"
        spec |= {"path": str(path), "timeout_s": state.timeout_s}
    elif state.store == "redis":
        names = ("url", "password_env", "prefix", "timeout_s", "connections")
        spec |= {name: getattr(state, name) for name in names}
    return construct("state", spec, where="state")
