"""`polyroute pool add`: a trained router learns of a new model."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import yaml

from polyroute.cli.console import (
    hint,
    note,
    plural,
    table,
    working,
    write_json,
    write_line,
    write_table,
)
from polyroute.cli.construction import opened
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile, MaxUsd
from polyroute.config import Settings, build, cards_of, parse, read
from polyroute.correctness import METRICS
from polyroute.episode import run_episode
from polyroute.errors import BackendError, ConfigError
from polyroute.evaluate.collect import Capped, Scorer, by_metric
from polyroute.outcomes import OutcomeTable, Question, read_outcomes, read_questions
from polyroute.policies.fixed import Fixed
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import Backend
from polyroute.train.added import Added
from polyroute.train.artifact import extend, read_items, read_manifest
from polyroute.train.items import Items, key_of
from polyroute.train.probing import Ask, Probe, Yardstick, measure_card, measure_known
from polyroute.types import Budget, Json, Message, Request

__all__ = ["add", "app"]

app = command()

_MOST_FAILURES = 3
"""Calls in a row without an answer, after which the model counts as unreachable."""


@app.command()
def add(  # noqa: PLR0913 - one parameter per option
    card: Annotated[
        str,
        typer.Argument(
            help="YAML file with the card as a configuration spells it, or the id of a card of "
            "--config.",
            metavar="CARD",
        ),
    ],
    artifact: Annotated[
        Path, typer.Option("--artifact", "-a", help="The trained router.", metavar="FOLDER")
    ],
    probes: Annotated[
        int, typer.Option(min=0, help="Questions to measure it by, the most telling ones.")
    ] = 0,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", "-d", metavar="TABLE",
            help="Its outcomes on the questions that the router learned from; with --live the "
            "questions and their right answers.",
        ),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask the model the probes now.")] = False,
    metric: Annotated[
        str | None,
        typer.Option(help=f"With --live: {', '.join(METRICS)}. Default: what each question names."),
    ] = None,
    max_usd: MaxUsd = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write another artifact and leave this one."),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make a new model usable by a trained router, without training it again.

    What the card says of itself (price, size, context, skills) is compared with the known models;
    each probe, chosen by an adaptive test, narrows it down. The report has the expected mean score
    with its 95 % interval, and how wrong the same procedure is about every known model that is
    left out.
    """
    settings, new = _card(card, config)
    manifest, items = read_manifest(artifact), read_items(artifact)
    source = _source(items, new, data, live=live) if probes else None
    with working("leaving known models out"):
        yardstick = measure_known(items, manifest.pool, probes)
    added = asyncio.run(
        _measured(_Job(items, manifest.pool, new, probes, max_usd), source, settings, metric)
    )
    report = {
        **added.report,
        "added_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "left_out": None if yardstick is None else yardstick.to_json(),
        "check": None if source is None else source.check(added),
    }
    added = replace(added, report=report)
    written = extend(artifact, [added], artifact if output is None else output)
    if as_json:
        write_json({**added.to_json(), "digest": written.digest})
        return
    _write(added, yardstick)
    folder = artifact if output is None else output
    write_line(f"{folder}: {plural(len(written.cards), 'card')}, digest {written.digest}")
    hint(f"the pool of the configuration must have {new.id!r}; a pinned digest is now another one")


def _card(text: str, config: Path | None) -> tuple[Settings, ModelCard]:
    """Return the card, and settings whose pool is this card alone.

    Raises
    ------
    ConfigError
        If it is neither a file nor a card of the configuration, or the file does not fit.
    """
    path = Path(text)
    if not path.is_file():
        settings = read(config)
        named = cards_of(settings).card(text)
        (alone,) = (one for one in settings.pool if one.id == named.id)
        return settings.model_copy(update={"pool": (alone,)}), named
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the card {text}: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{text}: expected a card: id, price, description, backend")
    whole = {
        "pool": [{"backend": _NO_BACKEND, **content}],
        "policy": "cheapest",
        "records": {"store": "none"},
    }
    settings = parse(yaml.safe_dump(whole), name=text)
    return settings, cards_of(settings)[0]


_NO_BACKEND = "none"
"""A card that is not asked anything needs no backend; this is no name of one."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What is measured."""

    items: Items
    pool: Pool
    card: ModelCard
    probes: int
    max_usd: Decimal | None


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """The questions of a table that the items have, and the new model's outcomes on them."""

    questions: Mapping[int, Question]
    """By row of the items."""
    known: Mapping[int, Probe]
    """Recorded outcomes; empty when the model is asked now."""
    live: bool

    async def recorded(self, row: int) -> Probe | None:
        return self.known.get(row)

    def check(self, added: Added) -> dict[str, Json] | None:
        """Return the truth beside the prediction, as far as the table has it."""
        if not self.known:
            return None
        mean = float(np.mean([probe.score for probe in self.known.values()]))
        level = added.expected.level
        return {"questions": len(self.known), "mean": mean, "error": abs(level - mean)}


