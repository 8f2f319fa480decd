"""The bare minimum of the same stack: check a key, rewrite the model, forward, give bytes back.

    python minimal.py aiohttp 8000 9000

The client is aiohttp's, or this package's own for plain HTTP (``own``).
"""

import sys
from collections.abc import Callable

import aiohttp
import orjson
import uvicorn
from yarl import URL

from polyroute.backends.openai.plain import Plain
from polyroute.backends.openai.transport import Address

KEY = b"Bearer sk-8f2b1d7c4e9a60b35d7e1f42a9c86b03"


class Minimal:
    """A bare ASGI application over one client."""

    def __init__(self, client: str, upstream: str) -> None:
        self.url = f"http://127.0.0.1:{upstream}/v1/chat/completions"
        self.headers = {"content-type": "application/json"}
        self.ask = self.by_aiohttp if client == "aiohttp" else self.by_own
        self.session = None
        self.address = Address(URL(self.url), self.headers, 5.0)

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if dict(scope["headers"]).get(b"authorization") != KEY:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        wire = orjson.loads(body)
        wire["model"] = "mock-model"
        await self.ask(orjson.dumps(wire), bool(wire.get("stream")), send)

    async def by_aiohttp(self, body: bytes, stream: bool, send: Callable) -> None:
        """Forward over aiohttp."""
        if self.session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self.session = aiohttp.ClientSession(connector=connector)
        async with self.session.post(self.url, data=body, headers=self.headers) as reply:
            kind = reply.headers.get("content-type", "application/json")
            await begin(send, reply.status, kind)
            if stream:
                async for piece in reply.content.iter_any():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            else:
                await send({"type": "http.response.body", "body": await reply.read()})

    async def by_own(self, body: bytes, stream: bool, send: Callable) -> None:
        """Forward over our own client."""
        if self.session is None:
            self.session = Plain(keep_alive_s=4.0)
        answer = await self.session.send("POST", self.address, body)
        try:
            await begin(send, answer.status, answer.content_type)
            if stream:
                while piece := await answer.read():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            else:
                pieces = []
                while piece := await answer.read():
                    pieces.append(piece)
                await send({"type": "http.response.body", "body": b"".join(pieces)})
        finally:
            answer.release()


async def begin(send: Callable, status: int, kind: str) -> None:
    """Send the status and the headers."""
    headers = [(b"content-type", kind.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})


if __name__ == "__main__":
    client, port, upstream = sys.argv[1:]
    uvicorn.run(
        Minimal(client, upstream),
        host="127.0.0.1",
        port=int(port),
        log_level="critical",
        access_log=False,
        lifespan="off",
    )
