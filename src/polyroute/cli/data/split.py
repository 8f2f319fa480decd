"""`polyroute data split`: divide an outcome table by question."""

from itertools import combinations
from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import clip, note, plural, warn, working, write_line
from polyroute.cli.lazy import command
from polyroute.errors import ConfigError
from polyroute.outcomes import by_split, check_leaks, read_outcomes, with_splits, write_outcomes

__all__ = ["app", "split"]

app = command()

_SHOWN = 5


@app.command()
def split(
    path: Annotated[
        Path, typer.Argument(help="The start of the table's files, or one file.", metavar="TABLE")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Start of the new table's files (.csv, .jsonl).")
    ],
    fractions: Annotated[
        str, typer.Option(help="Share of the questions per split.")
    ] = "train=0.7,val=0.15,test=0.15",
    seed: Annotated[int, typer.Option(help="Another seed is another division.")] = 0,
    alike: Annotated[
        float, typer.Option(help="Similarity, 0 to 1, from which on two questions are a leak.")
    ] = 0.8,
) -> None:
    """Write the table with every question's split set by its text, and name what leaks.

    The same question (but for case, punctuation and spaces) is on the same side in every table.
    """
    with working(f"dividing {path}"):
        divided = with_splits(read_outcomes(path), _fractions(fractions), seed=seed)
        sides = by_split(divided)
    write_outcomes(divided, output)
    for name, side in sides.items():
        write_line(f"{name}: {plural(len(side.queries), 'question')}")
    for first, second in combinations(sides, 2):
        with working(f"comparing {first} with {second}"):
            leaks = check_leaks(sides[first].queries, sides[second].queries, threshold=alike)
        if leaks:
            warn(f"{plural(len(leaks), 'question')} of {second} are nearly one of {first}:")
        for leak in leaks[:_SHOWN]:
            note(
                f"  {leak.second.query_id} is {leak.similarity:.2f} like {leak.first.query_id}: "
                f"{clip(leak.second.prompt, 60)}"
            )


def _fractions(text: str) -> dict[str, float]:
    """Read ``train=0.8,val=0.2``.

    Raises
    ------
    ConfigError
        If it is not of that form.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise ConfigError(
                f"--fractions: expected name=share, such as train=0.8,val=0.2, got {part!r}"
            ) from None
    return shares
