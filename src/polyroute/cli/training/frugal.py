"""`polyroute train frugal`: a cascade whose judge of replies, order and thresholds are learned."""

from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import note, plural, working
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson
from polyroute.cli.training.tables import Cards, Data, Split, Val, keep_artifact, parts_of
from polyroute.train.cascade_fit import fit_frugal

__all__ = ["app", "frugal"]

app = command()


@app.command()
def frugal(  # noqa: PLR0913 - one parameter per option
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Artifact to write, *.router.", metavar="FOLDER")
    ],
    usd: Annotated[float, typer.Option(min=0, help="Most dollars per question, on average.")],
    accept: Annotated[str, typer.Option(help="The estimator that judges a reply.")] = "logistic",
    encoder: Annotated[
        str | None, typer.Option(help="What it reads with; its own default if missing.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Only these cards, 16 or fewer; may be repeated."),
    ] = None,
    split: Split = "train",
    val: Val = "val",
    config: Cards = None,
    as_json: AsJson = False,
) -> None:
    """Fit a FrugalGPT cascade to recorded replies, and write it as one artifact.

    The judge is fitted on four fifths of the questions and judges the fifth, in turn; the order and
    the thresholds with the best quality within --usd are searched on what it says there.
    """
    parts = parts_of(data, split, val, config, model)
    note(f"fitting to {plural(len(parts[0].queries), 'question')}")
    spec = {"name": accept, "encoder": encoder} if encoder else accept
    with working("training"):
        fitted = fit_frugal(parts[0], parts[2], usd=usd, accept=spec)
    keep_artifact(output, fitted, parts, (data, split, val), as_json=as_json)
