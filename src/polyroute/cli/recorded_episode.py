"""One episode of `ask`: run, shown, and recorded however it ends.

The one decision here: an answer is worth more than its record. A record that cannot be stored is a
warning and an exit code; the answer is delivered all the same.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace

from msgspec import structs

from polyroute.cli.console import note, warn
from polyroute.cli.construction import Chosen, opened
from polyroute.cli.live import View, view
from polyroute.config import Setup
from polyroute.episode import Episode
from polyroute.errors import PolicyError, RecordError
from polyroute.policies.fixed import Fixed
from polyroute.protocols import Backend
from polyroute.records.record import Record, Status
from polyroute.trace import Trace
from polyroute.types import Request

__all__ = ["Ended", "RecordedEpisode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an episode ended."""

    trace: Trace
    record: Record
    """With all its texts, whatever the store keeps of them."""
    delivered: bool
    """Whether the answer has been streamed to standard output."""
    kept: bool
    """Whether the record is stored."""
    lost: bool
    """Whether the record should have been stored, and could not."""


class RecordedEpisode:
    """Answer one request.

    Parameters
    ----------
    setup : Setup
        The pool, its backends, the record store.
    plain : bool
        Only ever plain lines on standard error.
    keep : bool
        Whether to store the record.
    """

    def __init__(self, setup: Setup, *, plain: bool, keep: bool) -> None:
        self._setup = setup
        self._plain = plain
        self._store = setup.records if keep else None

    async def run(self, chosen: Chosen, request: Request) -> Ended:
        """Answer `request`; when the policy breaks, by the declared fallback."""
        fallback = self._setup.settings.fallback
        async with opened(self._setup) as backend:
            ended = await self._run(chosen, request, backend)
            rest = ended.trace.rest
            if ended.record.error is None or fallback is None or rest is None:
                return ended
            warn(f"the policy broke ({ended.record.error}); asking the fallback {fallback}")
            again = structs.replace(request, id=f"{request.id}-fallback", budget=rest)
            card = Chosen(Fixed(fallback), {"name": "fixed", "model": fallback})
            second = await self._run(card, again, backend)
            return replace(second, lost=second.lost or ended.lost)

    async def _run(self, chosen: Chosen, request: Request, backend: Backend) -> Ended:
        episode = Episode(chosen.policy, backend, request, self._setup.pool)
        shown: View = view(plain=self._plain)
        status: Status | None = None
        error: str | None = None
        try:
            async with aclosing(episode.events(stream=shown.streams)) as events:
                async for event in events:
                    shown.show(event)
        except asyncio.CancelledError:
            shown.close()
            self._end(episode.trace, chosen, status="cancelled")
            note(f"cancelled; trace {request.id}")
            raise
        except PolicyError as broken:
            status, error = "failed", str(broken)
        finally:
            shown.close()
        ended = self._end(episode.trace, chosen, status=status, error=error)
        return replace(ended, delivered=shown.delivered)

    def _end(
        self, trace: Trace, chosen: Chosen, *, status: Status | None, error: str | None = None
    ) -> Ended:
        """Store the record, as far as its texts are to be kept."""
        content = self._setup.settings.records.content
        record = Record.of(trace, policy=chosen.spec, status=status, error=error)
        ended = Ended(trace=trace, record=record, delivered=False, kept=False, lost=False)
        if self._store is None:
            return ended
        try:
            stored = self._store.append(
                Record.of(trace, policy=chosen.spec, status=status, error=error, content=content)
            )
        except RecordError as problem:
            warn(str(problem))
            return replace(ended, lost=True)
        return replace(ended, record=stored if content == "full" else record, kept=True)
