"""What every training command begins and ends with: a table in parts, and what it wrote."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
import yaml

from polyroute.cli.artifact.card import scores
from polyroute.cli.console import hint, note, plural, working, write_json, write_line, write_table
from polyroute.config import cards_of, read
from polyroute.errors import ConfigError
from polyroute.evaluate.harness import evaluate
from polyroute.evaluate.summarise import summarise
from polyroute.outcomes import OutcomeTable, by_split, read_outcomes
from polyroute.outcomes.implied import pool_of
from polyroute.pool import Pool
from polyroute.spec import construct
from polyroute.train.artifact import Fitted, save
from polyroute.train.measure import measure
from polyroute.types import Json, JsonObject

__all__ = ["Cards", "Data", "Parts", "Split", "Val", "keep_artifact", "keep_policy", "parts_of"]

Data: TypeAlias = Annotated[
    Path, typer.Option("--data", "-d", help="Outcome table to learn from.", metavar="TABLE")
]
Split: TypeAlias = Annotated[
    str, typer.Option(help="Split to learn from; all of a table that has no splits.")
]
Val: TypeAlias = Annotated[
    str, typer.Option(help="Split to judge by, which nothing is chosen on; '' for none.")
]
Cards: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration whose pool has the cards and prices."),
]

Parts: TypeAlias = tuple[OutcomeTable, OutcomeTable | None, Pool]
"""What to learn from, what to judge by, and the cards."""


def parts_of(
    data: Path, split: str, val: str, config: Path | None, models: list[str] | None = None
) -> Parts:
    """Read a table and divide it; the cards are those of `config`, else what the table implies.

    Raises
    ------
    ConfigError
        If a split is not there, or both are the same.
    UnknownModelError
        If one of `models` is no card.
    """
    with working(f"reading {data}"):
        parts = by_split(read_outcomes(data))
    learned, judged = _divided(parts, split, val)
    pool = pool_of(learned) if config is None else cards_of(read(config))
    return learned, judged, pool.only(models) if models else pool


def _divided(
    parts: dict[str, OutcomeTable], split: str, val: str
) -> tuple[OutcomeTable, OutcomeTable | None]:
    if split == val:
        raise ConfigError(f"--split and --val are both {split!r}; a router is judged on other data")
    if [*parts] == [""]:
        return parts[""], None
    if split not in parts:
        known = ", ".join(map(repr, parts))
        raise ConfigError(f"the table has no split {split!r}, only {known}; name one with --split")
    return parts[split], parts.get(val)


def keep_artifact(
    output: Path,
    fitted: Fitted,
    parts: Parts,
    names: tuple[Path, str, str],
    *,
    as_json: bool,
) -> None:
    """Judge a fitted router, write it as an artifact, and say what came of it.

    Parameters
    ----------
    output : Path
    fitted : Fitted
    parts : Parts
    names : tuple
        The table's path and the names of the two splits.
    as_json : bool
    """
    learned, judged, _ = parts
    data, split, val = names
    if judged is not None:
        note(f"judging on {plural(len(judged.queries), 'question')} of {val!r}")
        with working("judging"):
            evaluation = {"split": val, **measure(fitted, judged, train=learned)}
        fitted = replace(fitted, evaluation=evaluation)
    known = split if any(question.split == split for question in learned.queries) else ""
    fitted = replace(fitted, training={"table": data.name, "split": known, **fitted.training})
    manifest = save(output, fitted, created_at=datetime.now(UTC).isoformat(timespec="seconds"))
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


def keep_policy(
    output: Path, spec: JsonObject, found: JsonObject, parts: Parts, *, as_json: bool
) -> None:
    """Write a policy that is plain numbers and names as YAML, and say what is expected of it.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    learned, judged, pool = parts
    said: dict[str, Json] = {"policy": spec, "training": found}
    if judged is not None:
        policy = construct("policies", spec, where="policy")
        results = evaluate({str(spec["name"]): policy}, judged, pool=pool)
        row = summarise(results, judged, pool, train=learned).rows[0]
        said["evaluation"] = {
            "questions": row.questions,
            "quality": row.quality.estimate,
            "difference": [row.difference.estimate, row.difference.low, row.difference.high],
            "usd": row.usd,
        }
    try:
        output.write_text(yaml.safe_dump({"policy": dict(spec)}, sort_keys=False), "utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write the policy {str(output)!r}: {error}") from None
    if as_json:
        write_json(said)
        return
    for part in ("training", "evaluation"):
        for name, value in said.get(part, {}).items():
            write_line(f"{part}: {name} {value}")
    write_line(f"{output}: {spec['name']}")
    hint(f"polyroute evaluate --data TABLE --router {output}")
