"""The door of the server: who comes in, to which path, and how many at a time.

The one decision here: a path is closed until the table below opens it. What is not in the table is
for administrators, so that a new endpoint is never public by an oversight.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from polyroute.gateway.access.audit import Audit
from polyroute.gateway.access.keys import Scope
from polyroute.gateway.access.ring import KeyRing
from polyroute.gateway.errors import ApiError
from polyroute.gateway.wire import refuse

__all__ = ["Door", "needed"]

_OPEN = frozenset({"/health", "/openapi.json"})
"""Paths that need no key. They say nothing that is anybody's."""

_PAGE = "/ui"
"""This path and all below it are files without content: what a page shows it asks for by key."""

_ANY = frozenset({"/v1/budgets", "/v1/models"})
"""Paths for every key."""

_TABLE: Mapping[str, Scope] = {
    "/v1/chat/completions": "ask",
    "/v1/completions": "ask",
    "/v1/embeddings": "ask",
    "/v1/messages": "ask",
    "/v1/responses": "ask",
    "/v1/route": "ask",
    "/v1/feedback": "feedback",
    "/metrics": "metrics",
}

_BELOW: tuple[tuple[str, Scope | None], ...] = (("/v1/models/", None), ("/v1/traces/", "traces"))
"""Paths that go on; `None`: for every key."""

_READING = ("GET", "HEAD")
"""What changes nothing is no act."""

_BUSY_RETRY_S = 1


def needed(path: str) -> Scope | None:
    """Return the scope that a key needs for `path`; `None`: any key will do.

    Examples
    --------
    >>> needed("/v1/messages"), needed("/v1/models"), needed("/anything/else")
    ('ask', None, 'admin')
    """
    if path in _ANY:
        return None
    if (scope := _TABLE.get(path)) is not None:
        return scope
    below = (scope for start, scope in _BELOW if path.startswith(start) and ".." not in path)
    return next(below, "admin")


class Door:
    """Lets a request in when its key may, and there is room.

    Parameters
    ----------
    app : ASGI application
        What is behind.
    ring : KeyRing or None
        The keys; `None` for a server that only its own machine can reach.
    most : int, default=1024
        Requests that may be in at the same time.
    audit : Audit, optional
        Where it is noted what administrators do.
    """

    def __init__(
        self,
        app: ASGIApp,
        ring: KeyRing | None,
        *,
        most: int = 1_024,
        audit: Audit | None = None,
    ) -> None:
        self._app = app
        self._ring = ring
        self._most = most
        self._audit = audit
        self.inside = 0
        """Requests that are in now."""

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "lifespan" or scope.get("path") in _OPEN:
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            self._admit(scope)
        except ApiError as error:
            await refuse(send, error)
            return
        self.inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.inside -= 1

    def _admit(self, scope: AsgiScope) -> None:
        path: str = scope["path"]
        if self._ring is None:
            _check_origin(scope)
        elif path != _PAGE and not path.startswith(f"{_PAGE}/"):
            caller = self._ring.caller(scope)
            scope["polyroute.caller"] = caller
            need = needed(path)
            if need is not None and caller.scopes is not None and need not in caller.scopes:
                raise ApiError(
                    403,
                    f"this key may not do that: it needs the scope {need!r}",
                    type="permission_error",
                    code="insufficient_scope",
                )
            method: str = scope["method"]
            if need == "admin" and method not in _READING and self._audit is not None:
                self._audit.note(f"key:{caller.id}", "request", method=method, path=path)
        if self.inside >= self._most:
            raise ApiError(
                503,
                f"the server is busy with {self._most} requests; try again",
                type="server_error",
                code="too_many_requests_at_once",
                headers={"retry-after": str(_BUSY_RETRY_S)},
            )


def _check_origin(scope: AsgiScope) -> None:
    """Refuse what a page of another site sends to a server without keys through its reader.

    Raises
    ------
    ApiError
        403.
    """
    origin = host = b""
    for name, value in scope["headers"]:
        if name == b"origin":
            origin = value
        elif name == b"host":
            host = value
    if origin and urlsplit(origin.decode("latin-1")).netloc.encode("latin-1") != host:
        raise ApiError(
            403,
            "this server has no keys, so pages of other sites may not use it; give it keys "
            "(server.keys_env) or call it from its own address",
            type="permission_error",
            code="foreign_origin",
        )
