"""Embeddings from any OpenAI-compatible endpoint.

The one decision here: it asks over plain blocking HTTP from the standard library. An encoder is
called from a training loop or from a thread of the gateway, never needs many connections, and must
not bring an event loop of its own into either.
"""

import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import (
    BackendError,
    ConfigError,
    FailureKind,
    RateLimitError,
    UpstreamTimeoutError,
)
from polyroute.protocols import State
from polyroute.signals.encoders.grams import bounded

__all__ = ["Remote"]

_LONGEST_WAIT_S = 30.0
_LONGEST_MESSAGE = 300
_LONGEST_REPLY = 256 * 2**20
"""Bytes: beyond it the endpoint is broken, and our memory matters more."""


class Remote:
    """Ask ``POST {url}/embeddings``; rows of length 1.

    Parameters
    ----------
    url : str
        Base URL, as in ``https://api.openai.com/v1``.
    model : str
        The endpoint's name of the model.
    key_env : str, optional
        Name of the environment variable that holds the key; without it no key is sent.
    dimensions : int, optional
        Ask for so many, of a model that can shorten its embeddings.
    batch : int, default=64
        Texts in one request.
    seconds : float, default=30
        Time limit of one attempt.
    retries : int, default=2
        How often a request is sent again after a 429, a 5xx or a lost connection; it waits what
        ``Retry-After`` says, at most 30 s, or else 0.5 s, doubled each time.
    most_characters : int, default=8192
        Send the beginning and end of a longer text.

    Raises
    ------
    ConfigError
        If a parameter cannot be used.

    Notes
    -----
    It blocks the calling thread. A blank text is never sent, since endpoints refuse it: its row is
    zeros. Whether a text has the same row in any company is up to the endpoint: wrap it in
    ``cached`` where that matters. What the endpoint charges is in no ledger of polyroute.

    References
    ----------
    OpenAI API reference, "Create embeddings".
    """

    def __init__(  # noqa: PLR0913 - one keyword per thing an endpoint can differ in
        self,
        *,
        url: str,
        model: str,
        key_env: str | None = None,
        dimensions: int | None = None,
        batch: int = 64,
        seconds: float = 30.0,
        retries: int = 2,
        most_characters: int = 8_192,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigError(
                "the url is a base URL without a user, as in 'https://api.openai.com/v1'; got "
                f"scheme {parts.scheme!r} and host {parts.hostname!r}"
            )
        for name, value, least in (
            ("dimensions", dimensions, 1),
            ("batch", batch, 1),
            ("retries", retries, 0),
            ("most_characters", most_characters, 1),
        ):
            if value is not None and value < least:
                raise ConfigError(f"{name} must be {least} or more, got {value!r}")
        if not seconds > 0:
            raise ConfigError(f"seconds must be more than 0, got {seconds!r}")
        self._endpoint = f"{url.rstrip('/')}/embeddings"
        self._host = parts.hostname
        self._model = model
        self._key_env = key_env
        self._dimensions = dimensions
        self._batch = batch
        self._seconds = seconds
        self._retries = retries
        self._most_characters = most_characters
        self._width = dimensions
        self._sleep = time.sleep

    def fit(self, texts: Sequence[str]) -> Self:
        """Return self: there is nothing to learn."""
        del texts
        return self

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of `texts`, shape (N, D).

        Raises
        ------
        BackendError
            If the endpoint does not answer, refuses, or says something that is no embedding.
        """
        sent = [bounded(text, self._most_characters) for text in texts]
        asked = [row for row, text in enumerate(sent) if text.strip()]
        if self._width is None and not asked:
            # nothing to send, and how wide a row is has never been seen
            self._width = self._ask(["a"]).shape[1]
        rows = [
            self._ask([sent[row] for row in asked[start : start + self._batch]])
            for start in range(0, len(asked), self._batch)
        ]
        width = rows[0].shape[1] if rows else self._width or 0
        if self._width not in (None, width):
            raise BackendError(
                f"{self._host} sent {width} numbers a text, it used to be {self._width}; is "
                f"{self._model!r} still the same model?",
                kind="invalid_reply",
            )
        self._width = width
        out_ND = np.zeros((len(texts), width), np.float32)
        if rows:
            out_ND[asked] = np.concatenate(rows)
        return out_ND

    def state(self) -> State:
        """Return the model's name and the length of a row."""
        return State(values={"model": self._model, "width": self._width})

    def restore(self, state: State) -> Self:
        """Take over the length of a row, and return self.

        Raises
        ------
        ConfigError
            If the state is of another model.
        """
        model, width = state.values.get("model"), state.values.get("width")
        if model != self._model:
            raise ConfigError(
                f"the state was made with the model {model!r}, this encoder asks {self._model!r}"
            )
        self._width = width if isinstance(width, int) else self._width
        return self

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        """Send one request, again where that helps."""
        for attempt in range(self._retries + 1):
            try:
                rows = _read(self._post(texts), len(texts))
            except BackendError as error:
                pause = 0.5 * 2**attempt if error.retry_after_s is None else error.retry_after_s
                again = error.failure_kind in ("rate_limit", "unavailable", "timeout")
                if not again or attempt == self._retries or pause > _LONGEST_WAIT_S:
                    raise
                self._sleep(pause)
            else:
                return rows
        raise AssertionError("the last attempt returns or raises")

    def _post(self, texts: list[str]) -> bytes:
        body: dict[str, Any] = {"model": self._model, "input": texts, "encoding_format": "float"}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        headers = {"Content-Type": "application/json", "User-Agent": "polyroute"}
        key = self._key()
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._endpoint, json.dumps(body).encode(), headers)
        try:
            with _OPENER.open(request, timeout=self._seconds) as response:
                reply: bytes = response.read(_LONGEST_REPLY + 1)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(4_096).decode("utf-8", "replace")
            raise _refusal(error, " ".join(said.replace(key or "\0", "***").split())) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise UpstreamTimeoutError(
                    f"no embeddings from {self._host} within {self._seconds:g} s"
                ) from error
            raise BackendError(f"cannot reach {self._host}: {reason}") from error
        if len(reply) > _LONGEST_REPLY:
            raise BackendError(f"the reply of {self._host} is too long", kind="invalid_reply")
        return reply

    def _key(self) -> str:
        """Read the key, now: it may be rotated while the program runs."""
        if self._key_env is None:
            return ""
        key = os.environ.get(self._key_env, "").strip()
        if not (key and key.isascii() and key.isprintable()):
            raise BackendError(
                f"the environment variable {self._key_env} holds no key for {self._host}; set it, "
                f"as in: export {self._key_env}=…",
                kind="auth",
            )
        return key


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the key was meant for the host of the configuration."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Return nothing, so that the redirect becomes an error."""
        return


