"""ACAR on real recorded answers: accuracy and cost beside every baseline, with 95 % intervals.

Every ACAR figure comes out of the real loop: `run_episode`, the `Replay` backend and
`SelfConsistency`. Models are chosen on the train split and judged on val. The score of an answer is
the recorded score of the reply that was chosen; the policy never sees a score.

    python benchmarks/acar.py [--data ../shared/data/dev] [--resamples 2000]
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from polyroute import Message, ModelCard, Pool, Request, Trace, run_episode
from polyroute.backends.replay import Replay
from polyroute.outcomes import OutcomeTable, read_outcomes
from polyroute.policies.self_consistency import CANONICAL, SelfConsistency

Floats = NDArray[np.float64]

WRONG_BELOW = 0.5
"""A score below this is a wrong answer; Reasoning Gym gives partial credit."""

RECORDINGS_OF_ONE_MODEL = (
    "Llama-3.1-405B-Inst@sambanova",
    "Llama-3.1-405B-Instruct-Turbo",
    "Meta-Llama-3.1-405B-Instruct@hyperbolic",
)
"""The same weights, served by three providers: the nearest thing to three samples in the tables."""

HIDDEN_REASONING = frozenset({"o1-mini-2024-09-12", "o3-mini", "deepseek-r1", "qwq-32b"})
"""Models whose recorded cost leaves out most of what they wrote."""


@dataclass(frozen=True)
class Setup:
    """One choice of three probes and three arena members."""

    title: str
    probes: tuple[str, ...]
    arena: tuple[str, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """All six."""
        return (*self.probes, *self.arena)


@dataclass(frozen=True)
class Result:
    """One router's outcome on N questions, as arrays of length N."""

    name: str
    scores: Floats
    usd: Floats
    calls: float


@dataclass(frozen=True)
class AcarResult(Result):
    """What ACAR did besides."""

    sigmas: Floats
    """NaN where a probe has no recorded answer."""
    full: NDArray[np.bool_]
    """Whether the full arena was asked."""


class Recorded:
    """A table with one answer of each model to each question, addressed by both."""

    def __init__(self, table: OutcomeTable, extract: str) -> None:
        self.table = table
        self.extract = extract
        self.scores_NM = table.scores_NM()
        self.usd_NM = table.costs_NM()
        responses = table.responses
        self._row = {
            (n, m): row
            for row, (n, m) in enumerate(
                zip(responses.query.tolist(), responses.model.tolist(), strict=True)
            )
        }
        self._texts = table.texts

    def column(self, model: str) -> int:
        """Return the column of `model`."""
        return self.table.models.index(model)

    def score(self, n: int, model: str) -> float:
        """Return the recorded score."""
        return float(self.scores_NM[n, self.column(model)])

    def answer(self, n: int, model: str) -> tuple[bool, str | None]:
        """Return whether the answer was kept, and its canonical form."""
        text = self._texts[self._row[n, self.column(model)]]
        return text is not None, None if text is None else CANONICAL[self.extract](text)

    def usd(self, questions: Sequence[int], models: Sequence[str]) -> Floats:
        """Return the recorded cost of asking all of `models`; unknown counts as nothing."""
        columns = [self.column(model) for model in models]
        total: Floats = np.nan_to_num(self.usd_NM[np.ix_(questions, columns)]).sum(axis=1)
        return total


def questions(recorded: Recorded, setup: Setup, split: str) -> list[int]:
    """Return the questions of `split` that every model of the setup was asked."""
    columns = [recorded.column(model) for model in setup.models]
    asked = np.isfinite(recorded.scores_NM[:, columns]).min(axis=1)
    return [n for n, q in enumerate(recorded.table.queries) if q.split == split and asked[n]]


def single(recorded: Recorded, model: str, ns: Sequence[int]) -> Result:
    """One model answers everything."""
    scores = np.array([recorded.score(n, model) for n in ns])
    return Result(model, scores, recorded.usd(ns, [model]), 1)


