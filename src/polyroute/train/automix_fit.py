"""What AutoMix believes after each number of votes, from verified and scored replies.

The one decision here: a number of votes that was seen rarely is believed to mean little: its
qualities are drawn towards the overall means by a prior worth `prior` questions.
"""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polyroute.decision import Call, Failure, Route
from polyroute.errors import BackendError, ConfigError
from polyroute.outcomes import OutcomeTable
from polyroute.policies.automix import AutoMix, votes
from polyroute.pool import Pool
from polyroute.protocols import Backend, FloatArray
from polyroute.trace import Reply, Step, Trace
from polyroute.train.examples import Examples
from polyroute.types import Request

__all__ = ["fit_beliefs", "recorded_stages", "verify"]

_Beliefs = tuple[tuple[tuple[float, ...], ...], ...]


def fit_beliefs(
    votes: NDArray[np.intp], quality_NM: FloatArray, *, samples: int, prior: float = 5.0
) -> _Beliefs:
    """Return the `beliefs` of a `polyroute.policies.automix.AutoMix`.

    Parameters
    ----------
    votes : ndarray of shape (N, M - 1), of int
        Yes votes, 0 to `samples`, for the reply of every stage but the last.
    quality_NM : ndarray of shape (N, M)
        Quality of the replies of all stages, 0 to 1.
    samples : int
        Verifications per reply.
    prior : float, default=5
        Questions that the overall mean counts for, 0 or more; with 0, a number of votes that was
        never seen has the overall mean.

    Returns
    -------
    tuple of shape (M - 1, samples + 1, M)

    Raises
    ------
    ConfigError
        If the shapes do not fit, a vote is out of range, or a quality is not a number.

    References
    ----------
    Aggarwal, Madaan et al., arXiv:2310.12963, section 3.2: observation probabilities of the POMDP
    by counting, here smoothed; the value of an action under the belief is the conditional mean.

    Examples
    --------
    >>> quality = np.array([[0, 1.0], [0, 0], [1, 1], [1, 1]])
    >>> fit_beliefs(np.array([[0], [0], [1], [1]]), quality, samples=1, prior=0)
    (((0.0, 0.5), (1.0, 1.0)),)
    """
    n, m = quality_NM.shape
    if votes.shape != (n, m - 1) or n == 0:
        raise ConfigError(f"votes has shape {votes.shape}, expected {(n, m - 1)} and a row or more")
    if votes.min() < 0 or votes.max() > samples:
        raise ConfigError(f"votes must be 0 to {samples}, got {votes.min()} to {votes.max()}")
    if not np.isfinite(quality_NM).all() or not prior >= 0:
        raise ConfigError("every quality must be a number, and prior 0 or more")
    overall = quality_NM.mean(axis=0)
    tables = []
    for stage in range(m - 1):
        rows = []
        for count in range(samples + 1):
            seen = quality_NM[votes[:, stage] == count]
            weight = len(seen) + prior
            total = seen.sum(axis=0) + prior * overall
            rows.append(tuple((total / weight if weight else overall).tolist()))
        tables.append(tuple(rows))
    return tuple(tables)


def recorded_stages(
    table: OutcomeTable, pool: Pool, order: Sequence[str]
) -> tuple[tuple[Request, ...], tuple[tuple[str, ...], ...], FloatArray]:
    """Return the questions that every stage has answered: requests, texts, and qualities.

    Texts are the first recorded ones, by question and stage; qualities have shape (N, M), 0 to 1.

    Raises
    ------
    ConfigError
        If there is no such question.
    UnknownModelError
        If a stage is not in `pool`.
    """
    examples = Examples.of(table, pool=pool.only(order))
    ids = [pool.card(name) for name in order]
    rows = {request.id: n for n, request in enumerate(examples.requests)}
    stage = {name: m for m, card in enumerate(ids) for name in (card.id, *card.aliases)}
    texts: dict[tuple[int, int], str] = {}
    for query, model, text in zip(
        table.responses.query, table.responses.model, table.texts, strict=True
    ):
        n = rows.get(table.queries[int(query)].query_id)
        m = stage.get(table.models[int(model)])
        if n is not None and m is not None and text is not None:
            texts.setdefault((n, m), text)
    columns = [examples.pool.index_of(card.id) for card in ids]
    quality_NM = examples.quality_NM[:, columns]
    whole = [
        n
        for n in range(len(examples))
        if np.isfinite(quality_NM[n]).all() and all((n, m) in texts for m in range(len(ids)))
    ]
    if not whole:
        raise ConfigError(f"no question has a text and a score from each of {', '.join(order)}")
    return (
        tuple(examples.requests[n] for n in whole),
        tuple(tuple(texts[n, m] for m in range(len(ids))) for n in whole),
        quality_NM[whole],
    )


async def verify(
    policy: AutoMix,
    requests: Sequence[Request],
    texts: Sequence[Sequence[str]],
    pool: Pool,
    backend: Backend,
    *,
    concurrency: int = 4,
) -> NDArray[np.intp]:
    """Return the yes votes for recorded replies, shape (N, M - 1); -1 where none could be read.

    The verifications are those that `policy` itself would ask for, of every stage but the last.

    Parameters
    ----------
    policy : AutoMix
        Its order, samples and verifier count; what it believes does not.
    requests, texts
        See `recorded_stages`.
    pool : Pool
    backend : Backend
        Carries out the verifications; give it a limit in dollars
        (`polyroute.evaluate.collect.Capped`).
    concurrency : int, default=4
        Replies that are verified at a time.
    """
    gate = asyncio.Semaphore(concurrency)
    counts = np.full((len(requests), len(policy.order) - 1), -1, np.intp)

    async def one(n: int, stage: int) -> None:
        name = policy.order[stage]
        asked = Route(calls=(Call(name),), reason="recorded")
        said = Reply(model=pool.card(name).id, text=texts[n][stage])
        trace = Trace(requests[n], pool, (Step(asked, (said,)),))
        async with gate:
            decision = await policy.decide(trace)
            assert isinstance(decision, Route), "a reply of any stage but the last is verified"
            calls = [_carried_out(call, trace, backend) for call in decision.calls]
            step = Step(decision, tuple(await asyncio.gather(*calls)))
        share = votes(step)
        if share is not None:
            counts[n, stage] = round(share * policy.samples)

    places = [(n, stage) for n in range(len(requests)) for stage in range(counts.shape[1])]
    await asyncio.gather(*(one(n, stage) for n, stage in places))
    return counts


async def _carried_out(call: Call, trace: Trace, backend: Backend) -> Reply:
    try:
        return await backend.complete(call, trace)
    except BackendError as error:
        return Reply(model=call.model, failure=Failure(error.kind, str(error)))
