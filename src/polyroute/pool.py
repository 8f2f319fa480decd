"""What can be routed to: cards with exact prices, and the immutable pool of them.

The pool resolves names exactly. A near miss is an error that lists the near names, never a guess:
a router that is rewarded, billed or believed for a model it did not name is wrong everywhere else.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Annotated, Literal, TypeAlias, overload

from polyroute.errors import ConfigError, UnknownModelError
from polyroute.types import Json, Usage

__all__ = ["CardId", "Kind", "Modality", "ModelCard", "Pool", "Price"]

CardId: TypeAlias = Annotated[str, "the id of a card"]
"""A string that names a card. A parameter annotated so is checked against the pool when a
configuration is built."""

Kind: TypeAlias = Literal["model", "agent", "tool", "router"]
"""A ``router`` is a model that was trained to route: the policy that it was trained with asks it,
and no other policy does unless it names it."""
Modality: TypeAlias = Literal["text", "image", "audio", "file"]

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one card costs: US dollars per million tokens, and per call.

    Raises
    ------
    ConfigError
        If a rate is negative.
    """

    input: Decimal = Decimal(0)
    """Fresh prompt tokens."""
    output: Decimal = Decimal(0)
    """Visible completion tokens."""
    cached: Decimal | None = None
    """Prompt tokens read from a cache; the input rate when `None`."""
    reasoning: Decimal | None = None
    """Hidden reasoning tokens; the output rate when `None`."""
    call: Decimal = Decimal(0)
    """Flat price of one call, in US dollars: what tools and agents charge."""

    def __post_init__(self) -> None:
        for rate in fields(self):
            value = getattr(self, rate.name)
            if value is not None and not (value.is_finite() and value >= 0):
                raise ConfigError(f"price.{rate.name} must be a number, 0 or more, got {value!r}")

    @classmethod
    def per_million(
        cls,
        input: str | float | Decimal,
        output: str | float | Decimal,
        *,
        cached: str | float | Decimal | None = None,
        reasoning: str | float | Decimal | None = None,
        call: str | float | Decimal = 0,
    ) -> "Price":
        """Return a price from plain numbers, read as they are written.

        Raises
        ------
        ConfigError
            If a rate is no number.

        Examples
        --------
        >>> Price.per_million(0.1, "0.4").output
        Decimal('0.4')
        """
        return cls(
            input=_decimal(input),
            output=_decimal(output),
            cached=None if cached is None else _decimal(cached),
            reasoning=None if reasoning is None else _decimal(reasoning),
            call=_decimal(call),
        )

    def cost(self, usage: Usage) -> Decimal:
        """Exact price of one call that used `usage`, in US dollars.

        Examples
        --------
        >>> Price.per_million(0.5, 1).cost(Usage(input=2_000_000, output=500_000))
        Decimal('1.5')
        """
        cached = self.input if self.cached is None else self.cached
        reasoning = self.output if self.reasoning is None else self.reasoning
        tokens = (
            usage.input * self.input
            + usage.cached * cached
            + usage.output * self.output
            + usage.reasoning * reasoning
        )
        return self.call + tokens / _MILLION

    @property
    def highest_prompt(self) -> Decimal:
        """The dearest rate a prompt token can be billed at."""
        return max(self.input, self.cached or Decimal(0))

    @property
    def highest_completion(self) -> Decimal:
        """The dearest rate a completion token can be billed at."""
        return max(self.output, self.reasoning or Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a policy may know about a candidate. No URLs, no keys: those are the backend's."""

    id: str
    kind: Kind = "model"
    description: str = ""
    """What it is good at, in plain words: policies that choose by description read this."""
    price: Price | None = None
    """`None` is unknown, which is not free."""
    context: int | None = None
    """Context window, prompt and completion together, in tokens."""
    max_output: int | None = None
    """Most tokens of one completion."""
    modalities: frozenset[Modality] = frozenset({"text"})
    """What its input may hold."""
    skills: Mapping[str, float] = field(default_factory=dict)
    """Measured quality per skill, 0 to 1."""
    latency_s: float | None = None
    """Median seconds to a full reply, when measured."""
    aliases: tuple[str, ...] = ()
    """Other names of the same candidate, in requests and in the upstream's replies."""

    def descriptor(self) -> str:
        """Return the card as a policy's prompt shows it: one line.

        Examples
        --------
        >>> ModelCard(id="calc", kind="tool", description="Exact arithmetic.").descriptor()
        'calc (tool; price unknown): Exact arithmetic.'
        """
        facts = [self.kind, _price_in_words(self.price)]
        if self.latency_s is not None:
            facts.append(f"{self.latency_s:g} s")
        if self.context is not None:
            facts.append(f"{self.context} tokens of context")
        facts += [f"{skill} {quality:.2f}" for skill, quality in sorted(self.skills.items())]
        return f"{self.id} ({'; '.join(facts)}): {self.description}".rstrip()

    def to_json(self) -> dict[str, Json]:
        """Return the card as JSON; prices as strings, so that no digit is lost."""
        return {
            "id": self.id,
            "kind": self.kind,
            "description": self.description,
            "price": None if self.price is None else _price_to_json(self.price),
            "context": self.context,
            "max_output": self.max_output,
            "modalities": sorted(self.modalities),
            "skills": dict(self.skills),
            "latency_s": self.latency_s,
            "aliases": list(self.aliases),
        }

    @classmethod
    def from_json(cls, wire: Mapping[str, Json]) -> "ModelCard":
        """Read what `to_json` wrote."""
        price = wire["price"]
        return cls(
            id=wire["id"],
            kind=wire["kind"],
            description=wire["description"],
            price=None if price is None else Price.per_million(**price),
            context=wire["context"],
            max_output=wire["max_output"],
            modalities=frozenset(wire["modalities"]),
            skills=wire["skills"],
            latency_s=wire["latency_s"],
            aliases=tuple(wire["aliases"]),
        )


class Pool(Sequence[ModelCard]):
    """An ordered, immutable set of cards.

    The order is part of the identity: column ``j`` of every matrix in this package is candidate
    ``pool[j]``.

    Parameters
    ----------
    cards : iterable of ModelCard
        At least one card; ids and aliases must all differ.

    Raises
    ------
    ConfigError
        If `cards` is empty, or a name stands for two cards.
    """

    def __init__(self, cards: Iterable[ModelCard]) -> None:
        self._cards = tuple(cards)
        self._ids = tuple(card.id for card in self._cards)
        if not self._cards:
            raise ConfigError("a pool needs one card or more, got none")
        self._index: dict[str, int] = {}
        for j, card in enumerate(self._cards):
            for name in (card.id, *card.aliases):
                if name in self._index:
                    other = self._cards[self._index[name]].id
                    raise ConfigError(
                        f"{name!r} names two cards of the pool, {other!r} and {card.id!r}; "
                        "ids and aliases must differ"
                    )
                self._index[name] = j

    def __len__(self) -> int:
        return len(self._cards)

    def __iter__(self) -> Iterator[ModelCard]:
        return iter(self._cards)

    def __contains__(self, name: object) -> bool:
        return name in self._index or name in self._cards

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pool) and self._cards == other._cards

    def __hash__(self) -> int:
        return hash(self._ids)

    def __repr__(self) -> str:
        return f"Pool({', '.join(self.ids)})"

    @overload
    def __getitem__(self, index: int) -> ModelCard: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ModelCard, ...]: ...
    def __getitem__(self, index: int | slice) -> ModelCard | tuple[ModelCard, ...]:
        return self._cards[index]

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids, in pool order."""
        return self._ids

    @property
    def candidates(self) -> "Pool":
        """The pool without routers; the whole pool when there is nothing else."""
        others = [card for card in self._cards if card.kind != "router"]
        return self if len(others) in (0, len(self)) else Pool(others)

    @property
    def answering(self) -> tuple[ModelCard, ...]:
        """Models and agents: who takes any question, and is chosen from when nobody is named."""
        return tuple(card for card in self._cards if card.kind in ("model", "agent"))

    def index_of(self, name: str) -> int:
        """Column of the card whose id or alias is exactly `name`.

        Raises
        ------
        UnknownModelError
            If no card has that name: "gpt" is not "gpt-4". The message lists the near names.
        """
        try:
            return self._index[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._index, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            known = ", ".join(self.ids)
            raise UnknownModelError(f"{name!r} is not in the pool ({known}){hint}") from None

    def card(self, name: str) -> ModelCard:
        """Return the card whose id or alias is exactly `name`.

        Raises
        ------
        UnknownModelError
            If no card has that name.
        """
        j = self._index.get(name)
        return self._cards[self.index_of(name) if j is None else j]

    def only(self, names: Iterable[str]) -> "Pool":
        """Return the pool of the named cards, in this pool's order.

        Raises
        ------
        UnknownModelError
            If a name is not in this pool.
        ConfigError
            If `names` is empty.
        """
        wanted = {self.index_of(name) for name in names}
        return Pool(card for j, card in enumerate(self._cards) if j in wanted)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all cards in order, as hexadecimal; recorded with every trace."""
        payload = json.dumps([card.to_json() for card in self._cards], sort_keys=True)
        return hashlib.sha256(payload.encode()).hexdigest()


def _decimal(value: str | float | Decimal) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ConfigError(f"a price must be a number, got {value!r}") from None


def _price_to_json(price: Price) -> dict[str, str | None]:
    rates = {rate.name: getattr(price, rate.name) for rate in fields(price)}
    return {name: None if rate is None else str(rate) for name, rate in rates.items()}


def _price_in_words(price: Price | None) -> str:
    if price is None:
        return "price unknown"
    words = []
    if price.input or price.output:
        words.append(f"${price.input:f} in / ${price.output:f} out per million tokens")
    if price.call:
        words.append(f"${price.call:f} a call")
    return " + ".join(words) or "free"
