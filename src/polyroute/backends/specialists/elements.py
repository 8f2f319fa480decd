"""The chemical elements: what they are called, where they stand, what they weigh.

Kinds of questions, each also in its bare form ("symbol of gold"):

- symbol, atomic number (also: number of protons) of an element: `Au`, `79`
- standard atomic mass, in u; density near room temperature, in g/cm³: `196.96657`, `19.3`
- period and group of an element (an element of the f-block has no group, and whether La, Ac or
  Lu, Lr stand in group 3 is disputed, so none of them has one here): `6`, `11`
- the element with a symbol, with an atomic number, or at a period and group: `gold`
- molar mass of a formula such as Ca(OH)2 or CuSO4·5H2O, in g/mol: `74.092`

An element is given by its name (British spellings too) or its symbol. Mercury, which is also a
planet, has no bare density, period or symbol: ask for "the chemical symbol" or "the element".

Source: periodictable (atomic masses of IUPAC/CIAAW; names with the spelling of its tables,
"aluminum", "cesium", "sulfur"). Its densities of gases are those of their liquids at the boiling
point, and some others are calculated; those are not given. Nor is the mass of an element without
a stable isotope, which has no standard atomic mass.
"""

import re
from bisect import bisect_left
from functools import cache
from typing import Any, TypeAlias

import periodictable

from polyroute.backends.specialists.wording import Kind, first_answer

__all__ = ["Element", "answer"]

Element: TypeAlias = Any  # periodictable has no annotations

_BRITISH = {"aluminium": "aluminum", "caesium": "cesium", "sulphur": "sulfur"}
_NOBLE_GASES = (2, 10, 18, 36, 54, 86, 118)
_HEAVIEST = _NOBLE_GASES[-1]
_STABLE_ENOUGH = {90, 91, 92}
"""Thorium, protactinium, uranium: no stable isotope, yet a standard atomic mass."""
_LONGEST_FORMULA = 60


def answer(question: str) -> str | None:
    """Answer a question about elements, or return `None`.

    Examples
    --------
    >>> answer("What is the chemical symbol for gold?")
    'Au'
    >>> answer("Which element has atomic number 79?")
    'gold'
    >>> answer("capital of Peru") is None
    True
    """
    return first_answer(_KINDS, question)


def _symbol(element: Element) -> str:
    return str(element.symbol)


def _number(element: Element) -> str:
    return str(element.number)


def _name(element: Element) -> str:
    return str(element.name)


def _mass(element: Element) -> str | None:
    no_stable = element.number in (43, 61) or element.number >= 84
    if no_stable and element.number not in _STABLE_ENOUGH:
        return None
    return f"{element.mass:.10g}"


def _density(element: Element) -> str | None:
    """Return the density, unless it is a liquefied gas's, a calculated one or one of several."""
    doubtful = ("T=-", "calculated", "estimated", "graphite")
    if element.density is None or any(word in element.density_caveat for word in doubtful):
        return None
    return f"{element.density:g}"


def _period(element: Element) -> str:
    return str(_period_and_group(element.number)[0])


def _group(element: Element) -> str | None:
    group = _period_and_group(element.number)[1]
    return None if group is None else str(group)


def _period_and_group(number: int) -> tuple[int, int | None]:
    """Place `number` in the 18-column table; an element of the f-block has no group."""
    period = bisect_left(_NOBLE_GASES, number) + 1
    start = _NOBLE_GASES[period - 2] if period > 1 else 0
    length = _NOBLE_GASES[period - 1] - start
    column = number - start
    if column <= 2 and number != _NOBLE_GASES[0]:
        return period, column
    if length == 32 and column <= 17:
        return period, None
    return period, column + 18 - length


def _about(describe: Any, *, planet: bool = False) -> Any:  # noqa: ANN401 - two callables
    """Return the find of a kind whose last group names an element."""

    def find(*groups: str | None) -> str | None:
        element = _element(str(groups[-1]))
        explicit = any(groups[:-1]) or re.search(r"\b(?:element|metal) ", str(groups[-1]), re.I)
        if element is None or (planet and element.name == "mercury" and not explicit):
            return None
        found: str | None = describe(element)
        return found

    return find


def _element(name: str) -> Element | None:
    """Return the element with this name or, in its proper case or all capitals, this symbol."""
    word = re.sub(r"^(?:the )?(?:chemical )?(?:element |metal |gas )?", "", name.strip("\"' "))
    found = _by_name().get(word.lower())
    if found is None and (word[:1].isupper() and (word[1:].islower() or word.isupper())):
        found = _by_symbol().get(word.lower())
    return found


def _with_symbol(symbol: str) -> str | None:
    element = _by_symbol().get(symbol.lower())
    return None if element is None else _name(element)


def _with_number(number: str) -> str | None:
    known = 1 <= int(number) <= _HEAVIEST
    return _name(periodictable.elements[int(number)]) if known else None


def _at(period: str, group: str) -> str | None:
    place = (int(period), int(group))
    found = [z for z in range(1, _HEAVIEST + 1) if _period_and_group(z) == place]
    return _name(periodictable.elements[found[0]]) if found else None


