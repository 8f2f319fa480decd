"""What a call will cost, from the length of the prompt and how long a card's answers are.

The one decision here: dollars are linear in the prompt's length, with the rate of the card's own
price where it has one; only what does not depend on the prompt (the answer, the price per call) is
learned. So a card that was never called is priced by its card and by how long the others' answers
are.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from polyroute.errors import ConfigError
from polyroute.estimators._columns import check, fitted
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import FloatArray, Method, State
from polyroute.types import Request

__all__ = ["TokenCost"]

_LEAST_USD = 1e-9
"""Predicted dollars are never below this, so that their logarithm is finite."""
_PROMPT, _FIXED, _SHIFT = range(3)
"""What is learned of a card, by column."""


class TokenCost:
    """Predict the decimal logarithm of a call's price in US dollars.

    Parameters
    ----------
    characters_per_token : float, default=4
        How the prompt's tokens are counted.
    completion_tokens : mapping of str to float, optional
        Mean completion tokens of cards, by id, where they are known (from an outcome table, say).
        They stand in for cards that were not fitted.
    typical_completion_tokens : float, default=256
        For a card without a number of its own, when no fitted card has a price for its answers.

    Raises
    ------
    ConfigError
        If a number is not positive.

    Notes
    -----
    The target is log10 of US dollars. ``usd = rate * tokens(prompt) + fixed``: the rate is the
    card's input price, or the least-squares slope where the card has no price; the fixed part is
    the mean of what remains. The prediction is shifted by the mean logarithmic error of each card,
    so that it is unbiased on the scale of the target. A card without price or observations is
    unknown (NaN).

    References
    ----------
    Cost as list price times tokens is RouterBench's (arXiv:2403.12031); CARROT
    (arXiv:2502.03261) predicts it by regression, as a second target beside quality.

    Examples
    --------
    >>> from polyroute.pool import Price
    >>> pool = Pool([ModelCard(id="gpt", price=Price.per_million(1, 10))])
    >>> asked = [Request.of("x" * 4_000), Request.of("x" * 400)]  # 1,000 and 100 tokens
    >>> usd = np.array([[0.001 + 0.002], [0.0001 + 0.002]])  # and 200 tokens of answer
    >>> cost = TokenCost().fit(asked, np.log10(usd), pool)
    >>> (10 ** cost.predict([Request.of("x" * 40_000)], pool)).round(6)
    array([[0.012]])
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query", "model metadata"),
        how="supervised",
        paper="Somerstep et al., CARROT, arXiv:2502.03261",
    )

    def __init__(
        self,
        *,
        characters_per_token: float = 4.0,
        completion_tokens: Mapping[str, float] | None = None,
        typical_completion_tokens: float = 256.0,
    ) -> None:
        for name, value in [
            ("characters_per_token", characters_per_token),
            ("typical_completion_tokens", typical_completion_tokens),
            *(completion_tokens or {}).items(),
        ]:
            if not value > 0:
                raise ConfigError(f"{name} must be positive, got {value!r}")
        self._characters_per_token = characters_per_token
        self._completion_tokens = dict(completion_tokens or {})
        self._typical = typical_completion_tokens
        self._learned: dict[str, FloatArray] | None = None
        self._answer_tokens = typical_completion_tokens

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Learn each observed card's fixed part, and its rate where its price is unknown."""
        target_NM = check(requests, target_NM, pool)
        tokens_N = self._tokens(requests)
        learned: dict[str, FloatArray] = {}
        answers = []
        for j, card in enumerate(pool):
            seen = ~np.isnan(target_NM[:, j])
            if not seen.any():
                continue
            learned[card.id] = _line(card, tokens_N[seen], target_NM[seen, j])
            if card.price is not None and card.price.output > 0:
                paid = learned[card.id][_FIXED] - float(card.price.call)
                answers.append(max(paid, 0.0) * 1e6 / float(card.price.output))
        self._answer_tokens = float(np.median(answers)) if answers else self._typical
        self._learned = learned
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return log10 of US dollars, shape (N, len(pool))."""
        learned = fitted(self._learned, self)
        tokens_N = self._tokens(requests)
        log_NM = np.full((len(requests), len(pool)), np.nan)
        for j, card in enumerate(pool):
            line = learned[card.id] if card.id in learned else self._from_price(card)
            if line is not None:
                usd_N = line[_PROMPT] * tokens_N + line[_FIXED]
                log_NM[:, j] = np.log10(np.maximum(usd_N, _LEAST_USD)) + line[_SHIFT]
        return log_NM

    def state(self) -> State:
        """Return each card's rate, fixed part and shift, and the typical answer's tokens."""
        learned = fitted(self._learned, self)
        return State(
            arrays={"lines_M3": np.array(list(learned.values()))},
            values={"cards": list(learned), "answer_tokens": self._answer_tokens},
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        lines_M3 = state.arrays["lines_M3"]
        self._learned = dict(zip(state.values["cards"], lines_M3, strict=True))
        self._answer_tokens = state.values["answer_tokens"]
        return self

    def _tokens(self, requests: Sequence[Request]) -> FloatArray:
        characters = [len(request.prompt) for request in requests]
        return np.array(characters, np.float64) / self._characters_per_token

    def _from_price(self, card: ModelCard) -> FloatArray | None:
        if card.price is None:
            return None
        tokens = self._completion_tokens.get(card.id, self._answer_tokens)
        fixed = float(card.price.call) + float(card.price.output) * tokens / 1e6
        return np.array([float(card.price.input) / 1e6, fixed, 0.0])


def _line(card: ModelCard, tokens_N: FloatArray, log_N: FloatArray) -> FloatArray:
    """Return the rate per prompt token, the fixed part and the shift of one card."""
    usd_N = 10.0**log_N
    if card.price is not None:
        rate = float(card.price.input) / 1e6
    else:
        away_N = tokens_N - tokens_N.mean()
        spread = float(away_N @ away_N)
        rate = max(float(away_N @ usd_N) / spread, 0.0) if spread > 0 else 0.0
    fixed = float(np.mean(usd_N - rate * tokens_N))
    if fixed < 0:  # dearer prompts than answers: the line goes through zero
        fixed = 0.0
        rate = float(usd_N @ tokens_N) / float(tokens_N @ tokens_N)
    expected_N = np.log10(np.maximum(rate * tokens_N + fixed, _LEAST_USD))
    return np.array([rate, fixed, float(np.mean(log_N - expected_N))])
