"""`polyroute evaluate off-policy`: what another router would have earned on logged traffic."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from polyroute.cli.console import (
    printable,
    table,
    warn,
    working,
    write_json,
    write_line,
    write_table,
)
from polyroute.cli.construction import store_at, store_from
from polyroute.cli.evaluate import routers
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile
from polyroute.cli.scores import scores_of
from polyroute.errors import ConfigError
from polyroute.evaluate.off_policy import (
    Estimate,
    Logged,
    SupportError,
    doubly_robust,
    ips,
    logged,
    probabilities,
    snips,
)
from polyroute.pool import Pool
from polyroute.protocols import Estimator, FloatArray, Policy
from polyroute.records.store import RecordStore
from polyroute.spec import construct
from polyroute.types import Json

__all__ = ["app", "off_policy"]

app = command()

_FOLDS = 5


@app.command(name="off-policy")
def off_policy(  # noqa: PLR0913 - one parameter per option
    router: Annotated[
        list[str],
        typer.Option(
            help="A router, as often as there are: a policy's name, a model's id, the folder of "
            "an artifact, or a YAML file with a policy."
        ),
    ],
    path: Annotated[
        Path | None, typer.Argument(help="A store or an export; the configured store if missing.")
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help='JSON lines {"id": ..., "score": ...}; feedback is read anyway.'),
    ] = None,
    estimator: Annotated[
        str, typer.Option(help="What predicts the reward, for the doubly robust estimate.")
    ] = "ridge",
    min_ess: Annotated[
        float, typer.Option(min=0, help="Least effective sample size; less is refused.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(help="Of the division for the reward model.")] = 0,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Estimate the mean reward of other routers from the records of one that drew with chances.

    Records need a propensity (thompson, linucb, random log them) and a reward: feedback, or
    --scores. A router whose choices the log does not support gets no number but the reason.
    """
    store = store_from(config) if path is None else store_at(path)
    with working("reading the records"):
        log, pool = _read(store, scores_of(store, scores))
    policies = routers(router, pool, config)
    with working("estimating"):
        predicted_NM = _predicted(log, pool, estimator, seed)
        found = {
            name: _estimates(one, log, pool, predicted_NM, min_ess)
            for name, one in policies.items()
        }
    mean = float(log.reward.mean())
    if as_json:
        write_json(
            {
                "rows": len(log),
                "logged_mean": mean,
                "routers": {name: one.to_json() for name, one in found.items()},
            }
        )
    else:
        _write(found, len(log), mean)
    leave(ExitCode.OK if any(one.estimates for one in found.values()) else ExitCode.FAILED)


@dataclass(frozen=True, slots=True)
class _Found:
    """The estimates of one router, or why there are none."""

    estimates: tuple[Estimate, ...]
    reason: str = ""

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form."""
        shown: list[Json] = [
            {
                "method": one.method,
                "value": one.value,
                "low": one.low,
                "high": one.high,
                "standard_error": one.standard_error,
                "ess": one.support.ess,
                "coverage": one.support.coverage,
            }
            for one in self.estimates
        ]
        return {"estimates": shown, "reason": self.reason or None}


def _read(store: RecordStore, rewards: dict[str, float]) -> tuple[Logged, Pool]:
    """Return what was logged, and the pool that all records are over.

    Raises
    ------
    ConfigError
        If no record has a reward.
    """
    first = next((record for record in store if record.id in rewards), None)
    if first is None:
        raise ConfigError(
            "no record has a reward: give feedback (POST /v1/feedback), or scores with --scores"
        )
    return logged(store, lambda record: rewards.get(record.id)), first.trace().pool


def _predicted(log: Logged, pool: Pool, estimator: str, seed: int) -> FloatArray:
    """Return the reward expected of every action on every row, by a fit that did not see the row.

    Where it knows nothing of an action the mean reward stands in: that costs precision, no bias.
    """
    n = len(log)
    seen_NM = np.full((n, len(pool)), np.nan)
    seen_NM[np.arange(n), log.action] = log.reward
    fold_N = np.random.default_rng(seed).permutation(n) % _FOLDS
    predicted_NM = np.full(seen_NM.shape, np.nan)
    for k in range(min(_FOLDS, n)):
        rest = np.flatnonzero(fold_N != k)
        mine = np.flatnonzero(fold_N == k)
        if not len(rest):
            continue
        fitted: Estimator = construct("estimators", estimator, where="--estimator")
        fitted.fit([log.requests[i] for i in rest], seen_NM[rest], pool)
        predicted_NM[mine] = fitted.predict([log.requests[i] for i in mine], pool)
    return np.where(np.isnan(predicted_NM), log.reward.mean(), predicted_NM)


def _estimates(
    policy: Policy, log: Logged, pool: Pool, predicted_NM: FloatArray, min_ess: float
) -> _Found:
    target_NM = asyncio.run(probabilities(policy, log.requests, pool))
    try:
        return _Found((
            ips(log, target_NM, min_ess=min_ess),
            snips(log, target_NM, min_ess=min_ess),
            doubly_robust(log, target_NM, predicted_NM, min_ess=min_ess),
        ))  # fmt: skip
    except SupportError as error:
        return _Found((), str(error))


def _write(found: dict[str, _Found], rows: int, mean: float) -> None:
    write_line(f"{rows} rewarded records; mean reward of the policy that logged them: {mean:.3f}")
    numbers = ("value", "95 %", "ess")
    shown = table("router", "estimate", *numbers, right=numbers)
    for name, one in found.items():
        for each in one.estimates:
            shown.add_row(
                printable(name), each.method.replace("_", " "), f"{each.value:.3f}",
                f"{each.low:.3f} to {each.high:.3f}", f"{each.support.ess:.0f}",
            )  # fmt: skip
    if any(one.estimates for one in found.values()):
        write_table(shown)
    for name, one in found.items():
        if one.reason:
            warn(f"no estimate for {name}: {one.reason}")
