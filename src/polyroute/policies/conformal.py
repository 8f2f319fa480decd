"""The smallest set of candidates that holds a right answer as often as was promised.

The one decision here: how many are asked depends on the request. Candidates join in the order of
their predicted quality until the set is expected to hold a right answer with some mass; how much
mass it takes to keep the promise is not believed but calibrated, so the promise holds even when
the estimator is wrong, as long as requests are like those it was calibrated on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from polyroute.answers import CANONICAL
from polyroute.decision import Answer, Call, Decision, Failure, Route
from polyroute.errors import ConfigError
from polyroute.pool import CardId, ModelCard, Pool
from polyroute.protocols import Estimator, FloatArray, Method
from polyroute.signals.modality import modalities, takes
from polyroute.trace import Reply, Trace
from polyroute.types import Request

__all__ = ["Conformal"]


@dataclass(frozen=True, slots=True)
class Conformal:
    """Ask the smallest set that should hold a right answer; answer by majority, else by the best.

    Candidates are ranked by predicted quality. One joins the set when the mass before it,
    ``1 - (1 - q1)(1 - q2)...`` over those ranked higher, is `mass` or less; so the first always
    does. A set of one is one final call. A larger set is asked at once: the answer that most
    members gave is the answer, in the words of the highest ranked of them; where no two agree, the
    reply of the highest ranked. Cards of which the estimator knows nothing come last, with quality
    0.

    Parameters
    ----------
    quality : Estimator
        Predicts the quality of every card, 0 to 1; predictions are clipped to that range.
    mass : float, default=0.9
        0 to 1. `polyroute train conformal --alpha 0.1` finds the one with which the set holds a
        right answer for 90 % of the questions that any candidate can answer.
    models : tuple of str, optional
        Ids to choose from; all models and agents of the pool when `None`.
    answer : {"text", "exact", "number", "choice", "boxed"}, default="text"
        How the answer is read from a reply, for counting equal ones.
    most : int, optional
        Most candidates in a set. It may break the promise, which then holds for the sets that it
        does not cut.

    Raises
    ------
    ConfigError
        If `mass` is not from 0 to 1, or `most` is less than 1.

    References
    ----------
    Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005: split conformal
    prediction. Romano, Sesia and Candes, arXiv:2006.02544: sets that grow until a mass is
    reached; theirs adds probabilities of one right label, here several candidates may be right,
    so it is the chance that one of them is, as if they failed independently.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query", "response"),
        how="supervised",
        paper="conformal prediction, Romano et al., arXiv:2006.02544",
    )

    quality: Estimator
    mass: float = 0.9
    models: tuple[CardId, ...] | None = None
    answer: Literal["text", "exact", "number", "choice", "boxed"] = "text"
    most: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.mass <= 1:
            raise ConfigError(f"mass must be from 0 to 1, got {self.mass!r}")
        if self.most is not None and self.most < 1:
            raise ConfigError(f"most must be 1 or more, got {self.most!r}")

    def candidates(self, pool: Pool) -> tuple[ModelCard, ...]:
        """Return the cards of `pool` that may be asked, in its order."""
        if self.models is None:
            return pool.answering
        wanted = set(self.models)
        return tuple(card for card in pool if wanted & {card.id, *card.aliases})

    def scores(
        self, requests: Sequence[Request], right_NM: NDArray[np.bool_], pool: Pool
    ) -> FloatArray:
        """Return the least `mass` at which the set holds a right answer, shape (N,).

        Parameters
        ----------
        requests : sequence of Request, length N
        right_NM : ndarray of bool, shape (N, len(pool))
            Who was right.
        pool : Pool
            All of it may be asked.

        Returns
        -------
        ndarray of shape (N,)
            The nonconformity scores; infinity where nobody is right.
        """
        order_NM, before_NM = _ranked(self.quality.predict(requests, pool))
        right_in_order_NM = np.take_along_axis(right_NM, order_NM, axis=1)
        scores: FloatArray = np.where(right_in_order_NM, before_NM, np.inf).min(axis=1)
        return scores

    def sizes(
        self, requests: Sequence[Request], pool: Pool, mass: float | None = None
    ) -> NDArray[np.int64]:
        """Return how many cards of `pool` would be asked on every request, shape (N,)."""
        _, before_NM = _ranked(self.quality.predict(requests, pool))
        sizes: NDArray[np.int64]
        sizes = (before_NM <= (self.mass if mass is None else mass)).sum(axis=1)
        return np.minimum(sizes, len(pool) if self.most is None else self.most)

    async def decide(self, trace: Trace) -> Decision:
        """Return the set, then the answer of the majority; after failures, those ranked next."""
        ranked = self._ranked(trace)
        if not ranked:
            wanted = ", ".join(sorted(modalities(trace.request)))
            why = f"no candidate takes this input ({wanted})"
            return Answer(reason=why, failure=Failure("bad_request", why))
        if replies := trace.good_replies:
            names = [card.id for card, _ in ranked]
            return self._vote(sorted(replies, key=lambda reply: names.index(reply.model)))
        tried = {call.model for call in trace.calls}
        left = [(card, before) for card, before in ranked if card.id not in tried]
        if not left or trace.left.rounds == 0:
            return trace.give_up()
        if tried:
            return _asked(left[:1], "every member of the set failed; the next")
        members = [pair for pair in left if pair[1] <= self.mass][: self.most]
        return _asked(members, f"{len(members)} of {len(left)} hold mass {self.mass:.3g}")

    def _ranked(self, trace: Trace) -> list[tuple[ModelCard, float]]:
        """Return the cards that can take the request, best first, and the mass before each."""
        cards = [card for card in self.candidates(trace.pool) if takes(card, trace.request)]
        if not cards:
            return []
        predicted = self.quality.predict([trace.request], trace.pool)
        columns = [trace.pool.index_of(card.id) for card in cards]
        order_NM, before_NM = _ranked(predicted[:, columns])
        return [(cards[m], float(mass)) for m, mass in zip(order_NM[0], before_NM[0], strict=True)]

    def _vote(self, replies: list[Reply]) -> Answer:
        """Return the answer of most replies, given best first."""
        read = [CANONICAL[self.answer](reply.text) for reply in replies]
        counts = Counter(answer for answer in read if answer is not None)
        most = max(counts.values(), default=0)
        # without a majority: the best predicted of those who said something
        wanted = [
            k for k, answer in enumerate(read) if most > 1 and counts.get(answer or "") == most
        ]
        winner = next(iter(wanted or [k for k, reply in enumerate(replies) if reply.text]), 0)
        said = f"{most} of {len(replies)} agree" if most > 1 else "no two agree: the best predicted"
        reply = replies[winner]
        return Answer(text=reply.text, reason=f"{reply.model}: {said}", fields=reply.fields)


def _asked(members: list[tuple[ModelCard, float]], reason: str) -> Route:
    calls = tuple(Call(card.id) for card, _ in members)
    return Route(calls=calls, final=len(calls) == 1, reason=reason, propensity=1.0)


def _ranked(quality_NM: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Return columns by falling quality, ties in order, and the mass before each of them."""
    quality_NM = np.clip(np.nan_to_num(quality_NM, nan=0.0), 0, 1)
    order_NM = np.argsort(-quality_NM, axis=1, kind="stable")
    missed_NM = np.cumprod(1 - np.take_along_axis(quality_NM, order_NM, axis=1), axis=1)
    before_NM = np.zeros_like(missed_NM)
    before_NM[:, 1:] = 1 - missed_NM[:, :-1]
    return order_NM, before_NM
