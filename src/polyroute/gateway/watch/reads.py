"""What the page asks for: figures, episodes as they happen, instances, records and replays.

The one decision here: it is for those who run the server. A key that may only ask questions sees
none of it, for episodes are other people's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from polyroute import __version__
from polyroute.config import Setup, Usd
from polyroute.errors import ConfigError, RecordError
from polyroute.gateway.caller import caller_of
from polyroute.gateway.errors import ApiError, InvalidError, of_status
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.watch.figures import figures
from polyroute.gateway.watch.instances import Instances
from polyroute.gateway.watch.live import Live
from polyroute.gateway.watch.prometheus import Metrics
from polyroute.gateway.watch.tally import Tally
from polyroute.gateway.watch.timeline import Timeline
from polyroute.gateway.wire import encode
from polyroute.protocols import Policy
from polyroute.records.feedback import rewards_of
from polyroute.records.record import Record
from polyroute.records.replay import Replay, counterfactual
from polyroute.records.store import policy_name
from polyroute.trace import Trace
from polyroute.types import Json, JsonObject

__all__ = ["PageReads", "Reads"]

_MOST_RECORDS = 200
_MINUTES = 1_440
_SHOWN = 160


class _Again(BaseModel):
    """The body of ``POST /v1/watch/replay``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trace_id: str
    policy: str
    max_usd: Usd | None = Field(None, ge=0)
    max_rounds: int | None = Field(None, ge=1)


