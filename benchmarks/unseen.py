"""What is lost with a model that nobody measured: from its card alone, and after k probes.

Every model of a table is left out in turn. The others calibrate the questions of train; the new one
is predicted from its card (id and list price; on zeroeval_crux also with its score on zeroeval_gsm
as a declared skill), and after k outcomes on questions of train, at random or chosen to be most
informative. Judged are the predicted mean over the calibrated questions, and the quality of routing
on val: every question goes to the model with the largest predicted quality; the predictions of the
known models come from a ridge on TF-IDF, the new one gets their shape at its predicted level.
"Known in full" is the same ridge fitted on all of its outcomes. The same is done with a price: the
mean price of a question over the models is worth five points, and what is judged is quality less
price; prices are those of the table on train, the new model's too. Nothing is tuned on val.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from polyroute import ModelCard, Pool, Request
from polyroute.estimators.ridge import Ridge
from polyroute.outcomes import read_outcomes
from polyroute.pool import Price
from polyroute.protocols import FloatArray
from polyroute.train.item_bank import Belief, ItemBank, choose_probes
from polyroute.train.onboard import (
    Expectation,
    belief_from_card,
    belief_without_card,
    expect,
    quality_of_new_card,
)

BoolColumn: TypeAlias = NDArray[np.bool_]

_SIDES = ("train", "val")
TABLES = ["mmlu_pro", "zeroeval_gsm", "zeroeval_crux"]
PROBES = [5, 20, 50]
SEEDS = 5
MOST = 1_000
"""Questions of train that are calibrated, and of val that are judged; a random part, seed 0."""
RESAMPLES = 4_000
PRICE = 0.05
"""What the mean price of a question, over the models, is worth in quality."""
PAIRS = [
    ("nothing: like the others", "card"),
    *((f"mean of {k} random probes", f"card and {k} random probes") for k in PROBES),
    *((f"{k} random probes", f"card and {k} random probes") for k in PROBES),
    *((f"card and {k} random probes", f"card and {k} informative probes") for k in PROBES),
]
"""What is compared model by model."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One model left out once: what was expected, and what came."""

    level: float
    low: float
    high: float
    quality: float
    """Mean on val of routing by predicted quality."""
    worth: float
    """Mean on val of quality less price, routing by predicted quality less price."""


class Table:
    """One outcome table, a random part of it, and the router that knows all its models."""

    def __init__(self, data: Path, name: str, cards: Mapping[str, ModelCard]) -> None:
        table = read_outcomes(data / name)
        score_NM = table.scores_NM()
        split = np.array([question.split for question in table.queries])
        whole = ~np.isnan(score_NM).any(axis=1)
        order = np.random.default_rng(0).permutation(len(split))
        train, val = ([n for n in order if split[n] == side and whole[n]] for side in _SIDES)
        train, val = train[:MOST], val[:MOST]
        requests = [Request.of(question.prompt) for question in table.queries]
        self.pool = Pool(cards[model] for model in table.models)
        self.score_NM, self.judged_NM = score_NM[train], score_NM[val]
        self.level_M = self.score_NM.mean(axis=0)
        usd_M = np.nanmean(table.costs_NM()[train], axis=0)
        self.price_M = PRICE * usd_M / usd_M.mean()
        router = Ridge().fit([requests[n] for n in train], self.score_NM, self.pool)
        self.routed_NM = router.predict([requests[n] for n in val], self.pool)

    def routed(self, predicted_NM: FloatArray) -> tuple[float, float]:
        """Return the mean on val of quality by quality alone, and of worth by worth."""
        rows = np.arange(len(predicted_NM))
        quality = self.judged_NM[rows, predicted_NM.argmax(axis=1)].mean()
        worth_NM = self.judged_NM - self.price_M
        worth = worth_NM[rows, (predicted_NM - self.price_M).argmax(axis=1)].mean()
        return float(quality), float(worth)

    def often(self, *, priced: bool) -> BoolColumn:
        """Return which models the router that knows all asks for 5 % of the questions or more."""
        pick_N = (self.routed_NM - self.price_M * priced).argmax(axis=1)
        return np.bincount(pick_N, minlength=len(self.pool)) >= 0.05 * len(pick_N)

    def with_level(self, m: int, others: list[int], level: float) -> tuple[float, float]:
        """Return what routing comes to when column `m` is only known by its level."""
        predicted_NM = self.routed_NM.copy()
        predicted_NM[:, m] = quality_of_new_card(
            self.routed_NM[:, others], self.level_M[others], level
        )
        return self.routed(predicted_NM)


