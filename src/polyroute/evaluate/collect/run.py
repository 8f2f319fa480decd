"""Collecting: who is asked what, how many at a time, until the money or the questions are over."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from polyroute.correctness import METRICS
from polyroute.episode import run_episode
from polyroute.errors import ConfigError
from polyroute.evaluate.collect.output import Output, Row
from polyroute.evaluate.llm_judge import Judge
from polyroute.outcomes import Question
from polyroute.policies.fixed import Fixed
from polyroute.pool import Pool
from polyroute.protocols import Backend
from polyroute.trace import Reply
from polyroute.types import Budget, JsonObject, Message, Request

__all__ = ["Collected", "Scorer", "by_judge", "by_metric", "collect"]

Scorer: TypeAlias = Callable[[Question, str], Awaitable[float | None]]
"""From a question and an answer to a score from 0 to 1, or `None` where nobody can say."""


def by_metric(name: str | None, questions: Sequence[Question]) -> Scorer:
    """Return the scorer of a metric of `polyroute.correctness`.

    Parameters
    ----------
    name : str or None
        `None`: the metric that each question names. A question without right answers is not judged.
    questions : sequence of Question
        What will be scored, so that a metric nobody knows is found before anything is asked.

    Raises
    ------
    ConfigError
        If a metric is unknown.
    """
    for question in questions:
        metric = name or question.metric
        if metric not in METRICS:
            raise ConfigError(
                f"unknown metric {metric!r} (of the question {question.query_id!r}); expected one "
                f"of {', '.join(METRICS)}"
            )

    async def score(question: Question, answer: str) -> float | None:
        if not question.gold:
            return None
        return await asyncio.to_thread(METRICS[name or question.metric], answer, question.gold)

    return score


def by_judge(judge: Judge) -> Scorer:
    """Return the scorer that asks `judge`."""

    async def score(question: Question, answer: str) -> float | None:
        if not question.gold:
            return None
        return (await judge.score(answer, question.gold, question=question.prompt)).score

    return score


@dataclass(slots=True)
class Collected:
    """How far a run has come; it is counted up while it runs."""

    wanted: int
    """Answers that are to be there in the end."""
    present: int
    """Answers that were there before."""
    new: int = 0
    usd: Decimal = Decimal(0)
    """What the new answers cost, as far as it is known; judging is not in it."""
    unknown: int = 0
    """New answers of unknown price."""
    failures: Counter[str] = field(default_factory=Counter)
    """Calls without an answer, by kind; they are asked again by the next run."""
    last_failure: str = ""

    @property
    def missing(self) -> int:
        """Answers that are still to come."""
        return self.wanted - self.present - self.new


async def collect(  # noqa: PLR0913 - one parameter per decision of the caller
    questions: Sequence[Question],
    pool: Pool,
    backend: Backend,
    output: Output,
    score: Scorer,
    *,
    samples: int = 1,
    concurrency: int = 4,
    params: JsonObject | None = None,
    progress: Callable[[Collected], None] | None = None,
) -> Collected:
    """Ask every card every question that is not answered in `output`.

    Parameters
    ----------
    questions : sequence of Question
    pool : Pool
        All of its cards are asked.
    backend : Backend
        See `Capped` for limits: a card is asked nothing more once a call does not fit the money.
    output : Output
        Open. A row is in it as soon as its answer is scored, also when the run is cancelled then.
    score : Scorer
        See `by_metric` and `by_judge`.
    samples : int, default=1
        Answers per question and card; the seed of the request is the number of the sample.
    concurrency : int, default=4
        Calls at a time, per card.
    params : mapping, optional
        Parameters of every call: ``temperature``, ``max_tokens``.
    progress : callable, optional
        Called after every call.

    Returns
    -------
    Collected

    Notes
    -----
    A candidate that says a question is not for it (a refusal) is an outcome of score 0. Every other
    failure says nothing about the candidate, and is no row.
    """
    todo = {
        card.id: deque(
            (question, k)
            for k in range(samples)
            for question in questions
            if (question.query_id, card.id, k) not in output.done
        )
        for card in pool
    }
    wanted = len(pool) * len(questions) * samples
    state = Collected(wanted, wanted - sum(map(len, todo.values())))
    run = _Run(pool, backend, output, score, state, params or {})
    finishing: set[asyncio.Task[None]] = set()

    async def work(model: str) -> None:
        while todo[model]:
            question, k = todo[model].popleft()
            reply = await run.ask(question, model, k)
            if reply.failure is not None and reply.failure.kind == "budget":
                todo[model].clear()
            # what was paid for is kept: scoring and writing go on when the run is cancelled
            task = asyncio.create_task(run.keep(question, reply, k))
            finishing.add(task)
            task.add_done_callback(finishing.discard)
            await asyncio.shield(task)
            if progress is not None:
                progress(state)

    try:
        async with asyncio.TaskGroup() as group:
            for model in todo:
                for _ in range(min(concurrency, len(todo[model]))):
                    group.create_task(work(model))
    except ExceptionGroup as group_of_one:  # the first failure has cancelled the others
        raise group_of_one.exceptions[0] from None
    finally:
        await asyncio.gather(*finishing, return_exceptions=True)
    return state


@dataclass(frozen=True, slots=True)
class _Run:
    """What every call of a run shares."""

    pool: Pool
    backend: Backend
    output: Output
    score: Scorer
    state: Collected
    params: JsonObject

    async def ask(self, question: Question, model: str, sample: int) -> Reply:
        """Ask one card one question."""
        request = Request(
            id=f"{question.query_id}-{model}-{sample}",
            messages=(Message("user", question.prompt),),
            budget=Budget(rounds=1),
            seed=sample,
            params=self.params,
        )
        trace = await run_episode(Fixed(model), self.backend, request, self.pool)
        return trace.replies[0]

    async def keep(self, question: Question, reply: Reply, sample: int) -> None:
        """Score a reply and write its row; count a failure."""
        refused = reply.failure is not None and reply.failure.kind == "refusal"
        if reply.failure is not None and not refused:
            self.state.failures[reply.failure.kind] += 1
            self.state.last_failure = f"{reply.model}: {reply.failure.message}"
            return
        score = 0.0 if refused else await self.score(question, reply.text)
        self.output.append(
            Row(
                query_id=question.query_id,
                model=reply.model,
                sample=sample,
                score=score,
                response_text=None if refused else reply.text,
                prompt_tokens=None if reply.usage is None else reply.usage.prompt,
                completion_tokens=None if reply.usage is None else reply.usage.completion,
                cost_usd=None if reply.usd is None else float(reply.usd),
                latency_s=round(reply.seconds, 6),
            )
        )
        self.state.new += 1
        self.state.usd += reply.usd or 0
        self.state.unknown += reply.usd is None
