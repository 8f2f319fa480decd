"""The page at ``/ui``: files of this package, and the headers that keep it harmless.

The one decision here: the files hold nothing of the server's, so they need no key; everything that
they show, they ask for with the key that the reader gives. Texts of models are only ever shown as
text, and the browser is told to run nothing that did not come from these files.
"""

from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from polyroute.gateway.errors import ApiError

__all__ = ["HEADERS", "Page"]

HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-cache",
}
"""Sent with every file of the page."""

_MEDIA = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class Page:
    """Serves the files, which are read once."""

    def __init__(self) -> None:
        folder = files("polyroute.gateway.watch") / "ui"
        self._files = {
            file.name: file.read_bytes()
            for file in folder.iterdir()
            if file.name.rpartition(".")[2] in _MEDIA
        }
        self._tags = {
            name: f'"{sha256(content).hexdigest()[:16]}"' for name, content in self._files.items()
        }

    async def index(self, _: Request) -> Response:
        """Answer ``GET /ui``: the files are named relative to ``/ui/``."""
        return RedirectResponse("ui/", 307, dict(HEADERS))

    async def file(self, request: Request) -> Response:
        """Answer ``GET /ui/…`` with a file of the page.

        Raises
        ------
        ApiError
            404, when there is none of that name.
        """
        name = request.path_params["name"] or "index.html"
        content = self._files.get(name)
        if content is None:
            raise ApiError(404, f"the page has no file {name!r:.80}", code="not_found")
        headers = {**HEADERS, "etag": self._tags[name]}
        if request.headers.get("if-none-match") == self._tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=_MEDIA[name.rpartition(".")[2]])
