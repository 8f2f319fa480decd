"""The candidate that is expected to be worth most: predicted quality less its price.

The one decision here: what is unknown stays unknown. A card of which the estimator knows nothing
is not guessed at while another one is known, and an unknown price is neither zero nor a reason to
call a card cheap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import ClassVar, Literal

import numpy as np

from polyroute.decision import Answer, Call, Decision, Failure, Route
from polyroute.errors import ConfigError
from polyroute.pool import CardId, ModelCard, Pool
from polyroute.protocols import Estimator, FloatArray, Method
from polyroute.signals.continuation import cache_saving_usd, previous_model, switch_cost
from polyroute.signals.modality import modalities, takes
from polyroute.trace import Trace
from polyroute.types import Request, Usage

__all__ = ["Greedy"]

_MOST_TRIES = 8
"""Candidates tried before giving up: refused calls are no rounds, so rounds do not bound them."""

_CHARACTERS_PER_TOKEN = 4
"""Rule of thumb for English text. It only orders candidates; nothing is billed by it."""

_SHOWN = 3
"""Candidates whose numbers stand in the reason."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What is expected of one card on one request."""

    card: ModelCard
    quality: float
    """0 to 1; NaN: unknown."""
    usd: float | None
    worth: float
    """Quality less the price in units of quality, as far as they are known; NaN: unknown."""
    unweighed: bool
    """Whether the price counts, and is unknown."""

    def __str__(self) -> str:
        quality = "?" if math.isnan(self.quality) else f"{self.quality:.3f}"
        price = "a price nobody knows" if self.usd is None else f"${self.usd:.2g}"
        return f"{self.card.id} {quality} for {price}"


