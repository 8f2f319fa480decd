"""`polyroute train automix`: what a model's checks of its own replies mean, from recorded ones."""

import asyncio
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from polyroute.cli.console import note, plural, working
from polyroute.cli.construction import opened, refuse_unknown_prices, setup_from
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile, MaxUsd
from polyroute.cli.training.tables import Data, Split, keep_policy
from polyroute.errors import ConfigError
from polyroute.evaluate.collect import Capped
from polyroute.outcomes import OutcomeTable, by_split, read_outcomes
from polyroute.policies.automix import AutoMix
from polyroute.train.automix_fit import fit_beliefs, recorded_stages, verify
from polyroute.types import Budget

__all__ = ["app", "automix"]

app = command()


@app.command()
def automix(  # noqa: PLR0913 - one parameter per option
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Policy to write, *.yaml.", metavar="FILE")
    ],
    order: Annotated[
        list[str],
        typer.Option(help="A stage, from the first that is asked; as often as there are."),
    ],
    samples: Annotated[int, typer.Option(min=1, max=32, help="Checks of each reply.")] = 8,
    verifier: Annotated[
        str | None, typer.Option(help="The card that checks; each reply's author if missing.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Replies checked at a time.")] = 4,
    max_usd: MaxUsd = None,
    split: Split = "train",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Have recorded replies checked, and write an AutoMix policy that knows what checks mean.

    The table has the stages' replies with texts and scores; the checks are asked of the live pool
    of the configuration, so this costs money: --max-usd is its limit.
    """
    setup = setup_from(config)
    refuse_unknown_prices(setup.pool, Budget(usd=max_usd))
    learned = _learned(data, split)
    requests, texts, quality_NM = recorded_stages(learned, setup.pool, order)
    requests, texts, quality_NM = requests[:limit], texts[:limit], quality_NM[:limit]
    asks = AutoMix(tuple(order), samples=samples, threshold=0.5, verifier=verifier)
    note(f"checking {plural(len(requests), 'question')}, {samples} times per stage")

    async def main() -> NDArray[np.intp]:
        async with opened(setup) as backend:
            capped = Capped(backend, setup.pool, max_usd)
            return await verify(asks, requests, texts, setup.pool, capped, concurrency=concurrency)

    with working("checking"):
        votes = asyncio.run(main())
    read_N = _read(votes)
    beliefs = fit_beliefs(votes[read_N], quality_NM[read_N], samples=samples)
    spec = {
        "name": "automix", "order": list(order), "samples": samples, "verifier": verifier,
        "beliefs": [[list(row) for row in table] for table in beliefs],
    }  # fmt: skip
    found = {
        "questions": int(read_N.sum()),
        "unread": int((~read_N).sum()),
        "mean_votes": votes[read_N].mean(axis=0).tolist(),
        "mean_quality": quality_NM[read_N].mean(axis=0).tolist(),
    }
    keep_policy(output, spec, found, (learned, None, setup.pool), as_json=as_json)


def _learned(data: Path, split: str) -> OutcomeTable:
    """Return the part of a table to learn from; all of one that has no splits.

    Raises
    ------
    ConfigError
        If there is no such split.
    """
    parts = by_split(read_outcomes(data))
    if [*parts] == [""]:
        return parts[""]
    if split not in parts:
        raise ConfigError(f"the table has no split {split!r}, only {', '.join(map(repr, parts))}")
    return parts[split]


def _read(votes: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which questions have a readable check of every stage.

    Raises
    ------
    ConfigError
        If none has.
    """
    read_N = np.asarray((votes >= 0).all(axis=1))
    if not read_N.any():
        raise ConfigError("no check could be read: the calls failed, or said neither yes nor no")
    return read_N
