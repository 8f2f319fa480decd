"""`polyroute train`: from an outcome table to an artifact that can be evaluated and served."""

import inspect
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from polyroute.cli.console import note, working
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson
from polyroute.cli.training.tables import Cards, Data, Split, Val, keep_artifact, parts_of
from polyroute.errors import ConfigError
from polyroute.registry import load
from polyroute.train.calibrate import Goal
from polyroute.train.examples import Examples
from polyroute.train.fit import Plan, fit
from polyroute.train.recipe import read_recipe
from polyroute.types import Json

__all__ = ["app", "train"]

app = command()


@app.command()
def train(  # noqa: PLR0913 - one parameter per option
    policy: Annotated[
        str | None, typer.Argument(help="greedy, threshold or conformal; or give --recipe.")
    ] = None,
    data: Data = ...,  # type: ignore[assignment]
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Artifact to write, *.router.", metavar="FOLDER")
    ] = ...,  # type: ignore[assignment]
    estimator: Annotated[str, typer.Option(help="What predicts quality.")] = "kinds",
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
        typer.Option(
            help="greedy, threshold: this share of the best model's quality, at the lowest price."
        ),
    ] = None,
    sure: Annotated[
        float, typer.Option(min=0, help="Standard errors by which --target must be reached.")
    ] = 1.645,
    strong: Annotated[str | None, typer.Option(help="threshold: id of the strong model.")] = None,
    weak: Annotated[str | None, typer.Option(help="threshold: id of the weak model.")] = None,
    strong_share: Annotated[
        float | None, typer.Option(help="threshold: most of the requests that go to it.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="conformal: how often the set may lack a right answer.")
    ] = None,
    split: Split = "train",
    val: Val = "val",
    config: Cards = None,
    seed: Annotated[int, typer.Option(help="Which questions are held out to choose by.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a router on recorded outcomes and write it as one artifact.

    The estimators learn from the split 'train'; hyper-parameters and the knob are chosen on parts
    of it that are held out by question; the split 'val' only judges. Cards and prices are those of
    --config, else those that the table implies.
    """
    parts = parts_of(data, split, val, config)
    learned, _, pool = parts
    examples = Examples.of(learned, pool=pool)
    if recipe is not None:
        plan = read_recipe(recipe)
    else:
        goal = Goal(quality=target, strong_share=strong_share, alpha=alpha, sure=sure)
        spec = _spec(policy, estimator, encoder, cost, examples)
        spec |= {key: id for key, id in (("strong", strong), ("weak", weak)) if id is not None}
        plan = Plan(policy=spec, goal=goal, seed=seed)
    with working("training"):
        fitted = fit(plan, examples, say=note)
    keep_artifact(output, fitted, parts, (data, split, val), as_json=as_json)


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
