"""Keeps an episode inside its budget: reserve the worst case before a call, settle it after.

The one decision here: a call is made only when its *worst case* (every prompt byte a token, every
completion token it may write, at the dearest rates) fits into what is left, so that no reply,
however long, and no number of parallel calls can break the budget. A call without a token limit
of its own is given the limit that the budget can pay.
"""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal

from msgspec import Struct
from msgspec.structs import replace

from polyroute.decision import Call, Failure
from polyroute.pool import ModelCard, Pool
from polyroute.trace import Reply
from polyroute.types import Budget, Json, Message, Request

__all__ = ["SNAPSHOT", "Ledger", "Reservation", "price", "prompt_bound"]

SNAPSHOT = re.compile(r"-(\d{4}|\d{6}|\d{8}|\d{4}-\d\d(-\d\d)?)")
"""What follows a name when a dated snapshot answers: ``-0613``, ``-20260131``, ``-2026-01-31``.

A version (``-5``) is another model."""

_MILLION = Decimal(1_000_000)

_PER_MESSAGE = 16
"""Tokens a chat template may add around one message (ChatML adds 5, Llama 3 adds 6)."""

_PER_IMAGE = 16_384
"""Tokens of one image, at most, when the context window of the card is not known."""

_LEAST_COMPLETION = 32
"""A limit below this is no answer: a call that can pay only for less is not made."""


class Reservation(Struct, frozen=True):
    """What one call may cost at most, and the call as it is to be made."""

    call: Call
    usd: Decimal | None
    """Worst case in US dollars; `None` when the price is unknown."""
    tokens: int | None
    """Worst case in tokens; `None` when nothing bounds it."""


