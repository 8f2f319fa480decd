"""One request of a connection, its body in and its response out: uvicorn's own, with less to do.

The one decision here: what is the same for all responses is written once a second, and one look at
all header lines finds what must not be in any of them.
"""

from itertools import chain
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

__all__ = ["Cycle"]

_CONTROL = bytes({*range(0x20), 0x7F} - {ord("\t")})
"""What would end a header line, or is no text; a tab may stand in one."""

_WITHOUT_BODY = (204, 304)


class Cycle(RequestResponseCycle):
    """One request and its response, as an ASGI application sees them."""

    _handed_over = False
    """Whether the application has the end of the body."""
    _head = b""
    """Of a response whose length is known: it goes out with the first piece of the body."""

    async def receive(self) -> Any:  # noqa: ANN401 - as ASGI has it
        """Return the next piece of the body, or that the client has gone."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        while not (self.disconnected or self.response_complete):
            if self.body or not (self.more_body or self._handed_over):
                piece, self.body = bytes(self.body), bytearray()
                self._handed_over = not self.more_body
                return {"type": "http.request", "body": piece, "more_body": self.more_body}
            self.flow.resume_reading()
            self.message_event.clear()
            await self.message_event.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:  # noqa: ANN401 - as ASGI has it
        """Send the head of the response, or a piece of its body.

        Raises
        ------
        RuntimeError
            If that is not what comes next, a header holds a control character, or the body has
            another length than its header says.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        expected = "http.response.body" if self.response_started else "http.response.start"
        if message["type"] != expected or self.response_complete:
            raise RuntimeError(f"expected {expected}, got {message['type']}, or the body has ended")
        if not self.response_started:
            self._begin(message["status"], message.get("headers", ()))
            return
        more = message.get("more_body", False)
        self.transport.write(self._head + self._framed(message.get("body", b""), more=more))
        self._head = b""
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _begin(self, status: int, headers: Any) -> None:  # noqa: ANN401 - pairs of bytes
        text = b"".join(chain.from_iterable(headers))
        if len(text.translate(None, _CONTROL)) != len(text):
            raise RuntimeError("a header of the response holds a control character")
        self.response_started = True
        self.waiting_for_100_continue = False
        head = [STATUS_LINE[status], _ALIKE.of(self.default_headers)]
        closes = False
        for name, value in headers:
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection" and b"close" in value.lower():
                closes = True
            head += (name, b": ", value, b"\r\n")
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            head.append(b"connection: close\r\n")
        if self.chunked_encoding is False:
            self._head = b"".join((*head, b"\r\n"))
            return
        # a stream begins when it can: its first piece may be long in coming
        if self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            self.chunked_encoding = True
            head.append(b"transfer-encoding: chunked\r\n")
        self.transport.write(b"".join((*head, b"\r\n")))

    def _framed(self, piece: bytes, *, more: bool) -> bytes:
        """Return a piece of the body as it is sent."""
        if self.scope["method"] == "HEAD":
            return b""
        if self.chunked_encoding:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
            return framed if more else framed + b"0\r\n\r\n"
        self.expected_content_length -= len(piece)
        if self.expected_content_length < 0 or (self.expected_content_length and not more):
            raise RuntimeError("the body has another length than its header says")
        return piece


class _Alike:
    """The header lines of all responses; the server makes them anew when the date changes."""

    def __init__(self) -> None:
        self._newest: tuple[Any, bytes] = (None, b"")

    def of(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return `headers` as they are sent."""
        made_of, lines = self._newest
        if made_of is not headers:
            lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
            self._newest = headers, lines
        return lines


_ALIKE = _Alike()
