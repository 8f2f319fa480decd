"""Which typed error an upstream's refusal is, and what of it a person may read.

The one decision here: the upstream's own words are passed on, because they name the remedy more
often than we could, but never with a secret in them, and never more than a screen of them.
"""

import email.utils
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from polyroute.errors import BackendError, FailureKind, RateLimitError
from polyroute.types import Json

__all__ = ["Secrets", "read_retry_after", "stream_error", "upstream_error"]

_LONGEST = 500
"""Most characters of an upstream's message that are passed on."""

_CONTEXT = re.compile(
    r"context[_ ](length|window|size)|exceed_context|prompt is too long|input is too long"
    r"|too many (input |prompt )?tokens|reduce the length|maximum (input|prompt) length",
    re.IGNORECASE,
)
"""How servers say that a prompt is too long; only some of them use OpenAI's code."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Words that must not appear in anything a person or a log sees."""

    words: tuple[str, ...] = field(default=(), repr=False)

    def hide(self, text: str) -> str:
        r"""Return `text` on one line, each secret replaced by ``***``, cut to 500 characters.

        Examples
        --------
        >>> Secrets(("sk-1",)).hide("bad key: sk-1\n")
        'bad key: ***'
        """
        for word in sorted(self.words, key=len, reverse=True):
            text = text.replace(word, "***")
        text = " ".join(text.split())
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def upstream_error(status: int, body: bytes, *, retry_after_s: float | None) -> BackendError:
    """Return the error that an HTTP `status` of 400 or more and its `body` stand for.

    Its message holds the upstream's words as they came: `Secrets.hide` them.
    """
    text = body.decode("utf-8", "replace")
    try:
        wire = json.loads(text)
    except (ValueError, RecursionError):
        wire = None
    said, code = _said(wire, text)
    return _error(status, said, code, retry_after_s=retry_after_s, billed=False)


def stream_error(wire: Json) -> BackendError:
    """Return the error that an ``error`` object inside a successful reply stands for.

    Its message holds the upstream's words as they came: `Secrets.hide` them.
    """
    said, code = _said({"error": wire}, "")
    status = int(code) if code.isdecimal() and 400 <= int(code) < 600 else None
    return _error(status, said, code, retry_after_s=None, billed=True)


def read_retry_after(value: str | None) -> float | None:
    """Read a ``Retry-After`` header: seconds, or a date (RFC 9110, section 10.2.3).

    Returns
    -------
    float or None
        Seconds from now, 0 for a date that is past; `None` when it says nothing usable.

    Examples
    --------
    >>> read_retry_after("1.5"), read_retry_after("soon")
    (1.5, None)
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds_until(date: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _error(
    status: int | None, said: str, code: str, *, retry_after_s: float | None, billed: bool
) -> BackendError:
    what = "the upstream broke off" if status is None else f"HTTP {status}"
    message = f"{what}: {said}" if said else what
    kind = _kind(status, said, code)
    if kind == "rate_limit":
        return RateLimitError(message, status=status, retry_after_s=retry_after_s, billed=billed)
    return BackendError(
        message, kind=kind, status=status, retry_after_s=retry_after_s, billed=billed
    )


def _kind(status: int | None, said: str, code: str) -> FailureKind:
    too_long = code == "context_length_exceeded" or _CONTEXT.search(f"{code} {said}")
    if status in (401, 403):
        return "auth"
    if status == 429 or (status is None and "rate_limit" in code):
        return "rate_limit"
    if status in (None, 400, 413, 422) and too_long:
        return "context"
    return "unavailable" if status is None or status >= 500 else "bad_request"


def _said(wire: Json, text: str) -> tuple[str, str]:
    """Return the message and the code of an error body, in any of the shapes servers use."""
    inner = wire.get("error", wire) if isinstance(wire, Mapping) else wire
    if isinstance(inner, str):
        return inner, ""
    if not isinstance(inner, Mapping):
        is_page = text.lstrip()[:1] == "<"
        return ("it sent a web page instead of an API's reply" if is_page else text), ""
    message = inner.get("message") or inner.get("detail") or text or json.dumps(inner)
    code = inner.get("code") or inner.get("type") or ""
    return message if isinstance(message, str) else json.dumps(message), str(code)
