"""Where the numbers of a run go: a CSV file always, TensorBoard or Weights & Biases when asked.

The one decision here: the CSV is the curve. It is written row by row, a resumed run first drops
what lies after its checkpoint, and the artifact's curve is read from it. Only numbers are logged:
no prompt, no reply, no configuration, so no key can get into a log or to a third party.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from polyroute.errors import MissingExtraError
from polyroute.train.r1.rl import Point, extra

__all__ = ["CsvLog", "Logger", "TensorBoard", "WeightsAndBiases", "logger", "row_of"]

_Row: TypeAlias = Mapping[str, float]

_COLUMNS = (
    "step", "reward", "outcome", "format_rate", "calls", "usd", "top_share", "entropy_models",
    "kl", "loss", "entropy", "grad_norm", "learning_rate", "reward_std", "critic_loss", "seconds",
)  # fmt: skip


class Logger(Protocol):
    """Takes the numbers of each step."""

    def write(self, row: _Row) -> None:
        """Take one step's numbers."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


class CsvLog:
    """Rows in a file, one per step; what is not measured stays empty.

    Parameters
    ----------
    path : Path
        Rows that are there already stay, up to those of `before`.
    before : int, default=0
        Steps from this number on are dropped: a resumed run writes them again.
    """

    def __init__(self, path: Path, *, before: int = 0) -> None:
        self.path = path
        kept = [row for row in self.read(path) if row["step"] < before]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, _COLUMNS).writeheader()
        for row in kept:
            self.write(row)

    def write(self, row: _Row) -> None:
        """Append one row, on disk when this returns."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, _COLUMNS, extrasaction="ignore").writerow(
                {name: repr(value) for name, value in row.items()}
            )

    def close(self) -> None:
        """Do nothing: every row is written already."""

    @staticmethod
    def read(path: Path) -> list[dict[str, float]]:
        """Return the rows of a file, oldest first; none when there is no file."""
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            ]


class TensorBoard:
    """Scalars for TensorBoard, in a folder."""

    def __init__(self, folder: Path) -> None:
        try:
            self._writer = extra("torch.utils.tensorboard").SummaryWriter(str(folder))
        except (ImportError, MissingExtraError) as error:
            raise MissingExtraError(
                f"TensorBoard logs need its package ({error}); run: pip install tensorboard"
            ) from error

    def write(self, row: _Row) -> None:
        """Take one step's numbers."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WeightsAndBiases:
    """Scalars for Weights & Biases; its key is taken from its own environment, never from us."""

    def __init__(self, folder: Path) -> None:
        try:
            library: Any = extra("wandb")
        except MissingExtraError as error:
            raise MissingExtraError(
                f"logs to Weights & Biases need its package ({error}); run: pip install wandb"
            ) from error
        self._run = library.init(project="polyroute", name=folder.name, dir=str(folder))

    def write(self, row: _Row) -> None:
        """Take one step's numbers."""
        self._run.log(dict(row), step=int(row["step"]))

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def logger(kind: Literal["tensorboard", "wandb"], folder: Path) -> Logger:
    """Return the logger called `kind`, writing under `folder`."""
    return TensorBoard(folder) if kind == "tensorboard" else WeightsAndBiases(folder)


def row_of(point: Point) -> dict[str, float]:
    """Return a step's numbers, flat."""
    vitals = point.vitals
    row = {
        "step": float(vitals.step),
        "reward": vitals.reward,
        "outcome": vitals.outcome,
        "format_rate": vitals.format_rate,
        "calls": vitals.calls,
        "top_share": vitals.top_share,
        "entropy_models": vitals.entropy,
    }
    return {**row, **point.numbers}
