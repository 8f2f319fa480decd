"""What a turn of the router model says: thoughts, then searches or an answer.

::

    turn   = { "<think>" text "</think>" } action
    action = "<search>" line { newline line } "</search>" | "<answer>" text "</answer>"
    line   = name ":" question

The one decision here: a turn ends with its first action, and what the text does besides (words
between the tags, a tag inside a thought) is a fault that is noted, not a reason to misread it. The
text is read from left to right, tag by tag; a reply of the pool is never part of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from polyroute.pool import Pool

__all__ = ["Dialect", "Search", "Turn", "grammar", "information_tag", "read_turn"]

Dialect: TypeAlias = Literal["polyroute", "paper", "code"]
"""``polyroute``: ours. ``paper``: as arXiv:2506.09033 says. ``code``: as its released checkpoints
were trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One sub-query."""

    model: str
    """Id of the candidate that is asked."""
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of the router model, read."""

    text: str
    """What it wrote, up to the end of its action."""
    thoughts: tuple[str, ...] = ()
    searches: tuple[Search, ...] = ()
    """All asked at once."""
    answer: str | None = None
    invalid: str = ""
    """Why there is no action to carry out, as the router model is told; empty when there is one."""
    names_nobody: bool = False
    """Whether it is invalid for nothing but a name that no candidate on offer has."""
    faults: tuple[str, ...] = ()
    """Breaches of the grammar that leave the action clear."""

    @property
    def well_formed(self) -> bool:
        """Whether the turn keeps to the grammar and has an action that can be carried out."""
        return not self.invalid and not self.faults


def information_tag(dialect: Dialect) -> str:
    """Return the tag between which replies stand: the paper and its code differ."""
    return "info" if dialect == "paper" else "information"


def read_turn(
    text: str,
    offered: Pool,
    *,
    dialect: Dialect = "polyroute",
    may_search: bool = True,
    faithful: bool = False,
) -> Turn:
    """Read one turn.

    Parameters
    ----------
    text : str
        What the router model wrote, with its closing tag.
    offered : Pool
        The candidates it may name, by id or declared alias, exactly.
    dialect : {"polyroute", "paper", "code"}, default="polyroute"
        ``paper`` and ``code`` allow one search a turn, and demand a thought before the action.
        ``code`` takes the first action wherever it stands, inside a thought too.
    may_search : bool, default=True
        Whether a search can still be carried out.
    faithful : bool, default=False
        With ``code``: cut a query at its second colon and accept an empty answer, as the
        reference does.

    Examples
    --------
    >>> from polyroute import ModelCard
    >>> offered = Pool([ModelCard(id="geo"), ModelCard(id="llama3:8b")])
    >>> said = "<think>Films.</think><search>llama3:8b: Who made Mission: Impossible 2?</search>"
    >>> read_turn(said, offered).searches
    (Search(model='llama3:8b', query='Who made Mission: Impossible 2?'),)
    >>> read_turn("<search>gee: capital of Peru?</search>", offered).invalid
    "'gee' is not one of geo, llama3:8b"
    """
    read = _read_code(text) if dialect == "code" else _read(text, information_tag(dialect))
    faults = read.faults
    if dialect != "polyroute" and not read.thoughts:
        faults = (*faults, "there is no thought before the action")
    said = Turn(text=read.text, thoughts=read.thoughts, faults=faults, invalid=read.problem)
    if read.problem:
        return said
    if read.action == "answer":
        answer = read.content.strip()
        if not answer and not faithful:
            return _invalid(said, "the answer is empty")
        return _with(said, answer=answer)
    if not may_search:
        return _invalid(said, "nobody can be asked any more, so the turn must answer")
    if dialect == "polyroute":
        return _searches(said, read.content, offered)
    return _search(said, read.content, offered, faithful=faithful and dialect == "code")


_MOST_SEARCHES: Final = 8
"""Searches of one turn. More are no plan but a loop."""


def grammar(names: Sequence[str], *, may_search: bool = True, most_searches: int = 4) -> str:
    """Return a GBNF grammar of the turns over `names`: no other text can be generated.

    Understood by llama.cpp, and by vLLM where its structured output takes grammars.

    Parameters
    ----------
    names : sequence of str
        Ids of the candidates on offer.
    may_search : bool, default=True
        Whether searches are allowed; without, the only action is an answer.
    most_searches : int, default=4
        Most searches of one turn, 1 or more.
    """
    action = "search | answer" if may_search else "answer"
    rules = [
        f'root ::= ("<think>" text "</think>" "\\n"?)? ({action})',
        "text ::= [^<>]{1,600}",
        'answer ::= "<answer>" text "</answer>"',
    ]
    if may_search:
        more = "" if most_searches == 1 else f' ("\\n" line){{0,{most_searches - 1}}}'
        rules += [
            f'search ::= "<search>" line{more} "</search>"',
            'line ::= name ": " [^<>\\n]{3,300}',
            "name ::= " + " | ".join(_literal(name) for name in names),
        ]
    return "\n".join(rules) + "\n"


