"""What a server has seen since it started, whatever its configuration was meanwhile.

The one decision here: what was counted stays counted. A reload adds the names of the new
configuration; those of the old one keep their numbers, for requests may still end under them.
"""

from collections import deque
from dataclasses import dataclass, field

from polyroute.config import Setup
from polyroute.gateway.watch.account import Account
from polyroute.gateway.watch.live import EPISODES
from polyroute.gateway.watch.tally import Tally
from polyroute.gateway.watch.timeline import Timeline
from polyroute.types import JsonObject

__all__ = ["History"]


@dataclass(slots=True)
class History:
    """The numbers, the minutes and the newest episodes of one server.

    Parameters
    ----------
    setup : Setup
        What it serves first.
    """

    setup: Setup
    tally: Tally = field(init=False)
    timeline: Timeline = field(init=False)
    episodes: "deque[Account | JsonObject]" = field(init=False)
    """The newest that have ended."""

    def __post_init__(self) -> None:
        self.tally = Tally(*_names(self.setup))
        self.timeline = Timeline(self.setup.pool)
        self.episodes = deque(maxlen=EPISODES)

    def renew(self, setup: Setup) -> None:
        """Go on with another configuration."""
        if setup is not self.setup:
            self.setup = setup
            self.tally.renew(*_names(setup))
            self.timeline.renew(setup.pool)


def _names(setup: Setup) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    return setup.pool.ids, tuple(setup.specs), tuple(setup.embedders)
