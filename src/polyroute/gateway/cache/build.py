"""The cache of a configuration."""

import hashlib
from importlib import import_module

from polyroute.config import CacheSettings, Settings
from polyroute.errors import ConfigError
from polyroute.gateway.cache.cache import Cache, Terms
from polyroute.gateway.cache.category import Category
from polyroute.gateway.cache.entries import Entries, InMemory
from polyroute.gateway.keeper import Keeper
from polyroute.policies.rules import Rule
from polyroute.spec import construct
from polyroute.state.shared import Shared

__all__ = ["build_cache"]

_SIMILAR = "polyroute.gateway.cache.similar"
"""Computes with numpy, which a server that does not look for likeness does without."""

_OTHER = "other"
"""Category of the questions that are of none that is configured."""


def build_cache(settings: Settings, state: Shared, keeper: Keeper) -> Cache | None:
    """Return what remembers answers; `None` when the configuration has no ``cache``.

    Raises
    ------
    ConfigError
        If a rule or the encoder cannot be used, or answers are to be shared and nothing is.
    """
    said = settings.cache
    if said is None:
        return None
    entries: Entries = InMemory(said.max_mb * 1_000_000)
    if said.store == "shared":
        if settings.state.store == "memory":
            raise ConfigError(
                "cache.store: shared needs a shared state; set state.store to sqlite or redis, or "
                "cache.store to memory"
            )
        entries = state
    similar = None
    if (semantic := said.semantic) is not None:
        encoder = construct("encoders", semantic.encoder, where="cache.semantic.encoder")
        similar = import_module(_SIMILAR).Similar(encoder, entries, most=semantic.most)
    terms = Terms(
        generation=_generation(settings),
        categories=_categories(said),
        max_temperature=said.max_temperature,
        policies=None if said.policies is None else frozenset(said.policies),
        max_entry_bytes=said.max_entry_kb * 1_000,
    )
    return Cache(entries, terms, keeper, similar=similar)


def _categories(said: CacheSettings) -> tuple[Category, ...]:
    found = [
        Category(
            name=one.name,
            seconds=said.seconds if one.seconds is None else one.seconds,
            threshold=one.threshold,
            rule=Rule(
                to=one.name,
                name=one.name,
                matches=one.matches,
                min_chars=one.min_chars,
                max_chars=one.max_chars,
                languages=one.languages,
            ),
        )
        for one in said.categories
    ]
    threshold = None if said.semantic is None else said.semantic.threshold
    return (*found, Category(name=_OTHER, seconds=said.seconds, threshold=threshold))


def _generation(settings: Settings) -> str:
    """Return a name for how this configuration answers; another one has another."""
    said = settings.model_dump_json(include={"pool", "policy", "policies", "fallback", "fallbacks"})
    semantic = None if settings.cache is None else settings.cache.semantic
    encoder = "" if semantic is None else repr(semantic.encoder)
    return hashlib.sha256(f"{said}\n{encoder}".encode("utf-8", "replace")).hexdigest()[:16]