class Ledger:
    """The account of one episode.

    Parameters
    ----------
    budget : Budget
        The limits.
    pool : Pool
        The prices.
    """

    def __init__(self, budget: Budget, pool: Pool) -> None:
        self._budget = budget
        self._pool = pool
        self._usd = Decimal(0)
        self._tokens = 0

    def reserve(self, call: Call, request: Request) -> Reservation | Failure:
        """Set aside the worst case of `call`, or say why it does not fit.

        A call without a token limit gets one, when the budget and not the card is what bounds
        it. Every reservation must be settled.
        """
        if self._budget.usd is None and self._budget.tokens is None:
            return Reservation(call, None, None)
        card = self._pool.card(call.model)
        prompt, completion = _worst_case(call, card, request)
        if self._budget.usd is not None and card.price is None:
            return Failure(
                "budget",
                f"the price of {card.id!r} is unknown, so a budget in usd cannot hold; give its "
                "card a price, or drop the limit",
            )
        affordable = self._affordable(card, prompt, _choices(call, request))
        if affordable is not None and (completion is None or completion > affordable):
            if _own_limit(call, request) is not None or affordable < _LEAST_COMPLETION:
                return self._does_not_fit(card, prompt, completion)
            completion = affordable
            call = replace(call, params={**call.params, "max_tokens": affordable})
        reservation = self._reservation(call, card, prompt, completion, _choices(call, request))
        if not self._fits(reservation):
            return self._does_not_fit(card, prompt, completion)
        self._usd += reservation.usd or 0
        self._tokens += reservation.tokens or 0
        return reservation

    def reserve_again(self, reservation: Reservation) -> Reservation | None:
        """Set the same aside once more, for a second sending of the call, if that fits.

        It must be settled as well.
        """
        if not self._fits(reservation):
            return None
        self._usd += reservation.usd or 0
        self._tokens += reservation.tokens or 0
        return reservation

    def settle(self, reservation: Reservation, reply: Reply) -> Decimal | None:
        """Replace a reservation by what the reply cost, and return that price.

        What nobody knows (`None`) stays reserved: an unknown price is not a free one.
        """
        usd = price(reply, self._pool) if reply.usd is None else reply.usd
        if usd is not None and reservation.usd is not None:
            self._usd += usd - reservation.usd
        if reply.usage is not None and reservation.tokens is not None:
            self._tokens += reply.usage.total - reservation.tokens
        return usd

    def _affordable(self, card: ModelCard, prompt: int | None, choices: int) -> int | None:
        """Most completion tokens per choice that the budget pays; `None` without a limit."""
        limits = []
        if self._budget.tokens is not None:
            limits.append((self._budget.tokens - self._tokens - (prompt or 0)) // choices)
        if self._budget.usd is not None and card.price is not None:
            rate = card.price.highest_completion * choices
            left = self._budget.usd - self._usd - card.price.call
            left -= (prompt or 0) * card.price.highest_prompt / _MILLION
            if rate > 0:
                limits.append(int((left * _MILLION / rate).to_integral_value(ROUND_FLOOR)))
        return min(limits) if limits and card.kind != "tool" else None

    @staticmethod
    def _reservation(
        call: Call, card: ModelCard, prompt: int | None, completion: int | None, choices: int
    ) -> Reservation:
        tokens = None if prompt is None or completion is None else prompt + completion * choices
        if card.price is None:
            return Reservation(call, None, tokens)
        if tokens is None and (card.price.highest_prompt or card.price.highest_completion):
            return Reservation(call, None, tokens)
        usd = card.price.call
        usd += (prompt or 0) * card.price.highest_prompt / _MILLION
        usd += (completion or 0) * choices * card.price.highest_completion / _MILLION
        return Reservation(call, usd, tokens)

    def _fits(self, reservation: Reservation) -> bool:
        budget = self._budget
        if budget.usd is not None and (
            reservation.usd is None or self._usd + reservation.usd > budget.usd
        ):
            return False
        return budget.tokens is None or (
            reservation.tokens is not None and self._tokens + reservation.tokens <= budget.tokens
        )

    def _does_not_fit(self, card: ModelCard, prompt: int | None, completion: int | None) -> Failure:
        limits = []
        if self._budget.usd is not None:
            limits.append(f"{max(self._budget.usd - self._usd, Decimal(0)):f} usd")
        if self._budget.tokens is not None:
            limits.append(f"{max(self._budget.tokens - self._tokens, 0)} tokens")
        return Failure(
            "budget",
            f"the worst case of a call to {card.id!r} ({prompt or 0} prompt tokens and "
            f"{'unbounded' if completion is None else completion} completion tokens) does not fit "
            f"into the {' and '.join(limits)} left; raise the budget or set max_tokens",
        )


def price(reply: Reply, pool: Pool) -> Decimal | None:
    """Exact price of a reply, from the usage the upstream reported.

    The card that is billed is the one that *answered*: when the upstream names itself and the
    name is neither the card asked nor a dated snapshot of it, it is looked up in the pool.

    Returns
    -------
    Decimal or None
        US dollars; `None` when the usage, the price, or who answered is unknown.

    Examples
    --------
    >>> from polyroute.pool import Price
    >>> from polyroute.types import Usage
    >>> pool = Pool([ModelCard(id="gpt-9", price=Price.per_million(1, 2))])
    >>> price(Reply(model="gpt-9", usage=Usage(10, 5), answered_by="gpt-9-2026-01-31"), pool)
    Decimal('0.00002')
    >>> price(Reply(model="gpt-9", usage=Usage(10, 5), answered_by="gpt-9-pro"), pool) is None
    True
    """
    if reply.usage is None:
        return None
    asked = pool.card(reply.model)
    card = _who_answered(asked, reply.answered_by, pool)
    if card is None or card.price is None:
        return None
    return card.price.cost(reply.usage)


def _who_answered(asked: ModelCard, answered_by: str | None, pool: Pool) -> ModelCard | None:
    if answered_by is None or answered_by in (asked.id, *asked.aliases):
        return asked
    if answered_by in pool.ids or any(answered_by in card.aliases for card in pool):
        return pool.card(answered_by)
    names = (asked.id, *asked.aliases)
    if any(SNAPSHOT.fullmatch(answered_by.removeprefix(name)) for name in names):
        return asked
    return None


def prompt_bound(messages: Sequence[Message], params: Mapping[str, Json]) -> int:
    """Most tokens that `messages` and the tools in `params` can be, images left out.

    Every token of a byte-level vocabulary stands for one byte or more, so the number of bytes,
    plus what a chat template adds to each message, is never too low.
    """
    prompt = 0
    for message in messages:
        parts = message.to_json()
        if isinstance(message.content, tuple):
            parts["content"] = [p for p in message.content if p.get("type") == "text"]
        prompt += len(json.dumps(parts, ensure_ascii=False).encode("utf-8", "replace"))
        prompt += _PER_MESSAGE
    extras = {
        key: params[key] for key in ("tools", "functions", "response_format") if key in params
    }
    return prompt + (len(json.dumps(extras, ensure_ascii=False).encode()) if extras else 0)


def _worst_case(call: Call, card: ModelCard, request: Request) -> tuple[int | None, int | None]:
    """Most prompt tokens, and most completion tokens of one choice; `None`: unbounded."""
    if card.kind == "tool":
        return 0, 0
    messages = call.messages(request)
    prompt = prompt_bound(messages, call.merged_params(request))
    if any(message.has_image for message in messages):
        prompt += card.context or _PER_IMAGE
    if card.context is not None:
        prompt = min(prompt, card.context)
    own = _own_limit(call, request)
    bounds = [bound for bound in (own, card.max_output, card.context) if bound is not None]
    return prompt, min(bounds) if bounds else None


def _own_limit(call: Call, request: Request) -> int | None:
    params = call.merged_params(request)
    limits = [params[key] for key in ("max_tokens", "max_completion_tokens") if key in params]
    return min((limit for limit in limits if isinstance(limit, int)), default=None)


def _choices(call: Call, request: Request) -> int:
    n = call.merged_params(request).get("n")
    return n if isinstance(n, int) and n > 1 else 1
