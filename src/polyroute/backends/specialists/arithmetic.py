"""Arithmetic on a line of symbols: tokens, a parser by precedence, exact bounded operations.

The one decision here: nothing is ever handed to an interpreter. A token that is not in the tables
below ends the reading, and an operation states the size of its result before it computes it.

A value is a `Fraction` as long as it is exact, else a number of 50 digits.
"""

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import mpmath  # type: ignore[import-untyped]  # publishes no annotations
import sympy

__all__ = ["DIGITS", "NotArithmeticError", "Value", "as_text", "evaluate", "real"]

Value: TypeAlias = Any
"""A `Fraction` or an `mpmath.mpf`."""

DIGITS = 50
"""Of a number that is not exact."""
_MOST_DIGITS = 4_000
"""Of a result: Python itself writes no longer integers."""
_MOST_BITS = int(_MOST_DIGITS * math.log2(10))
_MOST_TOKENS = 300
_DEEPEST = 50
_SHOWN = 12
"""Significant digits of a result that has no exact decimal form."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:(?<!\d,)\d{1,3}(?:,\d{3})+(?!\d|,\d)|\d+(?!,\d{3}(?!\d)))"
    r"(?:\.\d+)?|\.\d+)"
    r"|(?P<name>[a-z]\w*)|(?P<sign>\*\*|//|[-+*/%^!(),]))"
)
"""A comma before three digits is a thousands separator, or the text has two meanings."""
_ADDITIVE = ("+", "-")
_MULTIPLICATIVE = ("*", "/", "//", "%")


class NotArithmeticError(ValueError):
    """The text is not an arithmetical expression that has one meaning."""


def evaluate(text: str) -> Value:
    """Return the value of an expression such as ``3*(4+5)`` or ``gcd(12, 18)!``.

    Raises
    ------
    NotArithmeticError
        If it is not one, or can be read in two ways.
    ValueError
        If its result has more than 4,000 digits, or is no real number.
    ZeroDivisionError
        If it divides by zero.
    """
    parser = _Parser(_tokens(text))
    with mpmath.workdps(DIGITS):
        return parser.whole()


def as_text(value: Value) -> str:
    """Return the decimal form: exact where there is one, else 12 significant digits.

    Examples
    --------
    >>> as_text(Fraction(5, 2)), as_text(Fraction(10, 3)), as_text(Fraction(12))
    ('2.5', '3.33333333333', '12')
    """
    if isinstance(value, Fraction):
        if value.denominator == 1:
            return str(value.numerator)
        if (exact := _terminating(value)) is not None:
            return exact
        with mpmath.workdps(DIGITS):
            value = mpmath.mpf(value.numerator) / value.denominator
    text: str = mpmath.nstr(value, _SHOWN, min_fixed=-5, max_fixed=_SHOWN)
    return text.removesuffix(".0").replace(".0e", "e")


def _terminating(value: Fraction) -> str | None:
    """Return the finite decimal form, if there is one of at most 30 places."""
    for places in range(31):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = str(abs(scaled.numerator)).rjust(places + 1, "0")
            whole, part = digits[: len(digits) - places], digits[len(digits) - places :]
            return f"{'-' if value < 0 else ''}{whole}.{part}"
    return None


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    end = 0
    text = text.rstrip()
    while end < len(text):
        match = _TOKEN.match(text, end)
        if match is None or len(found) >= _MOST_TOKENS:
            raise NotArithmeticError(f"no arithmetic at {text[end : end + 20]!r}")
        found.append((str(match.lastgroup), str(match[str(match.lastgroup)])))
        end = match.end()
    return found


class _Parser:
    """Precedence, from loose to tight: sum, product, sign, power (from the right), factorial."""

    def __init__(self, tokens: Sequence[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Value:
        value = self._sum()
        if self._at < len(self._tokens):
            raise NotArithmeticError(f"{self._next!r} is not expected here")
        return value

    @property
    def _next(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self, *signs: str) -> str:
        sign = self._next
        if sign and sign in signs:
            self._at += 1
            return sign
        return ""

    def _sum(self) -> Value:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotArithmeticError(f"more than {_DEEPEST} nested parentheses")
        value = self._product()
        while sign := self._take(*_ADDITIVE):
            other = self._product()
            value = _bounded(_plus(value, other if sign == "+" else -other))
        self._depth -= 1
        return value

    def _product(self) -> Value:
        value = self._signed()
        while sign := self._take(*_MULTIPLICATIVE):
            value = _bounded(_OPERATIONS[sign](value, self._signed()))
        return value

    def _signed(self) -> Value:
        minus = False
        for _ in range(_DEEPEST):
            sign = self._take(*_ADDITIVE)
            if not sign:
                return -self._power() if minus else self._power()
            minus ^= sign == "-"
        raise NotArithmeticError("too many signs in a row")

    def _power(self) -> Value:
        value = self._atom()
        while self._take("!"):
            value = _factorial(value)
        if self._take("^", "**"):
            self._depth += 1
            if self._depth > _DEEPEST:
                raise NotArithmeticError(f"more than {_DEEPEST} nested powers")
            value = _bounded(_to_the_power(value, self._signed()))
            self._depth -= 1
        return value

    def _atom(self) -> Value:
        if self._at >= len(self._tokens):
            raise NotArithmeticError("the expression ends too early")
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            return Fraction(text.replace(",", ""))
        if text == "(":
            value = self._sum()
            self._close()
            return value
        if kind == "name" and text in _CONSTANTS:
            return _CONSTANTS[text]()
        if kind == "name" and text in _FUNCTIONS and self._take("("):
            return self._call(text)
        raise NotArithmeticError(f"{text!r} is not expected here")

    def _call(self, name: str) -> Value:
        values = [self._sum()]
        while self._take(","):
            values.append(self._sum())
        self._close()
        least, most, function = _FUNCTIONS[name]
        if not least <= len(values) <= most:
            raise NotArithmeticError(f"{name} does not take {len(values)} numbers")
        return _bounded(function(*values))

    def _close(self) -> None:
        if not self._take(")"):
            raise NotArithmeticError("a parenthesis is not closed")


def real(value: Value) -> Value:
    """Return `value` as a number of the digits that mpmath is set to; two such can be compared."""
    if isinstance(value, Fraction):
        return mpmath.mpf(value.numerator) / value.denominator
    return value


def _bounded(value: Value) -> Value:
    """Return `value` unless it is too long to write, or no real number.

    Raises
    ------
    ValueError
        If it is.
    """
    if isinstance(value, Fraction):
        bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    elif isinstance(value, mpmath.mpc) or not mpmath.isfinite(value):
        raise ValueError("the result is not a real number")
    else:
        bits = abs(int(mpmath.mag(value))) if value else 0
    if bits > _MOST_BITS:
        raise ValueError(f"the result has more than {_MOST_DIGITS} digits")
    return value


def _plus(one: Value, other: Value) -> Value:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one + other
    return real(one) + real(other)


def _times(one: Value, other: Value) -> Value:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one * other
    return real(one) * real(other)


def _over(one: Value, other: Value) -> Value:
    if not other:
        raise ZeroDivisionError("division by zero")
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one / other
    return real(one) / real(other)


def _quotient(one: Value, other: Value) -> Value:
    _check_exact_positive(one, other)
    return Fraction(one // other)


def _remainder(one: Value, other: Value) -> Value:
    _check_exact_positive(one, other)
    return one % other


def _check_exact_positive(one: Value, other: Value) -> None:
    if other == 0:
        raise ZeroDivisionError("division by zero")
    if not isinstance(one, Fraction) or not isinstance(other, Fraction) or one < 0 or other < 0:
        raise NotArithmeticError("quotient and remainder of negative numbers have two meanings")


def _to_the_power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        power = exponent.numerator
        if base == 0 and power < 0:
            raise ZeroDivisionError("division by zero")
        if base == 0 and power == 0:
            raise ValueError("zero to the power of zero is not defined")
        if isinstance(base, Fraction):
            size = max(base.numerator.bit_length(), base.denominator.bit_length()) - 1
            if size * abs(power) > _MOST_BITS:
                raise ValueError(f"the result has more than {_MOST_DIGITS} digits")
            return base**power if abs(base) != 1 else base ** (power % 2)
    if base < 0:
        return _odd_root(base, exponent)
    if base == 0:
        if exponent < 0:
            raise ZeroDivisionError("division by zero")
        return Fraction(0)
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        root = _exact_root(base, exponent.denominator)
        if root is not None:
            return _to_the_power(root, Fraction(exponent.numerator))
    if abs(real(exponent) * mpmath.log(real(base), 2)) > _MOST_BITS:
        raise ValueError(f"the result has more than {_MOST_DIGITS} digits")
    return mpmath.power(real(base), real(exponent))


def _odd_root(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and exponent.denominator % 2:
        power = _to_the_power(-base, exponent)
        return -power if exponent.numerator % 2 else power
    raise ValueError("the result is not a real number")


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    if degree > _MOST_BITS:
        return None
    top, exact_top = sympy.integer_nthroot(value.numerator, degree)
    bottom, exact_bottom = sympy.integer_nthroot(value.denominator, degree)
    return Fraction(int(top), int(bottom)) if exact_top and exact_bottom else None


def _whole(value: Value) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1:
        raise ValueError("this needs whole numbers")
    return value.numerator


def _factorial(value: Value) -> Value:
    n = _whole(value)
    if n < 0:
        raise ValueError("negative numbers have no factorial")
    if n > 1 and math.lgamma(n + 1) / math.log(2) > _MOST_BITS:
        raise ValueError(f"the result has more than {_MOST_DIGITS} digits")
    return Fraction(math.factorial(n))


def _logarithm(value: Value, base: Value | None = None) -> Value:
    if value <= 0 or (base is not None and (base <= 0 or base == 1)):
        raise ValueError("the logarithm is not a real number")
    if base is None:
        return mpmath.log(real(value))
    found = mpmath.log(real(value)) / mpmath.log(real(base))
    nearest = int(mpmath.nint(found))
    exact = isinstance(value, Fraction) and isinstance(base, Fraction) and abs(nearest) < _MOST_BITS
    return Fraction(nearest) if exact and _to_the_power(base, Fraction(nearest)) == value else found


def _exponential(value: Value) -> Value:
    if abs(value) > _MOST_BITS:
        raise ValueError(f"the result has more than {_MOST_DIGITS} digits")
    return mpmath.exp(real(value))


def _floor(value: Value) -> Value:
    """Round down; an inexact number that cannot be told from an integer is that integer."""
    if isinstance(value, Fraction):
        return Fraction(math.floor(value))
    nearest = mpmath.nint(value)
    near = abs(value - nearest) < mpmath.mpf(10) ** -30
    return Fraction(int(nearest if near else mpmath.floor(value)))


def _rounded(value: Value, places: Value = Fraction(0)) -> Value:
    """Round half away from zero, as in school."""
    if abs(_whole(places)) > DIGITS:
        raise ValueError(f"at most {DIGITS} places can be rounded to")
    scale = Fraction(10) ** _whole(places)
    rounded = _floor(_plus(_times(abs(value), scale), Fraction(1, 2))) / scale
    return -rounded if value < 0 else rounded


def _degrees(function: Callable[[Value], Value]) -> Callable[[Value], Value]:
    """Return a trigonometric function of an angle in degrees."""

    def of_degrees(angle: Value) -> Value:
        if isinstance(angle, Fraction):
            angle %= 360
        value = function(mpmath.radians(real(angle)))
        near = mpmath.nint(value * 2) / 2
        return Fraction(int(near * 2), 2) if abs(value - near) < mpmath.mpf(10) ** -40 else value

    return of_degrees


def _tangent(angle: Value) -> Value:
    if isinstance(angle, Fraction) and angle % 180 == 90:
        raise ValueError("the tangent is not defined there")
    return _degrees(mpmath.tan)(angle)


_OPERATIONS: dict[str, Callable[[Value, Value], Value]] = {
    "*": _times, "/": _over, "//": _quotient, "%": _remainder,
}  # fmt: skip

_CONSTANTS: dict[str, Callable[[], Value]] = {"pi": lambda: +mpmath.pi, "e": lambda: +mpmath.e}

_MANY = 100

_FUNCTIONS: dict[str, tuple[int, int, Callable[..., Value]]] = {
    "sqrt": (1, 1, lambda x: _to_the_power(x, Fraction(1, 2))),
    "cbrt": (1, 1, lambda x: _to_the_power(x, Fraction(1, 3))),
    "root": (2, 2, lambda n, x: _to_the_power(x, _over(Fraction(1), n))),
    "abs": (1, 1, abs),
    "exp": (1, 1, _exponential),
    "ln": (1, 1, _logarithm),
    "log2": (1, 1, lambda x: _logarithm(x, Fraction(2))),
    "log10": (1, 1, lambda x: _logarithm(x, Fraction(10))),
    "logb": (2, 2, lambda base, x: _logarithm(x, base)),
    "sin_degrees": (1, 1, _degrees(mpmath.sin)),
    "cos_degrees": (1, 1, _degrees(mpmath.cos)),
    "tan_degrees": (1, 1, _tangent),
    "floor": (1, 1, lambda x: _floor(x)),
    "ceil": (1, 1, lambda x: -_floor(-x)),
    "round": (1, 2, _rounded),
    "factorial": (1, 1, _factorial),
    "gcd": (2, _MANY, lambda *xs: Fraction(math.gcd(*map(_whole, xs)))),
    "lcm": (2, _MANY, lambda *xs: Fraction(math.lcm(*map(_whole, xs)))),
    "min": (2, _MANY, lambda *xs: min(xs, key=_order(xs))),
    "max": (2, _MANY, lambda *xs: max(xs, key=_order(xs))),
    "sum": (2, _MANY, lambda *xs: _total(xs)),
    "product": (2, _MANY, lambda *xs: _product_of(xs)),
    "mean": (2, _MANY, lambda *xs: _over(_total(xs), Fraction(len(xs)))),
    "median": (2, _MANY, lambda *xs: _median(xs)),
    "quotient": (2, 2, _over),
    "difference": (2, 2, lambda x, y: _plus(x, -y)),
    "mod": (2, 2, _remainder),
}  # fmt: skip


def _order(values: Sequence[Value]) -> Callable[[Value], Value]:
    """Return the key to compare `values` by: exactly, when all of them are exact."""
    exact = all(isinstance(value, Fraction) for value in values)
    return Fraction if exact else real


def _total(values: Sequence[Value]) -> Value:
    total: Value = Fraction(0)
    for value in values:
        total = _bounded(_plus(total, value))
    return total


def _product_of(values: Sequence[Value]) -> Value:
    product: Value = Fraction(1)
    for value in values:
        product = _bounded(_times(product, value))
    return product


def _median(values: Sequence[Value]) -> Value:
    ordered = sorted(values, key=_order(values))
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return _over(_plus(ordered[middle - 1], ordered[middle]), Fraction(2))