@dataclass(slots=True)
class _Read:
    """The parts of a turn, before its names are looked up."""

    text: str
    thoughts: tuple[str, ...] = ()
    action: str = ""
    content: str = ""
    problem: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag of the grammar in a text."""

    name: str
    closes: bool
    start: int
    end: int


def _tags(text: str, names: Sequence[str]) -> Iterator[_Tag]:
    """Yield the tags of the grammar, from left to right."""
    at = text.find("<")
    while at >= 0:
        for name in names:
            for closes, written in ((False, f"<{name}>"), (True, f"</{name}>")):
                if text.startswith(written, at):
                    yield _Tag(name, closes, at, at + len(written))
        at = text.find("<", at + 1)


def _read(text: str, information: str) -> _Read:
    """Read the turn from left to right, up to the end of its first action."""
    thoughts: list[str] = []
    faults: list[str] = []
    open_: _Tag | None = None
    done = 0
    for tag in _tags(text, ("think", "search", "answer", information)):
        if open_ is None:
            if text[done : tag.start].strip():
                faults.append("there are words outside of the tags")
            if tag.closes:
                faults.append(f"</{tag.name}> closes nothing")
            elif tag.name == information:
                problem = f"<{information}> is not the router's to write"
                return _Read(text, tuple(thoughts), problem=problem, faults=tuple(faults))
            else:
                open_ = tag
            done = tag.end
        elif tag.closes and tag.name == open_.name:
            content = text[open_.end : tag.start]
            done = tag.end
            if open_.name != "think":
                whole = _whole(text, tag.end)
                return _Read(whole, tuple(thoughts), open_.name, content, "", tuple(faults))
            thoughts.append(content.strip())
            if content.strip() in ("", "..."):
                faults.append("a thought is empty")
            open_ = None
        elif open_.name == "think":
            faults.append("there is a tag inside a thought")
        else:
            problem = f"there is a tag inside <{open_.name}>"
            return _Read(text, tuple(thoughts), problem=problem, faults=tuple(faults))
    problem = "there is no action" if open_ is None else f"<{open_.name}> is never closed"
    return _Read(text, tuple(thoughts), problem=problem, faults=tuple(faults))


def _read_code(text: str) -> _Read:
    """Read the turn as the reference does: cut at an action's end, then its first whole pair."""
    for name in ("search", "answer"):
        head, closing, _ = text.partition(f"</{name}>")
        if closing:
            cut = head + closing
            break
    else:
        cut = text
    strict = _read(cut, information_tag("code"))
    whole = _whole(text, len(cut)) if cut != text else text
    for tag in _tags(cut, ("search", "answer")):
        end = cut.find(f"</{tag.name}>", tag.end)
        if not tag.closes and end >= 0:
            content = cut[tag.end : end]
            faults = strict.faults or ((strict.problem,) if strict.problem else ())
            return _Read(whole, strict.thoughts, tag.name, content, "", faults)
    problem = strict.problem or "there is no action"
    return _Read(whole, strict.thoughts, problem=problem, faults=strict.faults)


def _whole(text: str, end: int) -> str:
    """Return the turn up to `end`, with white space that a last token brought along."""
    return text if not text[end:].strip() else text[:end]


def _searches(said: Turn, content: str, offered: Pool) -> Turn:
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if not lines:
        return _invalid(said, "the search is empty")
    if len(lines) > _MOST_SEARCHES:
        return _invalid(said, f"there are {len(lines)} searches, at most {_MOST_SEARCHES} a turn")
    found: list[Search] = []
    for line in lines:
        one = _search(said, line, offered, faithful=False)
        if one.invalid:
            return one
        found += one.searches
    return _with(said, searches=tuple(found))


def _search(said: Turn, content: str, offered: Pool, *, faithful: bool) -> Turn:
    """Read ``name: query``; a name may hold colons, and so may a query."""
    line = content.strip()
    if ":" not in line:
        return _invalid(said, "a search is written NAME: question, and there is no colon")
    for name in sorted((n for c in offered for n in (c.id, *c.aliases)), key=len, reverse=True):
        after = line.removeprefix(name).lstrip()
        if line.startswith(name) and after.startswith(":"):
            query = after[1:].split(":")[0] if faithful else after[1:]
            return _asked(said, offered.card(name).id, query.strip(), said_by=name)
    written = line.partition(":")[0].strip()
    known = ", ".join(offered.ids)
    return _with(said, invalid=f"{written[:60]!r} is not one of {known}", names_nobody=True)


def _asked(said: Turn, model: str, query: str, *, said_by: str) -> Turn:
    lowered = query.lower()
    if not query:
        return _invalid(said, f"{said_by} is asked nothing")
    if any(placeholder in lowered for placeholder in _PLACEHOLDERS):
        return _invalid(said, "the question is the placeholder of the instruction")
    return _with(said, searches=(Search(model=model, query=query),))


_PLACEHOLDERS = ("llm-name", "your-query")


def _invalid(said: Turn, why: str) -> Turn:
    return _with(said, invalid=why)


def _with(
    said: Turn,
    *,
    searches: tuple[Search, ...] = (),
    answer: str | None = None,
    invalid: str = "",
    names_nobody: bool = False,
) -> Turn:
    return Turn(
        text=said.text, thoughts=said.thoughts, searches=searches, answer=answer,
        invalid=invalid, names_nobody=names_nobody, faults=said.faults,
    )  # fmt: skip


def _literal(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
