"""The bare minimum of the same stack: check a key, rewrite the model, forward, give bytes back.

    python minimal.py aiohttp 8000 9000
"""

import sys

import aiohttp
import orjson
import uvicorn

KEY = b"Bearer sk-8f2b1d7c4e9a60b35d7e1f42a9c86b03"


class Minimal:
    """A bare ASGI application over aiohttp's client."""

    def __init__(self, upstream: str) -> None:
        self.url = f"http://127.0.0.1:{upstream}/v1/chat/completions"
        self.session = None

    async def __call__(self, scope, receive, send):
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
        if self.session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self.session = aiohttp.ClientSession(connector=connector)
        headers = {"content-type": "application/json"}
        async with self.session.post(self.url, data=orjson.dumps(wire), headers=headers) as reply:
            kind = reply.headers.get("content-type", "application/json").encode()
            start = {"type": "http.response.start", "status": reply.status}
            await send({**start, "headers": [(b"content-type", kind)]})
            if wire.get("stream"):
                async for piece in reply.content.iter_any():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            else:
                await send({"type": "http.response.body", "body": await reply.read()})


if __name__ == "__main__":
    client, port, upstream = sys.argv[1:]
    uvicorn.run(
        Minimal(upstream), host="127.0.0.1", port=int(port), log_level="critical",
        access_log=False, lifespan="off",
    )