@dataclass(frozen=True, slots=True)
class Greedy:
    """Ask the candidate with the highest expected quality less its price; then the next best.

    Parameters
    ----------
    quality : Estimator
        Predicts the quality of every card, 0 to 1; predictions are clipped to that range.
    cost : Estimator, optional
        Predicts the decimal logarithm of the price of a call in US dollars. Without it, and for
        cards it knows nothing of, the price is that of the card, for (characters of the request /
        4) prompt tokens and `completion_tokens` completion tokens.
    usd_per_quality : float, optional
        Willingness to pay: dollars that one unit of quality is worth, per request. That of the
        request's budget wins over it. `None` and 0 mean: quality only, at any price.
    models : tuple of str, optional
        Ids to choose from; all models and agents of the pool when `None`. Those that a request
        leaves out are not missed.
    prior : {"last", "mean", "lowest"}, default="last"
        The quality of a card of which the estimator knows nothing: it comes after all known ones,
        or has the mean or the lowest of the known predictions on this request.
    completion_tokens : int, default=300
        Expected length of an answer, in tokens, where `cost` does not say.
    switch_cost : float, default=0
        Quality that leaving the candidate of the conversation's last answer must gain, 0 to 1,
        where it is known who that was; a request may ask for another one. That candidate's
        expected price is what it is with the conversation in its cache.

    Raises
    ------
    ConfigError
        If `usd_per_quality` or `completion_tokens` is negative, or `switch_cost` not 0 to 1.

    Notes
    -----
    Left out are cards that cannot take the request's input, whose context window is too short for
    it, or whose expected price is more than the budget has left. When there is a willingness to
    pay, cards whose price nobody knows come after those whose price is known. Ties go to the
    lower price, then to the first of the pool.

    References
    ----------
    Hu et al., *RouterBench*, arXiv:2403.12031, section 4.2: a predictive router maximises
    ``willingness * quality - cost``; here both sides are divided by the willingness.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query", "model metadata"),
        how="supervised",
        paper="predictive routers of RouterBench, arXiv:2403.12031",
    )

    quality: Estimator
    cost: Estimator | None = None
    usd_per_quality: float | None = None
    models: tuple[CardId, ...] | None = None
    prior: Literal["last", "mean", "lowest"] = "last"
    completion_tokens: int = 300
    switch_cost: float = 0.0

    def __post_init__(self) -> None:
        for name in ("usd_per_quality", "completion_tokens"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be a number, 0 or more, got {value!r}")
        if not 0 <= self.switch_cost <= 1:
            raise ConfigError(f"switch_cost must be 0 to 1, got {self.switch_cost!r}")

    def candidates(self, pool: Pool) -> tuple[ModelCard, ...]:
        """Return the cards of `pool` that may be asked, in its order."""
        if self.models is None:
            return pool.answering
        wanted = set(self.models)
        return tuple(card for card in pool if wanted & {card.id, *card.aliases})

    def grown(
        self, ids: Sequence[CardId], *, quality: Estimator, cost: Estimator | None
    ) -> "Greedy":
        """Return the policy that may also choose `ids`, of which these estimators know."""
        models = None if self.models is None else (*self.models, *ids)
        return replace(self, quality=quality, cost=cost, models=models)

    def expected_usd(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the expected price of every card of `pool` on every request, shape (N, M).

        US dollars; NaN where neither `cost` nor the card knows.
        """
        predicted_NM = np.full((len(requests), len(pool)), math.nan)
        if self.cost is not None:
            saving_NM = np.array(
                [[cache_saving_usd(card, one) for card in pool] for one in requests], float
            ).reshape(predicted_NM.shape)
            predicted_NM = np.maximum(10.0 ** self.cost.predict(requests, pool) - saving_NM, 0.0)
        if not np.isnan(predicted_NM).any():
            return predicted_NM
        usd_NM = np.array([[self._by_card(card, one) for card in pool] for one in requests])
        return np.where(np.isnan(predicted_NM), usd_NM, predicted_NM)

    def _by_card(self, card: ModelCard, request: Request) -> float:
        usage = Usage(input=_tokens(request), output=self.completion_tokens)
        if card.price is None:
            return math.nan
        return float(card.price.cost(usage)) - cache_saving_usd(card, request)

    async def decide(self, trace: Trace) -> Decision:
        """Return one final call to the best candidate that has not failed."""
        tried = {call.model for call in trace.calls}
        if len(tried) == _MOST_TRIES or trace.left.rounds == 0:
            return trace.give_up()
        able = [card for card in self.candidates(trace.pool) if _can_take(card, trace.request)]
        if not able:
            wanted = ", ".join(sorted(modalities(trace.request)))
            why = f"no candidate takes this input ({wanted}, {_tokens(trace.request)} tokens)"
            return Answer(reason=why, failure=Failure("bad_request", why))
        ranked = [one for one in self._ranked(trace, able) if one.card.id not in tried]
        left = trace.left.usd
        payable = [one for one in ranked if _is_payable(one, left)]
        if ranked and not payable:
            why = f"every candidate left is expected to cost more than the ${left:f} left"
            return Answer(reason=why, failure=Failure("budget", why))
        if not payable:
            return trace.give_up()
        shown = "; ".join(str(one) for one in payable[:_SHOWN])
        after = f"after {len(tried)} failed, " if tried else ""
        return Route(
            calls=(Call(payable[0].card.id),),
            final=True,
            reason=f"{after}{self._rule(trace.request)}: {shown}",
            propensity=1.0,
        )

    def _willingness(self, request: Request) -> float:
        """Return dollars per unit of quality; 0: quality only."""
        asked = request.budget.usd_per_quality
        return (self.usd_per_quality if asked is None else asked) or 0.0

    def _rule(self, request: Request) -> str:
        willingness = self._willingness(request)
        return f"best at ${willingness:g} per quality" if willingness else "best"

    def _ranked(self, trace: Trace, cards: list[ModelCard]) -> list[_Candidate]:
        """Return what is expected of each card, best first."""
        request, pool = trace.request, trace.pool
        willingness = self._willingness(request)
        predicted = self.quality.predict([request], pool)[0]
        qualities = [float(predicted[pool.index_of(card.id)]) for card in cards]
        qualities = [min(1.0, max(0.0, q)) if q == q else q for q in qualities]
        dollars = self.expected_usd([request], pool)[0]
        prices = [float(dollars[pool.index_of(card.id)]) for card in cards]
        unknown = self._of_the_unknown(qualities)
        before, leaving = previous_model(request), switch_cost(request, self.switch_cost)
        found = []
        for card, quality, price in zip(cards, qualities, prices, strict=True):
            usd = None if math.isnan(price) else price
            worth = unknown if math.isnan(quality) else quality
            if willingness and usd is not None:
                worth -= usd / willingness
            if before is not None and card.id != before:
                worth -= leaving
            found.append(_Candidate(card, quality, usd, worth, bool(willingness) and usd is None))
        return sorted(found, key=_order)

    def _of_the_unknown(self, qualities: list[float]) -> float:
        known = [quality for quality in qualities if not math.isnan(quality)]
        if self.prior == "last" or not known:
            return math.nan
        return min(known) if self.prior == "lowest" else sum(known) / len(known)


def _order(one: _Candidate) -> tuple[bool, bool, float, bool, float]:
    """Best first; worth that cannot be told last; then the cheaper one."""
    untold = math.isnan(one.worth)
    worth = 0.0 if untold else one.worth
    return untold, one.unweighed, -worth, one.usd is None, one.usd or 0.0


def _is_payable(one: _Candidate, left: Decimal | None) -> bool:
    return left is None or one.usd is None or one.usd <= left


def _tokens(request: Request) -> int:
    """Return about how many tokens the messages of `request` are."""
    return sum(len(message.text) for message in request.messages) // _CHARACTERS_PER_TOKEN


def _can_take(card: ModelCard, request: Request) -> bool:
    fits = card.context is None or _tokens(request) < card.context
    return fits and takes(card, request)