_OPENER = urllib.request.build_opener(_Stay)


def _refusal(error: urllib.error.HTTPError, said: str) -> BackendError:
    """Return the error that a status other than 2xx stands for."""
    message = f"HTTP {error.code}: {said[:_LONGEST_MESSAGE]}"
    if error.code == 429:
        after = error.headers.get("Retry-After", "")
        seconds = float(after) if after.replace(".", "", 1).isdecimal() else None
        return RateLimitError(message, status=429, retry_after_s=seconds)
    kind: FailureKind = "bad_request"
    if error.code in (401, 403):
        kind = "auth"
    elif error.code >= 500:
        kind = "unavailable"
    elif error.code < 400:
        kind = "invalid_reply"
    return BackendError(message, kind=kind, status=error.code)


def _read(reply: bytes, count: int) -> NDArray[np.float32]:
    """Return the rows of a reply, in the order of the texts, at length 1."""
    try:
        listed = json.loads(reply)["data"]
        rows = {int(item["index"]): item["embedding"] for item in listed}
        rows_ND = np.array([rows[k] for k in range(count)], np.float64)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BackendError(
            f"the reply is no list of {count} embeddings ({type(error).__name__}: {error})",
            kind="invalid_reply",
        ) from error
    if rows_ND.ndim != 2 or not rows_ND.shape[1] or not np.isfinite(rows_ND).all():
        raise BackendError("the reply holds no rows of numbers", kind="invalid_reply")
    lengths_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return (rows_ND / np.where(lengths_N1 > 0, lengths_N1, 1)).astype(np.float32)
