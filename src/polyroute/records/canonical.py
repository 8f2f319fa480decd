"""One text for one JSON value, so that a hash over it means something.

Keys are sorted, there is no white space, characters stand for themselves, NaN and infinity are
refused. A surrogate that stands alone, which UTF-8 cannot express, is written as its JSON escape;
two halves of one character that stand side by side are that character, as every JSON reader
would read them. What the standard library writes is the text; where a faster package is installed,
it writes what it writes alike.
"""

import json
import re
from collections.abc import Mapping
from typing import NoReturn

from polyroute.errors import RecordError
from polyroute.types import Json

try:
    import orjson
except ModuleNotFoundError:
    orjson = None  # type: ignore[assignment]

__all__ = ["canonical", "parse"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def canonical(value: Json) -> bytes:
    r"""Return the one UTF-8 JSON text of `value`.

    Raises
    ------
    RecordError
        If `value` holds something that JSON cannot express.

    Examples
    --------
    >>> canonical({"b": "\xe9", "a": [1, 0.5, None]}).decode()
    '{"a":[1,0.5,null],"b":"é"}'
    >>> canonical("\ud800")
    b'"\\ud800"'
    """
    if orjson is not None:
        try:
            fast: bytes = orjson.dumps(value, option=_AS_HERE)
            if (
                not _SMALL.search(fast)
                and not _EXPONENT.search(fast)
                # NaN and what is no JSON are written as something else, and read as that
                and orjson.loads(fast) == value
            ):
                return fast
        except TypeError:
            pass  # long integers, keys that are no strings, halves of characters
    text = _dumps(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # joined keys may sort differently, so the joined text is read and written once more
        utf16 = text.encode("utf-16-le", "surrogatepass")
        text = _dumps(json.loads(utf16.decode("utf-16-le", "surrogatepass")))
        return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text).encode()


def parse(text: bytes | str) -> Json:
    """Read one JSON value; NaN and infinity are refused.

    Raises
    ------
    RecordError
        If `text` is not UTF-8, or not JSON.
    """
    try:
        return json.loads(
            text if isinstance(text, str) else text.decode(), parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise RecordError(f"not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not JSON: {error}") from error


_AS_HERE = 0 if orjson is None else orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS

_SMALL = re.compile(rb"0\.0000(?<=[-:,\[]0\.0000)")
_EXPONENT = re.compile(rb"e-(?<=[0-9]e-)")
"""What the two write differently: ``1e-05`` and ``0.00001``. They begin with plain characters,
because such a search is a fast one, faster than ``in``."""


def _dumps(value: Json) -> str:
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"cannot be written as JSON: {error}") from error


def _plain(value: object) -> dict[str, Json]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value: {value!r:.80}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
)
