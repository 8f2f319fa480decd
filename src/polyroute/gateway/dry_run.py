"""How a request would be routed: the first decision of its policy, with nobody called.

The one decision here: only what can be known without a call is said. A policy that would first ask
a model for itself has decided nothing yet; what it would ask is the answer then.
"""

import asyncio
import logging
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol, runtime_checkable

from polyroute.decision import Answer, Call, Decision, Route
from polyroute.episode import Episode
from polyroute.errors import PolicyError
from polyroute.gateway.asked import Asked
from polyroute.gateway.errors import broken_policy
from polyroute.ledger import Ledger, Reservation
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import Backend, Estimator, FloatArray, Policy
from polyroute.trace import Trace
from polyroute.types import Budget, Json, JsonObject, Request

__all__ = ["decided"]

_log = logging.getLogger(__name__)

_ANY = Decimal(10) ** 12
"""A budget that bounds no call."""


@runtime_checkable
class _Prices(Protocol):
    """A policy that expects a price of every card."""

    def expected_usd(self, requests: list[Request], pool: Pool) -> FloatArray: ...


@runtime_checkable
class _Learns(Protocol):
    """A policy that learns while it serves."""

    def predicted(self, trace: Trace, model: str) -> float: ...


async def decided(asked: Asked, backend: Backend) -> dict[str, Json]:
    """Return the first decision on `asked`, and what is expected of every card.

    Parameters
    ----------
    asked : Asked
        The request.
    backend : Backend
        That of its pool; it is not called.

    Returns
    -------
    dict
        ``decision`` as in a trace; ``model``, the card that would answer, where that is certain if
        nothing fails; ``asks``, what the policy would first ask for itself; and ``cards``, each
        with its expected ``quality`` (0 to 1) and ``usd`` where the policy has an estimator that
        knows, and ``most_usd``, what one call can cost at most, where anything bounds it.

    Raises
    ------
    ApiError
        500, if the policy breaks.
    """  # noqa: DOC501
    episode = Episode(asked.choice.policy, backend, asked.request, asked.pool)
    try:
        decision = await episode.first()
    except PolicyError as error:
        raise broken_policy(str(error)) from error
    trace = episode.trace
    expected = await _looked_up(asked.choice.policy, trace)
    return {
        "object": "polyroute.decision",
        "id": asked.request.id,
        "policy": asked.choice.name,
        "decision": decision.to_json(),
        "model": _certain(decision, asked.pool),
        "propensity": decision.propensity if isinstance(decision, Route) else None,
        "asks": _asks(decision),
        "cards": [
            {"id": card.id, **expected[card.id], "most_usd": _most_usd(card, trace)}
            for card in asked.pool
        ],
    }


async def _looked_up(policy: Policy, trace: Trace) -> Mapping[str, JsonObject]:
    """Return what is expected; the decision counts, also where the numbers cannot be had."""
    try:
        return await asyncio.to_thread(_expected, policy, trace)
    except Exception:  # noqa: BLE001 - a policy chooses its own way to use its estimators
        _log.warning("what %s expects cannot be told", type(policy).__name__, exc_info=True)
        return {id: {"quality": None, "usd": None} for id in trace.pool.ids}


def _certain(decision: Decision, pool: Pool) -> str | None:
    """Return the card whose reply is the answer, unless it fails."""
    if isinstance(decision, Answer) or not decision.final:
        return None
    return pool.card(decision.calls[0].model).id


def _asks(decision: Decision) -> list[JsonObject]:
    """Return what the policy would ask for itself before it decides whom to ask."""
    if isinstance(decision, Answer) or not decision.own:
        return []
    return [
        {"model": call.model, "prompt": call.prompt, "prefix": call.prefix or None}
        for call in decision.calls
    ]


def _expected(policy: Policy, trace: Trace) -> dict[str, dict[str, Json]]:
    """Return what `policy` expects of each card; `None` where it does not know."""
    inner = getattr(policy, "policy", policy)  # a trained policy holds the one that learned
    request, pool = trace.request, trace.pool
    unknown = [math.nan] * len(pool)
    quality_M, usd_M = unknown, unknown
    estimator = getattr(inner, "quality", None)
    if isinstance(estimator, Estimator):
        quality_M = [float(value) for value in estimator.predict([request], pool)[0]]
    elif isinstance(inner, _Learns):
        quality_M = [inner.predicted(trace, card.id) for card in pool]
    if isinstance(inner, _Prices):
        usd_M = [float(value) for value in inner.expected_usd([request], pool)[0]]
    return {
        card.id: {"quality": _known(quality, most=1.0), "usd": _known(usd)}
        for card, quality, usd in zip(pool, quality_M, usd_M, strict=True)
    }


def _known(value: float, *, most: float = math.inf) -> float | None:
    return min(most, max(0.0, value)) if math.isfinite(value) else None


def _most_usd(card: ModelCard, trace: Trace) -> str | None:
    """Return the worst case of one call with the request's own messages, in US dollars."""
    call = Call(card.id)
    reserved = Ledger(Budget(usd=_ANY), trace.pool).reserve(call, trace.request)
    if not isinstance(reserved, Reservation) or reserved.usd is None or reserved.call != call:
        return None  # an unknown price, or a limit that only this budget would set
    return f"{reserved.usd:f}"
