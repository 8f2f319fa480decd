"""Choose who has to agree, and who is asked otherwise: the search for an `agreement` policy.

The one decision here: the cheapest of thousands of cascades that reach a bar on the same questions
has mostly been lucky. So a cascade counts as reaching it only when it does with some standard
errors of the paired difference to spare.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyroute.answers import CANONICAL, Canonical
from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable
from polyroute.pool import Pool
from polyroute.protocols import FloatArray
from polyroute.spec import resolve
from polyroute.train.examples import Examples
from polyroute.types import JsonObject

__all__ = ["Agreed", "best_agreement", "fit_agreement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """Two members and the other, as columns, and what they gave on the questions searched."""

    members: tuple[int, int]
    otherwise: int
    quality: float
    """Mean over the questions."""
    lower: float
    """Mean difference to the bar, less the margin; 0 or more."""
    usd: float
    """Mean price of a question, US dollars."""
    agreed: float
    """Share of the questions on which the members agreed."""


def best_agreement(
    answer_NM: NDArray[np.int64],
    quality_NM: FloatArray,
    usd_NM: FloatArray,
    *,
    bar_N: FloatArray,
    sure: float,
    members: Sequence[int],
) -> Agreed | None:
    """Return the cheapest pair and other that surely reach the bar, or `None`.

    Parameters
    ----------
    answer_NM : ndarray of int, shape (N, M)
        Equal numbers in a row are equal answers; a negative one agrees with nothing.
    quality_NM, usd_NM : ndarray of shape (N, M)
        What the replies were worth, 0 to 1, and cost, in US dollars.
    bar_N : ndarray of shape (N,)
        What to reach, question by question.
    sure : float
        Standard errors of the mean difference that must be left, 0 or more.
    members : sequence of int
        Columns that may be members; any other column may be the other.
    """
    n, m = quality_NM.shape
    best: Agreed | None = None
    for a, b in itertools.combinations(members, 2):
        agree_N1 = ((answer_NM[:, a] == answer_NM[:, b]) & (answer_NM[:, a] >= 0))[:, None]
        got_NM = np.where(agree_N1, quality_NM[:, [a]], quality_NM)
        more_NM = got_NM - bar_N[:, None]
        error_M = more_NM.std(axis=0, ddof=1) / np.sqrt(n)
        lower_M = more_NM.mean(axis=0) - sure * error_M
        paid_M = (usd_NM[:, [a]] + usd_NM[:, [b]] + np.where(agree_N1, 0, usd_NM)).mean(axis=0)
        able_M = (lower_M >= 0) & ~np.isin(np.arange(m), (a, b))
        if not able_M.any():
            continue
        other = int(np.argmin(np.where(able_M, paid_M, np.inf)))
        if best is None or paid_M[other] < best.usd:
            best = Agreed(
                members=(a, b), otherwise=other, quality=float(got_NM[:, other].mean()),
                lower=float(lower_M[other]), usd=float(paid_M[other]),
                agreed=float(agree_N1.mean()),
            )  # fmt: skip
    return best


def fit_agreement(
    table: OutcomeTable,
    pool: Pool,
    *,
    answers: str = "text",
    target: float = 1.0,
    sure: float = 1.645,
    cheap: float = 0.5,
) -> tuple[JsonObject, JsonObject]:
    """Return the spec of an `agreement` policy, and what is expected of it.

    Parameters
    ----------
    table : OutcomeTable
        With the texts of the replies, their scores and their prices.
    pool : Pool
        The cards to choose from.
    answers : str, default="text"
        How an answer is read; the parameter ``extract`` of the policy.
    target : float, default=1
        Share of the best single model's mean score to reach.
    sure : float, default=1.645
        Standard errors of the paired difference to spare; this is one-sided 95 % for one cascade.
    cheap : float, default=0.5
        Members cost at most this share of the best single model, on average.

    Raises
    ------
    ConfigError
        If texts, scores or prices are missing, or nothing reaches the target.
    """
    read: Canonical = CANONICAL.get(answers) or resolve(answers, where="answers")
    examples = Examples.of(table, pool=pool)
    whole_N = np.isfinite(examples.quality_NM + examples.usd_NM).all(axis=1)
    answer_NM = _answers(table, examples, read)
    if whole_N.sum() < 2 or (answer_NM[whole_N] < 0).all():
        raise ConfigError(
            "too few questions have a text, a score and a price from every candidate; agreement "
            "is found between texts"
        )
    quality_NM, usd_NM = examples.quality_NM[whole_N], examples.usd_NM[whole_N]
    means_M, prices_M = quality_NM.mean(axis=0), usd_NM.mean(axis=0)
    single = int(np.argmax(means_M))
    members = [m for m in np.argsort(prices_M) if prices_M[m] <= cheap * prices_M[single]]
    found = best_agreement(
        answer_NM[whole_N], quality_NM, usd_NM,
        bar_N=target * quality_NM[:, single], sure=sure, members=[int(m) for m in members],
    )  # fmt: skip
    ids = examples.pool.ids
    if found is None or found.usd >= prices_M[single]:
        raise ConfigError(
            f"no two of the {len(members)} models that cost at most {cheap:.0%} of "
            f"{ids[single]!r}, with any other, surely reach {target:.1%} of its "
            f"{means_M[single]:.4f} for less than it costs, on {int(whole_N.sum())} questions; "
            "lower the target or the margin"
        )
    spec = {
        "name": "agreement",
        "members": [ids[m] for m in found.members],
        "otherwise": ids[found.otherwise],
        "extract": answers,
    }
    return spec, {
        "questions": int(whole_N.sum()),
        "quality": found.quality,
        "usd": found.usd,
        "agreed": found.agreed,
        "best_single": ids[single],
        "best_single_quality": float(means_M[single]),
        "best_single_usd": float(prices_M[single]),
    }


def _answers(table: OutcomeTable, examples: Examples, read: Canonical) -> NDArray[np.int64]:
    """Return the answer of each reply as a number, -1 where there is none; first samples."""
    rows = {request.id: n for n, request in enumerate(examples.requests)}
    columns = {
        name: m
        for m, card in enumerate(examples.pool)
        for name in (card.id, *card.aliases)
        if name in table.models
    }
    answer_NM = np.full(examples.quality_NM.shape, -1, np.int64)
    known: dict[str, int] = {}
    pairs = zip(table.responses.query, table.responses.model, table.texts, strict=True)
    for query, model, text in pairs:
        n = rows.get(table.queries[int(query)].query_id)
        m = columns.get(table.models[int(model)])
        said = None if text is None else read(text)
        if n is not None and m is not None and said is not None and answer_NM[n, m] < 0:
            answer_NM[n, m] = known.setdefault(said, len(known))
    return answer_NM
