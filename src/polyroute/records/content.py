"""How much of the texts a record keeps: all, their hashes, or nothing.

The one decision here: whatever can quote a person or a reply is a text (messages, sub-queries,
reasons, failure messages, tool definitions); names, numbers, tokens, dollars and seconds are not,
so that a record without texts still adds up.
"""

import hashlib
from typing import Literal, TypeAlias

from polyroute.records.canonical import canonical
from polyroute.types import Json, JsonObject

__all__ = ["Content", "conceal_request", "conceal_step", "conceal_text"]

Content: TypeAlias = Literal["full", "hash", "none"]
"""``full`` keeps the texts, ``hash`` their SHA-256, ``none`` nothing of them."""


def conceal_text(value: Json, content: Content) -> Json:
    """Return what a record keeps of one text, list or object.

    ``hash`` gives ``"sha256:<hexadecimal>"`` over the UTF-8 text (over the canonical JSON of a
    list or an object): who has a text can prove that it is the one, and who has only a guess can
    try it, so a short or predictable text is not secret. Numbers, booleans, null and the empty
    text stay.

    Examples
    --------
    >>> conceal_text("hello", "hash")[:16]
    'sha256:2cf24dba5'
    >>> conceal_text("hello", "none") is None, conceal_text(3, "none")
    (True, 3)
    """
    if content == "full" or value is None or value == "" or isinstance(value, int | float):
        return value
    if content == "none":
        return None
    payload = canonical(value)
    if isinstance(value, str):
        # surrogatepass: a surrogate that stands alone has no UTF-8, and has a hash all the same
        payload = value.encode("utf-8", "surrogatepass")
    return f"sha256:{hashlib.sha256(payload).hexdigest()}"


def conceal_request(request: JsonObject, content: Content) -> JsonObject:
    """Return the JSON of a request without its texts; roles, budget, seed and numbers stay."""
    if content == "full":
        return request
    messages = [
        {key: value if key == "role" else conceal_text(value, content) for key, value in m.items()}
        for m in request["messages"]
    ]
    concealed = {**request, "messages": messages, "params": _values(request["params"], content)}
    if (said := request.get("conversation")) is not None:
        concealed["conversation"] = {**said, "id": conceal_text(said["id"], content)}
    return concealed


def conceal_step(step: JsonObject, content: Content) -> JsonObject:
    """Return the JSON of a step without its texts; who was asked and what it cost stay."""
    if content == "full":
        return step
    decision = dict(step["decision"])
    decision["reason"] = conceal_text(decision["reason"], content)
    if decision["type"] == "route":
        decision["calls"] = [_call(call, content) for call in decision["calls"]]
    else:
        decision = _said(decision, content)
    replies = [_said(reply, content) for reply in step["replies"]]
    return {**step, "decision": decision, "replies": replies}


def _call(call: JsonObject, content: Content) -> dict[str, Json]:
    texts = {key: conceal_text(call[key], content) for key in ("prompt", "prefix") if key in call}
    return {**call, **texts, "params": _values(call["params"], content)}


def _said(wire: JsonObject, content: Content) -> dict[str, Json]:
    failure = wire["failure"]
    if failure is not None:
        failure = {**failure, "message": conceal_text(failure["message"], content)}
    return {
        **wire,
        "text": conceal_text(wire["text"], content),
        "failure": failure,
        "fields": _values(wire["fields"], content),
    }


def _values(wire: JsonObject, content: Content) -> dict[str, Json]:
    return {key: conceal_text(value, content) for key, value in wire.items()}
