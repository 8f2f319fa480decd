"""The plain values that enter the system: messages, budgets, requests, usage.

Units are fixed here and nowhere else: money is US dollars (`Decimal`, so that a bill adds up to
the last digit), time is seconds (`float`), token counts are `int`.
"""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from msgspec import Struct, field

from polyroute.errors import ConfigError

__all__ = ["Budget", "Conversation", "Json", "JsonObject", "Message", "Request", "Usage"]

Json: TypeAlias = Any
"""A value that JSON can express. Values that hold one treat it as read-only."""

JsonObject: TypeAlias = Mapping[str, Json]


class Message(Struct, frozen=True):
    """One chat message, in OpenAI's shape, with every field it came with.

    Examples
    --------
    >>> Message("user", "capital of France?").text
    'capital of France?'
    >>> wire = {"role": "tool", "content": "4", "tool_call_id": "a1"}
    >>> Message.from_json(wire).to_json() == wire
    True
    """

    role: str
    """``system``, ``developer``, ``user``, ``assistant``, ``tool``, or what a caller sent."""
    content: str | tuple[JsonObject, ...] | None = None
    """Text, or content parts (text, image, audio, file) as they came."""
    fields: JsonObject = field(default_factory=dict)
    """All other fields, unchanged: `tool_calls`, `tool_call_id`, `name`, unknown ones."""

    @classmethod
    def from_json(cls, wire: Json) -> "Message":
        """Read a message from its JSON form.

        Raises
        ------
        ConfigError
            If `wire` is not an object with a ``role``, or its content is neither text nor parts.
        """
        if not isinstance(wire, (dict, Mapping)) or not isinstance(wire.get("role"), str):
            raise ConfigError(f"a message is an object with a string 'role', got {wire!r:.120}")
        content = wire.get("content")
        if isinstance(content, list):
            if not all(isinstance(part, Mapping) for part in content):
                raise ConfigError("the parts of a message's content must be objects")
            content = tuple(content)
        elif content is not None and not isinstance(content, str):
            raise ConfigError(
                f"a message's content is a string, a list of parts or null, got "
                f"{type(content).__name__}"
            )
        if len(wire) == 2 and "content" in wire:
            return cls(wire["role"], content)
        rest = {key: value for key, value in wire.items() if key not in ("role", "content")}
        return cls(wire["role"], content, rest)

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form, with the fields as they came."""
        content = list(self.content) if isinstance(self.content, tuple) else self.content
        return {"role": self.role, "content": content, **self.fields}

    @property
    def text(self) -> str:
        """The text of the message; the text parts joined by line ends."""
        if isinstance(self.content, str):
            return self.content
        parts = self.content or ()
        return "\n".join(str(part["text"]) for part in parts if part.get("type") == "text")

    @property
    def has_image(self) -> bool:
        """Whether any part is an image."""
        return isinstance(self.content, tuple) and any(
            part.get("type") in ("image_url", "image", "input_image") for part in self.content
        )


class Budget(Struct, frozen=True, kw_only=True, gc=False):
    """What one request may spend. `None` means no limit. The limits are hard.

    Raises
    ------
    ConfigError
        If a limit is negative, or `rounds` is less than one.
    """

    usd: Decimal | None = None
    """Cap on the sum of all calls, the policy's own included, in US dollars."""
    seconds: float | None = None
    """Wall-clock limit for the whole episode."""
    rounds: int = 4
    """Most routing rounds before the policy has to answer; its own calls are not rounds."""
    tokens: int | None = None
    """Cap on all tokens of all calls, prompts included."""
    usd_per_quality: float | None = None
    """Willingness to pay: dollars that one unit of quality (0 to 1) is worth. Not a limit."""

    def __post_init__(self) -> None:
        for name in ("usd", "seconds", "tokens", "usd_per_quality"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"budget.{name} must be a number, 0 or more, got {value!r}")
        if self.rounds < 1:
            raise ConfigError(f"budget.rounds must be 1 or more, got {self.rounds!r}")


class Conversation(Struct, frozen=True, kw_only=True, gc=False):
    """What a request goes on with.

    Raises
    ------
    ConfigError
        If `switch_cost` is not from 0 to 1.
    """

    id: str | None = None
    """As its client names it; `None` when only the cost of leaving is said."""
    model: str | None = None
    """The candidate that gave the last answer, where that is known."""
    switch_cost: float | None = None
    """Quality, 0 to 1, that another candidate must gain; `None`: what the policy is set to."""

    def __post_init__(self) -> None:
        if self.switch_cost is not None and not 0 <= self.switch_cost <= 1:
            raise ConfigError(f"switch_cost must be 0 to 1, got {self.switch_cost!r}")


class Request(Struct, frozen=True, kw_only=True):
    """A conversation that wants one answer."""

    id: str
    messages: tuple[Message, ...]
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    """The only source of randomness a policy may use."""
    params: JsonObject = field(default_factory=dict)
    """Parameters of the answer (`temperature`, `tools`, `response_format`, unknown ones), as
    they came; they go with every call that carries the request's own messages."""
    conversation: Conversation | None = None
    """What it goes on with, where a client says so."""
    tenant: str | None = None
    """Whose it is, on a server with several tenants; only they are shown its record."""

    @property
    def prompt(self) -> str:
        """The text of the last user message, or an empty string."""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        return ""

    @classmethod
    def of(cls, prompt: str, *, id: str = "q", budget: Budget | None = None) -> "Request":
        """Return a request of one user message.

        Examples
        --------
        >>> Request.of("capital of France?").prompt
        'capital of France?'
        """
        return cls(id=id, messages=(Message("user", prompt),), budget=budget or Budget())


class Usage(Struct, frozen=True, gc=False):
    """Tokens billed for one call; the four counts are disjoint.

    OpenAI's ``prompt_tokens`` is `prompt` here, its ``completion_tokens`` is `completion`.
    """

    input: int = 0
    """Prompt tokens that were not read from a cache."""
    output: int = 0
    """Completion tokens that the caller can see."""
    cached: int = 0
    """Prompt tokens read from a cache."""
    reasoning: int = 0
    """Completion tokens spent on hidden reasoning."""

    @property
    def prompt(self) -> int:
        """All prompt tokens."""
        return self.input + self.cached

    @property
    def completion(self) -> int:
        """All completion tokens."""
        return self.output + self.reasoning

    @property
    def total(self) -> int:
        """All tokens."""
        return self.prompt + self.completion

    @classmethod
    def sum(cls, usages: "Iterable[Usage]") -> "Usage":
        """Return all of `usages` together.

        Examples
        --------
        >>> Usage.sum([Usage(1, 2), Usage(3, 4)])
        Usage(input=4, output=6, cached=0, reasoning=0)
        """
        known = usages if isinstance(usages, list) else list(usages)
        return known[0] if len(known) == 1 else sum(known, cls())

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
        )
