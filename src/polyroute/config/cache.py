"""What the gateway remembers of its answers."""

from typing import Any, Literal

from pydantic import Field, field_validator

from polyroute.config.strict import Strict

__all__ = ["CacheSettings", "CategorySettings", "SemanticSettings"]


class CategorySettings(Strict):
    """Requests that are remembered in a way of their own; every condition given must hold."""

    name: str = Field(min_length=1)
    matches: str = ""
    """Regular expression, searched in the last user message without regard to case."""
    min_chars: int | None = Field(None, ge=0)
    max_chars: int | None = Field(None, ge=0)
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes of the last user message."""
    threshold: float | None = Field(None, gt=0, le=1)
    """Cosine from which on two questions count as one; `None`: only when they are the same."""
    seconds: float | None = Field(None, gt=0)
    """How long an answer is good for; `cache.seconds` when not given."""


class SemanticSettings(Strict):
    """When another question's answer is given."""

    encoder: str | dict[str, Any]
    """Of the family ``encoders``: turns a question into a vector."""
    threshold: float = Field(0.97, gt=0, le=1)
    """Of questions of no category: cosine from which on two of them count as one."""
    most: int = Field(200, ge=1, le=10_000)
    """Questions to compare with, of those that differ in nothing else; the newest are kept."""


class CacheSettings(Strict):
    """How long answers are remembered, and where."""

    store: Literal["memory", "shared"] = "memory"
    """In each process, or in the shared state (`state`: SQLite or Redis)."""
    max_mb: int = Field(64, ge=1)
    """Memory of one process for answers; beyond it, what was not used for longest goes."""
    max_entry_kb: int = Field(256, ge=1)
    """An answer that takes more is not remembered."""
    seconds: float = Field(3_600.0, gt=0)
    """How long an answer is good for."""
    max_temperature: float = Field(0.0, ge=0)
    """Requests with a higher temperature are not answered from memory unless they ask for it. One
    that does not name a temperature has 1, as the API says."""
    policies: tuple[str, ...] | None = None
    """Whose answers are remembered: names of policies, ``fixed`` for requests that name a card;
    all when not given."""
    categories: tuple[CategorySettings, ...] = ()
    """In order of precedence."""
    semantic: SemanticSettings | None = None
    """When another question's answer is given; never when not given."""

    @field_validator("categories")
    @classmethod
    def _named_once(cls, value: tuple[CategorySettings, ...]) -> tuple[CategorySettings, ...]:
        names = [category.name for category in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two categories are called {twice[0]!r}")
        return value
