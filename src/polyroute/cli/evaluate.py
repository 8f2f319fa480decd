"""`polyroute evaluate`: routers compared on an outcome table, with intervals and a report."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import yaml
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from polyroute.backends.by_card import ByCard
from polyroute.cli.console import (
    clip,
    err,
    hint,
    note,
    plural,
    printable,
    table,
    warn,
    working,
    write_json,
    write_line,
    write_table,
)
from polyroute.cli.construction import choose, configured_specs, refuse_unknown_prices
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile, MaxRounds, MaxUsd
from polyroute.config import build, read
from polyroute.correctness import METRICS
from polyroute.errors import ConfigError
from polyroute.evaluate.beyond import ByMetric
from polyroute.evaluate.curve import Curve, curves
from polyroute.evaluate.harness import Conditions, Progress, evaluate
from polyroute.evaluate.perturbation import choice_robustness
from polyroute.evaluate.recording import Grade, cells_of
from polyroute.evaluate.report import write_report
from polyroute.evaluate.report.figures import between, dollars, number, p_value, percent, signed
from polyroute.evaluate.summarise import Precision, summarise
from polyroute.evaluate.summary import Summary
from polyroute.outcomes import OutcomeTable, Question, by_split, read_outcomes
from polyroute.outcomes.implied import pool_of
from polyroute.pool import Pool
from polyroute.protocols import Backend, Policy
from polyroute.spec import Spec, construct, named_cards
from polyroute.types import Budget

__all__ = ["Engine", "app", "evaluate_", "routers"]

app = command()


class Engine(StrEnum):
    """Where workers run."""

    PROCESSES = "processes"
    RAY = "ray"


@app.command(name="evaluate")
def evaluate_(  # noqa: PLR0913 - one parameter per option
    data: Annotated[Path, typer.Option(help="Outcome table: the start of its files, or one file.")],
    router: Annotated[
        list[str],
        typer.Option(
            help="A router, as often as there are: a policy's name, a model's id, the folder of "
            "an artifact, or a YAML file with a policy."
        ),
    ],
    report: Annotated[
        Path | None, typer.Option(help="Folder for the report: HTML, Markdown, JSON.")
    ] = None,
    split: Annotated[str, typer.Option(help="Questions to judge on; 'all' for every one.")] = "val",
    train_split: Annotated[
        str, typer.Option(help="Questions on which baselines are chosen; 'none' for none.")
    ] = "train",
    points: Annotated[
        int, typer.Option(min=0, help="Settings of the cost knob; 0 leaves the curves out.")
    ] = 6,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Episodes per question; by default one per recorded sample.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of draws and of intervals.")] = 0,
    perturbed: Annotated[
        int, typer.Option(min=0, help="Questions whose spelling is changed, for robustness.")
    ] = 100,
    engine: Annotated[
        Engine, typer.Option(help="Where workers run: processes of this machine, or Ray.")
    ] = Engine.PROCESSES,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Workers; the results do not depend on it.")
    ] = 1,
    grade: Annotated[
        str | None,
        typer.Option(
            help="Metric for an answer that repeats no recorded reply: "
            f"{', '.join(METRICS)}, or 'own' for what each question names.",
            show_default=False,
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Ask the pool of --config what is not recorded. It bills."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run with this report folder stopped.")
    ] = False,
    max_usd: MaxUsd = None,
    max_rounds: MaxRounds = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare routers on recorded outcomes, offline: quality, cost, collapse, and what is luck.

    Every router answers every question through the loop that serves, with recorded replies. The
    baselines (every single model, the best constant, the cheapest, random, the best per task) and
    the oracles are always there. Differences are paired, question by question, and p-values are
    corrected for the number of routers.

    The pool is that of --config when it is given, else the models of the table with the prices
    that its costs imply.

    A router that writes prompts or answers of its own is judged with --live, which asks the pool
    where the table has no recording, and --grade, which scores what nobody has scored. With --live
    there is one process and no cost knob.
    """  # fmt: skip
    with working(f"reading {data}"):
        bench = _bench(data, split, train_split, config)
    policies = routers(router, bench.pool, config)
    budget = Budget(usd=max_usd, rounds=max_rounds or Budget().rounds)
    conditions = Conditions(
        budget=budget, repeats=repeats, seed=seed, jobs=jobs, place=engine.value,
        folder=_folder(report, resume=resume), grade=_grade(grade),
        live=_live(config, budget) if live else None,
    )  # fmt: skip
    summary = _run(policies, bench, conditions, _Extras(0 if live else points, perturbed))
    summary = replace(summary, facts=_facts(data, split, budget, summary))
    _warn_of_failures(summary)
    if report is not None:
        for path in write_report(summary, report):
            note(f"written: {path}")
    if as_json:
        write_json(summary.to_json())
    else:
        _write(summary)


