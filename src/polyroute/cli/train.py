"""`polyroute train`: from an outcome table to an artifact that can be evaluated and served."""

import inspect
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from polyroute.cli.artifact.card import scores
from polyroute.cli.console import hint, note, plural, working, write_json, write_line, write_table
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson
from polyroute.config import cards_of, read
from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable, by_split, read_outcomes
from polyroute.outcomes.implied import pool_of
from polyroute.registry import load
from polyroute.train.artifact import Fitted, Manifest, save
from polyroute.train.calibrate import Goal
from polyroute.train.examples import Examples
from polyroute.train.fit import Plan, fit
from polyroute.train.measure import measure
from polyroute.train.recipe import read_recipe
from polyroute.types import Json

__all__ = ["app", "train"]

app = command()


@app.command()
def train(  # noqa: PLR0913 - one parameter per option
    policy: Annotated[
        str | None, typer.Argument(help="greedy, threshold or conformal; or give --recipe.")
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", "-d", help="Outcome table to learn from.", metavar="TABLE")
    ] = ...,  # type: ignore[assignment]
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Artifact to write, *.router.", metavar="FOLDER")
    ] = ...,  # type: ignore[assignment]
    estimator: Annotated[str, typer.Option(help="What predicts quality.")] = "ridge",
    encoder: Annotated[
        str | None, typer.Option(help="What it reads a prompt with; its own default if missing.")
    ] = None,
    cost: Annotated[
        str, typer.Option(help="What predicts prices, for greedy; 'none': the cards say.")
    ] = "ridge",
    recipe: Annotated[
        Path | None,
        typer.Option(help="YAML with policy, grid, goal and seed, instead of the options."),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(help="greedy: this share of the best model's quality, at the lowest price."),
    ] = None,
    strong: Annotated[str | None, typer.Option(help="threshold: id of the strong model.")] = None,
    weak: Annotated[str | None, typer.Option(help="threshold: id of the weak model.")] = None,
    strong_share: Annotated[
        float | None, typer.Option(help="threshold: most of the requests that go to it.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="conformal: how often the set may lack a right answer.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split to learn from; all of a table that has no splits.")
    ] = "train",
    val: Annotated[
        str, typer.Option(help="Split to judge by, which nothing is chosen on; '' for none.")
    ] = "val",
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Configuration whose pool has the cards and prices."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which questions are held out to choose by.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a router on recorded outcomes and write it as one artifact.

    The estimators learn from the split 'train'; hyper-parameters and the knob are chosen on a part
    of it that is held out by question; the split 'val' only judges. Cards and prices are those of
    --config, else those that the table implies.
    """
    with working(f"reading {data}"):
        parts = by_split(read_outcomes(data))
    learned, judged = _parts(parts, split, val)
    pool = pool_of(learned) if config is None else cards_of(read(config))
    examples = Examples.of(learned, pool=pool)
    if recipe is not None:
        plan = read_recipe(recipe)
    else:
        goal = Goal(quality=target, strong_share=strong_share, alpha=alpha)
        spec = _spec(policy, estimator, encoder, cost, examples)
        spec |= {key: id for key, id in (("strong", strong), ("weak", weak)) if id is not None}
        plan = Plan(policy=spec, goal=goal, seed=seed)
    with working("training"):
        fitted = fit(plan, examples, say=note)
    if judged is not None:
        note(f"judging on {plural(len(judged.queries), 'question')} of {val!r}")
        with working("judging"):
            evaluation = {"split": val, **measure(fitted, judged, train=learned)}
        fitted = replace(fitted, evaluation=evaluation)
    training = {"table": data.name, "split": split if split in parts else "", **fitted.training}
    fitted = replace(fitted, training=training)
    manifest = save(output, fitted, created_at=datetime.now(UTC).isoformat(timespec="seconds"))
    _report(output, fitted, manifest, as_json)


def _parts(
    parts: dict[str, OutcomeTable], split: str, val: str
) -> tuple[OutcomeTable, OutcomeTable | None]:
    """Return what to learn from, and what to judge by.

    Raises
    ------
    ConfigError
        If a split is not there, or both are the same.
    """
    if split == val:
        raise ConfigError(f"--split and --val are both {split!r}; a router is judged on other data")
    if [*parts] == [""]:
        return parts[""], None
    if split not in parts:
        known = ", ".join(map(repr, parts))
        raise ConfigError(f"the table has no split {split!r}, only {known}; name one with --split")
    return parts[split], parts.get(val)


def _spec(
    policy: str | None, estimator: str, encoder: str | None, cost: str, examples: Examples
) -> dict[str, Json]:
    """Return the policy that the options describe.

    Raises
    ------
    ConfigError
        If no policy is named.
    """
    if policy is None:
        raise ConfigError("name a policy to train (greedy, threshold, conformal), or a --recipe")
    spec: dict[str, Json] = {"name": policy, "quality": _estimator(estimator, encoder)}
    if "cost" not in inspect.signature(load("policies", policy)).parameters or cost == "none":
        return spec
    if np.isnan(examples.usd_NM).all():
        note("the table has no prices: the cards say what a call costs")
        return spec
    return {**spec, "cost": _estimator(cost, encoder)}


def _estimator(name: str, encoder: str | None) -> dict[str, Json]:
    takes = "encoder" in inspect.signature(load("estimators", name)).parameters
    return {"name": name, "encoder": encoder} if encoder and takes else {"name": name}


def _report(output: Path, fitted: Fitted, manifest: Manifest, as_json: bool) -> None:
    if as_json:
        write_json(
            {
                "artifact": str(output),
                "digest": manifest.digest,
                "policy": fitted.spec,
                "training": fitted.training,
                "evaluation": fitted.evaluation,
            }
        )
        return
    if fitted.evaluation:
        write_table(scores(fitted.evaluation, models=False))
    else:
        note("nothing to judge by: the artifact has no evaluation")
    write_line(f"{output}: {fitted.spec['name']}, digest {manifest.digest}")
    hint(f"polyroute artifact card {output}")
