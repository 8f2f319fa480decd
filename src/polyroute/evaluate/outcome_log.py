"""Outcomes on disk, one line each as they come, so that a run that was cut short goes on.

The one decision here: a file belongs to one policy on one set of questions under one budget. Its
name is the digest of all that, so outcomes of another run are never taken for those of this one.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from polyroute.errors import ConfigError
from polyroute.evaluate.result import Outcome

__all__ = ["OutcomeLog"]


class OutcomeLog:
    """The outcomes of one policy in one file of JSON lines.

    Parameters
    ----------
    folder : Path
        Made when it is not there.
    key : str
        Digest of the run; the file is ``<its first 32 characters>.jsonl``.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f"{key[:32]}.jsonl"

    def read(self) -> list[Outcome]:
        """Return the outcomes of an earlier run; a last line that was cut is dropped.

        Raises
        ------
        ConfigError
            If another line is damaged.
        """
        if not self.path.is_file():
            return []
        lines = self.path.read_bytes().split(b"\n")
        whole, rest = lines[:-1], lines[-1]
        if rest:  # the writer was stopped in the middle of it
            self.path.write_bytes(b"".join(line + b"\n" for line in whole))
        try:
            return [Outcome.from_json(json.loads(line)) for line in whole]
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"{self.path} is damaged ({error}); delete it to start anew"
            ) from None

    def append(self, outcomes: Iterable[Outcome]) -> None:
        """Write outcomes to the end of the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            for outcome in outcomes:
                file.write(json.dumps(outcome.to_json()) + "\n")

    def clear(self) -> None:
        """Forget an earlier run."""
        self.path.unlink(missing_ok=True)
