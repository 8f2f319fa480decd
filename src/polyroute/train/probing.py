"""Measure a card that no router knows: by its descriptor, and by the most telling questions.

The one decision here: the yardstick is the same procedure on cards whose truth is known. Each is
left out in turn, the questions are calibrated on the others, it is tested with as many probes, and
what comes out is compared with what it scores. Nothing else says how wrong a prediction is.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from polyroute.errors import ConfigError
from polyroute.pool import ModelCard, Pool
from polyroute.train.added import Added
from polyroute.train.item_bank import Belief, ItemBank, choose_probes
from polyroute.train.items import Items
from polyroute.train.onboard import Expectation, belief_from_card, expect
from polyroute.types import Json, JsonObject, Usage

__all__ = ["AdaptiveTest", "Ask", "Probe", "Yardstick", "measure_card", "measure_known"]

_RESAMPLES = 4_000
_TYPICAL = Usage(input=400, output=300)
"""A call by which prices of cards are compared."""
_LEAST_USD = 1e-9


@dataclass(frozen=True, slots=True)
class Probe:
    """The outcome of one question."""

    score: float
    """0 to 1."""
    usd: float | None = None
    """What the call cost; `None`: unknown."""


Ask = Callable[[int], Awaitable[Probe | None]]
"""Asks the card a question, by its row among the items; `None` when there is no outcome."""


class AdaptiveTest:
    """One question after the other, each the one that tells most after all before it.

    Parameters
    ----------
    bank : ItemBank
    prior : Belief
        Before anything is asked.
    barred : sequence of int, optional
        Rows that cannot be asked.
    """

    def __init__(self, bank: ItemBank, prior: Belief, *, barred: Sequence[int] = ()) -> None:
        self._bank = bank
        self._prior = prior
        self._barred = list(barred)
        self._rows: list[int] = []
        self._scores: list[float] = []
        self.expected: Expectation = expect(bank, prior)
        """After what was recorded so far."""

    def question(self) -> int | None:
        """Return the row to ask next; `None` when none is left."""
        asked = [*self._barred, *self._rows]
        rows = choose_probes(self._bank, self.expected.ability, 1, asked=asked)
        return rows[0] if rows else None

    def record(self, row: int, score: float | None) -> None:
        """Take in an outcome; `None`: there is none, and the question is not asked again."""
        if score is None:
            self._barred.append(row)
            return
        self._rows.append(row)
        self._scores.append(score)
        self.expected = expect(self._bank, self._prior, self._rows, self._scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """How wrong the same procedure is about known cards that are left out."""

    cards: int
    probes: int
    mean_error: float
    """Mean distance between the expected and the true mean score, 0 to 1."""
    low: float
    """95 % bootstrap interval of it, over cards."""
    high: float
    inside: float
    """Share of the cards whose truth was inside the 95 % interval that came with it."""

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def measure_known(
    items: Items, pool: Pool, probes: int, *, say: Callable[[str], None] = lambda _: None
) -> Yardstick | None:
    """Leave every known card out in turn; `None` where fewer than four are known.

    Parameters
    ----------
    items : Items
    pool : Pool
        The known cards, for what they say of themselves.
    probes : int
        Questions that each card is asked, where so many are recorded.
    say : callable, optional
        Told how far it is.
    """
    if len(items.ids) < 4:  # a card is predicted from three others, at least
        return None
    errors, inside = [], []
    for m, id in enumerate(items.ids):
        say(f"leaving out {id} ({m + 1} of {len(items.ids)})")
        others = items.without(id)
        score_N = items.score_NM[:, m]
        known = [pool.card(other) for other in others.ids]
        prior = belief_from_card(known, others.bank.ability_M, pool.card(id))
        test = AdaptiveTest(others.bank, prior, barred=np.flatnonzero(np.isnan(score_N)).tolist())
        for _ in range(probes):
            if (row := test.question()) is None:
                break
            test.record(row, float(score_N[row]))
        truth = float(items.level_M[m])
        errors.append(abs(test.expected.level - truth))
        inside.append(test.expected.low <= truth <= test.expected.high)
    draws = np.random.default_rng(0).integers(0, len(errors), (_RESAMPLES, len(errors)))
    low, high = np.percentile(np.array(errors)[draws].mean(axis=1), [2.5, 97.5])
    return Yardstick(
        cards=len(errors),
        probes=probes,
        mean_error=float(np.mean(errors)),
        low=float(low),
        high=float(high),
        inside=float(np.mean(inside)),
    )


async def measure_card(
    items: Items,
    pool: Pool,
    card: ModelCard,
    *,
    probes: int = 0,
    ask: Ask | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Added:
    """Return what is expected of `card`, from its descriptor and the outcomes of its probes.

    Parameters
    ----------
    items : Items
        Of the artifact.
    pool : Pool
        The cards that it was trained on.
    card : ModelCard
        The new one.
    probes : int, default=0
        Outcomes to gather, fewer where no more questions are left.
    ask : callable, optional
        Gets them; required with probes.
    say : callable, optional
        Told every outcome.

    Raises
    ------
    ConfigError
        If `pool` has the card already, or fewer than three cards are known.
    """
    if card.id in pool.ids:
        raise ConfigError(f"the router was trained on {card.id!r}; there is nothing to add")
    known = [pool.card(id) for id in items.ids]
    test = AdaptiveTest(items.bank, belief_from_card(known, items.bank.ability_M, card))
    by_card = test.expected
    seen: dict[int, Probe] = {}
    while ask is not None and len(seen) < probes and (row := test.question()) is not None:
        probe = await ask(row)
        test.record(row, None if probe is None else probe.score)
        if probe is not None:
            seen[row] = probe
            now = test.expected
            say(
                f"probe {len(seen)} of {probes}: score {probe.score:g}; expected mean "
                f"{now.level:.3f} ({now.low:.3f} to {now.high:.3f})"
            )
    listed: list[Json] = [
        {"question": items.keys[row], "score": probe.score, "usd": probe.usd}
        for row, probe in seen.items()
    ]
    report: JsonObject = {
        "from_card": {"level": by_card.level, "low": by_card.low, "high": by_card.high},
        "probes": listed,
    }
    log_usd = _log_usd(items, known, card, seen)
    return Added(card=card, expected=test.expected, log_usd=log_usd, report=report)


def _log_usd(
    items: Items, known: Sequence[ModelCard], card: ModelCard, seen: dict[int, Probe]
) -> float | None:
    """Return the mean logarithm of the card's price: from its probes, else from its price list.

    A probe counts less what its question costs the known cards above their means, so that dear
    questions do not make a dear card. By price list the card costs what the known ones do, times
    the ratio of prices.
    """
    usual_M = items.log_usd_M
    away_NM = items.log_usd_NM - usual_M
    levels = [
        math.log10(max(probe.usd, _LEAST_USD)) - float(away_NM[row][~np.isnan(away_NM[row])].mean())
        for row, probe in seen.items()
        if probe.usd is not None and not np.isnan(away_NM[row]).all()
    ]
    if levels:
        return float(np.mean(levels))
    listed = [_log_price(one) for one in known]
    own = _log_price(card)
    ratios = [
        float(usual) - price
        for usual, price in zip(usual_M, listed, strict=True)
        if price is not None and not np.isnan(usual)
    ]
    return None if own is None or not ratios else own + float(np.mean(ratios))


def _log_price(card: ModelCard) -> float | None:
    if card.price is None:
        return None
    return math.log10(max(float(card.price.cost(_TYPICAL)), _LEAST_USD))
