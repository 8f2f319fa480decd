"""Jobs in other processes, on this machine or on a Ray cluster.

The one decision here: a worker gets everything once, as bytes, and then the jobs one by one. What
comes back depends on the job only, so where it ran and in which order changes nothing.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, Literal, TypeAlias, TypeVar

from polyroute.errors import ConfigError, MissingExtraError

__all__ = ["Place", "spread"]

Place: TypeAlias = Literal["processes", "ray"]
"""Where workers run."""

_JobT = TypeVar("_JobT")
_FoundT = TypeVar("_FoundT")
_Work: TypeAlias = Callable[[_JobT], _FoundT]


def spread(
    start: Callable[[bytes], _Work[_JobT, _FoundT]],
    packed: bytes,
    jobs: Sequence[_JobT],
    *,
    place: Place = "processes",
    workers: int = 2,
) -> Iterator[tuple[_JobT, _FoundT]]:
    """Yield each job with what it came to, as they end.

    Parameters
    ----------
    start : callable
        A function of a module: from `packed` to what carries out a job. Called once per worker.
    packed : bytes
        What every worker needs.
    jobs : sequence
        Picklable, as are the results.
    place : {"processes", "ray"}, default="processes"
        Processes of this machine, started anew; or actors on the Ray cluster that the environment
        variable ``RAY_ADDRESS`` names, else on one that is started here and stopped at the end.
    workers : int, default=2
        How many.

    Raises
    ------
    ConfigError
        If `place` is unknown.
    MissingExtraError
        If Ray is wanted and not installed.
    """
    if place == "processes":
        yield from _in_processes(start, packed, jobs, workers)
    elif place == "ray":
        yield from _on_ray(start, packed, jobs, workers)
    else:
        raise ConfigError(f"workers run in 'processes' or on 'ray', not on {place!r}")


def _in_processes(
    start: Callable[[bytes], _Work[_JobT, _FoundT]],
    packed: bytes,
    jobs: Sequence[_JobT],
    workers: int,
) -> Iterator[tuple[_JobT, _FoundT]]:
    spawn = multiprocessing.get_context("spawn")  # a fork copies locks that others hold
    executor = ProcessPoolExecutor(workers, spawn, initializer=_begin, initargs=(start, packed))
    with executor:
        running = {executor.submit(_work, job): job for job in jobs}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            executor.shutdown(cancel_futures=True)


_WORK: list[Callable[[Any], Any]] = []
"""What this worker process does; filled when it starts."""


def _begin(start: Callable[[bytes], Any], packed: bytes) -> None:
    _WORK.append(start(packed))


def _work(job: Any) -> Any:  # noqa: ANN401 - as the caller has it
    return _WORK[-1](job)


class _Actor:
    """A worker on Ray."""

    def __init__(self, start: Callable[[bytes], Any], packed: bytes) -> None:
        self._work = start(packed)

    def work(self, number: int, job: Any) -> tuple[int, Any]:  # noqa: ANN401 - as the caller has it
        return number, self._work(job)


def _on_ray(
    start: Callable[[bytes], _Work[_JobT, _FoundT]],
    packed: bytes,
    jobs: Sequence[_JobT],
    workers: int,
) -> Iterator[tuple[_JobT, _FoundT]]:
    try:
        import ray
        from ray.util import ActorPool
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"--engine ray needs the package {error.name!r}, which is not installed; run: "
            "pip install 'polyroute[scale]'"
        ) from error
    ours = not ray.is_initialized()
    if ours:
        # a cluster that is there has its own size; one that is started has as many as are wanted
        size = None if "RAY_ADDRESS" in os.environ else workers
        ray.init(num_cpus=size, include_dashboard=False, log_to_driver=False)
    try:
        shared = ray.put(packed)
        remote = ray.remote(num_cpus=1)(_Actor)
        pool = ActorPool([remote.remote(start, shared) for _ in range(workers)])
        for number, found in pool.map_unordered(
            lambda actor, numbered: actor.work.remote(*numbered), list(enumerate(jobs))
        ):
            yield jobs[number], found
    finally:
        if ours:
            ray.shutdown()
