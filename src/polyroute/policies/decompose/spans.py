"""Where a question can be cut, so that a small model has only to choose among cuts.

The one decision here: nothing is invented. A sub-question is a piece of the question itself ("the
capital of Peru"), and what is left of the question, with ``#1`` in its place, is the next one. A
model of 135 million parameters cannot write a plan, but it can choose a piece.
"""

import json
from collections.abc import Iterator, Sequence

from polyroute.types import Request

__all__ = ["cuts", "span_grammar"]

_MOST_CHARACTERS = 400
"""Longer texts are no question to cut by these rules; they stay whole."""

_MOST_CUTS = 64
"""A grammar of more alternatives is slow to read for the backend."""

_RELATIONS = frozenset({
    "at", "for", "in", "of", "on", "that", "where", "which", "who", "whose", "with",
})  # fmt: skip
"""A piece is worth a question of its own when it relates one thing to another."""

_DANGLING = frozenset({
    "a", "an", "and", "of", "or", "that", "the", "where", "which", "whose", "with",
})  # fmt: skip
"""No piece ends in one of these: something must follow."""

_BARE = (["what", "is"], ["what", "was"], ["what", "are"])
"""A piece right after these would be the question itself."""


def cuts(request: Request, *, most: int = 4) -> list[tuple[str, ...]]:
    """Return the ways to cut the question of `request`, the question as it is when there is none.

    A piece runs from a "the" over a relation (`of`, `in`, `whose`, …) to any later word. What is
    left is cut again as long as it can be, so that three hops become three sub-questions.

    Parameters
    ----------
    request : Request
        Only its last user message is read. English only: other languages have no "the".
    most : int, default=4
        Most sub-questions.

    Examples
    --------
    >>> cuts(Request.of("What is the population of the capital of Peru?"))
    [('What is the capital of Peru?', 'What is the population of #1?')]
    >>> cuts(Request.of("Why is the sky blue?"))
    [('Why is the sky blue?',)]
    """
    question = " ".join(request.prompt.split())
    if len(question) > _MOST_CHARACTERS or "#" in question:
        return [(question,)]
    found: list[tuple[str, ...]] = []
    for way in _ways(question, 1, most):
        if len(found) == _MOST_CUTS:
            break
        if way not in found:
            found.append(way)
    return found


def span_grammar(request: Request, names: Sequence[str], *, most: int = 4) -> str:
    """Return a GBNF grammar whose texts are the cuts of the question, each with who is asked.

    The choice that is left: where to cut, and one of `names` behind each sub-question.
    """
    ways = []
    for way in cuts(request, most=most):
        pieces = ['"1. "']
        for number, part in enumerate(way, 1):
            end = f")\n{number + 1}. " if number < len(way) else ")"
            pieces += [_literal(f"{part} ("), "name", _literal(end)]
        ways.append(" ".join(pieces))
    choice = " | ".join(_literal(name) for name in names)
    return f"root ::= {' | '.join(ways)}\nname ::= {choice}\n"


def _ways(question: str, number: int, most: int) -> Iterator[tuple[str, ...]]:
    """Yield the ways to cut `question` from sub-question `number` on."""
    pairs = _pairs(question, number) if number < most else []
    for piece, rest in pairs:
        for further in _ways(rest, number + 1, most):
            yield (piece, *further)
    if not pairs:
        yield (question,)


def _pairs(question: str, number: int) -> list[tuple[str, str]]:
    """Return each piece, as a question, with what is left of `question` around ``#number``."""
    end = "?" if question.endswith("?") else ""
    words = question.removesuffix("?").split(" ")
    found = []
    for start in range(1, len(words)):
        if words[start] != "the" or [word.lower() for word in words[:start]] in _BARE:
            continue
        for stop in range(start + 3, len(words) + 1):
            whole = words[stop - 1] not in _DANGLING
            if whole and _RELATIONS.intersection(words[start + 1 : stop - 1]):
                piece = " ".join(words[start:stop])
                rest = " ".join([*words[:start], f"#{number}", *words[stop:]])
                found.append((f"What is {piece}?", f"{rest}{end}"))
    return found


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
