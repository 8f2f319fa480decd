"""Where limits, budgets and short memories are kept."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from polyroute.config.strict import Strict

__all__ = ["StateSettings"]


class StateSettings(Strict):
    """What the processes of a server share."""

    store: Literal["memory", "sqlite", "redis"] = "memory"
    """Shared by one process, by the processes of one machine, or by those of many."""
    path: Path | None = None
    """The SQLite file; in the state folder when not given."""
    url: str = "redis://127.0.0.1:6379/0"
    """Where Redis is, without a password."""
    password_env: str | None = None
    """Name of the environment variable that holds the password of Redis."""
    prefix: str = "{polyroute}:"
    """In front of every key in Redis; a part in braces keeps all keys in one slot of a cluster."""
    timeout_s: float = Field(2.0, gt=0)
    """Seconds after which the store counts as gone, and for which an operation waits for a
    connection: a short one refuses, under a flood, what would have been let in."""
    connections: int = Field(16, ge=1, le=1_000)
    """Most connections of one process to Redis; what finds all in use waits for one."""
    on_loss: Literal["closed", "open"] = "closed"
    """When it is gone: refuse requests whose key has limits (503), or let them in uncounted."""
