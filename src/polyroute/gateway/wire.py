"""Bytes in, bytes out: bodies with a limit, JSON, and whole responses, as plain ASGI.

The one decision here: what decides the speed of the gateway goes without a framework's request
and response objects.
"""

import json
from collections.abc import Mapping

import orjson
from starlette.types import Receive, Scope, Send

from polyroute.gateway.errors import ApiError, InvalidError, TooLargeError
from polyroute.types import Json, JsonObject

__all__ = [
    "DisconnectedError",
    "decode",
    "encode",
    "read_body",
    "refuse",
    "respond",
    "start",
    "write",
]

_MEGABYTE = 1_000_000

_DEEPEST = 100
"""Levels of a body: more than any schema of a tool has, and fewer than what reads it can stand."""


class DisconnectedError(Exception):
    """The client has gone before its request was whole."""


async def read_body(scope: Scope, receive: Receive, *, limit_mb: int) -> bytes:
    """Read the body of a request.

    Raises
    ------
    TooLargeError
        When it is longer than `limit_mb` megabytes; it is then not read any further.
    DisconnectedError
        If the client goes before the end.
    """
    limit = limit_mb * _MEGABYTE
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise TooLargeError(limit_mb)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise TooLargeError(limit_mb)
        if not message.get("more_body", False):
            return b"".join(pieces)


def decode(body: bytes) -> dict[str, Json]:
    """Read a JSON object.

    Raises
    ------
    InvalidError
        With the place of what is wrong.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            body.decode()
        except UnicodeDecodeError as wrong:
            raise InvalidError(f"the body is not UTF-8: byte {wrong.start} cannot be") from error
        raise InvalidError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidError(f"the body must be a JSON object, got {_kind(value)}")
    if body.count(b"{") + body.count(b"[") > _DEEPEST and _too_deep(value):
        raise InvalidError(f"the body is nested more than {_DEEPEST} levels deep")
    return value


def encode(value: JsonObject) -> bytes:
    r"""Return `value` as JSON text.

    What only the standard library can write (half of a surrogate pair, numbers beyond 64 bits) is
    left to it.

    Examples
    --------
    >>> encode({"text": "\ud800", "n": 2**70})
    b'{"text": "\\ud800", "n": 1180591620717411303424}'
    """
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError:
        return json.dumps(value, default=_plain).encode()


async def start(
    send: Send, status: int, headers: Mapping[str, str], *, media: str = "application/json"
) -> None:
    """Send the status and the headers."""
    pairs = [(b"content-type", media.encode())]
    pairs += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def write(send: Send, piece: bytes, *, more: bool) -> None:
    """Send a piece of the body, and whether more is to come."""
    await send({"type": "http.response.body", "body": piece, "more_body": more})


async def respond(
    send: Send, body: JsonObject, *, status: int = 200, headers: Mapping[str, str]
) -> None:
    """Send a whole JSON response."""
    payload = encode(body)
    pairs = [(b"content-type", b"application/json")]
    for name, value in headers.items():
        pairs.append((name.encode("latin-1"), value.encode("latin-1")))
    pairs.append((b"content-length", b"%d" % len(payload)))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": payload, "more_body": False})


async def refuse(
    send: Send,
    error: ApiError,
    *,
    report: JsonObject | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Send an error as a whole response."""
    together = {**(headers or {}), **error.headers}
    await respond(send, error.body(report), status=error.status, headers=together)


def _too_deep(value: Json) -> bool:
    """Whether `value` has more levels than are allowed; it is walked level by level."""
    level: list[Json] = [value]
    for _ in range(_DEEPEST):
        children = [
            item.values() if isinstance(item, dict) else item
            for item in level
            if isinstance(item, dict | list)
        ]
        level = [item for items in children for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _plain(value: object) -> dict[str, Json]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


_KINDS = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


def _kind(value: Json) -> str:
    return _KINDS.get(type(value), "null")
