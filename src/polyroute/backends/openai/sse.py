"""Server-sent events, read from bytes as they come off a socket.

The one decision here: a piece of bytes may end anywhere, inside a character, between the CR and
the LF of one line end, inside a field name, and the events are the same.

References
----------
WHATWG HTML Living Standard, section 9.2.6 (interpreting an event stream). One deviation: an event
that the end of the stream cuts off before its empty line is kept, because several servers of
completions close the connection right after their last ``data`` line.
"""

from msgspec import Struct

__all__ = ["Event", "EventReader"]

_BOM = b"\xef\xbb\xbf"


class Event(Struct, frozen=True):
    """One event."""

    data: str
    """All its ``data`` lines, joined by line feeds."""
    name: str = "message"
    """What its ``event`` line says."""


class EventReader:
    r"""Split a stream of bytes into events.

    Examples
    --------
    >>> reader = EventReader()
    >>> reader.feed(b": a comment\r\nda")
    []
    >>> reader.feed(b"ta: one\r\ndata: two\r\n\r\n")
    [Event(data='one\ntwo', name='message')]
    """

    def __init__(self) -> None:
        self._open_line: list[bytes] = []
        self._data: list[str] = []
        self._name = ""
        self._after_cr = False
        self._first_line = True

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that `piece` completes."""
        if (whole := self._whole(piece)) is not None:
            return whole
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        if b"\n" not in piece and b"\r" not in piece:
            # joined only when the line ends: a long line in small pieces stays linear
            self._open_line.append(piece)
            return []
        self._after_cr = piece.endswith(b"\r")
        lines = b"".join((*self._open_line, piece)).splitlines(keepends=True)
        self._open_line = [] if lines[-1].endswith((b"\r", b"\n")) else [lines.pop()]
        events = [self._line(line.rstrip(b"\r\n")) for line in lines]
        return [event for event in events if event is not None]

    def _whole(self, piece: bytes) -> list[Event] | None:
        """Return the events of a piece that holds nothing but whole ones of one line of data.

        Nearly every piece is such a one, and that is seen at once.
        """
        between = not (self._open_line or self._data or self._name or self._after_cr)
        if not between or not piece.endswith(b"\n\n") or b"\r" in piece:
            return None
        blocks = piece[:-2].decode("utf-8", "replace").split("\n\n")
        for block in blocks:
            if not block.startswith("data: ") or "\n" in block:
                return None
        self._first_line = False
        return [Event(block[6:]) for block in blocks]

    def close(self) -> list[Event]:
        """Return the event that the end of the stream leaves open, if there is one."""
        last = [self._line(b"".join(self._open_line)), self._line(b"")]
        self._open_line = []
        return [event for event in last if event is not None]

    def _line(self, line: bytes) -> Event | None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        field, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        return None

    def _dispatch(self) -> Event | None:
        data, name = self._data, self._name
        self._data, self._name = [], ""
        return Event("\n".join(data), name or "message") if data else None
