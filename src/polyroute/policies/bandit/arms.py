"""The arms of one decision: who may be chosen, what choosing costs, and what exploring may cost.

The one decision here: exploration has a price in dollars. The extra cost of an arm is its
expected price over that of the arm with the best mean; an arm whose extra cost is over the cap,
or that has no price anybody knows, is not explored.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyroute.decision import Answer, Call, Decision, Failure, Route
from polyroute.errors import ConfigError
from polyroute.pool import ModelCard
from polyroute.protocols import FloatArray
from polyroute.signals.continuation import previous_model, switch_cost, warm_tokens
from polyroute.signals.modality import takes
from polyroute.trace import Trace
from polyroute.types import Request, Usage

__all__ = ["Arms", "Terms", "chances_by_id", "decide", "outcomes"]

_MOST_TRIES = 8
"""Candidates tried before giving up: refused calls are no rounds, so rounds do not bound them."""

_ROUNDING = 1e-12
"""Dollars by which a cap may be missed in floating point."""

_CHARACTERS_PER_TOKEN = 4
"""Rule of thumb for English text. It only weighs candidates; nothing is billed by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a bandit weighs besides quality; the same parameters for every bandit."""

    models: tuple[str, ...] | None = None
    completion_tokens: int = 300
    switch_cost: float = 0.0
    explore_usd: float | None = None
    explore_total_usd: float | None = None

    def __post_init__(self) -> None:
        if self.completion_tokens < 0:
            raise ConfigError(f"completion_tokens must be 0 or more, got {self.completion_tokens}")
        if not 0 <= self.switch_cost <= 1:
            raise ConfigError(f"switch_cost must be 0 to 1, got {self.switch_cost!r}")
        for name in ("explore_usd", "explore_total_usd"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigError(f"{name} must be 0 or more, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arms:
    """The candidates of one decision that have not been asked yet, K of them."""

    ids: tuple[str, ...]
    usd: FloatArray
    """Expected price of a call, in US dollars, shape (K,); NaN where unknown."""
    handicap: FloatArray
    """What is taken off the quality of each: price by willingness to pay, and switching."""

    @classmethod
    def of(cls, trace: Trace, terms: Terms) -> "Arms":
        """Return the arms that are left.

        Raises
        ------
        UnknownModelError
            If a named model is not in the pool.
        """
        cards = trace.pool.only(terms.models) if terms.models is not None else trace.pool.answering
        asked = {reply.model for reply in trace.replies}
        left = [card for card in cards if takes(card, trace.request) and card.id not in asked]
        before = previous_model(trace.request)
        usd = np.array([_usd(card, trace.request, before, terms) for card in left])
        worth = trace.request.budget.usd_per_quality
        handicap = np.zeros(len(left))
        if worth is not None:
            # a price that nobody knows is taken as the dearest: it is not free
            known = np.where(np.isnan(usd), np.nanmax([0.0, *usd]), usd)
            handicap += known / max(worth, 1e-12)
        if before is not None:
            cost = switch_cost(trace.request, terms.switch_cost)
            handicap += [cost * (card.id != before) for card in left]
        return cls(ids=tuple(card.id for card in left), usd=usd, handicap=handicap)

    def allowed(self, mean: FloatArray, terms: Terms, explored_usd: float) -> NDArray[np.bool_]:
        """Return which arms may be chosen under the caps; the one with the best mean always may.

        Parameters
        ----------
        mean : ndarray of shape (K,)
            Expected quality of each arm.
        terms : Terms
            The caps.
        explored_usd : float
            What exploring has cost before, as far as the statistics know.
        """
        caps = [] if terms.explore_usd is None else [terms.explore_usd]
        if terms.explore_total_usd is not None:
            caps.append(terms.explore_total_usd - explored_usd)
        if not caps:
            return np.ones(len(self.ids), bool)
        extra = self.extra_usd(mean)
        may: NDArray[np.bool_] = extra <= max(0.0, min(caps)) + _ROUNDING
        may[self.best(mean)] = True
        return may

    def best(self, mean: FloatArray) -> int:
        """Return the arm with the best mean after its handicap."""
        return int(np.argmax(mean - self.handicap))

    def extra_usd(self, mean: FloatArray) -> FloatArray:
        """Return what each arm is expected to cost over the best one, 0 or more; shape (K,).

        NaN where a price is unknown; 0 for the best arm itself.
        """
        best = self.best(mean)
        extra: FloatArray = np.maximum(self.usd - self.usd[best], 0.0)
        extra[best] = 0.0
        return extra


def decide(trace: Trace, terms: Terms, chances: Callable[[Arms], FloatArray], why: str) -> Decision:
    """Return what every bandit decides: one final call to an arm drawn by its chance.

    Parameters
    ----------
    trace : Trace
    terms : Terms
    chances : callable
        From the arms that are left to the chance of each, shape (K,).
    why : str
        The reason.

    Raises
    ------
    UnknownModelError
        If a named model is not in the pool.
    """
    arms = Arms.of(trace, terms)
    last = _end(trace, arms)
    return _drawn(trace, arms, chances(arms), why) if last is None else last


def chances_by_id(
    trace: Trace, terms: Terms, chances: Callable[[Arms], FloatArray]
) -> Mapping[str, float]:
    """Return the chance of every candidate that is left, exactly; they sum to 1."""
    arms = Arms.of(trace, terms)
    return dict(zip(arms.ids, chances(arms).tolist(), strict=True)) if arms.ids else {}


def _drawn(trace: Trace, arms: Arms, chance: FloatArray, why: str) -> Route:
    """Draw an arm with the given chances and return the call to it, with its propensity.

    The draw depends on ``request.seed`` and on how many arms were tried before.
    """
    tries = len(trace.steps)
    seed = f"{trace.request.seed} {tries}"
    (k,) = random.Random(seed).choices(range(len(arms.ids)), weights=chance.tolist())
    return Route(
        calls=(Call(arms.ids[k]),),
        final=True,
        reason=f"{why}, chance {chance[k]:.3f}" + (f", after {tries} failed" if tries else ""),
        propensity=float(chance[k]),
    )


def _end(trace: Trace, arms: Arms) -> Decision | None:
    """Return the last decision when nothing more can be tried; `None` while something can."""
    if trace.steps and (not arms.ids or len(trace.steps) >= _MOST_TRIES or trace.left.rounds == 0):
        return trace.give_up()
    if not arms.ids:
        why = "no candidate of the bandit takes this input"
        return Answer(reason=why, failure=Failure("bad_request", why))
    return None


def outcomes(trace: Trace, reward: float) -> Sequence[tuple[str, float]]:
    """Return what each asked candidate earned: `reward` for the one that answered, 0 for failures.

    Calls that were refused by the budget or cancelled say nothing about a candidate, and neither
    does the question that a specialist declines.
    """
    earned = []
    for reply in trace.replies:
        if reply.ok:
            earned.append((reply.model, reward))
        elif reply.failure is not None and reply.failure.kind not in _NOBODYS_FAULT:
            earned.append((reply.model, 0.0))
    return earned


_NOBODYS_FAULT = frozenset({"budget", "cancelled", "refusal", "auth", "bad_request"})


def _usd(card: ModelCard, request: Request, before: str | None, terms: Terms) -> float:
    """Return the expected price of a call, the warm cache of the last model included."""
    if card.price is None:
        return float("nan")
    lengths = [len(message.text) // _CHARACTERS_PER_TOKEN for message in request.messages]
    warm = warm_tokens(request) if card.id == before else 0
    usage = Usage(input=sum(lengths) - warm, cached=warm, output=terms.completion_tokens)
    return float(card.price.cost(usage))
