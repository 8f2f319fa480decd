"""A request body -> what the loop needs: a request, a policy and a pool.

The one decision here: only the fields that this gateway itself understands are looked at. All
others go on to the upstream as they came, known or not.
"""

import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from polyroute.config import Setup, Usd
from polyroute.errors import ConfigError
from polyroute.gateway.catalogue import Catalogue, Choice, find
from polyroute.gateway.errors import ApiError, InvalidError
from polyroute.pool import Pool
from polyroute.spec import nearest
from polyroute.types import Budget, Conversation, Json, JsonObject, Message, Request

__all__ = ["Asked", "Options", "Reader"]

_OURS = ("model", "messages", "stream", "stream_options", "polyroute")
"""Fields of the body that are no parameters of the answer."""

_COUNTS = ("max_tokens", "max_completion_tokens", "n")
"""Parameters that the budget is computed from: a wrong one would make it wrong."""

_ID_BYTES = 16
_SEED_BYTES = 4
"""Of which one bit is left out: seeds are from 0 to 2**31 - 1, as every upstream takes them."""

_Number = TypeVar("_Number", int, float, Decimal)


class Options(BaseModel):
    """The object ``polyroute`` of a request body: what OpenAI's fields cannot say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_usd: Usd | None = Field(None, ge=0)
    """Cap in US dollars; the configured one holds too."""
    max_seconds: float | None = Field(None, gt=0)
    max_rounds: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=0)
    """Cap on all tokens of all calls, which is not OpenAI's field of that name."""
    usd_per_quality: float | None = Field(None, ge=0)
    policy: str | None = None
    """Name of a policy, with the model ``polyroute``."""
    trace: bool = False
    """Whether the reply carries the whole trace."""
    dry_run: bool = False
    """Whether only to decide, and to call nobody."""
    allow: tuple[str, ...] | None = None
    """The only cards that may be asked."""
    deny: tuple[str, ...] = ()
    """Cards that may not be asked."""
    conversation: str | None = Field(None, min_length=1, max_length=200)
    """Names the conversation, so that it is known who answered it last."""
    switch_cost: float | None = Field(None, ge=0, le=1)
    """Quality, 0 to 1, that another candidate than that one must gain."""
    cache: bool | None = None
    """Whether the answer may be a remembered one, and be remembered, whatever the temperature;
    `None`: as configured."""
    cache_control: str | None = Field(None, max_length=200)
    """As the header ``Cache-Control`` says it: ``no-cache``, ``no-store``, ``max-age=60``."""

    @property
    def continues(self) -> Conversation | None:
        """What the request goes on with; who answered last is not known here."""
        if self.conversation is None and self.switch_cost is None:
            return None
        return Conversation(id=self.conversation, switch_cost=self.switch_cost)


_NO_OPTIONS = Options()
"""What most requests say."""


class Asked(Struct, frozen=True, kw_only=True):
    """A request that can be carried out."""

    request: Request
    choice: Choice
    pool: Pool
    """The pool, without the cards that the request leaves out."""
    restricted: bool
    """Whether the request leaves cards out."""
    model: str
    """As the request names it."""
    stream: bool
    include_usage: bool
    show_trace: bool
    dry_run: bool = False
    """Whether only to decide, and to call nobody."""
    said: JsonObject = field(default_factory=dict)
    """The body, in the form in which it was sent."""
    options: Options = _NO_OPTIONS
    """What it says to this gateway alone."""


