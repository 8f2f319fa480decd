"""How a specialist reads a question: one table of kinds, tried in order on the plain question.

The one decision here: a kind matches the *whole* question or not at all. A question with a part
that nobody understood is not answered from the part that somebody did.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

__all__ = ["LONGEST", "Kind", "first_answer", "folded", "plain"]

LONGEST = 400
"""Characters of a question that is still a short one."""

_LEAD_IN = re.compile(
    r"(?:please|hello|hi|ok|okay|so|and|then|question|q)\b[,:. ]*"
    r"|(?:can|could|would|will) you (?:please |kindly )?(?:tell|give) (?:me|us)[,:]? "
    r"|(?:can|could|would|will) you (?:please |kindly )?(?=(?:calculate|compute|add|subtract"
    r"|multiply|divide|work out|find) )"
    r"|(?:tell|give|show) (?:me|us)[,:]? "
    r"|(?:find|name|state|list) (?!of )(?=\S+ \S)"
    r"|(?:i (?:want|need|would like) to know|do you know)[,:]? "
    r"|(?:what|which|who)(?:'s| is| are| was| were| would be) (?=(?!the same\b)(?:the |an? )?\S)",
    re.IGNORECASE,
)
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "\u00a0": " ", "‑": "-"})


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of question: what it looks like, and what answers it.

    Parameters
    ----------
    pattern : str
        A regular expression for the whole plain question, case ignored.
    find : callable
        From the text of the pattern's groups (`None` for one that took no part) to the answer;
        `None` lets the next kind try.
    """

    pattern: str
    find: Callable[..., str | None]


def first_answer(kinds: Sequence[Kind], question: str) -> str | None:
    """Return the answer of the first kind that has one.

    Examples
    --------
    >>> kinds = [Kind("(?:the )?opposite of (hot|cold)", {"hot": "cold", "cold": "hot"}.get)]
    >>> first_answer(kinds, "What is the opposite of hot?")
    'cold'
    >>> first_answer(kinds, "What is the opposite of hot air?") is None
    True
    """
    if len(question) > LONGEST:
        return None
    text = plain(question)
    for kind in kinds:
        match = _compiled(kind.pattern).fullmatch(text)
        if match and (found := kind.find(*match.groups())) is not None:
            return found
    return None


def plain(question: str) -> str:
    """Return the question on one line, without courtesies, "what is" and closing marks.

    Examples
    --------
    >>> plain("  Please tell me, what is the   capital of Peru?? ")
    'the capital of Peru'
    """
    text = unicodedata.normalize("NFC", question).translate(_TYPOGRAPHY)
    text = " ".join(text.split()).strip("\"' ")
    text = re.sub(r"(?:,? please)?(?:[\s?.;:]|(?<![\d)])!)*$", "", text, flags=re.IGNORECASE)
    for _ in range(3):
        text = _LEAD_IN.sub("", text, count=1) if _LEAD_IN.match(text) else text
        text = text.lstrip(", ")
    return text.strip()


@cache
def folded(name: str) -> str:
    """Return `name` as names are compared: no case, accents, punctuation or leading "the".

    Examples
    --------
    >>> folded("The Côte d'Ivoire"), folded("St. John's")
    ('cote d ivoire', 'saint johns')
    """
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(char for char in decomposed if not unicodedata.combining(char))
    letters = re.sub(r"'s\b", "s", letters.replace("’", "'"))
    words = re.sub(r"[\W_]+", " ", letters.replace("&", " and ")).split()
    words = ["saint" if word == "st" else word for word in words]
    return " ".join(words[1:] if words[:1] == ["the"] and len(words) > 1 else words)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)
