"""`polyroute artifact card`: what a trained router learned from, how it did, where it ends."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated

import typer
from rich.table import Table

from polyroute.cli.console import dollars, plural, table, write_answer
from polyroute.cli.lazy import command
from polyroute.train.artifact import Manifest, read_manifest
from polyroute.types import Json, JsonObject

__all__ = ["app", "card", "markdown", "scores", "to_json"]

app = command()

_HEAD = ("router", "quality", "95 % interval", "usd per question", "less best constant", "p")


@app.command()
def card(path: Annotated[str, typer.Argument(help="The artifact.", metavar="FOLDER")]) -> None:
    """Write the evaluation card of an artifact as Markdown to standard output."""
    write_answer("\n".join(markdown(read_manifest(path))))


def to_json(manifest: Manifest) -> dict[str, Json]:
    """Return the manifest as JSON."""
    names = ("policy", "training", "evaluation", "created_at", "polyroute", "files", "digest")
    found: dict[str, Json] = {name: getattr(manifest, name) for name in names}
    cards = [one.to_json() for one in manifest.pool]
    found["added"] = [one.to_json() for one in manifest.added]
    return {**found, "pool": {"digest": manifest.pool.digest, "cards": cards}}


def scores(evaluation: JsonObject, *, models: bool = True) -> Table:
    """Return the rows of an evaluation as a table, those of single models only if wanted."""
    rows = table(*_HEAD, right=_HEAD[1:])
    for row in evaluation["rows"]:
        if models or row["kind"] != "model":
            rows.add_row(*_cells(row))
    return rows


def markdown(manifest: Manifest) -> Iterator[str]:
    """Yield the lines of the evaluation card."""
    training = manifest.training
    yield f"# {manifest.policy['name']} over {plural(len(manifest.cards), 'model')}"
    yield ""
    yield f"Digest `{manifest.digest}`, written {manifest.created_at} by polyroute "
    yield f"{manifest.polyroute}."
    yield ""
    yield "## What it learned from"
    yield ""
    for key, value in training.items():
        if not isinstance(value, dict | list):
            yield f"- {key.replace('_', ' ')}: {value}"
    yield ""
    yield "| model | mean score in training | mean usd in training |"
    yield "| --- | ---: | ---: |"
    for one in manifest.pool:
        score = _number(training.get("mean_score", {}).get(one.id))
        usd = _usd(training.get("mean_usd", {}).get(one.id))
        yield f"| {one.id} | {score} | {usd} |"
    for joined in manifest.added:
        said, level = joined.expected, f"{joined.expected.level:.3f}"
        how = f"expected {level}, {said.low:.3f} to {said.high:.3f}, {plural(said.probes, 'probe')}"
        yield f"| {joined.card.id} | added | {how} |"
    if goal := training.get("goal"):
        yield ""
        yield "Its knob was set on questions held out: "
        yield ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in goal.items()) + "."
    yield ""
    yield "## How it did"
    yield ""
    yield from _measured(manifest.evaluation)
    yield ""
    yield "## Limits"
    yield ""
    yield "- The figures hold for questions like those it was judged on, and for these models as "
    yield "  they were when the outcomes were recorded."
    yield "- A card that is not listed above is unknown to it and is asked only where nothing is "
    yield "  known of any."
    yield "- Oracle and cheapest correct chose with sight of the outcomes: bounds, not routers."


def _measured(evaluation: JsonObject) -> Iterator[str]:
    if not evaluation:
        yield "Nobody has measured it: there was no split to judge by."
        return
    if "stages" in evaluation:
        yield from _stages(evaluation)
        return
    yield (
        f"On {plural(evaluation['questions'], 'question')} of the split "
        f"{evaluation.get('split', '')!r}, on which nothing was chosen. The best constant, chosen "
        f"in training, is {evaluation['best_constant']}. Intervals are paired bootstraps over "
        "questions."
    )
    yield ""
    yield f"| {' | '.join(_HEAD)} |"
    yield f"| --- |{' ---: |' * (len(_HEAD) - 1)}"
    for row in evaluation["rows"]:
        yield f"| {' | '.join(_cells(row))} |"
    router = evaluation["rows"][0]
    yield ""
    yield (
        f"It asked {router['most_used']} most, {_number(router['most_used_share'])} of its calls, "
        f"and closed {_number(router['gap_closed'])} of the gap between the best constant and the "
        "oracle."
    )


def _stages(evaluation: JsonObject) -> Iterator[str]:
    """Yield what a router model did before and after each stage of its training."""
    yield f"On held-out questions of the split {evaluation['split']!r}; intervals are bootstraps."
    yield ""
    yield "| stage | decoding | reward | 95 % | quality | well-formed | calls | usd |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for stage, judged in evaluation["stages"].items():
        for decoding, found in judged.items():
            cells = [
                stage,
                decoding,
                _number(found["reward"]),
                f"{_number(found['reward_low'])} to {_number(found['reward_high'])}",
                _number(found["outcome"]),
                _number(found["format_rate"]),
                f"{found['calls']:.2f}",
                _usd(found["usd"]),
            ]
            yield f"| {' | '.join(cells)} |"


def _cells(row: JsonObject) -> tuple[str, ...]:
    quality, less = row["quality"], row["difference"]
    return (
        str(row["name"]),
        _number(quality["estimate"]),
        f"{_number(quality['low'])} to {_number(quality['high'])}",
        _usd(row["usd"]),
        f"{_number(less['estimate'])} ({_number(less['low'])} to {_number(less['high'])})",
        "<0.001" if row["p"] is not None and row["p"] < 0.001 else _number(row["p"]),
    )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _usd(value: float | None) -> str:
    return dollars(None if value is None else Decimal(f"{value:.3g}"))
