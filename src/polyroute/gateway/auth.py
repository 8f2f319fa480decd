"""Clients' keys: compared as digests, in constant time, before anything else is done.

The one decision here: only digests of keys are kept in memory, and a key never appears in a
message.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from polyroute.errors import ConfigError
from polyroute.gateway.errors import of_status
from polyroute.gateway.wire import refuse

__all__ = ["Auth", "read_keys"]

_OPEN = ("/health",)
"""Paths that need no key."""


def read_keys(variable: str) -> tuple[str, ...]:
    """Return the keys that the environment variable `variable` holds, separated by commas.

    Raises
    ------
    ConfigError
        If it is not set, or holds no key.
    """
    keys = tuple(key.strip() for key in os.environ.get(variable, "").split(",") if key.strip())
    if not keys:
        raise ConfigError(
            f"server.keys_env: the environment variable {variable!r} is not set or empty; set it "
            "to the clients' keys, separated by commas"
        )
    return keys


class Auth:
    """Lets a request through when it carries one of the keys.

    Parameters
    ----------
    app : ASGI application
        What is protected.
    keys : sequence of str
        The keys that are accepted.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = tuple(_digest(key.encode()) for key in keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in _OPEN or self._knows(scope):
            await self._app(scope, receive, send)
            return
        await refuse(
            send, of_status(401, "a valid key is needed: send 'Authorization: Bearer <key>'")
        )

    def _knows(self, scope: Scope) -> bool:
        sent = next((v for name, v in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = sent.partition(b" ")
        digest = _digest(key.strip())
        found = [hmac.compare_digest(digest, known) for known in self._digests]
        return scheme.lower() == b"bearer" and any(found)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
