"""How the server listens."""

from typing import Literal

from pydantic import Field

from polyroute.config.strict import Strict

__all__ = ["ServerSettings"]


class ServerSettings(Strict):
    """How `polyroute serve` listens."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    keys_env: str | None = None
    """Name of the environment variable that holds the clients' keys, separated by commas."""
    rounds: Literal["reasoning", "comments", "off"] = "reasoning"
    """How the rounds of an episode are streamed before its answer: as reasoning deltas, as
    comments that clients skip, or not at all."""
    max_body_mb: int = Field(32, gt=0)
    grace_s: float = Field(30.0, ge=0)
    """Seconds that running requests are given when the server is told to stop (SIGTERM)."""
    reload_every_s: float | None = Field(None, gt=0)
    """Look so often whether the configuration file has changed, and reload it then; null: only
    on SIGHUP."""
    workers: int = Field(1, ge=1, le=256)
    """Processes that listen on the port, each with its own event loop. What they count and
    remember is each one's own, unless `state` says where it is shared."""
