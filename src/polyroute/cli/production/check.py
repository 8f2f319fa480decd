"""What one check is, and what several of them need."""

import ipaddress
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from polyroute.cli.findings import Finding
from polyroute.config import Settings
from polyroute.types import Json

__all__ = ["Check", "Found", "Look", "backends", "exposed", "is_local", "mode"]

Found: TypeAlias = Iterator[Finding]

Look: TypeAlias = Callable[[Settings, Path | None], Found]
"""From the configuration, and the file it comes from, to what is not ready."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at."""

    subject: str
    """What is looked at."""
    well: str
    """What there is to say when nothing is wrong with it."""
    look: Look


def exposed(settings: Settings) -> bool:
    """Whether machines other than this one can reach the server."""
    return not is_local(settings.server.host)


def is_local(host: str) -> bool:
    """Whether `host` is this machine alone.

    Examples
    --------
    >>> is_local("127.0.0.1"), is_local("::1"), is_local("0.0.0.0"), is_local("cache")
    (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def backends(settings: Settings) -> Iterator[tuple[str, Mapping[str, Json]]]:
    """Yield the specification of every backend, with the place of its card."""
    for family, cards in (("pool", settings.pool), ("embeddings", settings.embeddings)):
        for card in cards:
            spec = card.backend
            yield f"{family}.{card.id}", {"name": spec} if isinstance(spec, str) else spec


def mode(path: Path) -> int | None:
    """Return the permission bits of a file; `None` when there is none or it cannot be seen."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
