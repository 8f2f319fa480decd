"""Whether the policy wrote what it may write, judged on its own text alone.

The one decision here: a candidate's reply is not the policy's doing. The checks read the replies
to the policy's own routes; where the reference code counts observations, a harmless word stands
for each. `code_case` on a whole response is there to compare with the reference.
"""

import re
from collections.abc import Callable, Sequence
from enum import IntEnum

from polyroute.continuation import with_end
from polyroute.decision import Route
from polyroute.pool import Pool
from polyroute.trace import Reply, Trace

__all__ = [
    "Case",
    "Malformed",
    "answer_in",
    "code_case",
    "in_code",
    "in_paper",
    "names",
    "own_turns",
]

Malformed = Callable[[Trace], str | None]
"""What is wrong with the policy's own text; `None` when it is well formed."""


class Case(IntEnum):
    """The eleven reasons for which the reference code gives -1, in its order of precedence."""

    NO_PAIR = 1
    """No tag is opened and closed."""
    UNBALANCED = 2
    """A tag is opened more or less often than it is closed."""
    EMPTY_THOUGHT = 3
    """A thought is empty, or three dots."""
    NESTED = 4
    """A tag within a block."""
    COUNTS = 5
    """Not one answer, no thought, or not as many observations as searches."""
    START = 6
    """The text does not start with a thought."""
    END = 7
    """The text does not end with the answer."""
    COLONS = 8
    """A search without exactly one colon."""
    QUERY = 9
    """A search with an empty query, or with the placeholders of the instruction."""
    NAME_IN_QUERY = 10
    """A query that contains the name of the model it is for."""
    UNKNOWN_NAME = 11
    """A search for a model that does not exist."""


def code_case(response: str, known: Callable[[str], bool]) -> Case | None:
    """Return why the reference code gives `response` a format reward of -1; `None`: it gives 0.

    Parameters
    ----------
    response : str
        The whole transcript after the prompt, observations included.
    known : callable
        Whether a model of this name (stripped, lower case) exists.

    References
    ----------
    Router-R1, arXiv:2506.09033; code at revision 801a240, ``format_reward``.

    Examples
    --------
    >>> good = "<think>easy</think><answer>Paris</answer>"
    >>> code_case(good, str.isalpha), code_case(f"{good}.", str.isalpha)
    (None, <Case.END: 7>)
    """
    blocks = _BLOCK.findall(response)
    if not blocks:
        return Case.NO_PAIR
    if any(response.count(f"<{tag}>") != response.count(f"</{tag}>") for tag in _TAGS):
        return Case.UNBALANCED
    contents: dict[str, list[str]] = {tag: [] for tag in _TAGS}
    for tag, content in blocks:
        contents[tag].append(content.strip())
    if any(thought in ("", "...") for thought in contents["think"]):
        return Case.EMPTY_THOUGHT
    if any(mark in content for said in contents.values() for content in said for mark in _MARKS):
        return Case.NESTED
    searches = contents["search"]
    counts = len(contents["answer"]), len(searches) - len(contents["information"])
    if counts != (1, 0) or not contents["think"]:
        return Case.COUNTS
    text = response.strip()
    if not text.startswith("<think>"):
        return Case.START
    if not text.endswith("</answer>"):
        return Case.END
    queries = [case for case in map(_query_case, searches) if case is not None]
    if queries:
        return queries[0]
    exists = all(known(search.partition(":")[0].strip().lower()) for search in searches)
    return None if exists else Case.UNKNOWN_NAME


def in_code(trace: Trace) -> str | None:
    """Return the reference code's objection to the policy's own text.

    As `code_case`, with a harmless word in place of each observation and names that are exactly
    ids or aliases of the pool's cards, in any case of letters.
    """
    turns = own_turns(trace)
    response = "".join(
        f"{turn}\n\n<information>seen</information>\n\n" if turn.endswith("</search>") else turn
        for turn in turns
    )
    exists = names(trace.pool)
    case = code_case(response, exists.__contains__)
    return None if case is None else case.name.lower().replace("_", " ")


def in_paper(trace: Trace) -> str | None:
    """Return what is wrong with the policy's own text by the paper's definition of a turn.

    A turn is any number of thoughts that are not empty, then one search or one answer; a search
    is a known name, a colon and a query; the last turn answers, and no turn before it does.
    """
    turns = own_turns(trace)
    exists = names(trace.pool)
    for place, turn in enumerate(turns, start=1):
        if _OBSERVATION.search(turn):
            return f"turn {place} writes an observation itself"
        found = _TURN.fullmatch(turn.strip())
        if found is None:
            return f"turn {place} is not thoughts and then one action"
        if any(not thought.strip() for thought in _THOUGHT.findall(found["thoughts"])):
            return f"turn {place} has an empty thought"
        content = found["content"]
        if any(mark in content for mark in _MARKS):
            return f"turn {place} has a tag within its action"
        if (found["action"] == "answer") != (place == len(turns)):
            return f"turn {place}: {found['action']} is out of place"
        name, colon, query = content.partition(":")
        if found["action"] == "search" and not (colon and query.strip()):
            return f"turn {place} searches without a name and a query"
        if found["action"] == "search" and name.strip().lower() not in exists:
            return f"turn {place} searches for a model that is not in the pool"
    return None if turns else "no turn"


def own_turns(trace: Trace) -> tuple[str, ...]:
    """Return what the policy itself wrote, turn by turn, each cut after its first action.

    The order of the cut is the reference's: at the first ``</search>``, else at the first
    ``</answer>``. The tag at which generation stopped is put back where it was left out.
    """
    replies = (
        reply
        for step in trace.steps
        if isinstance(step.decision, Route) and step.decision.own
        for reply in step.replies
        if reply.ok
    )
    return tuple(_turn(reply) for reply in replies)


def answer_in(turns: Sequence[str]) -> str | None:
    """Return what is in the last ``<answer>`` of the policy's own text; `None` without one.

    Examples
    --------
    >>> answer_in(["<think>?</think><search>m: q</search>", "<answer> Paris </answer>"])
    'Paris'
    """
    found = _ANSWER.findall("".join(turns))
    return str(found[-1]).strip() if found else None


def names(pool: Pool) -> frozenset[str]:
    """Return the ids and aliases of all cards, in lower case."""
    return frozenset(name.lower() for card in pool for name in (card.id, *card.aliases))


_TAGS = ("search", "think", "answer", "information")
_MARKS = tuple(f"<{slash}{tag}>" for tag in _TAGS for slash in ("", "/"))
_BLOCK = re.compile(r"<(search|answer|think|information)>(.*?)</\1>", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_OBSERVATION = re.compile(r"</?info(?:rmation)?>")
_TURN = re.compile(
    r"(?P<thoughts>(?:<think>(?:(?!<).|<(?!/?(?:think|search|answer)>))*</think>\s*)*)"
    r"<(?P<action>search|answer)>(?P<content>.*)</(?P=action)>",
    re.DOTALL,
)
_ENDS = ("</search>", "</answer>")
_PLACEHOLDERS = ("llm-name", "your-query")


def _turn(reply: Reply) -> str:
    text = with_end(reply, _ENDS)
    for end in _ENDS:
        before, found, _ = text.partition(end)
        if found:
            return before + found
    return text


def _query_case(search: str) -> Case | None:
    if search.count(":") != 1:
        return Case.COLONS
    lower = search.lower()
    name, _, query = (part.strip() for part in lower.partition(":"))
    if not query or any(word in lower for word in _PLACEHOLDERS):
        return Case.QUERY
    return Case.NAME_IN_QUERY if name in query else None
