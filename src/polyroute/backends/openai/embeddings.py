"""Texts to vectors, by any endpoint that has OpenAI's ``/embeddings``.

The one decision here: to ask for vectors is a call like any other, so that it is bounded, billed
and recorded like any other. The texts are the request's messages; the vectors are in the reply's
raw body, and in no record.
"""

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from polyroute.backends.chat_completion import Completion, read_usage
from polyroute.backends.openai.backend import OpenAI
from polyroute.backends.openai.form import Form
from polyroute.backends.openai.instance import Instance
from polyroute.decision import Call
from polyroute.errors import BackendError
from polyroute.types import Json, Message, Request

__all__ = ["Embeddings", "as_input", "as_messages"]


def _body(call: Call, request: Request, *, model: str, instance: Instance, stream: bool) -> bytes:
    params = {
        key: value
        for key, value in call.merged_params(request).items()
        if key != "max_tokens"  # the loop's own bound: vectors are no completion
    }
    wire = {"model": model, "input": as_input(call.messages(request)), **params}
    return json.dumps(wire).encode("ascii")


def _read(wire: Mapping[str, Json]) -> Completion:
    if not isinstance(wire.get("data"), list):
        raise BackendError("the body holds no list of vectors", kind="invalid_reply", billed=True)
    said, model = wire.get("usage"), wire.get("model")
    counted = {**said, "completion_tokens": 0} if isinstance(said, Mapping) else None
    return Completion(
        finish_reason="stop",
        usage=read_usage(counted),
        model=model if isinstance(model, str) else None,
    )


class Embeddings(OpenAI):
    """Ask one embedding model through its instances.

    The same backend as `OpenAI`, with the same parameters: transports, balancers, health, hedges.
    Only what is asked for is another, and the reply's `raw` is the upstream's body.
    """

    _form: ClassVar[Form] = Form(lambda _: "embeddings", _body, _read)


def as_messages(given: Json) -> tuple[Message, ...]:
    """Return the field ``input`` as messages of the user: one for each text or list of tokens.

    Examples
    --------
    >>> [message.content for message in as_messages(["a", "b"])][1]
    ({'type': 'text', 'text': 'b'},)
    """
    if isinstance(given, str):
        return (Message("user", given),)
    if given and isinstance(given[0], int):
        return (Message("user", (_tokens(given, "only"),)),)
    return tuple(
        Message("user", ({"type": "text", "text": one},))
        if isinstance(one, str)
        else Message("user", (_tokens(one, "one"),))
        for one in given
    )


def as_input(messages: Sequence[Message]) -> Json:
    """Return what `as_messages` was given.

    Examples
    --------
    >>> for given in ("a", ["a"], ["a", "b"], [1, 2], [[1, 2]]):
    ...     assert as_input(as_messages(given)) == given
    """
    if len(messages) == 1 and isinstance(messages[0].content, str):
        return messages[0].content
    listed = []
    for message in messages:
        part = message.content[0] if isinstance(message.content, tuple) else {}
        if part.get("tokens") is not None and part.get("list") == "only":
            return list(part["tokens"])
        listed.append(part.get("tokens", message.text))
    return listed


def _tokens(tokens: Sequence[int], place: str) -> dict[str, Json]:
    """Return tokens as a part; it counts as text, so that a budget bounds it."""
    return {"type": "text", "text": "", "tokens": list(tokens), "list": place}
