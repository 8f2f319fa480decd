"""`polyroute artifact show`: what a trained router is made of."""

from typing import Annotated

import typer

from polyroute.cli.artifact.card import to_json
from polyroute.cli.console import clip, plural, write_json, write_line
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson
from polyroute.train.artifact import read_manifest
from polyroute.types import Json

__all__ = ["app", "show"]

app = command()


@app.command()
def show(
    path: Annotated[str, typer.Argument(help="The artifact.", metavar="FOLDER")],
    as_json: AsJson = False,
) -> None:
    """Check an artifact and show its policy, its pool, what it learned from and its files."""
    manifest = read_manifest(path)
    if as_json:
        write_json(to_json(manifest))
        return
    write_line(f"policy: {manifest.policy['name']}")
    for key, value in manifest.policy.items():
        if key != "name":
            write_line(f"  {key}: {_in_words(value)}")
    write_line(f"pool: {plural(len(manifest.pool), 'card')}, digest {manifest.pool.digest}")
    for card in manifest.pool:
        write_line(f"  {clip(card.descriptor(), 160)}")
    if manifest.added:
        write_line("added after training:")
    for one in manifest.added:
        expected = one.expected
        write_line(
            f"  {clip(one.card.descriptor(), 160)}: expected mean {expected.level:.3f} "
            f"({expected.low:.3f} to {expected.high:.3f}, {plural(expected.probes, 'probe')})"
        )
    write_line("training:")
    for key, value in manifest.training.items():
        write_line(f"  {key}: {clip(_in_words(value), 200)}")
    write_line(f"created: {manifest.created_at}, polyroute {manifest.polyroute}")
    for name, facts in manifest.files.items():
        write_line(f"file: {name}, {facts['bytes']} bytes, sha256 {facts['sha256']}")
    write_line(f"digest: {manifest.digest}")


def _in_words(value: Json) -> str:
    if isinstance(value, dict):
        name = value.get("name")
        rest = {key: item for key, item in value.items() if key != "name"}
        said = ", ".join(f"{key} {_in_words(item)}" for key, item in rest.items())
        return f"{name} ({said})" if name and said else str(name or said)
    if isinstance(value, list):
        return "; ".join(map(_in_words, value)) or "-"
    return "-" if value is None else str(value)
