"""What a client asks of the gateway by headers, where it cannot write into the body.

The one decision here: there is a header for every key of the body's ``polyroute`` object, checked
by the same model, and what the body says wins. A header of that name that means nothing is an
error: a limit that was misspelt would be no limit.
"""

from collections.abc import Iterable
from urllib.parse import unquote

from pydantic import ValidationError

from polyroute.gateway.asked import Options
from polyroute.gateway.errors import InvalidError
from polyroute.spec import nearest
from polyroute.types import Json

__all__ = ["HEADERS", "PREFIX", "add_knobs"]

PREFIX = "x-polyroute-"

HEADERS = {PREFIX + name.replace("_", "-"): name for name in Options.model_fields}
"""Keys of the ``polyroute`` object, by header."""

_PREFIX = PREFIX.encode()

_STANDARD = {b"cache-control": "cache_control"}
"""Headers that have a meaning of their own; none of them can be wrong."""

_LONGEST = 200
"""Characters of such a header that are read."""

_LISTS = ("allow", "deny")
"""Keys that hold several names; a header has them separated by commas."""


def add_knobs(wire: dict[str, Json], headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Put what `headers` say into the ``polyroute`` object of `wire`, where it says nothing else.

    Names may be percent-encoded.

    Raises
    ------
    InvalidError
        With the name of the header that is wrong.

    Examples
    --------
    >>> wire = {"polyroute": {"max_usd": 0.5}}
    >>> add_knobs(wire, [(b"x-polyroute-max-usd", b"1"), (b"x-polyroute-deny", b"a, b")])
    >>> wire
    {'polyroute': {'max_usd': 0.5, 'deny': ['a', 'b']}}
    """
    said: dict[str, Json] = {}
    for header, value in headers:
        if header.startswith(_PREFIX):
            name, text = _name(header.decode("latin-1")), value.decode("latin-1").strip()
            if name in said:
                raise InvalidError(f"{_header(name)} is sent twice", param=_header(name))
            said[name] = _value(name, text)
        elif header in _STANDARD:
            said.setdefault(_STANDARD[header], value.decode("latin-1")[:_LONGEST])
    if not said:
        return
    try:
        Options.model_validate(said)
    except ValidationError as error:
        problem = error.errors()[0]
        header_name = _header(str(problem["loc"][0]))
        raise InvalidError(
            f"{header_name}: {problem['msg']}, got {problem['input']!r:.80}", param=header_name
        ) from None
    mine = wire.get("polyroute")
    if mine is None or isinstance(mine, dict):
        wire["polyroute"] = {**said, **(mine or {})}


def _name(header: str) -> str:
    name = HEADERS.get(header)
    if name is None:
        raise InvalidError(
            f"{header!r:.80} is no header of this gateway; {nearest(header, list(HEADERS))}",
            param=header[:80],
        )
    return name


def _header(name: str) -> str:
    return PREFIX + name.replace("_", "-")


def _value(name: str, text: str) -> Json:
    if name in _LISTS:
        return [unquote(part.strip()) for part in text.split(",") if part.strip()]
    return unquote(text)
