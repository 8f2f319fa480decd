"""The plan that a router model writes: numbered sub-questions, each with who is asked.

::

    1. What is the capital of France? (geography)
    2. What is the population of #1? (geography)

The one decision here: a name is one of the candidates' names, exactly, in the *last* parentheses,
so that sub-questions and names may hold colons and parentheses of their own ("Who directed
Mission: Impossible 2?"). The name comes last because a small model chooses it better once the
sub-question stands there. Models that write ``geography: What is …`` are understood too: there
the first colon after the name splits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from polyroute.pool import Pool

__all__ = ["Part", "Plan", "grammar", "read_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One sub-question."""

    model: str | None
    """Id of the candidate to ask; `None` when the line names none that is on offer."""
    question: str
    """May hold ``#k``, for the answer to line k."""
    needs: frozenset[int] = frozenset()
    """Which lines, from 1, must be answered first; all of them are earlier ones."""

    def filled(self, answers: dict[int, str]) -> str:
        """Return the sub-question with the answers it needs in their places.

        Examples
        --------
        >>> part = Part(model="geo", question="Population of #1?", needs=frozenset({1}))
        >>> part.filled({1: "Paris"})
        'Population of Paris?'
        """
        return _REFERENCE.sub(
            lambda found: answers[int(found[1])] if int(found[1]) in self.needs else found[0],
            self.question,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sub-questions of a question."""

    parts: tuple[Part, ...]
    problems: tuple[str, ...] = ()
    """What is wrong, a sentence each."""
    usable: bool = True
    """Whether it can be carried out: it has parts, and every reference can be resolved. A part
    without a candidate does not make a plan unusable: somebody else can be asked."""

    @property
    def last_is_the_answer(self) -> bool:
        """Whether the last part is built on all others, as in a chain of hops."""
        if not self.parts:
            return False
        needed: set[int] = set()
        open_ = {len(self.parts)}
        while open_:
            needed |= open_
            open_ = {k for number in open_ for k in self.parts[number - 1].needs} - needed
        return len(needed) == len(self.parts)


def read_plan(text: str, offered: Pool, *, question: str = "", most: int = 6) -> Plan:
    """Read what a router model wrote.

    Parameters
    ----------
    text : str
        Its reply. Lines that are neither numbered nor name a candidate are passed over, and so is
        what a reasoning model thinks.
    offered : Pool
        The candidates that may be named.
    question : str, default=""
        What the user asked; ``#1`` in it may be quoted by a sub-question.
    most : int, default=6
        Lines beyond this many are left out, which is a problem of the plan.

    Examples
    --------
    >>> from polyroute import ModelCard
    >>> offered = Pool([ModelCard(id="geo"), ModelCard(id="llama3:8b")])
    >>> plan = read_plan("1. Who directed Mission: Impossible 2? (llama3:8b)", offered)
    >>> plan.parts[0].model, plan.parts[0].question
    ('llama3:8b', 'Who directed Mission: Impossible 2?')
    >>> read_plan("1. What is the capital of France? (gee)", offered).problems[0]
    "line 1 names no candidate ('gee' is not one of geo, llama3:8b)"
    """
    lines = _lines(text.rpartition("</think>")[2], offered)
    problems = []
    if len(lines) > most:
        problems.append(f"there are {len(lines)} lines, at most {most} are allowed")
        lines = lines[:most]
    numbers = [written for written, _ in lines if written is not None]
    usable = bool(lines)
    parts = []
    for number, (_, body) in enumerate(lines, 1):
        line = _split(body, offered)
        part = _part(line, number, question)
        parts.append(part)
        if part.model is None:
            known = ", ".join(offered.ids)
            problems.append(
                f"line {number} names no candidate ({line.name!r} is not one of {known})"
            )
        if any(not 0 < k < number for k in part.needs):
            problems.append(f"line {number} refers to itself or to a later line")
            usable = False
        if not part.question:
            problems.append(f"line {number} asks nothing")
            usable = False
    if any(part.needs for part in parts) and numbers != list(range(1, len(lines) + 1)):
        problems.append("the lines are not numbered 1, 2, 3, so #1 could be any of them")
        usable = False
    return Plan(parts=tuple(parts), problems=tuple(problems), usable=usable)


def grammar(names: Sequence[str], *, most: int = 6) -> str:
    """Return a GBNF grammar of the plans over `names`: no other text can be generated.

    Names, numbering and references are then right by construction: line k can refer only to
    lines before it. Understood by llama.cpp and what is built on it.

    Parameters
    ----------
    names : sequence of str
        The candidates on offer.
    most : int, default=6
        Most lines, 1 to 9.

    References
    ----------
    GBNF, the grammar format of llama.cpp.
    """
    rules = [f"root ::= {'line1' if most == 1 else 'line1 rest2?'}"]
    for k in range(2, most + 1):
        more = "" if k == most else f" rest{k + 1}?"
        rules.append(f'rest{k} ::= "\\n" line{k}{more}')
    for k in range(1, most + 1):
        char = "[^\\n#]" if k == 1 else f'([^\\n#] | "#" [1-{k - 1}])'
        rules.append(f'line{k} ::= "{k}. " {char}{{3,{_MOST_CHARS}}} " (" name ")"')
    rules.append("name ::= " + " | ".join(_literal(name) for name in names))
    return "\n".join(rules) + "\n"


_MOST_CHARS = 200
"""A sub-question of a generated plan is at most this long, so that a small model must end it."""

_REFERENCE = re.compile(r"#(\d+)\b")
_NUMBERED = re.compile(r"\s*(?:[-*]\s+)?\**(\d{1,3})\s*[.):]\**\s*(\S.*)")
_MARKUP = " \t*_`\"'[]"
"""What models put around a name to set it off."""


def _lines(text: str, offered: Pool) -> list[tuple[int | None, str]]:
    """Return the written number (if any) and the rest of each line of the plan."""
    lines: list[tuple[int | None, str]] = []
    for line in text.splitlines():
        if numbered := _NUMBERED.fullmatch(line.rstrip()):
            lines.append((int(numbered[1]), numbered[2]))
        elif _split(line, offered).model is not None:
            lines.append((None, line))
        elif lines and re.match(r"\s*question\s*:", line, re.IGNORECASE):
            break  # a small model goes on with a question of its own
    if all(written is None for written, _ in lines):
        return [(number, body) for number, (_, body) in enumerate(lines, 1)]
    return lines


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a plan without its number."""

    model: str | None
    name: str
    """The name as it was written."""
    question: str


def _split(body: str, offered: Pool) -> _Line:
    """Tell the name from the sub-question; `model` is `None` when the name is nobody's."""
    body = body.strip().rstrip(_MARKUP)
    names = sorted((n for card in offered for n in (card.id, *card.aliases)), key=len, reverse=True)
    for name in names:
        question = body.removesuffix(f"({name})")
        if question != body:
            return _Line(offered.card(name).id, name, question.rstrip())
    plain = body.lstrip(_MARKUP)
    for name in names:
        after = plain.removeprefix(name).lstrip(_MARKUP)
        if plain.startswith(name) and after.startswith(":"):
            return _Line(offered.card(name).id, name, after[1:].lstrip(" \t*"))
    written = re.search(r"\(([^()]*)\)$", body) or re.match(r"([^:]*):", plain)
    return _Line(None, written[1].strip(_MARKUP) if written else "", body)


def _part(line: _Line, number: int, question: str) -> Part:
    found = {int(k) for k in _REFERENCE.findall(line.question)}
    needs = frozenset(k for k in found if 0 < k < number or f"#{k}" not in question)
    return Part(model=line.model, question=line.question, needs=needs)


def _literal(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
