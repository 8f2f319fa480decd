"""Run policies over an outcome table: the same loop as in serving, with recorded replies.

The one decision here: a router is judged by its episodes. Whatever a policy is, one that picks a
model or one that asks five and thinks between, it runs through `run_episode`, and what counts is
what it answered and what all of it cost.
"""

import asyncio
import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from polyroute.backends.replay import Replay
from polyroute.decision import Answer, Route
from polyroute.episode import Episode
from polyroute.errors import ConfigError, PolicyError
from polyroute.evaluate.beyond import RecordedFirst
from polyroute.evaluate.digest import digest
from polyroute.evaluate.outcome_log import OutcomeLog
from polyroute.evaluate.recording import Grade, Recording, readable
from polyroute.evaluate.result import Outcome, Result, gather
from polyroute.evaluate.workers import Place, spread
from polyroute.outcomes import OutcomeTable, Question
from polyroute.outcomes.implied import pool_of
from polyroute.pool import Pool
from polyroute.protocols import Backend, Estimator, FloatArray, Policy
from polyroute.trace import Step, Trace
from polyroute.types import Budget, Json, Message, Request

__all__ = ["Conditions", "Progress", "evaluate", "request_of"]

_CHUNK = 32
"""Episodes that run side by side, and are written together."""

_SHOWN = 600
"""Characters of a reply that are kept for the reader of a report."""

Progress: TypeAlias = Callable[[int, int], None]
"""Is told how many episodes are done, of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under what all policies of a run are judged."""

    budget: Budget = field(default_factory=Budget)
    """For each question. Its `seconds` are those of this machine, not recorded ones."""
    repeats: int | None = None
    """Episodes per question; as many as the table has samples of an answer when `None`."""
    seed: int = 0
    """Another seed draws otherwise, where a policy draws."""
    jobs: int = 1
    """Workers to run in; the results do not depend on it."""
    place: Place = "processes"
    """Where they run when there are several, or ``"ray"``."""
    folder: Path | None = None
    """Where outcomes are kept as they come; a run with the same folder goes on where it was."""
    grade: Grade | None = None
    """Scores an answer that repeats no recorded reply; see `polyroute.evaluate.beyond.ByMetric`."""
    live: Backend | None = None
    """Is asked for what the table has no recording of, and closed when the run ends."""
    progress: Progress | None = None

    def __post_init__(self) -> None:
        for name in ("repeats", "jobs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be 1 or more, got {value!r}")
        if self.live is not None and not self.here:
            raise ConfigError("live models are asked from one process; leave out jobs and place")

    @property
    def here(self) -> bool:
        """Whether everything runs in this process."""
        return self.jobs == 1 and self.place == "processes"


def evaluate(
    policies: Mapping[str, Policy],
    table: OutcomeTable,
    *,
    pool: Pool | None = None,
    conditions: Conditions | None = None,
) -> dict[str, Result]:
    """Run every policy on every question of `table`, offline.

    The score of a question is the recorded score of the reply that became the answer. With several
    samples of an answer, every question is asked once per sample: the seed of a repetition chooses
    the sample (see `polyroute.backends.replay.Replay`), so that a policy that asks one model gets
    the mean over all of them. The results depend on the arguments only, not on workers or time.

    Parameters
    ----------
    policies : mapping of str to Policy
        By the name that the result is to have. With several workers they must be picklable.
    table : OutcomeTable
        The questions to judge on.
    pool : Pool, optional
        The candidates; those of the table, with the prices that its costs imply, by default.
    conditions : Conditions, optional

    Returns
    -------
    dict of str to Result
        In the order of `policies`.

    Raises
    ------
    ConfigError
        If the table has no question, or a policy cannot be sent to another process.

    Notes
    -----
    With ``jobs=2`` or more a script needs ``if __name__ == "__main__":``, as everything that
    starts Python's processes does.
    """
    if not table.queries:
        raise ConfigError("there is no question to judge on")
    bench = _Bench(dict(policies), table, pool or pool_of(table), conditions or Conditions())
    found = bench.earlier()
    jobs = [job for name, done in found.items() for job in bench.jobs(name, done)]
    total = len(policies) * len(table.queries) * bench.repeats
    count = sum(map(len, found.values()))
    bench.tell(count, total)
    for name, outcomes in bench.run(jobs):
        bench.keep(name, outcomes)
        found[name] += outcomes
        count += len(outcomes)
        bench.tell(count, total)
    ids = [question.query_id for question in table.queries]
    return {
        name: replace(
            gather(name, all_, ids, bench.pool.ids), predicted_NM=bench.predicted(policies[name])
        )
        for name, all_ in found.items()
    }