class Reads:
    """Answers what is asked about one server.

    Parameters
    ----------
    setup : Setup
        What is served.
    keeper : Keeper
        Finds records.
    tally : Tally
        What has happened.
    """

    def __init__(self, setup: Setup, keeper: Keeper, tally: Tally) -> None:
        self._setup = setup
        self._keeper = keeper
        self._tally = tally

    def metrics(self, metrics: Metrics) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers ``GET /metrics``."""

        async def answer(request: Request) -> Response:
            _for_scrapers(request)
            content, media = metrics.page(request.headers.get("accept", ""))
            return Response(content, headers={"content-type": media})

        return answer

    def page(self, timeline: Timeline, instances: Instances, live: Live) -> "PageReads":
        """Return what answers the page."""
        return PageReads(
            self._setup,
            self._keeper,
            self._tally,
            timeline=timeline,
            instances=instances,
            live=live,
        )


class PageReads:
    """Answers what the page asks. Every method is for administrators, and raises 403 for others."""

    def __init__(
        self,
        setup: Setup,
        keeper: Keeper,
        tally: Tally,
        *,
        timeline: Timeline,
        instances: Instances,
        live: Live,
    ) -> None:
        self._setup = setup
        self._keeper = keeper
        self._tally = tally
        self._timeline = timeline
        self._instances = instances
        self._live = live
        self._feedback = rewards_of(setup.records)
        self._heard = 0
        self._hearing = asyncio.Lock()

    async def live(self, request: Request) -> Response:
        """Answer ``GET /v1/watch/live`` with server-sent events."""
        _for_admins(request)
        events = await self._live.events()
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        return StreamingResponse(events, headers=headers, media_type="text/event-stream")

    async def figures(self, request: Request) -> Response:
        """Answer ``GET /v1/watch/figures?minutes=60``."""
        _for_admins(request)
        minutes = _number(request, "minutes", default=60, most=_MINUTES)
        await self._hear()
        said = figures(self._setup, self._tally, self._timeline, self._keeper, minutes=minutes)
        return _json({"version": __version__, **said})

    async def instances(self, request: Request) -> Response:
        """Answer ``GET /v1/watch/instances``."""
        _for_admins(request)
        return _json({"cards": await self._instances.report()})

    async def records(self, request: Request) -> Response:
        """Answer ``GET /v1/watch/records?limit=50``."""
        _for_admins(request)
        limit = _number(request, "limit", default=50, most=_MOST_RECORDS)
        store = self._keeper.store
        if store is None:
            return _json({"kept": False, "records": []})
        await self._keeper.flush()
        try:
            found = await asyncio.to_thread(store.list, limit=limit)
        except RecordError as error:
            raise of_status(503, str(error)) from error
        return _json({"kept": True, "records": [_summary(record) for record in found]})

    async def replay(self, request: Request) -> Response:
        """Answer ``POST /v1/watch/replay``: where another policy would have left a record."""
        _for_admins(request)
        again = _again(await request.body())
        record = await self._keeper.find(again.trace_id)
        if record is None:
            raise ApiError(404, f"there is no trace {again.trace_id!r:.80}", code="trace_not_found")
        try:
            trace = record.trace()
            policy = self._setup.policy(again.policy)
        except RecordError as error:
            raise InvalidError(str(error), param="trace_id") from error
        except ConfigError as error:
            raise InvalidError(str(error), param="policy") from error
        result = await asyncio.to_thread(_replayed, trace, policy, again)
        return _json(_of_replay(trace, result))

    async def _hear(self) -> None:
        """Read the feedback that is new."""
        if self._feedback is None:
            return
        async with self._hearing:
            try:
                found, self._heard = await asyncio.to_thread(self._feedback.since, self._heard)
            except RecordError:
                return
            self._timeline.rated(found)


def _for_admins(request: Request) -> None:
    """Raise 403 for everybody else."""
    if not caller_of(request.scope).admin:
        raise ApiError(
            403,
            "this shows what others ask: it needs an administrator's key",
            type="permission_error",
            code="forbidden",
        )


def _for_scrapers(request: Request) -> None:
    """Raise 403 for those who may not read metrics."""
    if "metrics" not in (caller_of(request.scope).scopes or ()):
        _for_admins(request)


def _number(request: Request, name: str, *, default: int, most: int) -> int:
    said = request.query_params.get(name, str(default))
    if not (said.isascii() and said.isdigit() and 1 <= int(said[:9]) <= most):
        raise InvalidError(f"{name} must be 1 to {most}, got {said!r:.40}", param=name)
    return int(said)


def _again(body: bytes) -> _Again:
    try:
        return _Again.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidError(f"{place or 'the body'}: {first['msg']}", param=place or None) from error


def _replayed(trace: Trace, policy: Policy, again: _Again) -> Replay:
    """Replay in this thread: a policy may think for long, and others are waiting."""
    budget = trace.request.budget
    usd: Decimal | None = budget.usd if again.max_usd is None else again.max_usd
    other = replace(budget, usd=usd, rounds=again.max_rounds or budget.rounds)
    changed = None if other == budget else other
    return asyncio.run(counterfactual(trace, policy, budget=changed))


def _of_replay(trace: Trace, result: Replay) -> JsonObject:
    difference = result.difference
    said: dict[str, Json] = {
        "trace_id": trace.request.id,
        "steps": result.steps,
        "agreed": result.agreed,
        "same": result.same,
        "difference": None,
    }
    if difference is not None:
        other = difference.replayed
        said["difference"] = {
            "step": difference.step,
            "recorded": difference.recorded.to_json(),
            "replayed": None if other is None else other.to_json(),
            "explanation": difference.explanation,
        }
    return said


def _summary(record: Record) -> JsonObject:
    messages = record.request.get("messages") or ()
    asked = [m.get("content") for m in messages if m.get("role") == "user"]
    question = asked[-1] if asked and isinstance(asked[-1], str) else ""
    return {
        "id": record.id,
        "created_at": record.created_at,
        "status": record.status,
        "policy": policy_name(record),
        "content": record.content,
        "calls": sum(len(step["replies"]) for step in record.steps),
        "usd": f"{record.bill.usd:f}",
        "unknown": record.bill.unknown,
        "tokens": record.usage.total,
        "question": question if len(question) <= _SHOWN else f"{question[:_SHOWN]}…",
    }


def _json(body: JsonObject) -> Response:
    return Response(
        encode(body), headers={"cache-control": "no-store"}, media_type="application/json"
    )
