"""Two models and one knob: the strong one where it is likely enough to do better.

The one decision here: the win rate is a probability that can be checked. On scores of 0 and 1 it is
the chance that the strong model does better, plus half the chance that both do alike, and that is
``(1 + E[strong] - E[weak]) / 2`` whatever the dependence between the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from polyroute.decision import Answer, Call, Decision, Failure, Route
from polyroute.errors import ConfigError
from polyroute.pool import CardId, ModelCard, Pool
from polyroute.protocols import Estimator, FloatArray, Method
from polyroute.signals.modality import modalities, takes
from polyroute.trace import Trace
from polyroute.types import Request

__all__ = ["Threshold"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Ask `strong` where its win rate over `weak` reaches the threshold, else `weak`.

    When the one that was chosen fails, or cannot take the request's input, the other is asked.
    Where the estimator knows nothing of one of them, the strong one is asked.

    Parameters
    ----------
    strong, weak : str
        Ids of the pool.
    quality : Estimator
        Predicts the quality of both, 0 to 1; predictions are clipped to that range.
    threshold : float, default=0.5
        Least win rate, 0 to 1, at which the strong model is asked: 0 is always, above 1 never.
        `polyroute train --strong-share 0.3` finds the one at which 30 % of the requests go to it.

    Raises
    ------
    ConfigError
        If both are the same model, or the threshold is negative.

    References
    ----------
    Ong et al., *RouteLLM: Learning to Route LLMs with Preference Data*, arXiv:2406.18665, section
    3: the strong model is asked iff its predicted win rate is at least the threshold.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="Ong et al., RouteLLM, arXiv:2406.18665",
    )

    strong: CardId
    weak: CardId
    quality: Estimator
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.strong == self.weak:
            raise ConfigError(f"strong and weak must be two models, got {self.strong!r} twice")
        if not self.threshold >= 0:
            raise ConfigError(f"threshold must be 0 or more, got {self.threshold!r}")

    def candidates(self, pool: Pool) -> tuple[ModelCard, ...]:
        """Return the two cards, the strong one first; a card that a request leaves out is missing.

        Raises
        ------
        UnknownModelError
            If neither is in `pool`.
        """
        cards = [
            card
            for name in (self.strong, self.weak)
            for card in pool
            if name in (card.id, *card.aliases)
        ]
        return tuple(cards) or (pool.card(self.strong),)

    def win_rates(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the win rate of the strong model on every request, shape (N,); NaN: unknown.

        Raises
        ------
        UnknownModelError
            If one of the two is not in `pool`.
        """
        columns = [pool.index_of(name) for name in (self.strong, self.weak)]
        quality_NK = np.clip(self.quality.predict(requests, pool)[:, columns], 0, 1)
        rates: FloatArray = (1 + quality_NK[:, 0] - quality_NK[:, 1]) / 2
        return rates

    async def decide(self, trace: Trace) -> Decision:
        """Return one final call to the model that the win rate says, then to the other."""
        both = self.candidates(trace.pool)
        first, reason = 0, f"only {both[0].id!r} may be asked"
        if len(both) == 2:
            rate = float(self.win_rates([trace.request], trace.pool)[0])
            first = int(rate < self.threshold)  # unknown: the strong one
            said = "unknown" if np.isnan(rate) else f"{rate:.3f}"
            sign = "<" if first else ">="
            reason = f"win rate of {both[0].id!r} {said} {sign} {self.threshold:g}"
        both = both[first:] + both[:first]
        able = [card for card in both if takes(card, trace.request)]
        if not able:
            wanted = ", ".join(sorted(modalities(trace.request)))
            why = f"neither model takes this input ({wanted})"
            return Answer(reason=why, failure=Failure("bad_request", why))
        tries = len(trace.steps)
        if tries == len(able) or trace.left.rounds == 0:
            return trace.give_up()
        after = f"{able[0].id!r} failed; " if tries else ""
        return Route(
            calls=(Call(able[tries].id),), final=True, reason=after + reason, propensity=1.0
        )