def _source(items: Items, card: ModelCard, data: Path | None, *, live: bool) -> _Source:
    """Read the table.

    Raises
    ------
    ConfigError
        If it is missing, has none of the questions, or not the model.
    """
    if data is None:
        raise ConfigError("--probes needs --data: the new model's outcomes, or (--live) questions")
    rows = {key: n for n, key in enumerate(items.keys)}
    if live:
        asked = {rows[k]: q for q in read_questions(data) if (k := key_of(q.prompt)) in rows}
        if not asked:
            raise ConfigError(f"{data} has none of the questions that the router keeps")
        return _Source(asked, {}, live)
    outcomes = read_outcomes(data)
    names = [name for name in (card.id, *card.aliases) if name in outcomes.models]
    if not names:
        raise ConfigError(f"{data} has no outcomes of {card.id!r}; it has {outcomes.models}")
    known = _recorded(outcomes, names[0], rows)
    if not known:
        raise ConfigError(
            f"{data} has no outcome of {card.id!r} on a question that the router keeps"
        )
    return _Source({}, known, live)


def _recorded(outcomes: OutcomeTable, model: str, rows: Mapping[str, int]) -> dict[int, Probe]:
    m = outcomes.models.index(model)
    score_N, usd_N = outcomes.scores_NM()[:, m], outcomes.costs_NM()[:, m]
    return {
        rows[key]: Probe(float(score), None if np.isnan(usd) else float(usd))
        for question, score, usd in zip(outcomes.queries, score_N, usd_N, strict=True)
        if (key := key_of(question.prompt)) in rows and not np.isnan(score)
    }


async def _measured(
    job: _Job, source: _Source | None, settings: Settings, metric: str | None
) -> Added:
    async with AsyncExitStack() as stack:
        ask: Ask | None = None
        if source is not None and source.live:
            (one,) = settings.pool
            if one.backend == _NO_BACKEND:
                raise ConfigError(f"the card {one.id!r} has no backend; --live has to ask it")
            backend = await stack.enter_async_context(opened(build(settings)))
            ask = _Live(job, backend, source.questions, metric)
        elif source is not None:
            ask = source.recorded
        return await measure_card(
            job.items, job.pool, job.card, probes=job.probes, ask=ask, say=note
        )


class _Live:
    """Asks the model itself."""

    def __init__(
        self, job: _Job, backend: Backend, questions: Mapping[int, Question], metric: str | None
    ) -> None:
        self._pool = Pool([job.card])
        self._backend = Capped(backend, self._pool, job.max_usd)
        self._questions = questions
        self._score: Scorer = by_metric(metric, [*questions.values()])
        self._failures = 0

    async def __call__(self, row: int) -> Probe | None:
        """Ask one question.

        Raises
        ------
        BackendError
            If several calls in a row have no answer, or the money is spent.
        """
        question = self._questions.get(row)
        if question is None or not question.gold:
            return None
        (card,) = self._pool
        request = Request(
            id=question.query_id,
            messages=(Message("user", question.prompt),),
            budget=Budget(rounds=1),
        )
        trace = await run_episode(Fixed(card.id), self._backend, request, self._pool)
        reply = trace.replies[0]
        usd = None if reply.usd is None else float(reply.usd)
        if reply.failure is None:
            self._failures = 0
            score = await self._score(question, reply.text)
            return None if score is None else Probe(score, usd)
        if reply.failure.kind == "refusal":
            return Probe(0.0, usd)
        self._failures += 1
        if reply.failure.kind == "budget" or self._failures == _MOST_FAILURES:
            raise BackendError(f"{card.id} gives no answer: {reply.failure.message}")
        return None


def _write(added: Added, yardstick: Yardstick | None) -> None:
    expected, by_card = added.expected, added.report["from_card"]
    rows = table("known by", "expected mean", "95 % interval", right=("expected mean",))
    rows.add_row("card", f"{by_card['level']:.3f}", _between(by_card["low"], by_card["high"]))
    if expected.probes:
        said = f"card and {plural(expected.probes, 'probe')}"
        rows.add_row(said, f"{expected.level:.3f}", _between(expected.low, expected.high))
    write_table(rows)
    if yardstick is None:
        write_line("how wrong this may be nobody can say: fewer than four models are known")
    else:
        write_line(
            f"of {yardstick.cards} known models, each left out and measured in the same way, the "
            f"mean was missed by {yardstick.mean_error:.3f} "
            f"({_between(yardstick.low, yardstick.high)}); {yardstick.inside:.0%} were inside "
            "their interval"
        )
    if check := added.report["check"]:
        write_line(
            f"recorded: {check['mean']:.3f} on {plural(check['questions'], 'question')}, missed "
            f"by {check['error']:.3f}"
        )
    if added.log_usd is not None:
        write_line(f"a call is expected to cost ${10**added.log_usd:.2g}")


def _between(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"
