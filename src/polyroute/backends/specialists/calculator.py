"""Exact arithmetic, in symbols and in words.

Kinds of questions, each also in its bare form ("3*(4+5)"):

- expressions of + - * / ^ ! % mod, parentheses, pi, e, sqrt, cbrt, abs, exp, ln, log10, log2, gcd,
  lcm, min, max, floor, ceil, round, factorial, sum, product, mean
- the same in words: "3 plus four", "7 times the sum of 3 and 4", "12 divided by 5", "2 to the power
  of 10", "5 squared", "square root of 2", "half of 30", "15% of 240", "factorial of 5", "greatest
  common divisor of 12 and 18", "the remainder when 17 is divided by 5", "log base 2 of 8", "sine of
  30 degrees", "round 3.14159 to 2 decimal places", "average of 3, 4 and 5"
- which of two or more expressions is larger or smaller; whether one is larger, smaller, equal
- whether a number is prime, or divisible by another; its prime factors; the fraction that a result
  is, in lowest terms
- a number increased or decreased by so many percent ("30% off 235"); what percentage one number is
  of another

A result is an integer, the exact decimal, or, where there is none, 12 significant digits. A number
alone is no question, and neither is what looks like a date. What can be read in two ways is not
answered: 6/2(1+2), 200 + 10%, a remainder of negative numbers, log without a base.

Source: its own parser (`polyroute.backends.specialists.arithmetic`); sympy for primes and exact
roots, mpmath for irrational numbers (50 digits). Results have at most 4,000 digits.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations, starmap

import mpmath  # type: ignore[import-untyped]  # publishes no annotations
import sympy

from polyroute.backends.specialists.arithmetic import (
    DIGITS,
    NotArithmeticError,
    Value,
    as_text,
    evaluate,
    real,
)
from polyroute.backends.specialists.wording import Kind, first_answer

__all__ = ["answer"]

_LARGEST_TO_FACTOR = 10**18
_LARGEST_TO_TEST = 10**100


def answer(question: str) -> str | None:
    """Answer a question of arithmetic, or return `None`.

    Raises
    ------
    ValueError
        If the result is too long, or no real number.
    ZeroDivisionError
        If it divides by zero.

    Examples
    --------
    >>> answer("What is 15% of 240?"), answer("3*(4+5)"), answer("three plus four")
    ('36', '27', '7')
    >>> answer("Which is larger, 9.9 or 9.11?")
    '9.9'
    >>> answer("capital of Peru") is None
    True
    """
    if "!!" in question:  # emphasis, or the double factorial
        return None
    with mpmath.workdps(DIGITS):
        return first_answer(_KINDS, question)


_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: n for n, word in enumerate(_ONES)}
_SMALL |= {word: 10 * n for n, word in enumerate(_TENS, 2)}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_COUNT = rf"(?:{'|'.join([*_TENS, *sorted(_ONES, key=len, reverse=True)])})"
_NUMBER_WORD = rf"(?:{_COUNT}|hundred|{'|'.join(_LARGE)})"
_IN_WORDS = re.compile(
    rf"\b{_COUNT}(?:(?:[ -]| and (?=(?:{_COUNT})\b)(?<=hundred and ))(?:{_NUMBER_WORD})\b)*\b"
)
_SCALED = re.compile(rf"(?<![\w.])(\d+(?:\.\d+)?) ({'|'.join(_LARGE)})\b")

_N = r"(?:\d{1,3}(?:,\d{3})+(?![\d,]*\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+|§\d+§)"
_S = r"-?" + _N
_GROUP = re.compile(r"(?:(?<![a-z_\d])[a-z_][a-z_\d]*)?\([^()]*\)")
_HELD = re.compile(r"§(\d+)§")
_DEEPEST = 50

_REWRITES: tuple[tuple[str, str], ...] = (
    # what stands for a sign
    (r"[×✕·⋅]", "*"), (r"÷", "/"), (r"[−–—]", "-"), (r"²", "^2"), (r"³", "^3"),
    (rf"√\s*({_N})", r"sqrt(\1)"), (r"π", "pi"),
    (r"(?<=[\d§])\s*x\s*(?=[-\d§.])", "*"),
    (r"\bnegative (?=[\d§])", "-"),
    (r"\$(?=[\d.])", ""), (r"\b(?:sum|total) of (?=[-\d§.]+ ?\+)", ""),
    # percentages
    (rf"({_N})\s*(?:%|percent|per cent) off (?:of )?({_N})", r"((1-\1/100)*\2)"),
    (rf"({_N})\s*(?:%|percent|per cent) of ", r"(\1/100)*"),
    # between two numbers
    (r"\bplus\b|\badded to\b", "+"), (r"\bminus\b", "-"), (r"\btimes\b|\bmultiplied by\b", "*"),
    (r"\b(?:divided by|over)\b", "/"), (r"\bmod(?:ulo)?\b(?! ?\()", "%"),
    (r"\b(?:raised )?to power (?:of )?|\braised to\b(?! \d+(?:st|nd|rd|th))", "^"),
    (r"\b(?:raised )?to (\d+)(?:st|nd|rd|th)(?: power)?", r"^\1"),
    # after a number
    (rf"({_N})\s*squared\b", r"(\1^2)"), (rf"({_N})\s*cubed\b", r"(\1^3)"),
    (r"(?<=[\d§]) factorial\b", "!"),
    # before a number, or a list of them
    (rf"\bsquare root of ({_S})", r"sqrt(\1)"), (rf"\bcube root of ({_S})", r"cbrt(\1)"),
    (rf"\b(\d+)(?:th|st|nd|rd) root of ({_S})", r"root(\1, \2)"),
    (rf"\bsquare of ({_S})", r"((\1)^2)"),
    (rf"\bcube of ({_S})", r"((\1)^3)"),
    (rf"\bfactorial of ({_N})", r"factorial(\1)"),
    (rf"\babsolute value of ({_S})", r"abs(\1)"),
    (rf"\breciprocal of ({_S})", r"(1/\1)"),
    (rf"\bhalf (?:of )?({_S})", r"(\1/2)"), (rf"\b(?:twice|double) ({_S})", r"(2*\1)"),
    (rf"\b(?:thrice|triple) ({_S})", r"(3*\1)"),
    (rf"\b(?:a|one) third of ({_S})", r"(\1/3)"), (rf"\b(?:a|one) quarter of ({_S})", r"(\1/4)"),
    (rf"\blog(?:arithm)? (?:to )?base (\d+|e) of ({_S})", r"logb(\1, \2)"),
    (rf"\blog(?:arithm)? of ({_S}) (?:to|in) (?:the )?base (\d+|e)", r"logb(\2, \1)"),
    (rf"\b(?:natural log(?:arithm)?|ln) of ({_S})", r"ln(\1)"),
    (rf"\b(sin|cos|tan)(?:e|ine|gent)? ?(?:of )?({_S}) ?(?:degrees?|°)", r"\1_degrees(\2)"),
    (rf"\bround(?:ed)? ({_S}) to (\d+) (?:decimal )?(?:places?|decimals?)", r"round(\1, \2)"),
    (rf"\bround(?:ed)? ({_S})(?: to the nearest (?:integer|whole number))?", r"round(\1)"),
    (rf"\bremainder (?:when|of|if) ({_S}) (?:is )?(?:/|divided by) ?({_S})", r"mod(\1, \2)"),
    (rf"\bremainder of (?:dividing )?({_S}) by ({_S})", r"mod(\1, \2)"),
    (rf"\bsubtract ({_S}) from ({_S})", r"(\2-\1)"),

    (rf"\badd ({_S}) (?:to|and) ({_S})", r"(\1+\2)"),
    (rf"\bmultiply ({_S}) (?:by|and|with) ({_S})", r"(\1*\2)"),
    (rf"\bdivide ({_S}) by ({_S})", r"(\1/\2)"),
)  # fmt: skip

_OF_LISTS = {
    "sum": "sum", "total": "sum", "product": "product", "difference": "difference",
    "quotient": "quotient", "average": "mean", "arithmetic mean": "mean", "mean": "mean",
    "median": "median", "greatest common divisor": "gcd", "greatest common factor": "gcd",
    "highest common factor": "gcd", "gcd": "gcd", "hcf": "gcd", "gcf": "gcd",
    "least common multiple": "lcm", "lowest common multiple": "lcm", "lcm": "lcm",
    "maximum": "max", "max": "max", "minimum": "min", "min": "min",
}  # fmt: skip
_LIST_NAMES = "|".join(sorted(_OF_LISTS, key=len, reverse=True))
_OF_LIST = re.compile(
    rf"\b({_LIST_NAMES}) (?:of|between) ({_S}(?:, {_S})*,? and {_S}|{_S}(?:, {_S})+)(?![\d,]*\d)"
)
_BETWEEN = re.compile(r",? and |, ")

_NOT_SUMS = re.compile(
    r"\d{3,4}-\d{1,2}-\d{1,2}"  # a date
    r"|\d{1,2}([/.-])\d{1,2}\1\d{2,4}"  # another
    r"|[+(]?\d[\d ().-]*-\d{3,}-\d+"  # a telephone number
)
_ALONE = re.compile(r"[-+\s(]*(?:[\d.,]+|e)[\s)]*")
_IMPLICIT = re.compile(r"(?<![a-z_\d.])(\d+(?:\.\d+)?|\))\s*(?=\()")


def _symbols(text: str) -> str:
    """Rewrite words as signs; words that are left over make the parser refuse.

    What stands in parentheses is held back, innermost first, so that to the patterns every
    operand is one word.

    Raises
    ------
    NotArithmeticError
        If the parentheses are too many.
    """
    line = re.sub(r"\bthe |\ban? (?=[a-z]+ of )", "", text.lower()).rstrip("= ")
    if "§" in line:
        raise NotArithmeticError("not a sign of arithmetic")
    line = re.sub(rf"\ban? (?={'|'.join(_LARGE)}|hundred)", "1 ", line)
    line = _SCALED.sub(lambda m: f"({m[1]}*{_LARGE[m[2]]})", line)
    line = _IN_WORDS.sub(lambda m: str(_number(m[0])), line)
    held: list[str] = []
    line = _without_words(line, held)
    for _ in range(_DEEPEST):
        line = _HELD.sub(lambda m: held[int(m[1])], line)
    if "§" in line:
        raise NotArithmeticError(f"more than {_DEEPEST} nested parentheses")
    return line


def _without_words(line: str, held: list[str]) -> str:
    """Apply the rewrites until nothing changes; what gets parentheses is added to `held`."""

    def hold(match: re.Match[str]) -> str:
        name, _, inner = match[0].partition("(")
        held.append(f"{name}({_without_words(inner.removesuffix(')'), held)})")
        return f"§{len(held) - 1}§"

    for _ in range(_DEEPEST):
        before = line
        line = _GROUP.sub(hold, line)
        for pattern, signs in _REWRITES:
            line = re.sub(pattern, signs, line)
        line = _OF_LIST.sub(lambda m: f"{_OF_LISTS[m[1]]}({_BETWEEN.sub(', ', m[2])})", line)
        if line == before:
            break
    return line


def _number(words: str) -> int:
    total = part = 0
    for word in re.split(r"[ -]", words):
        if word in _SMALL:
            part += _SMALL[word]
        elif word == "hundred":
            part *= 100
        elif word in _LARGE:
            total, part = total + part * _LARGE[word], 0
    return total + part


def _value(text: str) -> Value:
    """Evaluate an expression in words or symbols.

    Raises
    ------
    NotArithmeticError
        If it is not one, or has two readings.
    """
    line = _symbols(text)
    if "/" in line and _IMPLICIT.search(line):
        raise NotArithmeticError("a product without a sign, beside a division")
    return evaluate(_IMPLICIT.sub(r"\1*", line))


def _result(text: str) -> str | None:
    if _NOT_SUMS.fullmatch(text) or _ALONE.fullmatch(_symbols(text)):
        return None
    return as_text(_value(text))


def _extreme(choose: Callable[..., str]) -> Callable[[str], str | None]:
    """Return a find that chooses among expressions, and gives the chosen one as it was written."""

    def find(listed: str) -> str | None:
        texts = re.split(r",? or |,? and |, ", listed)
        values = [_value(text) for text in texts]
        if len(texts) < 2 or any(starmap(_same, combinations(values, 2))):
            return None
        if not all(isinstance(value, Fraction) for value in values):
            values = [real(value) for value in values]
        return choose(texts, key=dict(zip(texts, values, strict=True)).__getitem__)

    return find


def _same(one: Value, other: Value) -> bool:
    """Whether two values are equal, or differ by less than is known of irrational ones."""
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    first, second = real(one), real(other)
    return bool(abs(first - second) <= max(abs(first), abs(second)) * mpmath.mpf(10) ** -40)


def _compared(one: str, relation: str, other: str) -> str | None:
    first, second = _value(one), _value(other)
    same = _same(first, second)
    if not (isinstance(first, Fraction) and isinstance(second, Fraction)):
        if same:
            return None
        first, second = real(first), real(second)
    if re.search(r"great|larg|big|more|higher|>", relation):
        return "Yes" if first > second else "No"
    if re.search(r"small|less|low|<", relation):
        return "Yes" if first < second else "No"
    return "Yes" if same else "No"


def _divides(number: str, divisor: str) -> str | None:
    whole, by = _value(number), _value(divisor)
    if not all(isinstance(n, Fraction) and n.denominator == 1 for n in (whole, by)) or by == 0:
        return None
    return "Yes" if whole % by == 0 else "No"


def _is_prime(number: str) -> str | None:
    n = _value(number)
    whole = isinstance(n, Fraction) and n.denominator == 1 and n <= _LARGEST_TO_TEST
    return ("Yes" if sympy.isprime(n.numerator) else "No") if whole else None


def _factors(number: str) -> str | None:
    n = _value(number)
    if not isinstance(n, Fraction) or n.denominator != 1 or not 2 <= n <= _LARGEST_TO_FACTOR:
        return None
    powers = sympy.factorint(n.numerator)
    return " * ".join(f"{p}^{k}" if k > 1 else f"{p}" for p, k in sorted(powers.items()))


def _fraction(text: str) -> str | None:
    value = _value(text)
    return str(value) if isinstance(value, Fraction) else None


def _changed(verb: str, amount: str, percent: str) -> str:
    sign = 1 if verb.lower() == "increase" else -1
    return as_text(_value(amount) * (1 + sign * _value(percent) / 100))


def _percentage(part: str, whole: str) -> str:
    return as_text(_value(f"100*({part})/({whole})"))


_E = r"(.*\d.*)"
_NUMBER = r"([\d,]+)"
_LARGER = r"(?:larger|largest|greater|greatest|bigger|biggest|higher|highest|more)"
_SMALLER = r"(?:smaller|smallest|less|lesser|lower|lowest|fewer)"
_OF_THESE = r"(?:number |value |one )?(?:is |has )?(?:the )?"
_RELATION = r"((?:greater|larger|bigger|more|smaller|less|lower) than|equal to|[<>])"


def _or_next(find: Callable[..., str | None]) -> Callable[..., str | None]:
    """Let the next kind try where the words that a kind captured are no arithmetic."""

    def tried(*groups: str) -> str | None:
        try:
            return find(*groups)
        except NotArithmeticError:
            return None

    return tried


_TABLE: list[tuple[str, Callable[..., str | None]]] = [
    (rf"(?:which |what )?{_OF_THESE}{_LARGER}(?: number| value| one)?(?: of)?[:,]? {_E}",
         _extreme(max)),
    (rf"(?:which |what )?{_OF_THESE}{_SMALLER}(?: number| value| one)?(?: of)?[:,]? {_E}",
         _extreme(min)),
    (rf"is {_E} {_RELATION} {_E}", _compared),
    (rf"is {_NUMBER} (?:evenly )?divisible by {_NUMBER}", _divides),
    (rf"is {_NUMBER} (?:a )?prime(?: number)?", _is_prime),
    (rf"(?:the )?prime (?:factors|factori[sz]ation) of {_NUMBER}", _factors),
    (rf"factori[sz]e {_NUMBER}(?: into primes)?", _factors),
    (r"(?:simplify|reduce) (?:the fraction )?(\d+ ?/ ?\d+)(?: to lowest terms)?", _fraction),
    (rf"{_E} (?:as a|in) (?:simplified |reduced )?(?:fraction|lowest terms)", _fraction),
    (rf"(increase|decrease) {_E} by ([\d.]+) ?(?:%|percent)", _changed),
    (r"(?:what |which )?(?:percentage|percent|%) of (?P<whole>[\d.,]+) is (?P<part>[\d.,]+)",
         lambda whole, part: _percentage(part, whole)),
    (r"([\d.,]+) (?:is|as) (?:a |what )?(?:percentage|percent|%) of ([\d.,]+)", _percentage),
    (r"(?:(?:calculate|compute|evaluate|work out|solve|how much is|simplify|what"
         r"|does|(?:the )?(?:result|value|answer|solution) (?:of|to)) )*(?:the )?(.*?)"
         r"(?: equals?(?: to)?| is| =)?", _result),
]  # fmt: skip
_KINDS = [Kind(pattern, _or_next(find)) for pattern, find in _TABLE]
