"""Files and environment -> frozen, validated settings -> built objects.

The one decision here: this is the only place that reads configuration. What it builds takes plain
typed arguments and never sees a setting; a secret is only ever the *name* of an environment
variable.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from polyroute.errors import ConfigError, UnknownModelError
from polyroute.pool import Kind, Modality, ModelCard, Pool, Price
from polyroute.protocols import Backend, Policy
from polyroute.spec import construct, named_cards, nearest, normal
from polyroute.types import Budget, Json

__all__ = [
    # what a file says
    "BudgetSettings", "CardSettings", "PriceSettings", "RecordSettings", "ServerSettings",
    "Settings", "Usd",
    # reading and building
    "DEFAULT", "Setup", "build", "cards_of", "find", "open_records", "parse", "read",
    "state_folder",
]  # fmt: skip

DEFAULT = files("polyroute") / "default.yaml"
"""The configuration that is used when there is none: the embedded pool."""

_ENVIRONMENT = "POLYROUTE_CONFIG"
_FILE = "polyroute.yaml"

Usd = Annotated[
    Decimal, BeforeValidator(lambda value: str(value) if isinstance(value, float) else value)
]
"""Dollars, read as they are written: 0.1 is one tenth, not its nearest binary fraction."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PriceSettings(_Strict):
    """Price of a card: US dollars per million tokens, and per call."""

    input: Usd = Decimal(0)
    output: Usd = Decimal(0)
    cached: Usd | None = None
    reasoning: Usd | None = None
    call: Usd = Decimal(0)


class CardSettings(_Strict):
    """One candidate of the pool, and the backend that carries out its calls."""

    id: str = Field(min_length=1)
    kind: Kind = "model"
    description: str = ""
    price: PriceSettings | None = None
    context: int | None = Field(None, gt=0)
    max_output: int | None = Field(None, gt=0)
    modalities: frozenset[Modality] = frozenset({"text"})
    skills: dict[str, float] = {}
    latency_s: float | None = Field(None, ge=0)
    aliases: tuple[str, ...] = ()
    backend: str | dict[str, Any]


class BudgetSettings(_Strict):
    """What one request may spend, when it does not say so itself."""

    usd: Usd | None = Field(None, ge=0)
    seconds: float | None = Field(120.0, gt=0)
    rounds: int = Field(4, ge=1)
    tokens: int | None = Field(None, ge=0)
    usd_per_quality: float | None = Field(None, ge=0)


class RecordSettings(_Strict):
    """Where finished traces go."""

    store: Literal["sqlite", "jsonl", "none"] = "sqlite"
    path: Path | None = None
    """The file; in the state folder when not given."""
    content: Literal["full", "hash", "none"] = "full"
    """Whether texts are kept, or their SHA-256, or nothing."""


class ServerSettings(_Strict):
    """How `polyroute serve` listens."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    keys_env: str | None = None
    """Name of the environment variable that holds the clients' keys, separated by commas."""
    rounds: Literal["reasoning", "comments", "off"] = "reasoning"
    """How the rounds of an episode are streamed before its answer: as reasoning deltas, as
    comments that clients skip, or not at all."""
    max_body_mb: int = Field(32, gt=0)


class Settings(_Strict):
    """A whole configuration file."""

    version: Literal[1] = 1
    pool: tuple[CardSettings, ...] = Field(min_length=1)
    policy: str | dict[str, Any]
    """The policy that is used when none is named."""
    policies: dict[str, str | dict[str, Any]] = {}
    """Further policies, by the name under which a request may ask for them."""
    fallback: str | None = None
    """The card that answers when a policy breaks; without one the request fails."""
    budget: BudgetSettings = BudgetSettings()
    records: RecordSettings = RecordSettings()
    server: ServerSettings = ServerSettings()


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

    def policy(self, name: str = "default") -> Policy:
        """Build the policy `name`: a configured one, or a registered one without parameters.

        Raises
        ------
        ConfigError
            If there is no such policy, or it needs parameters that are not configured.
        """
        spec = self.specs.get(name, name)
        policy: Policy = construct("policies", spec, where=f"policies.{name}")
        return policy


