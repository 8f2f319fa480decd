"""What an instance is asked for, and in which form it says it.

The one decision here: everything else about a call (who is asked, how often, over what, and what
becomes of a failure) is the same whatever is asked for, and is written once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from polyroute.backends.chat_completion import Completion, read_completion
from polyroute.backends.openai.instance import Instance
from polyroute.backends.openai.turn import path_of, turn_body
from polyroute.decision import Call
from polyroute.types import Json, Request

__all__ = ["CHAT", "Body", "Form"]


class Body(Protocol):
    """Writes the body of a request."""

    def __call__(
        self, call: Call, request: Request, *, model: str, instance: Instance, stream: bool
    ) -> bytes:
        """Return the body that asks `call` of `instance`, as JSON.

        Raises
        ------
        BackendError
            Of kind ``bad_request``, if the instance cannot be asked that.
        """
        ...


@dataclass(frozen=True, slots=True)
class Form:
    """One of the endpoints of OpenAI's API."""

    path: Callable[[Instance], str]
    """The endpoint, under an instance's base URL."""
    body: Body
    read: Callable[[Mapping[str, Json]], Completion]
    """Reads a body that was not streamed; raises `BackendError` when it is none."""


CHAT = Form(path_of, turn_body, read_completion)
"""Turns of a conversation."""
