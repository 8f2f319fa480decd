"""JSON text, by the faster package where it is installed.

The one decision here: the standard library says what is valid. The faster package is asked first;
where it refuses, or would write something else, the standard library does it. One thing differs:
an integer of more than 64 bits is read as a float.

Examples
--------
>>> read(write({"temperature": 0.5, "stop": None}))
{'temperature': 0.5, 'stop': None}
>>> read(b'{"logprob": -Infinity}')
{'logprob': -inf}
"""

import json

from polyroute.types import Json

try:
    import orjson
except ModuleNotFoundError:
    orjson = None  # type: ignore[assignment]

__all__ = ["read", "write"]


def read(text: bytes | str) -> Json:
    """Return the value of a JSON text; NaN and infinity, which some servers say, are read too.

    Raises
    ------
    ValueError, RecursionError
        If it is none.
    """
    if orjson is not None:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass  # the standard library reads more: NaN, halves of surrogate pairs
    return json.loads(text)


def write(value: Json) -> bytes:
    """Return the JSON text of a value.

    Raises
    ------
    TypeError, ValueError, RecursionError
        If JSON cannot express it; NaN and infinity are such values.
    """
    if orjson is not None:
        try:
            text = orjson.dumps(value, option=_ONLY_JSON)
        except TypeError:
            pass  # the standard library writes more: long numbers, halves of surrogate pairs
        else:
            if b"null" in text:  # which may stand for NaN
                json.dumps(value, allow_nan=False)
            return text
    return json.dumps(value, allow_nan=False).encode("ascii")


_ONLY_JSON = (
    0
    if orjson is None
    else orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
