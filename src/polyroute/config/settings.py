"""What a configuration file says."""

from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from polyroute.config.access import AccessSettings
from polyroute.config.cache import CacheSettings
from polyroute.config.fallbacks import Fallbacks
from polyroute.config.learning import LearningSettings
from polyroute.config.server import ServerSettings
from polyroute.config.state import StateSettings
from polyroute.config.strict import Strict, Usd
from polyroute.config.watch import WatchSettings
from polyroute.pool import Kind, Modality

__all__ = [
    "BudgetSettings", "CardSettings", "PriceSettings", "RecordSettings", "RouterSettings",
    "Settings",
]  # fmt: skip


class PriceSettings(Strict):
    """Price of a card: US dollars per million tokens, and per call."""

    input: Usd = Decimal(0)
    output: Usd = Decimal(0)
    cached: Usd | None = None
    reasoning: Usd | None = None
    call: Usd = Decimal(0)


class CardSettings(Strict):
    """One candidate of the pool, and the backend that carries out its calls."""

    id: str = Field(min_length=1)
    kind: Kind = "model"
    description: str = ""
    price: PriceSettings | None = None
    context: int | None = Field(None, gt=0)
    max_output: int | None = Field(None, gt=0)
    modalities: frozenset[Modality] = frozenset({"text"})
    skills: dict[str, float] = Field(default_factory=dict)
    latency_s: float | None = Field(None, ge=0)
    aliases: tuple[str, ...] = ()
    backend: str | dict[str, Any]


class RouterSettings(Strict):
    """A trained router of several rounds; its model joins the pool, and its policy the others."""

    artifact: str
    """Folder that ``polyroute train r1`` wrote, or the name of one that comes with polyroute."""
    digest: str | None = None
    """Of the artifact; no other one is then taken."""
    price: PriceSettings | None = None
    """What the router model's own tokens cost."""


class BudgetSettings(Strict):
    """What one request may spend, when it does not say so itself."""

    usd: Usd | None = Field(None, ge=0)
    seconds: float | None = Field(120.0, gt=0)
    rounds: int = Field(4, ge=1)
    tokens: int | None = Field(None, ge=0)
    usd_per_quality: float | None = Field(None, ge=0)


class RecordSettings(Strict):
    """Where finished traces go."""

    store: Literal["sqlite", "jsonl", "postgres", "none"] = "sqlite"
    path: Path | None = None
    """The file; in the state folder when not given. With Postgres, what this machine keeps for
    itself lies beside it: records that are promised and not written, and what was learned."""
    url_env: str | None = None
    """Name of the environment variable that holds the URL of Postgres, password and all."""
    content: Literal["full", "hash", "none"] = "full"
    """Whether texts are kept, or their SHA-256, or nothing."""


class Settings(Strict):
    """A whole configuration file."""

    version: Literal[1] = 1
    pool: tuple[CardSettings, ...] = Field(min_length=1)
    embeddings: tuple[CardSettings, ...] = ()
    """Models that turn texts into vectors. They are asked by name; no policy chooses them."""
    policy: str | dict[str, Any]
    """The policy that is used when none is named."""
    policies: dict[str, str | dict[str, Any]] = Field(default_factory=dict)
    """Further policies, by the name under which a request may ask for them."""
    routers: dict[str, RouterSettings] = Field(default_factory=dict)
    """Trained routers by name. ``r1`` is then a policy, and ``r1-router`` the card of its model."""
    fallback: str | None = None
    """The card that answers when a policy breaks; without one the request fails."""
    fallbacks: Fallbacks = Field(default_factory=dict)
    """Whom to ask instead of a card that fails, by its id; with every policy."""
    budget: BudgetSettings = BudgetSettings()
    records: RecordSettings = RecordSettings()
    learning: LearningSettings = LearningSettings()
    access: AccessSettings = AccessSettings()
    state: StateSettings = StateSettings()
    cache: CacheSettings | None = None
    """Which answers are given again; none when not given."""
    server: ServerSettings = ServerSettings()
    watch: WatchSettings = WatchSettings()
