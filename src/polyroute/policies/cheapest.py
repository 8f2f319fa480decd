"""The candidate with the lowest expected price: the other end of every cost-quality curve."""

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from polyroute.decision import Answer, Call, Decision, Failure, Route
from polyroute.errors import ConfigError
from polyroute.pool import CardId, ModelCard
from polyroute.protocols import Method
from polyroute.signals.modality import modalities, takes
from polyroute.trace import Trace
from polyroute.types import Request, Usage

__all__ = ["Cheapest"]

_MOST_TRIES = 8
"""Candidates tried before giving up: refused calls are no rounds, so rounds do not bound them."""

_CHARACTERS_PER_TOKEN = 4
"""Rule of thumb for English text. It only orders candidates; nothing is billed by it."""


@dataclass(frozen=True, slots=True)
class Cheapest:
    """Send each request where it is expected to cost least; after a failure, to the next.

    Parameters
    ----------
    models : tuple of str, optional
        Ids to choose from; all models and agents of the pool when `None` (a free tool would
        always win, so tools are tried only when named). Candidates that cannot take the request's
        input are left out.
    completion_tokens : int, default=300
        Expected length of an answer, in tokens, 0 or more.

    Raises
    ------
    ConfigError
        If `completion_tokens` is negative.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation", what=("query", "model metadata"), how="heuristic"
    )

    models: tuple[CardId, ...] | None = None
    completion_tokens: int = 300

    def __post_init__(self) -> None:
        if self.completion_tokens < 0:
            raise ConfigError(f"completion_tokens must be 0 or more, got {self.completion_tokens}")

    async def decide(self, trace: Trace) -> Decision:
        """Return one final call to the cheapest candidate that has not failed.

        Raises
        ------
        UnknownModelError
            If a named model is not in the pool.
        """
        ranked = self._ranked(trace)
        if not ranked:
            wanted = ", ".join(sorted(modalities(trace.request)))
            why = f"no candidate to choose from takes this input ({wanted})"
            return Answer(reason=why, failure=Failure("bad_request", why))
        tries = len(trace.steps)
        if tries == min(len(ranked), _MOST_TRIES) or trace.left.rounds == 0:
            return trace.give_up()
        card = ranked[tries]
        expected = self._expected_usd(card, trace.request)
        price = "a price nobody knows" if expected is None else f"${expected:f}"
        place = "cheapest" if not tries else f"cheapest but {tries}, which failed"
        return Route(
            calls=(Call(card.id),),
            final=True,
            reason=f"{place}: {price} expected",
            propensity=1.0,
        )

    def _ranked(self, trace: Trace) -> list[ModelCard]:
        """Return the candidates, cheapest first, unknown prices last, ties in pool order."""
        cards = trace.pool.only(self.models) if self.models is not None else trace.pool.answering

        def rank(card: ModelCard) -> tuple[bool, Decimal]:
            usd = self._expected_usd(card, trace.request)
            return usd is None, usd or Decimal(0)

        return sorted((card for card in cards if takes(card, trace.request)), key=rank)

    def _expected_usd(self, card: ModelCard, request: Request) -> Decimal | None:
        if card.price is None:
            return None
        characters = sum(len(message.text) for message in request.messages)
        usage = Usage(input=characters // _CHARACTERS_PER_TOKEN, output=self.completion_tokens)
        return card.price.cost(usage)
