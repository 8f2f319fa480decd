"""`polyroute train agreement`: who has to agree, and who is asked where they do not."""

from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import working
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson
from polyroute.cli.training.tables import Cards, Data, Split, Val, keep_policy, parts_of
from polyroute.train.agreement_fit import fit_agreement

__all__ = ["agreement", "app"]

app = command()


@app.command()
def agreement(  # noqa: PLR0913 - one parameter per option
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Policy to write, *.yaml.", metavar="FILE")
    ],
    answers: Annotated[
        str, typer.Option(help="How an answer is read: text, exact, number, choice, boxed.")
    ] = "text",
    target: Annotated[
        float, typer.Option(min=0, help="Share of the best single model's quality to reach.")
    ] = 1.0,
    sure: Annotated[
        float, typer.Option(min=0, help="Standard errors to spare; 0 takes the luckiest.")
    ] = 1.645,
    cheap: Annotated[
        float, typer.Option(min=0, help="Most that a member costs, as a share of the best model.")
    ] = 0.5,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Only these cards; may be repeated.")
    ] = None,
    split: Split = "train",
    val: Val = "val",
    config: Cards = None,
    as_json: AsJson = False,
) -> None:
    """Find the cheapest two models and third that reach a quality, and write the policy.

    The two are asked side by side; where their answers are the same it is taken, else the third is
    asked. It learns names only, so what it writes is a policy for a configuration.
    """
    parts = parts_of(data, split, val, config, model)
    with working("training"):
        spec, found = fit_agreement(
            parts[0], parts[2], answers=answers, target=target, sure=sure, cheap=cheap
        )
    keep_policy(output, spec, found, parts, as_json=as_json)
