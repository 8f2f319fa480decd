"""What was done in the name of an administrator, one line of JSON each, only ever appended."""

import getpass
import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

from polyroute.config import Settings, state_folder
from polyroute.records.store import private_folder
from polyroute.types import Json

__all__ = ["Audit", "audit_log", "operator"]

_log = logging.getLogger(__name__)


class Audit:
    """The log of one installation.

    Parameters
    ----------
    path : path
        Made at the first line, for its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, who: str, act: str, **about: Json) -> None:
        """Append one line: when, who, what. A line is one write, so lines never mix.

        It is logged as well: the files of a container go with it. An act whose line cannot be
        written is logged as such; it is not undone.
        """
        at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        line = json.dumps({"at": at, "who": who, "act": act, **about}) + "\n"
        _log.info("audit: %s", line.rstrip())
        try:
            private_folder(self.path.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            file = os.open(self.path, flags, 0o600)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)
        except OSError as error:
            _log.error("the audit log %s cannot be written (%s): %s", self.path, error, line)


def audit_log(settings: Settings) -> Audit:
    """Return the log of `settings`."""
    return Audit(settings.access.audit or state_folder() / "audit.jsonl")


def operator() -> str:
    """Return who runs a command, for the log."""
    try:
        return f"user:{getpass.getuser()}"
    except (OSError, KeyError):
        return f"uid:{os.getuid()}"