@dataclass(frozen=True, slots=True)
class _Bench:
    """The questions to judge on, those to choose on, and the candidates."""

    table: OutcomeTable
    train: OutcomeTable | None
    pool: Pool


def _bench(data: Path, split: str, train_split: str, config: Path | None) -> _Bench:
    """Read the table and divide it.

    Raises
    ------
    ConfigError
        If no question is in `split`, or the two splits are one.
    """
    whole = read_outcomes(data)
    pool = pool_of(whole) if config is None else build(read(config)).pool
    parts = by_split(whole)
    if split == "all":
        return _Bench(whole, None, pool)
    if split not in parts:
        known = ", ".join(repr(name) for name in parts if name) or "none"
        raise ConfigError(
            f"no question is in the split {split!r}; the table has {known}. Name one with --split "
            "('all' for every question)"
        )
    if split == train_split:
        raise ConfigError(
            f"what is chosen on {split!r} cannot be judged on it; give another --train-split"
        )
    train = None if train_split == "none" else parts.get(train_split)
    if train is None:
        warn("without a train split the best constant is chosen on the questions it is judged on")
    return _Bench(parts[split], train, pool)


@dataclass(frozen=True, slots=True)
class _Extras:
    """What is measured besides the episodes."""

    points: int
    perturbed: int


def _grade(metric: str | None) -> Grade | None:
    return None if metric is None else ByMetric(None if metric == "own" else metric)


def _live(config: Path | None, budget: Budget) -> Backend:
    """Return the backend of the whole pool.

    Raises
    ------
    ConfigError
        Without a configuration, or if a budget in dollars could not hold.
    """
    if config is None:
        raise ConfigError("--live asks the pool of a configuration; give it with --config")
    setup = build(read(config))
    refuse_unknown_prices(setup.pool, budget)
    return ByCard(setup.backends, setup.first_token_s)


def routers(texts: list[str], pool: Pool, config: Path | None) -> dict[str, Policy]:
    """Return the policies to compare, by name.

    Raises
    ------
    ConfigError
        If two have the same name, or one cannot be built.
    """
    policies = dict(_router(text, pool, config) for text in texts)
    if len(policies) < len(texts):
        raise ConfigError("two routers have the same name; rename a file or leave one out")
    return policies


def _router(text: str, pool: Pool, config: Path | None) -> tuple[str, Policy]:
    """Return the name and the policy that one --router stands for."""
    path = Path(text)
    if path.is_dir():
        trained = construct("policies", {"name": "trained", "artifact": text}, where=text)
        trained.check(pool)
        return path.name.removesuffix(".router"), trained
    if path.suffix in (".yaml", ".yml", ".json"):
        spec = _yaml(path)
        for _, name in named_cards("policies", spec, where=text):
            pool.index_of(name)
        policy: Policy = construct("policies", spec, where=text)
        return path.stem, policy
    specs = {} if config is None else configured_specs(config)
    return text, choose(text, specs, pool).policy


