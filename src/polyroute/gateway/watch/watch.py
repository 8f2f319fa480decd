"""Everything that watches one server, as the one watcher its endpoints tell.

The one decision here: what is not asked for costs nothing. The parts that the configuration leaves
out are not built, and a server without any of them has no watcher.
"""

import asyncio
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from starlette.routing import Route
from starlette.types import ASGIApp

from polyroute.config import Setup
from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.errors import ApiError
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.run import Outcome
from polyroute.gateway.seams import Listener
from polyroute.gateway.watch.account import Account, account_of
from polyroute.gateway.watch.history import History
from polyroute.gateway.watch.instances import Instances
from polyroute.gateway.watch.live import Live
from polyroute.gateway.watch.log import RequestLog
from polyroute.gateway.watch.page import Page
from polyroute.gateway.watch.prometheus import Metrics
from polyroute.gateway.watch.reads import Reads

__all__ = ["Watch"]


class Watch:
    """Watches one server, as its configuration says.

    Parameters
    ----------
    setup : Setup
        What is served.
    keeper : Keeper
        Keeps its records.
    history : History, optional
        What was seen under the configurations before.
    """

    def __init__(self, setup: Setup, keeper: Keeper, history: History | None = None) -> None:
        settings = setup.settings.watch
        self._setup = setup
        self._history = history = History(setup) if history is None else history
        self._began: dict[str, tuple[float, float]] = {}
        self.tally = history.tally
        texts = setup.settings.records.content == "full"
        self.live = Live(texts=texts, ended=history.episodes)
        counted = settings.metrics or settings.page
        self._tracing: Any = None
        around: list[Any] = [self.tally] if counted else []
        self.routes: list[Route] = []
        reads = Reads(setup, keeper, self.tally)
        backends = {**setup.backends, **setup.embedders}
        if settings.metrics:
            metrics = Metrics(self.tally, keeper, backends)
            self.routes.append(Route("/metrics", reads.metrics(metrics)))
        if settings.page:
            timeline = history.timeline
            instances = Instances(backends)
            around += [timeline, instances, self.live]
            self.routes += _page(reads.page(timeline, instances, self.live))
        if settings.log:
            around.append(RequestLog())
        if settings.tracing is not None:
            # an extra of its own: only a server that makes spans needs it
            self._module = import_module("polyroute.gateway.watch.tracing")
            sends = self._module.exporter(settings.tracing)
            self._tracing = self._module.Tracing(settings.tracing, sends)
            around.append(self._tracing)
        self._told: Sequence[Any] = around
        self._live = self.live if settings.page else None

    @property
    def watches(self) -> bool:
        """Whether anything is to be watched."""
        return bool(self._told)

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Who is told what happens in episodes."""
        return () if self._live is None else (self._live.happened,)

    def begin(self) -> None:
        """Go on from what was seen before, when this configuration begins to serve."""
        self._history.renew(self._setup)

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with what has to see requests before it."""
        if self._tracing is None:
            return app
        remembers: ASGIApp = self._module.Remembers(app)
        return remembers

    def refused(self, caller: Caller, error: ApiError) -> None:
        """Take note that a request was not let in."""
        self.tally.refused[error.status] += 1

    def began(self, caller: Caller, asked: Asked) -> None:
        """Take note that a request was let in."""
        self._began[asked.request.id] = (time.time(), time.monotonic())
        self.tally.running += 1
        if self._live is not None:
            self._live.began(asked)

    def ended(self, caller: Caller, asked: Asked, outcome: Outcome | None) -> None:
        """Tell all who watch that it is over."""
        at, start = self._began.pop(asked.request.id)
        self.tally.running -= 1
        seconds = time.monotonic() - start
        account: Account = account_of(caller, asked, outcome, began=at, seconds=seconds)
        for each in self._told:
            each.ended(account)

    async def close(self) -> None:
        """Let those go who look on, and send the spans that wait."""
        self.live.close()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)


def _page(reads: Any) -> list[Route]:  # noqa: ANN401
    page = Page()
    return [
        Route("/ui", page.index),
        Route("/ui/{name:path}", page.file),
        Route("/v1/watch/live", reads.live),
        Route("/v1/watch/figures", reads.figures),
        Route("/v1/watch/instances", reads.instances),
        Route("/v1/watch/records", reads.records),
        Route("/v1/watch/replay", reads.replay, methods=["POST"]),
    ]
