"""The question of `ask`: from the command line, or from standard input."""

import sys
from typing import BinaryIO

from polyroute.errors import ConfigError

__all__ = ["read_question"]

_MOST_MB = 64
"""More than this is no question: it fits into no context window, and a pipe may never end."""

_CHUNK = 1 << 20


def read_question(argument: str | None) -> str:
    """Return `argument`, or what standard input says when it is missing or ``-``.

    Raises
    ------
    ConfigError
        If there is no question, it is longer than 64 MB, or it is not UTF-8.
    """
    if argument not in (None, "-"):
        return _checked(str(argument).encode("utf-8", "surrogateescape"), "the question")
    if argument is None and sys.stdin.isatty():
        raise ConfigError(
            'there is no question; write it after the command (polyroute ask "..."), or pipe it in'
        )
    return _checked(_all_of(sys.stdin.buffer), "standard input")


def _all_of(stream: BinaryIO) -> bytes:
    read = bytearray()
    while chunk := stream.read(_CHUNK):
        read += chunk
        if len(read) > _MOST_MB * _CHUNK:
            raise ConfigError(
                f"the question on standard input is longer than {_MOST_MB} MB; send a part of it"
            )
    return bytes(read)


def _checked(raw: bytes, place: str) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{place} is not UTF-8: byte {raw[error.start]:#04x} at offset {error.start} (line "
            f"{line}); convert it first, for instance with iconv -t UTF-8"
        ) from error
    text = text.removeprefix("\ufeff").strip("\n")
    if not text.strip():
        raise ConfigError(f"{place} holds no question")
    return text