def _molar_mass(formula: str) -> str | None:
    if (element := _by_name().get(formula.lower())) is not None:
        return _mass(element)
    hydrate = formula.replace("·", "+").replace("•", "+").replace("*", "+")
    hydrate = hydrate.translate(str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789"))
    if len(hydrate) > _LONGEST_FORMULA or not re.fullmatch(r"[A-Z][A-Za-z0-9()+]*", hydrate):
        return None
    if re.search(r"\d{4}", hydrate) or "D" in re.findall(r"[A-Z][a-z]*", hydrate):
        return None
    try:
        atoms = periodictable.formula(hydrate).atoms
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    except Exception as error:
        # the parser's own error, of a package that we do not depend on by name
        if type(error).__name__.startswith("Parse"):
            return None
        raise
    if not atoms or any(atom.number < 1 or _mass(atom) is None for atom in atoms):
        return None
    return f"{sum(count * atom.mass for atom, count in atoms.items()):.10g}"


@cache
def _by_name() -> dict[str, Element]:
    table = {e.name: e for e in periodictable.elements if 1 <= e.number <= _HEAVIEST}
    return table | {british: table[name] for british, name in _BRITISH.items()}


@cache
def _by_symbol() -> dict[str, Element]:
    return {e.symbol.lower(): e for e in _by_name().values()}


_X = r"((?:the )?(?:chemical )?(?:element |metal )?\"?[a-z]+\"?)"
_ELEMENT = r"(?:the )?(?:chemical )?element"
_SYMBOL = r"\"?'?([a-z]{1,2})'?\"?"
_ASKED = r"(?:(?:what|which) )?"
_IN_TABLE = r"(?: (?:of|in|on) the periodic table(?: of (?:the )?elements)?)?"
_WITH_SYMBOL = r"(?:(?:the )?(?:chemical |atomic )?symbol(?: is| of)?|(?:is )?abbreviated(?: as)?)"

_KINDS = [
    Kind(
        r"(?:the )?(?:(chemical|atomic|element|periodic table) )?symbol (?:of|for) "
        + _X + _IN_TABLE, _about(_symbol, planet=True),
    ),
    Kind(r"(?:what |which )?(chemical )?symbol (?:does|do) " + _X + r" have", _about(_symbol)),
    Kind(r"(?:how is )()" + _X + r" abbreviated" + _IN_TABLE, _about(_symbol)),
    Kind(r"(?:the )?atomic number (?:of|for) " + _X, _about(_number)),
    Kind(r"(?:the )?number of protons (?:in|of) (?:an? atom of )?" + _X, _about(_number)),
    Kind(r"how many protons (?:does|has) (?:an? atom of )?" + _X + r"(?: atom)?(?: (?:have|got))?",
         _about(_number)),
    Kind(r"how many protons are (?:there )?in (?:an? atom of )?" + _X, _about(_number)),
    Kind(r"(?:the )?(?:standard |relative )?atomic (?:mass|weight) (?:of|for) " + _X
         + r"(?: (?:in|measured in) (?:u|amu|daltons?))?", _about(_mass)),
    Kind(r"(?:the )?density of ((?:the )?(?:chemical )?(?:element|metal) |liquid )?" + _X
         + r"(?: in (?:g/cm3|g/cm\^3|g/cm³|grams? per cubic centimet(?:re|er)s?))?",
         _about(_density, planet=True)),
    Kind(r"(?:in )?(?:what |which )(period)(?: of the periodic table)? (?:is|does) " + _X
         + r"(?: (?:in|belong to|found in))?" + _IN_TABLE, _about(_period)),
    Kind(r"(?:the )?()period of " + _X + _IN_TABLE, _about(_period, planet=True)),
    Kind(r"(?:the )?(periodic table) period of " + _X, _about(_period)),
    Kind(r"(?:in )?(?:to )?(?:what |which )(group)(?: of the periodic table)? (?:is|does) " + _X
         + r"(?: (?:in|belong to|belong|found in))?" + _IN_TABLE, _about(_group)),
    Kind(r"(?:the )?(?:periodic table )?group(?: number)? of " + _X + _IN_TABLE, _about(_group)),
    Kind(_ASKED + _ELEMENT + r" (?:has|with|having|whose|is|uses|bears|of) "
         + _WITH_SYMBOL + r" " + _SYMBOL, _with_symbol),
    Kind(r"(?:(?:the )?name of )?" + _ELEMENT + r" (?:with|whose|that has) "
         + _WITH_SYMBOL + r" " + _SYMBOL, _with_symbol),
    Kind(r"(?:what |which )?element (?:does )?(?:the )?(?:chemical )?symbol " + _SYMBOL
         + r" (?:stands? for|represents?|denotes?|belongs? to)", _with_symbol),
    Kind(r"(?:what|which) element (?:is|has)(?: the symbol)? " + _SYMBOL, _with_symbol),
    Kind(_ASKED + r"(?:(?:the )?name of )?" + _ELEMENT
         + r" (?:has|with|having|whose|that has|of) (?:the |an )?atomic number"
         r"(?: is| of)? (\d{1,3})",
         _with_number),
    Kind(_ASKED + _ELEMENT
         + r" (?:has|with|having) (\d{1,3}) protons(?: in its nucleus)?", _with_number),
    Kind(_ASKED + r"(?:is )?(?:the )?(?:chemical )?element (?:number |no\.? ?|#)?(\d{1,3})",
         _with_number),
    Kind(_ASKED + _ELEMENT + r" (?:is )?(?:in|at) period (\d{1,2})(?:,| and|, and)?"
         r" (?:in )?group (\d{1,2})" + _IN_TABLE, _at),
    Kind(_ASKED + _ELEMENT + r" (?:is )?(?:in|at) group (\d{1,2})(?:,| and|, and)?"
         r" (?:in )?period (\d{1,2})" + _IN_TABLE, lambda group, period: _at(period, group)),
    Kind(r"(?:the )?(?:molar mass|molecular (?:mass|weight)|formula (?:mass|weight)) of (\S+)"
         r"(?: in (?:g/mol|grams? per mole?))?", _molar_mass),
]  # fmt: skip