def majority(name: str, recorded: Recorded, models: Sequence[str], ns: Sequence[int]) -> Result:
    """Let the canonical answers of all `models` vote; ties go to the earliest."""

    def winner(n: int) -> str:
        answers = [recorded.answer(n, model)[1] for model in models]
        counts = Counter(answer for answer in answers if answer is not None)
        best = max(range(len(models)), key=lambda k: (counts.get(answers[k] or "", 0), -k))
        return models[best]

    scores = np.array([recorded.score(n, winner(n)) for n in ns])
    return Result(name, scores, recorded.usd(ns, models), len(models))


def bounds(recorded: Recorded, setup: Setup, ns: Sequence[int]) -> list[Result]:
    """Return the random choice among the six models, and the oracle."""
    models = list(setup.models)
    grid = np.array([[recorded.score(n, model) for model in models] for n in ns])
    mean_usd = recorded.usd(ns, models) / len(models)
    cost = np.nan_to_num(recorded.usd_NM[np.ix_(ns, [recorded.column(m) for m in models])])
    best = grid.max(axis=1)
    cheapest_best = np.where(grid == best[:, None], cost, np.inf).min(axis=1)
    return [
        Result("random of the six (expected)", grid.mean(axis=1), mean_usd, 1),
        Result("oracle (cheapest of the best)", best, cheapest_best, 1),
    ]


def cost_matched(recorded: Recorded, limit_usd: float, ns: Sequence[int]) -> list[Result]:
    """Return the best single model (on train) whose mean train cost is at most `limit_usd`.

    A router that costs as much as a better single model is no gain. Models whose hidden reasoning
    is not in the recorded cost are left out.
    """
    train = [n for n, q in enumerate(recorded.table.queries) if q.split == "train"]
    affordable = [
        model
        for model in recorded.table.models
        if model not in HIDDEN_REASONING and recorded.usd(train, [model]).mean() <= limit_usd
    ]
    if not affordable:
        return []
    model = max(affordable, key=lambda name: train_score(recorded, name))
    result = single(recorded, model, ns)
    return [Result(f"best single at ACAR's cost or less: {model}", result.scores, result.usd, 1)]


async def acar(
    recorded: Recorded,
    setup: Setup,
    ns: Sequence[int],
    sigma_half: Literal["probe_majority", "vote"],
) -> AcarResult:
    """Run the policy through the loop on every question."""
    pool = Pool(ModelCard(id=model) for model in setup.models)
    backend = Replay.of(recorded.table)
    policy = SelfConsistency(
        setup.probes, setup.arena, extract=recorded.extract, sigma_half=sigma_half
    )
    traces = []
    for n in ns:
        question = recorded.table.queries[n]
        request = Request(id=question.query_id, messages=(Message("user", question.prompt),))
        traces.append(await run_episode(policy, backend, request, pool))
    facts = [getattr(trace.steps[-1].decision, "fields", {}) for trace in traces]
    sigmas = [fact.get("sigma") for fact in facts]
    return AcarResult(
        name=f"ACAR, sigma_half: {sigma_half}",
        scores=np.array([score_of(recorded, n, t) for n, t in zip(ns, traces, strict=True)]),
        usd=np.array([float(trace.bill.usd) for trace in traces]),
        calls=float(np.mean([len(trace.replies) for trace in traces])),
        sigmas=np.array([np.nan if sigma is None else sigma for sigma in sigmas]),
        full=np.array([fact.get("mode") == "full_arena" for fact in facts]),
    )


def score_of(recorded: Recorded, n: int, trace: Trace) -> float:
    """Return the recorded score of the reply that was chosen; 0 when there was none."""
    fields = getattr(trace.steps[-1].decision, "fields", {})
    if "winner_reply" not in fields:
        return 0.0
    reply = trace.replies[fields["winner_reply"]]
    recording = reply.fields["recording"]
    assert recording == {"query_id": recorded.table.queries[n].query_id, "sample": 0}
    return recorded.score(n, reply.model)