def models(path: Path) -> dict[str, dict[str, ModelCard]]:
    """Return the cards of each table: id and list price, without anything measured on it."""
    import pyarrow.parquet as parquet

    found: dict[str, dict[str, ModelCard]] = defaultdict(dict)
    for row in parquet.read_table(path).to_pylist():
        known = row["price_in"] is not None and row["price_out"] is not None
        price = Price.per_million(row["price_in"], row["price_out"]) if known else None
        found[row["dataset"]][row["model"]] = ModelCard(id=row["model"], price=price)
    return found


def with_skills(cards: Mapping[str, ModelCard], table: Table) -> dict[str, ModelCard]:
    """Return the cards with their mean on the train split of another table as a declared skill."""
    mean = dict(zip(table.pool.ids, table.level_M, strict=True))
    return {
        name: ModelCard(id=name, price=card.price, skills={"gsm": float(mean[name])})
        if name in mean
        else card
        for name, card in cards.items()
    }


def left_out(
    table: Table, m: int, skilled: Mapping[str, ModelCard] | None
) -> Iterator[tuple[str, Outcome]]:
    """Yield what each way of knowing model `m` comes to."""
    others = [j for j in range(len(table.pool)) if j != m]
    bank = ItemBank.fit(table.score_NM[:, others])
    nothing = belief_without_card(bank.ability_M)
    known = [table.pool[j] for j in others]
    card = belief_from_card(known, bank.ability_M, table.pool[m])
    score_N = table.score_NM[:, m]

    def outcome(found: Expectation) -> Outcome:
        reached = table.with_level(m, others, found.level)
        return Outcome(found.level, found.low, found.high, *reached)

    yield "nothing: like the others", outcome(expect(bank, nothing))
    yield "card", outcome(expect(bank, card))
    if skilled is not None:
        told = [skilled[one.id] for one in known]
        belief = belief_from_card(told, bank.ability_M, skilled[table.pool[m].id])
        yield "card with its gsm score", outcome(expect(bank, belief))
    for k in PROBES:
        for seed in range(SEEDS):
            rows = np.random.default_rng([seed, m, k]).choice(len(score_N), k, replace=False)
            mean = float(score_N[rows].mean())
            yield (
                f"mean of {k} random probes",
                Outcome(mean, np.nan, np.nan, *table.with_level(m, others, mean)),
            )
            for name, belief in (("", nothing), ("card and ", card)):
                found = expect(bank, belief, rows, score_N[rows])
                yield f"{name}{k} random probes", outcome(found)
        yield f"{k} informative probes", outcome(_tested(bank, nothing, k, score_N))
        yield f"card and {k} informative probes", outcome(_tested(bank, card, k, score_N))


def _tested(bank: ItemBank, belief: Belief, k: int, score_N: FloatArray) -> Expectation:
    """Return what is expected after the `k` questions that tell most, all chosen beforehand."""
    rows = choose_probes(bank, belief, k)
    return expect(bank, belief, rows, score_N[list(rows)])


