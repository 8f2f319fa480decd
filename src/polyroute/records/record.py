"""A record: a finished trace as one line of JSON, hashed, and linked to the record before it.

The one decision here: a record holds everything that its decisions were made from (the request,
the cards of the pool, every decision and every reply), so that it can be replayed offline, from
itself alone.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, cached_property, lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from operator import itemgetter
from typing import Literal, TypeAlias

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from polyroute.errors import ConfigError, RecordError
from polyroute.pool import ModelCard, Pool
from polyroute.records.canonical import canonical, parse
from polyroute.records.codec import (
    request_from_json,
    request_to_json,
    step_from_json,
    step_to_json,
)
from polyroute.records.content import Content, conceal_request, conceal_step, conceal_text
from polyroute.trace import Bill, Trace
from polyroute.types import Json, JsonObject, Usage

__all__ = ["SCHEMA", "Draft", "Record", "Sealed", "Status"]

SCHEMA = 1
"""Version of the JSON form that this module writes, and the only one it reads."""

Status: TypeAlias = Literal["answered", "failed", "cancelled"]


@cache
def _version() -> str:
    try:
        return installed_version("polyroute")
    except PackageNotFoundError:
        return "unknown"


class Record(Struct, frozen=True, kw_only=True):
    """One finished episode, as it is stored. The fields are the keys of its JSON form.

    Examples
    --------
    >>> from polyroute import Answer, ModelCard, Pool, Request, Step, Trace
    >>> trace = Trace(Request.of("6 * 7?", id="t-1"), Pool([ModelCard(id="calc")]))
    >>> record = Record.of(trace.with_step(Step(Answer(text="42"))), policy={"name": "rules"})
    >>> record.status, record.trace().answer
    ('answered', '42')
    """

    id: str
    """Id of the trace: that of its request."""
    request: JsonObject
    """``messages``, ``params``, ``budget``, ``seed``."""
    pool: JsonObject
    """``digest`` and ``cards``: every card in full, in pool order."""
    steps: tuple[JsonObject, ...]
    """Each with ``decision``, ``replies`` and ``seconds``."""
    status: Status
    bill: Bill
    """Sum of the replies' prices, and how many of them nobody knows."""
    usage: Usage
    """Sum of the replies' tokens, as far as they are known."""
    policy: JsonObject | None = None
    """The specification the policy was built from: ``name`` and its parameters."""
    content: Content = "full"
    """What was kept of the texts."""
    error: str | None = None
    """What ended the episode from outside the trace: the message of a `PolicyError`."""
    artifact: str | None = None
    """SHA-256 of the artifact that the policy was loaded from."""
    version: str = field(default_factory=_version)
    """Version of this package."""
    schema: int = SCHEMA
    created_at: str | None = None
    """ISO 8601, UTC, with microseconds; set at append when the caller did not."""
    number: int | None = None
    """Position in the chain, from 1; set at append."""
    previous: str | None = None
    """`hash` of the record before this one; `None` for the first. Set at append."""
    hash: str | None = None
    """SHA-256 over the canonical JSON of all other fields, as hexadecimal; set at append."""

    @classmethod
    def of(
        cls,
        trace: Trace,
        *,
        policy: JsonObject | None,
        created_at: datetime | None = None,
        status: Status | None = None,
        error: str | None = None,
        content: Content = "full",
    ) -> "Record":
        """Return the record of `trace`, not yet part of a chain.

        Parameters
        ----------
        trace : Trace
            A finished trace, or what there is of one that was cut short.
        policy : mapping or None
            The specification the policy was built from (``{"name": "fixed", "model": "a"}``);
            `None` for an object that has none: such a record can be replayed only through a
            policy that the reader brings.
        created_at : datetime, optional
            With a time zone; the time of the append by default.
        status : {"answered", "failed", "cancelled"}, optional
            Read off the trace by default. To be given for an episode that was cancelled while
            the policy was deciding: its trace does not show it.
        error : str, optional
            The message of the `PolicyError` that ended the episode.
        content : {"full", "hash", "none"}, default="full"
            What to keep of the texts; only a full record can be replayed.

        Raises
        ------
        RecordError
            If `created_at` has no time zone.
        """
        request = request_to_json(trace.request)
        steps = [step_to_json(step) for step in trace.steps]
        if content != "full":
            request = conceal_request(request, content)
            steps = [conceal_step(step, content) for step in steps]
            error = conceal_text(error, content)
        return cls(
            id=trace.request.id,
            request=request,
            pool=_pool_to_json(trace.pool),
            steps=tuple(steps),
            status=status or _status(trace),
            bill=trace.bill,
            usage=trace.usage,
            policy=policy,
            content=content,
            error=error,
            created_at=None if created_at is None else _timestamp(created_at),
        )

    def trace(self) -> Trace:
        """Return the trace, equal to the one the record was made of; `Reply.raw` is not kept.

        Raises
        ------
        RecordError
            If the texts were not kept, or the record does not describe a trace.
        """
        if self.content != "full":
            raise RecordError(
                f"the record {self.id!r} was kept without its texts (content: {self.content}), so "
                "it cannot be replayed; record with content: full"
            )
        try:
            return Trace(
                request_from_json(self.request, self.id),
                Pool(ModelCard.from_json(card) for card in self.pool["cards"]),
                tuple(step_from_json(step) for step in self.steps),
            )
        except (ConfigError, *_MALFORMED) as error:
            raise RecordError(f"the record {self.id!r} describes no trace: {error!r}") from error

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form; dollars are strings, so that no digit is lost."""
        wire: dict[str, Json] = asdict(self)
        wire["steps"] = list(self.steps)
        wire["bill"] = {"usd": str(self.bill.usd), "unknown": self.bill.unknown}
        wire["usage"] = asdict(self.usage)
        return wire

    @classmethod
    def from_json(cls, wire: Json) -> "Record":
        """Read what `to_json` wrote.

        Raises
        ------
        RecordError
            If `wire` is not a record, or one of another schema version.
        """
        if not isinstance(wire, Mapping) or "schema" not in wire:
            raise RecordError("not a record: expected an object with the key 'schema'")
        if wire["schema"] != SCHEMA:
            raise RecordError(
                f"a record of schema {wire['schema']!r:.40}; this version of polyroute reads "
                f"schema {SCHEMA}"
            )
        if odd := sorted(set(_FIELDS) ^ set(wire)):
            raise RecordError(f"not a record: {odd[0]!r} is missing or unknown")
        try:
            values = {
                **wire,
                "steps": tuple(wire["steps"]),
                "bill": Bill(Decimal(wire["bill"]["usd"]), wire["bill"]["unknown"]),
                "usage": Usage(**wire["usage"]),
            }
        except _MALFORMED as error:
            raise RecordError(f"not a record: {error!r}") from error
        for name, kind in _KINDS.items():
            if not isinstance(values[name], kind):
                raise RecordError(f"not a record: {name!r} is {values[name]!r:.80}")
        return cls(**values)

    def line(self) -> bytes:
        """Return the canonical JSON text, without a line end.

        Raises
        ------
        RecordError
            If a value in it is no JSON value.
        """
        return canonical(self.to_json())

    @classmethod
    def from_line(cls, line: bytes | str) -> "Record":
        """Read what `line` returned.

        Raises
        ------
        RecordError
            If it is not UTF-8, not JSON, or not a record.
        """
        return cls.from_json(parse(line))

    @property
    def intact(self) -> bool:
        """Whether `hash` is the hash of all other fields."""
        wire = self.to_json()
        stated = wire.pop("hash")
        return bool(stated == hashlib.sha256(canonical(wire)).hexdigest())


_FIELDS = tuple(sorted(Record.__struct_fields__))

_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "id": str, "status": str, "content": str, "created_at": str, "hash": str, "number": int,
    "previous": (str, type(None)), "policy": (dict, type(None)), "request": dict, "pool": dict,
}  # fmt: skip
"""What a stored value must be for listing and linking to work; `Record.trace` checks the rest."""

_MALFORMED = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError)


class Sealed(Struct, frozen=True):
    """A record as part of a chain, and its line."""

    draft: Record
    """Without its place."""
    number: int
    previous: str | None
    hash: str
    line: bytes

    @property
    def record(self) -> Record:
        """The record, with its place."""
        return replace(self.draft, number=self.number, previous=self.previous, hash=self.hash)


class Draft:
    """A record that is written as JSON, but for its place in the chain.

    Writing a long record takes longer than linking it: a store makes the draft before it takes
    its lock.

    Parameters
    ----------
    record : Record
        Its time is set to now when it has none.

    Raises
    ------
    RecordError
        If a value in it is no JSON value.
    """

    def __init__(self, record: Record) -> None:
        if record.created_at is None:
            record = replace(record, created_at=_timestamp(datetime.now(UTC)))
        self.record = record
        wire = record.to_json()
        try:
            self._begins = canonical(dict(zip(_BEFORE_HASH, _before_hash(wire), strict=True)))
            self._id = canonical(record.id)
            self._policy = canonical(record.policy)
            pool = record.pool
            self._pool = pool.text if isinstance(pool, _Pool) else canonical(pool)
            self._ends = canonical(dict(zip(_AFTER_PREVIOUS, _after_previous(wire), strict=True)))
        except RecordError as error:
            raise RecordError(f"the record {record.id!r} {error}") from error

    def seal(self, number: int, previous: str | None) -> Sealed:
        """Return the record as number `number`, after the one whose hash is `previous`."""
        placed = b',"id":%b,"number":%d,"policy":%b,"pool":%b,"previous":%b,%b' % (
            self._id,
            number,
            self._policy,
            self._pool,
            canonical(previous),
            self._ends[1:],
        )
        begins = self._begins[:-1]
        digest = hashlib.sha256(begins + placed).hexdigest()
        line = b'%b,"hash":"%b"%b' % (begins, digest.encode(), placed)
        return Sealed(self.record, number, previous, digest, line)


def _between(first: str, last: str) -> tuple[str, ...]:
    """Return the names of a record from `first` to `last`, which is left out."""
    return tuple(name for name in _FIELDS if first <= name < last)


_BEFORE_HASH = _between("", "hash")
_AFTER_PREVIOUS = _between("previous~", "~")
"""Sorted, a record's names are those, ``hash``, ``id``, ``number``, ``policy``, ``pool``,
``previous``, and these."""

_before_hash, _after_previous = itemgetter(*_BEFORE_HASH), itemgetter(*_AFTER_PREVIOUS)


class _Pool(dict[str, Json]):
    """The JSON of a pool, written once for all the records of its episodes."""

    @cached_property
    def text(self) -> bytes:
        return canonical(self)


@lru_cache(maxsize=256)
def _pool_to_json(pool: Pool) -> _Pool:
    return _Pool(digest=pool.digest, cards=[card.to_json() for card in pool])


def _status(trace: Trace) -> Status:
    if trace.answer is not None:
        return "answered"
    last = trace.steps[-1].replies if trace.steps else ()
    cancelled = any(reply.failure and reply.failure.kind == "cancelled" for reply in last)
    return "cancelled" if cancelled else "failed"


def _timestamp(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise RecordError(f"created_at needs a time zone, got {moment!r}; use datetime.now(UTC)")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
