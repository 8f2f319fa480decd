"""The program that runs one tool for `polyroute.backends.tool`, in a process of its own.

``python -m polyroute.backends.tool_worker TOOL MEMORY_MB OUTPUT_CHARS`` loads the callable, says
``{"ready": true}`` and then answers one JSON line per JSON line:

    {"question": "3*4", "seconds": 5}  ->  {"text": "12"} | {"text": null}
                                       |   {"error": "ValueError: ..."} | {"memory": true}

The one decision here: the tool shares nothing with the protocol. What it prints goes to standard
error, what it reads is empty, and it has the limits of the process, not its good will.
"""

import importlib
import io
import json
import math
import os
import resource
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias

from polyroute import registry
from polyroute.types import Json

__all__ = ["ToolFunction", "load_tool", "main"]

ToolFunction: TypeAlias = Callable[[str], str | None]

_CUT = "\n[… cut: the tool said more than {} characters]"
_ERROR_CHARS = 500


def load_tool(tool: str) -> ToolFunction:
    """Return the callable that `tool` names.

    Parameters
    ----------
    tool : str
        A name registered under ``polyroute.tools``, or ``package.module:function``.

    Raises
    ------
    TypeError
        If what it names cannot be called.

    Examples
    --------
    >>> load_tool("posixpath:basename")("lib/calculator")
    'calculator'
    """
    if ":" not in tool:
        found: Any = registry.load("tools", tool)
    else:
        module, _, path = tool.partition(":")
        found = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    if not callable(found):
        raise TypeError(f"{tool!r} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]  # what a plug-in returns is checked at each call


def main(argv: list[str]) -> int:
    """Serve until standard input ends; return the exit code."""
    tool, memory_mb, output_chars = argv[0], int(argv[1]), int(argv[2])
    questions, replies = _take_standard_streams()
    _limit(memory_mb)
    try:
        answer = load_tool(tool)
    except MemoryError:
        _say(replies, {"memory": True})
        return 1
    except BaseException as error:  # noqa: BLE001 - the boundary: it is reported, then we end
        _say(replies, {"error": _in_words(error)})
        return 1
    _say(replies, {"ready": True})
    for line in questions:
        call = json.loads(line)
        _limit_cpu(call["seconds"])
        reply = _ask(answer, call["question"], output_chars)
        _say(replies, reply)
        if "memory" in reply:
            return 1
    return 0


def _take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep the real standard input and output, and leave the tool harmless ones."""
    questions = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    return questions, replies


def _limit(memory_mb: int) -> None:
    memory = memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_cpu(seconds: float) -> None:
    """Let one more call run for `seconds`: the backstop for when nobody is left to kill us."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        until = min(until, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (until, hard))


def _ask(answer: ToolFunction, question: str, output_chars: int) -> dict[str, Json]:
    try:
        text = answer(question)
        if text is None:
            return {"text": None}
        if not isinstance(text, str):
            raise TypeError(f"a tool returns str or None, got {type(text).__name__}")
        if len(text) > output_chars:
            text = text[:output_chars] + _CUT.format(output_chars)
        return {"text": text.encode("utf-8", "replace").decode()}
    except MemoryError:
        return {"memory": True}
    except BaseException as error:  # noqa: BLE001 - the boundary: it is reported to the caller
        return {"error": _in_words(error)}


def _in_words(error: BaseException) -> str:
    """Return type and message of `error`, of bounded length, encodable."""
    try:
        message = str(error)[:_ERROR_CHARS]
    except Exception:  # noqa: BLE001 - an error that cannot say what it is still has a type
        message = "(its message cannot be read)"
    return f"{type(error).__name__}: {message}".encode("utf-8", "replace").decode()


def _say(replies: BinaryIO, message: dict[str, Json]) -> None:
    replies.write(json.dumps(message).encode() + b"\n")
    replies.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
