"""`polyroute train hybrid`: two models, and a router that learns where the weak one will do."""

from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import note, plural, working
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson
from polyroute.cli.training.tables import Cards, Data, Split, Val, keep_artifact, parts_of
from polyroute.train.calibrate import Goal
from polyroute.train.hybrid_fit import Form, Pair, fit_hybrid

__all__ = ["app", "hybrid"]

app = command()


@app.command()
def hybrid(  # noqa: PLR0913 - one parameter per option
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Artifact to write, *.router.", metavar="FOLDER")
    ],
    strong: Annotated[str, typer.Option(help="Id of the strong model.")],
    weak: Annotated[str, typer.Option(help="Id of the weak model.")],
    labels: Annotated[
        Form, typer.Option(help="What a label is: see the page on hybrid.")
    ] = "transformed",
    estimator: Annotated[str, typer.Option(help="What learns the labels.")] = "logistic",
    encoder: Annotated[
        str | None, typer.Option(help="What it reads with; its own default if missing.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="Share of the best model's quality, at the lowest price.")
    ] = None,
    strong_share: Annotated[
        float | None, typer.Option(help="Most of the requests that go to the strong model.")
    ] = None,
    split: Split = "train",
    val: Val = "val",
    config: Cards = None,
    seed: Annotated[int, typer.Option(help="Of the folds on which the knob is set.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train Hybrid-LLM's router on how likely the weak model is good enough.

    What is written is a 'threshold' policy whose estimator learned soft labels of the quality gap.
    Without --target or --strong-share the strong model is asked where it is likelier to be needed.
    """
    parts = parts_of(data, split, val, config, [strong, weak])
    note(f"fitting to {plural(len(parts[0].queries), 'question')}")
    spec = {"name": estimator, "encoder": encoder} if encoder else estimator
    with working("training"):
        fitted = fit_hybrid(
            parts[0], parts[2], Pair(strong=strong, weak=weak, quality=spec),
            form=labels, goal=Goal(quality=target, strong_share=strong_share), seed=seed,
        )  # fmt: skip
    keep_artifact(output, fitted, parts, (data, split, val), as_json=as_json)
