"""``POST /v1/feedback``: what the answer of a trace was worth.

The one decision here: feedback is taken only on a trace that this server has kept, so that nobody
waits for learning from what cannot be found again.
"""

import asyncio
import logging

from starlette.types import Receive, Scope, Send

from polyroute.errors import RecordError
from polyroute.gateway.caller import Caller, caller_of
from polyroute.gateway.errors import ApiError, InvalidError
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.learner import Learner
from polyroute.gateway.wire import DisconnectedError, decode, read_body, refuse, respond
from polyroute.records.feedback import Feedback, rewards_of

__all__ = ["FeedbackEndpoint"]

_log = logging.getLogger(__name__)

_KEYS = ("trace_id", "reward")


class FeedbackEndpoint:
    """The endpoint.

    Parameters
    ----------
    keeper : Keeper
        Knows which traces there are. The feedback is kept beside its records.
    learner : Learner
        Learns from it.
    """

    def __init__(self, keeper: Keeper, learner: Learner) -> None:
        self._keeper = keeper
        self._learner = learner
        self._log = rewards_of(keeper.store)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one piece of feedback."""
        try:
            body = await read_body(scope, receive, limit_mb=1)
            feedback = await self._keep(body, caller_of(scope))
        except DisconnectedError:
            return
        except ApiError as error:
            await refuse(send, error)
            return
        if self._learner.learns:
            await self._learn()
        about = {"trace_id": feedback.trace_id, "reward": feedback.reward}
        await respond(
            send, {"object": "feedback", **about, "created_at": feedback.created_at}, headers={}
        )

    async def _learn(self) -> None:
        """Learn from what is new in the file; what cannot be learned now is not lost."""
        try:
            await asyncio.to_thread(self._learner.learn)
        except RecordError as error:
            _log.warning("%s", error)

    async def _keep(self, body: bytes, caller: Caller) -> Feedback:
        if self._log is None:
            raise ApiError(
                404,
                "this server keeps no records, so it has nothing to give feedback on; "
                "set records.store to sqlite or postgres",
                code="trace_not_found",
            )
        feedback = _read(body)
        record = await self._keeper.find(feedback.trace_id)
        if record is None or not caller.sees(record):
            raise ApiError(
                404, f"there is no trace {feedback.trace_id!r:.120}", code="trace_not_found"
            )
        try:
            await asyncio.to_thread(self._log.add, feedback)
        except RecordError as error:
            _log.warning("%s", error)
            raise ApiError(
                503, "the feedback could not be kept; try again", type="server_error"
            ) from error
        return feedback


def _read(body: bytes) -> Feedback:
    wire = decode(body)
    for key in wire:
        if key not in _KEYS:
            raise InvalidError(f"unknown key {key!r:.80}; known here: trace_id, reward", param=key)
    for key in _KEYS:
        if key not in wire:
            raise InvalidError(f"the key {key!r} is missing", param=key)
    try:
        return Feedback(trace_id=wire["trace_id"], reward=wire["reward"])
    except RecordError as error:
        wrong = "reward" if str(error).startswith("reward") else "trace_id"
        raise InvalidError(str(error), param=wrong) from error