class Reader:
    """Reads request bodies.

    Parameters
    ----------
    setup : Setup
        Its pool, and the budget that every request stays in.
    catalogue : Catalogue
        The model names.
    """

    def __init__(self, setup: Setup, catalogue: Catalogue) -> None:
        self._pool = setup.pool
        self._budget = setup.budget
        self._catalogue = catalogue

    def read(
        self, wire: JsonObject, said: JsonObject | None = None, tenant: str | None = None
    ) -> Asked:
        """Return what `wire`, the body of a chat completion, asks.

        Parameters
        ----------
        wire : mapping
            The body.
        said : mapping, optional
            The body that it was made from, where it was sent in another form.
        tenant : str, optional
            Whose it is.

        Raises
        ------
        InvalidError
            With the name of the field that is wrong.
        ApiError
            404, for an unknown model or policy.
        """
        model = _typed(wire, "model", str, "a string")
        ours = wire.get("polyroute")
        options = _NO_OPTIONS if ours is None else _options(ours)
        stream = include_usage = False
        if "stream" in wire or "stream_options" in wire:
            stream, include_usage = _streaming(wire)
        choice = self._catalogue.choose(model, options.policy)
        pool = self._pool if ours is None else self._allowed(options)
        if pool is not self._pool and choice.card is not None and choice.card not in pool.ids:
            raise InvalidError(
                f"the model {model!r} is left out by this request itself", param="model"
            )
        return Asked(
            request=self._request(wire, options, tenant),
            choice=choice,
            pool=pool,
            restricted=pool is not self._pool,
            model=model,
            stream=stream,
            include_usage=include_usage,
            show_trace=options.trace,
            dry_run=options.dry_run,
            said=wire if said is None else said,
            options=options,
        )

    def _request(self, wire: JsonObject, options: Options, tenant: str | None) -> Request:
        params = {key: value for key, value in wire.items() if key not in _OURS}
        for name in _COUNTS:
            value = params.get(name)
            if value is not None and (type(value) is not int or value < 1):
                raise InvalidError(
                    f"{name} must be an integer of 1 or more, got {value!r:.80}", param=name
                )
        seed = params.get("seed")
        if seed is not None and type(seed) is not int:
            raise InvalidError(f"seed must be an integer, got {seed!r:.80}", param="seed")
        drawn = _RANDOM.draw()
        return Request(
            id=drawn[:_ID_BYTES].hex(),
            messages=_messages(wire),
            budget=self._budget if options is _NO_OPTIONS else self._tighter(options),
            seed=int.from_bytes(drawn[_ID_BYTES:]) >> 1 if seed is None else seed,
            params=params,
            conversation=None if options is _NO_OPTIONS else options.continues,
            tenant=tenant,
        )

    def _tighter(self, options: Options) -> Budget:
        """Return the configured budget where the request asks for more, else what it asks."""
        mine = self._budget
        asked = options.usd_per_quality
        return replace(
            mine,
            usd=_least(mine.usd, options.max_usd),
            seconds=_least(mine.seconds, options.max_seconds),
            rounds=_least(mine.rounds, options.max_rounds) or mine.rounds,
            tokens=_least(mine.tokens, options.max_tokens),
            usd_per_quality=mine.usd_per_quality if asked is None else asked,
        )

    def _allowed(self, options: Options) -> Pool:
        pool = self._pool
        for key, listed in (("allow", options.allow), ("deny", options.deny)):
            for name in listed or ():
                if find(pool, name) is None:
                    raise InvalidError(
                        f"{name!r} is not in the pool; {nearest(name, pool.ids)}",
                        param=f"polyroute.{key}",
                    )
        if options.allow is None and not options.deny:
            return pool
        denied = {pool.card(name).id for name in options.deny}
        wanted = pool.ids if options.allow is None else options.allow
        left = [name for name in wanted if pool.card(name).id not in denied]
        if not left:
            raise InvalidError("allow and deny leave no card to ask", param="polyroute.allow")
        return pool.only(left)


class _Random:
    """The system's random bytes, asked for many requests at a time: each asking is a call of it."""

    def __init__(self) -> None:
        self._left = b""
        os.register_at_fork(after_in_child=self._forget)

    def draw(self) -> bytes:
        """Return the bytes of an id and of a seed."""
        if not self._left:
            self._left = os.urandom(_DRAWN * _REQUESTS_AHEAD)
        drawn, self._left = self._left[:_DRAWN], self._left[_DRAWN:]
        return drawn

    def _forget(self) -> None:
        """Two processes must not draw the same."""
        self._left = b""


_DRAWN = _ID_BYTES + _SEED_BYTES
_REQUESTS_AHEAD = 64
_RANDOM = _Random()


def _messages(wire: JsonObject) -> tuple[Message, ...]:
    listed = _typed(wire, "messages", list, "a list")
    if not listed:
        raise InvalidError("messages must hold one message or more", param="messages")
    messages = []
    for k, item in enumerate(listed):
        try:
            messages.append(Message.from_json(item))
        except ConfigError as error:
            raise InvalidError(f"messages[{k}]: {error}", param=f"messages[{k}]") from error
    return tuple(messages)


def _streaming(wire: JsonObject) -> tuple[bool, bool]:
    """Return whether to stream, and whether the last chunk is to carry the usage."""
    stream = wire.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidError(f"stream must be true or false, got {stream!r:.80}", param="stream")
    options = wire.get("stream_options")
    if options is None:
        return bool(stream), False
    if not isinstance(options, dict):
        raise InvalidError("stream_options must be an object", param="stream_options")
    if not stream:
        raise InvalidError("stream_options goes with stream: true only", param="stream_options")
    usage = options.get("include_usage")
    if usage is not None and not isinstance(usage, bool):
        place = "stream_options.include_usage"
        raise InvalidError(f"{place} must be true or false, got {usage!r:.80}", param=place)
    return True, bool(usage)


def _options(wire: Json) -> Options:
    if not isinstance(wire, Mapping):
        raise InvalidError("polyroute must be an object", param="polyroute")
    try:
        return Options.model_validate(wire)
    except ValidationError as error:
        raise _explained(error.errors()[0]) from None


def _explained(problem: Mapping[str, Json]) -> ApiError:
    place = ".".join(["polyroute", *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        hint = nearest(str(problem["loc"][-1]), list(Options.model_fields))
        return InvalidError(f"{place}: unknown key; {hint}", param=place)
    return InvalidError(f"{place}: {problem['msg']}, got {problem['input']!r:.80}", param=place)


_Typed = TypeVar("_Typed", str, list[Json])


def _typed(wire: JsonObject, name: str, kind: type[_Typed], expected: str) -> _Typed:
    value = wire.get(name)
    if not isinstance(value, kind):
        got = "nothing" if value is None else f"{value!r:.80}"
        raise InvalidError(f"{name} must be {expected}, got {got}", param=name)
    return value


def _least(mine: _Number | None, asked: _Number | None) -> _Number | None:
    """Return the tighter of two limits; `None` is no limit."""
    limits: Sequence[_Number] = [limit for limit in (mine, asked) if limit is not None]
    return min(limits) if limits else None