def interval(value_M: FloatArray) -> str:
    """Return the mean and its 95 % bootstrap interval over models."""
    draws = np.random.default_rng(0).integers(0, len(value_M), (RESAMPLES, len(value_M)))
    low, high = np.percentile(value_M[draws].mean(axis=1), [2.5, 97.5])
    return f"{100 * value_M.mean():.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def report(name: str, table: Table, skilled: Mapping[str, ModelCard] | None) -> None:
    """Leave every model of the table out, and print a Markdown table; in hundredths of a score."""
    started = time.process_time()
    count = len(table.pool)
    found: dict[str, list[list[Outcome]]] = defaultdict(lambda: [[] for _ in range(count)])
    without_M2 = np.empty((count, 2))
    for m in range(count):
        hidden_NM = table.routed_NM.copy()
        hidden_NM[:, m] = -np.inf
        without_M2[m] = table.routed(hidden_NM)
        for way, outcome in left_out(table, m, skilled):
            found[way][m].append(outcome)
    full_2 = np.array(table.routed(table.routed_NM))
    often = [int(table.often(priced=priced).sum()) for priced in (False, True)]
    print(
        f"\n## {name}\n\n{count} models, {len(table.score_NM)} questions of train, "
        f"{len(table.judged_NM)} of val. With every model known in full: quality {full_2[0]:.4f}, "
        f"{often[0]} models asked often (5 % of the questions or more); quality less price "
        f"{full_2[1]:.4f}, {often[1]} asked often. CPU {time.process_time() - started:.0f} s.\n\n"
        "| known of the new model | error of the mean | inside its interval "
        "| quality lost | if often asked | quality less price lost | if often asked |\n"
        "| --- | --- | ---: | --- | ---: | --- | ---: |"
    )
    print(f"| it is left out | | | {losses(table, full_2 - without_M2)} |")
    error_of: dict[str, FloatArray] = {}
    for way, runs in found.items():
        level_M, errors, inside = table.level_M, [], []
        for ones, level in zip(runs, level_M, strict=True):
            errors.append(np.mean([abs(one.level - level) for one in ones]))
            inside += [one.low <= level <= one.high for one in ones if not np.isnan(one.low)]
        reached_M2 = np.array(
            [np.mean([(one.quality, one.worth) for one in ones], axis=0) for ones in runs]
        )
        error_of[way] = np.array(errors)
        covered = f"{100 * np.mean(inside):.0f} %" if inside else ""
        lost = losses(table, full_2 - reached_M2)
        print(f"| {way} | {interval(error_of[way])} | {covered} | {lost} |", flush=True)

    print("\n| instead of | know | error of the mean, less by |\n| --- | --- | --- |")
    for worse, better in PAIRS:
        gain_M = error_of[worse] - error_of[better]
        print(f"| {worse} | {better} | {interval(gain_M)} |", flush=True)


def losses(table: Table, lost_M2: FloatArray) -> str:
    """Return four cells: what is lost by quality and by worth, over all and often asked models."""
    cells = []
    for column, priced in ((0, False), (1, True)):
        lost_M = lost_M2[:, column]
        often_M = table.often(priced=priced)
        cells += [interval(lost_M), f"{100 * lost_M[often_M].mean():.2f}"]
    return " | ".join(cells)


def main() -> None:
    """Print the results as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tables", nargs="*", default=TABLES)
    options = parser.parse_args()
    listed = options.data / "extras/models.parquet"
    if not listed.is_file():
        print(f"skipped: {listed} is not there, and the cards are made from it")
        return
    cards = models(listed)
    for name in options.tables:
        if not (options.data / f"dev/{name}.queries.parquet").is_file():
            print(f"skipped {name}: not in {options.data / 'dev'}")
            continue
        table = Table(options.data / "dev", name, cards[name])
        skilled = None
        if (
            name == "zeroeval_crux"
            and (options.data / "dev/zeroeval_gsm.queries.parquet").is_file()
        ):
            gsm = Table(options.data / "dev", "zeroeval_gsm", cards["zeroeval_gsm"])
            skilled = with_skills(cards[name], gsm)
        report(name, table, skilled)


if __name__ == "__main__":
    main()
