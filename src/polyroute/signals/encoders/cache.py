"""Where files that are computed once are kept: exported models, distilled tables.

The one decision here: a file is written under another name and then renamed, so that whoever finds
it finds all of it, and two processes that build it at once do no harm.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from polyroute.errors import ConfigError

__all__ = ["folder", "stored"]


def folder() -> Path:
    """Return the folder of cached files.

    ``POLYROUTE_CACHE``, else ``polyroute`` in ``XDG_CACHE_HOME``, else ``~/.cache/polyroute``.
    Everything in it can be computed again: it may be deleted, or copied to another machine.
    """
    chosen = os.environ.get("POLYROUTE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "polyroute"


def stored(name: str, write: Callable[[Path], None]) -> Path:
    """Return the cached file `name`; when there is none, let `write` make it first.

    Parameters
    ----------
    name : str
        A file name that changes whenever the content would.
    write : callable
        Writes the content to the path it is given.

    Raises
    ------
    ConfigError
        If the folder cannot be written to.
    """
    path = folder() / name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as apart:
            unfinished = Path(apart) / name
            write(unfinished)
            unfinished.replace(path)
    except OSError as error:
        raise ConfigError(
            f"cannot write the cache folder {str(path.parent)!r} ({error}); set POLYROUTE_CACHE to "
            "a folder that can be written to"
        ) from error
    return path