def _yaml(path: Path) -> Spec:
    """Read a policy as a configuration file spells it, alone or under the key ``policy``.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the policy {str(path)!r}: {error}") from None
    alone = isinstance(content, dict) and set(content) == {"policy"}
    spec: Spec = content["policy"] if alone else content
    return spec


def _folder(report: Path | None, *, resume: bool) -> Path | None:
    """Return where outcomes are kept, emptied unless the run is taken up again.

    Raises
    ------
    ConfigError
        If a run is to be taken up and there is no folder.
    """
    if report is None:
        if resume:
            raise ConfigError("--resume needs the folder of the run: --report FOLDER")
        return None
    folder = report / "outcomes"
    if not resume:
        for log in folder.glob("*.jsonl"):
            log.unlink()
    return folder


def _run(
    policies: dict[str, Policy], bench: _Bench, conditions: Conditions, extras: _Extras
) -> Summary:
    with _progress("episodes") as tell:
        results = evaluate(
            policies, bench.table, pool=bench.pool, conditions=replace(conditions, progress=tell)
        )
    some = bench.table.queries[: extras.perturbed]
    if some:
        with working("robustness"):
            results = {
                name: replace(
                    result,
                    robustness=asyncio.run(_robustness(policies[name], some, bench, conditions)),
                )
                for name, result in results.items()
            }
    drawn: dict[str, Curve] = {}
    knob = _knob(bench, extras.points)
    if knob:
        with _progress("over the cost knob") as tell:
            setting = replace(conditions, progress=tell)
            drawn = curves(policies, bench.table, knob, pool=bench.pool, conditions=setting)
    with working("intervals"):
        return summarise(
            results, bench.table, bench.pool, train=bench.train, curves=drawn,
            precision=Precision(seed=conditions.seed),
        )  # fmt: skip


async def _robustness(
    policy: Policy, questions: Sequence[Question], bench: _Bench, conditions: Conditions
) -> float:
    """Return the robustness of a policy; NaN for one that breaks, which its episodes report."""
    try:
        return await choice_robustness(
            policy, questions, bench.pool, budget=conditions.budget, seed=conditions.seed
        )
    except Exception:  # noqa: BLE001 - the same error is in the outcomes, attributed by the loop
        return float("nan")


def _knob(bench: _Bench, points: int) -> list[float]:
    """Return willingnesses to pay from where only price counts to where only quality does."""
    usd = cells_of(bench.table if bench.train is None else bench.train, bench.pool).usd_NM
    known = usd[np.isfinite(usd) & (usd > 0)]
    if not points or not known.size:
        return []
    ends = float(np.quantile(known, 0.05)), 1_000 * float(np.quantile(known, 0.95))
    return [float(f"{value:.3g}") for value in np.geomspace(*ends, points)]


@contextmanager
def _progress(what: str) -> Iterator[Progress | None]:
    """Show on a terminal how far a run is, and how long it will take."""
    console = err()
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _facts(data: Path, split: str, budget: Budget, summary: Summary) -> dict[str, str]:
    limits: dict[str, int | Decimal | None] = {"rounds": budget.rounds, "usd": budget.usd}
    said = ", ".join(f"{key} {value}" for key, value in limits.items() if value is not None)
    facts = {"table": data.name, "split": split, "budget": said}
    if not summary.curves:
        facts["curves"] = "none: costs are unknown, or none were wanted"
    return facts


def _warn_of_failures(summary: Summary) -> None:
    for row in summary.rows:
        if row.unrecorded:
            warn(
                f"{row.name} asked what the table does not have on "
                f"{plural(row.unrecorded, 'question')}; they have no score for it"
            )
        elif row.failed:
            warn(
                f"{row.name} has no answer to {plural(row.failed, 'question')} (score 0): "
                f"{clip(row.first_failure, 300)}"
            )


def _write(summary: Summary) -> None:
    write_line(
        f"{plural(summary.questions, 'question')}, {plural(len(summary.models), 'model')}; best "
        f"constant: {summary.constant}, chosen on {summary.constant_from}"
    )
    numbers = ("n", "score", "to constant", "interval", "p", "$/1000", "calls", "gap")
    rows = table("router", "kind", *numbers, "most used", right=numbers)
    for row in summary.rows:
        if row.kind == "model" and row.name != summary.constant:
            continue
        rows.add_row(
            printable(row.name), row.kind, str(row.questions), number(row.quality.estimate),
            signed(row.difference.estimate),
            between(row.difference), p_value(row.p_corrected), dollars(1000 * row.usd),
            number(row.calls, 2), percent(row.gap_closed),
            f"{printable(row.most_used)} {percent(row.most_used_share)}",
        )  # fmt: skip
    write_table(rows)
    if all(row.kind != "router" or not row.questions for row in summary.rows):
        hint("no router has a score; the table may lack the models that they ask")
