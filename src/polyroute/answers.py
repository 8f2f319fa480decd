r"""What a reply answers, in a form in which equal answers are equal strings.

Every function takes a reply's text and returns its canonical answer, or `None` when it has none.
All but `boxed` look only at the part of the reply that is marked as its answer, when there is one:
the last ``<answer>…</answer>``, or the last member ``"answer"`` of a JSON object.
"""

import json
import re
import string
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

__all__ = ["CANONICAL", "Canonical", "boxed", "choice", "exact", "number", "text"]

Canonical: TypeAlias = Callable[[str], str | None]


def text(reply: str) -> str | None:
    """Return the answer as SQuAD compares answers: no case, punctuation, articles, extra spaces.

    An answer that is nothing but an article or punctuation keeps it: "A" is an answer.

    References
    ----------
    Rajpurkar et al., SQuAD, arXiv:1606.05250: the normalisation of its exact match.

    Examples
    --------
    >>> text("<answer>The Eiffel  Tower.</answer>")
    'eiffel tower'
    """
    words = _marked(reply).lower().translate(_NO_PUNCTUATION).split()
    kept = [word for word in words if word not in _ARTICLES]
    return " ".join(kept or words) or exact(reply)


def exact(reply: str) -> str | None:
    """Return the answer with case folded and white space squeezed, and nothing else removed.

    For expressions, code and grids, where a sign or a bracket is part of the answer.

    Examples
    --------
    >>> exact("<answer>-3.0  -  3.0i</answer>")
    '-3.0 - 3.0i'
    """
    return " ".join(_marked(reply).casefold().split()) or None


def number(reply: str) -> str | None:
    """Return the last number, without thousands separators and trailing zeros.

    Examples
    --------
    >>> number("20 cups at $0.50 make $1,210.00.")
    '1210'
    """
    found = _NUMBER.findall(_marked(reply).replace(_MINUS, "-"))
    if not found:
        return None
    whole, _, fraction = found[-1].replace(",", "").partition(".")
    whole, fraction = whole.lstrip("-0") or "0", fraction.rstrip("0")
    value = f"{whole}.{fraction}" if fraction else whole
    return f"-{value}" if found[-1].startswith("-") and value != "0" else value


def choice(reply: str) -> str | None:
    """Return the letter, A to J, of the option that was chosen.

    The whole answer when it is one letter; else the last letter after "answer" or "option"; else
    the last one in parentheses; else the only capital letter that stands alone. "I" before another
    word is the pronoun, and no letter, unless that word speaks of an option: "I is right".

    Examples
    --------
    >>> choice("A good question. The answer is (C), not (B).")
    'C'
    >>> choice("I do not know."), choice("I think it is B."), choice("I fits best.")
    (None, 'B', 'I')
    """
    marked = _marked(reply)
    whole = marked.strip(string.punctuation + string.whitespace)
    if len(whole) == 1 and whole.upper() in _LETTERS:
        return whole.upper()
    for pattern in (_ANNOUNCED, _PARENTHESISED):
        found = pattern.findall(marked)
        if found:
            return str(found[-1])
    alone = set(_ALONE.findall(marked))
    return alone.pop() if len(alone) == 1 else None


def boxed(reply: str) -> str | None:
    r"""Return what is in the last ``\boxed{…}``, without white space.

    Examples
    --------
    >>> boxed(r"so \boxed{\frac{1}{2}} it is")
    '\\frac{1}{2}'
    """
    start = reply.rfind(_BOX)
    if start < 0:
        return None
    depth = 1
    for end in range(start + len(_BOX), len(reply)):
        depth += {"{": 1, "}": -1}.get(reply[end], 0)
        if depth == 0:
            return "".join(reply[start + len(_BOX) : end].split()) or None
    return None


CANONICAL: Mapping[str, Canonical] = MappingProxyType(
    {"text": text, "exact": exact, "number": number, "choice": choice, "boxed": boxed}
)
"""The built-in ways to read an answer, by name."""

_MINUS = "\N{MINUS SIGN}"
_BOX = r"\boxed{"
_ARTICLES = frozenset({"a", "an", "the"})
_NO_PUNCTUATION = {ord(mark): None for mark in string.punctuation}
_LETTERS = frozenset("ABCDEFGHIJ")
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\w.])-?\.\d+")
_OPTION = r"(?:[A-HJ]|I(?![ \t]+(?!(?:is|fits|seems|looks|because|since|as|and|or)\b)[a-z]))"
"""A letter that stands for an option."""
_ANNOUNCED = re.compile(
    r"\b(?i:answer|option|choice)\b(?:\s+(?i:is|was|would be))?\s*[:=]?\s*"
    rf"[*_(\[{{\"']*({_OPTION})\b(?!['’])"
)
_PARENTHESISED = re.compile(r"\(([A-J])\)")
_ALONE = re.compile(rf"(?<![\w'])({_OPTION})(?![\w'’])")
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_MEMBER = re.compile(r'"answer"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d[\d.,eE+-]*)', re.DOTALL)


def _marked(reply: str) -> str:
    """Return the part of `reply` that is marked as its answer; all of it when none is."""
    tagged = _TAG.findall(reply)
    if tagged:
        return str(tagged[-1])
    members = _MEMBER.findall(reply)
    if not members:
        return reply
    value = str(members[-1])
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value, strict=False))
    except json.JSONDecodeError:  # an escape that JSON does not know, such as \( of LaTeX
        return value[1:-1]
