"""The figures that the page draws, made of the tally and the timeline when somebody asks."""

import time

from polyroute.config import Setup
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.watch.tally import Histogram, OfCard, Share, Tally
from polyroute.gateway.watch.timeline import Timeline
from polyroute.pool import ModelCard
from polyroute.types import Json, JsonObject

__all__ = ["figures", "quantile"]

_ENOUGH = 30
"""Calls of policies before anybody is alarmed at how they are spread."""


def figures(
    setup: Setup, tally: Tally, timeline: Timeline, keeper: Keeper, *, minutes: int
) -> JsonObject:
    """Return everything there is to draw, for the newest `minutes`."""
    return {
        "now": time.time(),
        "minutes": minutes,
        "running": tally.running,
        "refused": {str(status): count for status, count in tally.refused.items()},
        "records": {
            "kept": keeper.store is not None,
            "waiting": keeper.waiting,
            "lost": keeper.lost,
            "content": setup.settings.records.content,
        },
        "policies": {
            name: {
                "answered": of.endings["answered"],
                "failed": of.endings["failed"],
                "cancelled": of.endings["cancelled"],
                "usd": f"{of.usd:f}",
                "remembered": of.remembered,
                "saved": f"{of.saved:f}",
                "seconds": _quantiles(of.seconds),
            }
            for name, of in tally.policies.items()
            if of.endings
        },
        "cards": [_card(card, tally.cards[card.id], tally.share) for card in setup.pool],
        "routing": _routing(tally.share, setup.settings.watch.collapse, len(setup.pool)),
        "rivals": timeline.rivals(),
        "timeline": timeline.points(minutes),
    }


def quantile(counted: Histogram, q: float) -> float | None:
    """Return about the `q` quantile, 0 to 1; `None` when nothing was counted.

    Values are taken to lie evenly between the bounds of a bucket; above the last bound, at it.

    Examples
    --------
    >>> counted = Histogram((1.0, 2.0))
    >>> for value in (0.2, 0.9, 1.1, 1.9):
    ...     counted.add(value)
    >>> quantile(counted, 0.5), quantile(counted, 0.75)
    (1.0, 1.5)
    """
    total = sum(counted.counts)
    if not total:
        return None
    rank, below, low = q * total, 0, 0.0
    for bound, count in zip(counted.bounds, counted.counts, strict=False):
        if count and below + count >= rank:
            return low + (bound - low) * (rank - below) / count
        below, low = below + count, bound
    return low


def _quantiles(counted: Histogram) -> JsonObject:
    return {"p50": quantile(counted, 0.5), "p95": quantile(counted, 0.95)}


def _card(card: ModelCard, of: OfCard, share: Share) -> dict[str, Json]:
    wire = card.to_json()
    return {
        "id": card.id,
        "kind": card.kind,
        "description": card.description,
        "price": wire["price"],
        "calls": of.calls,
        "own": of.own,
        "refused": of.refused,
        "failures": dict(of.failures),
        "share": share.of(card.id),
        "usd": f"{of.usd:f}",
        "unknown": of.unknown,
        "tokens": of.input + of.output + of.cached + of.reasoning,
        "seconds": _quantiles(of.seconds),
        "first_token": _quantiles(of.first_token),
    }


def _routing(share: Share, limit: float, cards: int) -> JsonObject:
    largest = share.largest
    collapsed = largest is not None and largest[1] >= limit
    return {
        "calls": share.calls,
        "most_used": None if largest is None else largest[0],
        "largest_share": None if largest is None else largest[1],
        "entropy": share.entropy,
        "limit": limit,
        "collapsed": collapsed and share.calls >= _ENOUGH and cards > 1,
    }
