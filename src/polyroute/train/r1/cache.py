"""Calls that were made already are not made again while a router trains.

The one decision here: to the same words with the same parameters a candidate says the same during
a run. The episodes of a group then differ in what the router did, not in a candidate's mood, a
question costs its calls once however often it is played, and a resumed run hears what it heard. The
reply keeps its usage, so that the episode is charged as if the call had been made.
"""

import asyncio
import json

from polyroute.decision import Call
from polyroute.protocols import Backend, Emit
from polyroute.trace import Reply, Trace

__all__ = ["Cached"]


class Cached:
    """Hand on each different call once.

    A failed call is not remembered. Calls that are made at the same time wait for the first.

    Parameters
    ----------
    backend : Backend
        Carries out the calls.
    """

    def __init__(self, backend: Backend) -> None:
        self.made = 0
        """Calls that were handed on."""
        self.saved = 0
        """Calls that were not."""
        self._backend = backend
        self._replies: dict[str, Reply] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Return what the candidate said before, or ask it."""
        key = _key(call, trace)
        if key in self._replies:
            self.saved += 1
            return self._replies[key]
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key in self._replies:
                self.saved += 1
                return self._replies[key]
            self.made += 1
            reply = await self._backend.complete(call, trace, emit)
            if reply.ok:
                self._replies[key] = reply
        self._locks.pop(key, None)
        return reply

    async def close(self) -> None:
        """Close the backend."""
        await self._backend.close()


def _key(call: Call, trace: Trace) -> str:
    messages = [message.to_json() for message in call.messages(trace.request)]
    params = call.merged_params(trace.request)
    return json.dumps([call.model, messages, params], sort_keys=True, default=str)