def find(path: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the configuration file to use; `None` means the built-in one.

    In this order: `path`, the environment variable ``POLYROUTE_CONFIG``, ``polyroute.yaml`` in
    the working folder.

    Raises
    ------
    ConfigError
        If a file that was named does not exist.
    """
    named = path or os.environ.get(_ENVIRONMENT)
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"there is no configuration file {str(named)!r}")
        return Path(named)
    return Path(_FILE) if Path(_FILE).is_file() else None


def read(path: str | os.PathLike[str] | None = None) -> Settings:
    """Read and validate a configuration.

    Parameters
    ----------
    path : path, optional
        A file; see `find`.

    Raises
    ------
    ConfigError
        If the file cannot be read, is no YAML, or does not fit the schema. The message names the
        place, what was expected, and for an unknown key the nearest known one.
    """
    file = find(path)
    name = "the built-in configuration" if file is None else str(file)
    try:
        text = DEFAULT.read_text("utf-8") if file is None else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {name}: {error}") from error
    return parse(text, name=name)


def parse(text: str, *, name: str) -> Settings:
    """Validate the text of a configuration file called `name`; errors as in `read`."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{name}: expected keys and values, got {type(content).__name__}")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        places = [problem["loc"] for problem in error.errors()]
        problems = "\n".join(
            f"  {_explain(problem)}"
            for problem in error.errors()
            # a part that is wrong makes its whole wrong: say it once, where it is
            if not any(
                len(p) > len(problem["loc"]) and p[: len(problem["loc"])] == problem["loc"]
                for p in places
            )
        )
        raise ConfigError(f"{name}:\n{problems}") from None


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
    specs = {
        name: normal(spec, where=f"policies.{name}") for name, spec in settings.policies.items()
    }
    if "default" in specs:
        raise ConfigError("policies.default: the default policy is the key 'policy'")
    default = settings.policy
    named = isinstance(default, str) and default in specs
    specs["default"] = specs[str(default)] if named else normal(default, where="policy")
    if settings.fallback is not None:
        pool.index_of(settings.fallback)
    setup = Setup(
        settings, pool, backends, specs, _budget(settings), open_records(settings.records)
    )
    for name, spec in specs.items():
        policy = setup.policy(name)
        if isinstance(policy, _ChecksPool):
            policy.check(pool)
        _check_cards(spec, pool, where="policy" if name == "default" else f"policies.{name}")
    return setup


def cards_of(settings: Settings) -> Pool:
    """Return the pool that `settings` describe, without building its backends."""
    return Pool(_card(card) for card in settings.pool)


def state_folder() -> Path:
    """Return the folder for records: ``POLYROUTE_HOME``, or the user's state folder."""
    home = os.environ.get("POLYROUTE_HOME")
    if home:
        return Path(home)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "polyroute"


def _check_cards(spec: Mapping[str, Json], pool: Pool, *, where: str) -> None:
    for place, name in named_cards("policies", spec, where=where):
        try:
            pool.index_of(name)
        except UnknownModelError as error:
            raise UnknownModelError(f"{place}: {error}") from None


def _card(card: CardSettings) -> ModelCard:
    fields = card.model_dump(exclude={"backend", "price"})
    price = None if card.price is None else Price(**card.price.model_dump())
    return ModelCard(**fields, price=price)


def _budget(settings: Settings) -> Budget:
    return Budget(**settings.budget.model_dump())


def open_records(records: RecordSettings) -> Any:  # noqa: ANN401 - the family's protocol is above us
    """Return the store that `records` describe; `None` when nothing is to be kept."""
    if records.store == "none":
        return None
    path = records.path or state_folder() / f"records.{records.store}"
    return construct("records", {"name": records.store, "path": str(path)}, where="records")


def _explain(problem: Mapping[str, Any]) -> str:
    """Return one line on one thing that is wrong."""
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        return f"{place}: unknown key; {nearest(str(problem['loc'][-1]), known)}"
    return f"{place}: {problem['msg']}, got {problem['input']!r:.80}"


_NESTED: Mapping[str, type[BaseModel]] = {
    "pool": CardSettings,
    "price": PriceSettings,
    "budget": BudgetSettings,
    "records": RecordSettings,
    "server": ServerSettings,
}


def _known_keys(place: tuple[str | int, ...]) -> list[str]:
    names = [part for part in place if part in _NESTED]
    return list((_NESTED[str(names[-1])] if names else Settings).model_fields)