class Bootstrap:
    """Percentile intervals over questions; the same resamples for all, so differences pair."""

    def __init__(self, size: int, resamples: int) -> None:
        random = np.random.default_rng(20261122)
        self._counts = random.multinomial(size, np.full(size, 1 / size), resamples)

    def interval(self, values_N: Floats, among_N: NDArray[np.bool_] | None = None) -> str:
        """Return the mean (of the questions in `among_N`) and its 95 % interval, in percent."""
        among = np.ones(len(values_N), bool) if among_N is None else among_N
        if not among.any():
            return "–"
        weight = self._counts @ among.astype(float)
        total = self._counts @ np.where(among, values_N, 0.0)
        low, high = np.percentile(total[weight > 0] / weight[weight > 0], [2.5, 97.5]) * 100
        return f"{values_N[among].mean() * 100:.1f} [{low:.1f}, {high:.1f}]"


def results_table(results: Sequence[Result], best: Result, bootstrap: Bootstrap) -> None:
    """Print accuracy, difference to the best single model, cost and calls."""
    print("| router | accuracy % | minus best single (paired) | $ per 1,000 | calls |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for result in results:
        difference = "" if result is best else bootstrap.interval(result.scores - best.scores)
        print(
            f"| {result.name} | {bootstrap.interval(result.scores)} | {difference} | "
            f"{result.usd.mean() * 1000:.3f} | {result.calls:.2f} |"
        )


def sigma_table(
    setup: Setup, by_vote: AcarResult, probes: Result, first: Result, bootstrap: Bootstrap
) -> None:
    """Print how accurate the probes and others are at each sigma."""
    print(f"\n| sigma | share % | probes' majority % | {setup.arena[0]} (M1) % | ACAR, vote % |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for sigma in (0.0, 0.5, 1.0, np.nan):
        among = np.isnan(by_vote.sigmas) if np.isnan(sigma) else by_vote.sigmas == sigma
        if among.any():
            cells = [
                bootstrap.interval(result.scores, among) for result in (probes, first, by_vote)
            ]
            share = bootstrap.interval(among.astype(float))
            name = "unknown" if np.isnan(sigma) else f"{sigma:g}"
            print(f"| {name} | {share} | {' | '.join(cells)} |")


def report(
    recorded: Recorded, setup: Setup, split: str, resamples: int, limit_usd: float | None
) -> None:
    """Print everything about one setup on one split."""
    ns = questions(recorded, setup, split)
    bootstrap = Bootstrap(len(ns), resamples)
    singles = [single(recorded, model, ns) for model in setup.models]
    best = singles[len(setup.probes)]  # M1: the best on train
    probes = majority("majority of the three probes", recorded, setup.probes, ns)
    runs = [asyncio.run(acar(recorded, setup, ns, half)) for half in ("probe_majority", "vote")]
    print(f"\n#### {split}: {len(ns)} questions\n")
    results = [
        *singles,
        probes,
        majority("Arena-2 (M1, M2; a tie is M1's)", recorded, setup.arena[:2], ns),
        majority("Arena-3 (majority)", recorded, setup.arena, ns),
        *([] if limit_usd is None else cost_matched(recorded, limit_usd, ns)),
        *runs,
        *bounds(recorded, setup, ns),
    ]
    results_table(results, best, bootstrap)
    sigma_table(setup, runs[1], probes, best, bootstrap)
    agreed = runs[1].sigmas == 0
    wrong = runs[1].scores < WRONG_BELOW
    unknown = np.isnan(recorded.usd_NM[np.ix_(ns, [recorded.column(m) for m in setup.models])])
    print(f"\nFull arena avoided: {bootstrap.interval((~runs[1].full).astype(float))} %.")
    print(f"Agreed but wrong: {bootstrap.interval((agreed & wrong).astype(float))} % of questions.")
    print(
        "`probe_accuracy_when_agreed`: "
        f"{runs[1].scores[agreed].mean() if agreed.any() else float('nan'):.3f}."
    )
    print(f"Recorded answers without a cost (counted as nothing): {int(unknown.sum())}.")


def ranked(recorded: Recorded, matrix_NM: Floats) -> list[str]:
    """Return the models in order of their train mean in `matrix_NM`, lowest first."""
    train = [n for n, q in enumerate(recorded.table.queries) if q.split == "train"]
    means = np.nanmean(matrix_NM[train], axis=0)
    return [recorded.table.models[m] for m in np.argsort(means, kind="stable")]


def train_score(recorded: Recorded, model: str) -> float:
    """Return the mean train score of `model`."""
    train = [n for n, q in enumerate(recorded.table.queries) if q.split == "train"]
    return float(np.nanmean(recorded.scores_NM[train, recorded.column(model)]))


def setups_of_gsm(recorded: Recorded) -> list[Setup]:
    """Choose by train alone: the arena is the best three, the probes as each title says."""
    by_cost = ranked(recorded, recorded.usd_NM)
    good = [model for model in by_cost if train_score(recorded, model) >= 0.9]
    choices = [
        ("one model, recorded three times (Llama-3.1-405B at three providers)",
         RECORDINGS_OF_ONE_MODEL),
        ("three near peers: the three cheapest models with train accuracy of 90 % or more",
         tuple(good[:3])),
        ("three weak models: the three cheapest of all", tuple(by_cost[:3])),
    ]  # fmt: skip
    return [with_best_arena(recorded, title, probes) for title, probes in choices]


def setups_of_reasoning_gym(recorded: Recorded) -> list[Setup]:
    """Choose by train alone; cost is no guide here, hidden reasoning being uncounted."""
    by_score = ranked(recorded, recorded.scores_NM)
    kept = [model for model in by_score[:-3] if share_kept(recorded, model) >= 0.9]
    choices = [
        ("the three best outside the arena whose answers were kept on 90 % of the questions",
         tuple(kept[-3:])),
        ("three weak models: the lowest three on train", tuple(by_score[:3])),
    ]  # fmt: skip
    return [with_best_arena(recorded, title, probes) for title, probes in choices]


def acar_cost(recorded: Recorded, setup: Setup) -> float:
    """Return what ACAR costs per question on train."""
    run = asyncio.run(acar(recorded, setup, questions(recorded, setup, "train"), "vote"))
    return float(run.usd.mean())


def share_kept(recorded: Recorded, model: str) -> float:
    """Return the share of a model's answers of which the table has the text or the answer."""
    rows = np.flatnonzero(recorded.table.responses.model == recorded.column(model))
    texts = recorded.table.texts
    return sum(texts[row] is not None for row in rows) / len(rows)


def with_best_arena(recorded: Recorded, title: str, probes: tuple[str, ...]) -> Setup:
    """Return the setup whose arena is the best three on train that are not probes."""
    by_score = [m for m in reversed(ranked(recorded, recorded.scores_NM)) if m not in probes]
    return Setup(title, probes, tuple(by_score[:3]))


TABLES = {
    "zeroeval_gsm": ("number", setups_of_gsm, True),
    "reasoning_gym": ("exact", setups_of_reasoning_gym, False),
}
"""How answers are read, how models are chosen, and whether recorded costs can be compared."""


def main() -> None:
    """Print the report as Markdown."""
    here = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=here / "../shared/data/dev")
    parser.add_argument("--resamples", type=int, default=2000)
    arguments = parser.parse_args()
    for name, (extract, setups, cost_counts) in TABLES.items():
        if not (arguments.data / f"{name}.responses.parquet").is_file():
            print(f"skipped {name}: {arguments.data}/{name}.responses.parquet is not there")
            continue
        recorded = Recorded(read_outcomes(arguments.data / name), extract)
        for setup in setups(recorded):
            print(f"\n### {name}: {setup.title}\n")
            print(f"Probes: {', '.join(setup.probes)}. Arena: {', '.join(setup.arena)}.")
            limit_usd = acar_cost(recorded, setup) if cost_counts else None
            for split in ("val", "train"):
                report(recorded, setup, split, arguments.resamples, limit_usd)


if __name__ == "__main__":
    main()