def request_of(
    question: Question, *, budget: Budget, samples: int = 1, repeat: int = 0, seed: int = 0
) -> Request:
    """Return the request that asks `question` for the given time.

    Its seed is that of the question, so that draws differ from question to question, and modulo
    `samples` it is `repeat`, so that each repetition gets another sample.
    """
    text = f"{seed}\n{question.query_id}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.sha256(text).digest()[:6], "big")
    return Request(
        id=f"{question.query_id}#{repeat}",
        messages=(Message("user", question.prompt),),
        budget=budget,
        seed=number * samples + repeat,
    )


_Job: TypeAlias = tuple[str, tuple[tuple[int, int], ...]]
"""The name of a policy, and the (question, repetition) pairs to run."""


class _Bench:
    """Everything that a process needs to run episodes."""

    def __init__(
        self,
        policies: dict[str, Policy],
        table: OutcomeTable,
        pool: Pool,
        conditions: Conditions,
    ) -> None:
        self.policies = policies
        self.table = table
        self.pool = pool
        self.conditions = conditions
        self.samples = _most_samples(table)
        self.repeats = conditions.repeats or self.samples
        self._recording = Recording(table, pool, conditions.grade)
        self._rank = _ranks(table)
        self._replays = _replays(readable(table), self._rank)
        self._logs: dict[str, OutcomeLog] = {}

    def earlier(self) -> dict[str, list[Outcome]]:
        """Return what an earlier run found, for each policy."""
        folder = self.conditions.folder
        if folder is None:
            return {name: [] for name in self.policies}
        of_table = _table_digest(self.table)
        for name, policy in self.policies.items():
            rest = (self.pool.digest, of_table, self.conditions.budget, self.conditions.seed)
            beyond = (self.conditions.grade, self.conditions.live is not None)
            key = digest((policy, *rest, self.samples, *beyond))
            self._logs[name] = OutcomeLog(folder, key)
        found: dict[str, list[Outcome]] = {}
        for name, log in self._logs.items():
            once = {(o.query_id, o.repeat): o for o in log.read() if o.repeat < self.repeats}
            found[name] = list(once.values())
        return found

    def jobs(self, name: str, done: Sequence[Outcome]) -> Iterator[_Job]:
        """Yield what is left to do for a policy, in chunks."""
        known = {(outcome.query_id, outcome.repeat) for outcome in done}
        pairs = [
            (n, repeat)
            for n, question in enumerate(self.table.queries)
            for repeat in range(self.repeats)
            if (question.query_id, repeat) not in known
        ]
        for start in range(0, len(pairs), _CHUNK):
            yield name, tuple(pairs[start : start + _CHUNK])

    def run(self, jobs: Sequence[_Job]) -> Iterator[tuple[str, list[Outcome]]]:
        """Yield the outcomes of each job, in any order."""
        if self.conditions.here or not jobs:
            live = self.conditions.live
            with asyncio.Runner() as runner:
                try:
                    for job in jobs:
                        yield job[0], runner.run(self.outcomes(job))
                finally:  # in the loop that its connections belong to
                    if live is not None:
                        runner.run(live.close())
            return
        found = spread(
            _started, _packed(self), jobs, place=self.conditions.place, workers=self.conditions.jobs
        )
        for job, outcomes in found:
            yield job[0], outcomes

    async def outcomes(self, job: _Job) -> list[Outcome]:
        """Run the episodes of one job side by side."""
        name, pairs = job
        return list(await asyncio.gather(*(self._one(name, n, repeat) for n, repeat in pairs)))

    def predicted(self, policy: Policy) -> FloatArray | None:
        """Return what the quality estimator of a policy predicts, when it has one."""
        inner = getattr(policy, "policy", policy)  # a trained policy is one that holds another
        estimator = getattr(inner, "quality", None)
        if not isinstance(estimator, Estimator):
            return None
        budget = self.conditions.budget
        requests = [request_of(question, budget=budget) for question in self.table.queries]
        return estimator.predict(requests, self.pool)

    def keep(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes down."""
        if name in self._logs:
            self._logs[name].append(outcomes)

    def tell(self, done: int, total: int) -> None:
        """Tell the caller how far the run is."""
        if self.conditions.progress is not None:
            self.conditions.progress(done, total)

    async def _one(self, name: str, n: int, repeat: int) -> Outcome:
        question = self.table.queries[n]
        request = request_of(
            question,
            budget=self.conditions.budget,
            samples=self.samples,
            repeat=repeat,
            seed=self.conditions.seed,
        )
        replay, live = self._replays[self._rank[n]], self.conditions.live
        backend = replay if live is None else RecordedFirst(replay, live)
        episode = Episode(self.policies[name], backend, request, self.pool)
        broken: str | None = None
        try:
            async for _ in episode.events(stream=False):
                pass
        except PolicyError as error:
            broken = f"policy: {error}"[:_SHOWN]
        return self._outcome(episode.trace, question, repeat, broken)

    def _outcome(
        self, trace: Trace, question: Question, repeat: int, broken: str | None
    ) -> Outcome:
        kinds = [reply.failure.kind for reply in trace.replies if reply.failure]
        unrecorded = kinds.count("unavailable")  # the replay backend's word for it
        scored = self._recording.score(trace)
        made = [r.model for r in trace.replies if not (r.failure and r.failure.kind == "budget")]
        failure = broken or (None if trace.failure is None else trace.failure.kind)
        return Outcome(
            query_id=question.query_id,
            repeat=repeat,
            score=None if unrecorded else 0.0 if broken else scored.score,
            usd=trace.usd,
            seconds=self._recording.seconds(trace),
            calls={model: made.count(model) for model in dict.fromkeys(made)},
            answered_by=scored.model,
            failure=failure,
            unrecorded=unrecorded,
            steps=tuple(_short(step) for step in trace.steps),
        )


def _ranks(table: OutcomeTable) -> list[int]:
    """Return for each question how many before it have the same prompt, white space aside."""
    seen: dict[str, int] = {}
    ranks = []
    for question in table.queries:
        text = " ".join(question.prompt.split())
        ranks.append(seen.get(text, 0))
        seen[text] = ranks[-1] + 1
    return ranks


def _replays(table: OutcomeTable, ranks: Sequence[int]) -> list[Replay]:
    """Return one backend per rank: a recording is found by its prompt, so each has one of a kind.

    Of questions that share a prompt, backend k has the k-th, or the last of fewer.
    """
    texts = [" ".join(question.prompt.split()) for question in table.queries]
    last = dict(zip(texts, ranks, strict=True))
    replays = []
    for k in range(max(ranks) + 1):
        keep = [rank == min(k, last[text]) for text, rank in zip(texts, ranks, strict=True)]
        replays.append(Replay.of(table if all(keep) else table.only(np.array(keep))))
    return replays


def _short(step: Step) -> Json:
    """Return a step as a reader of a report sees it."""
    decision = step.decision
    if isinstance(decision, Answer):
        return {"reason": decision.reason, "answer": decision.text[:_SHOWN]}
    return {
        "reason": decision.reason,
        "own": isinstance(decision, Route) and decision.own,
        "replies": [
            {
                "model": reply.model,
                "text": reply.text[:_SHOWN],
                "usd": None if reply.usd is None else str(reply.usd),
                "failure": None if reply.failure is None else reply.failure.message[:_SHOWN],
            }
            for reply in step.replies
        ],
    }


def _most_samples(table: OutcomeTable) -> int:
    rows = table.responses
    cells = rows.query * len(table.models) + rows.model
    return int(np.bincount(cells).max()) if len(cells) else 1


def _table_digest(table: OutcomeTable) -> str:
    columns = {name: getattr(table.responses, name) for name in table.responses.__slots__}
    return digest([[q.query_id, q.prompt, q.gold] for q in table.queries] + [table.models, columns])


def _packed(bench: _Bench) -> bytes:
    plain = replace(bench.conditions, progress=None, folder=None, jobs=1, place="processes")
    try:
        return pickle.dumps((bench.policies, bench.table, bench.pool, plain))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"a policy cannot be sent to another process ({error}); use one process"
        ) from error


def _started(packed: bytes) -> Callable[[_Job], list[Outcome]]:
    bench = _Bench(*pickle.loads(packed))
    return lambda job: asyncio.run(bench.outcomes(job))
