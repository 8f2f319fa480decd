"""Frozen dataclasses that are made as fast as ordinary ones.

The one decision here: a request makes some thirty small values, and a frozen dataclass writes every
field by a call of `object.__setattr__`. Here the fields are written plainly, while the object is of
an open twin of its class, a class with the same slots; naming its own class then closes it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

__all__ = ["frozen", "members", "replaced"]

_Class = TypeVar("_Class")


class _Factory:
    """Stands for a default that is made anew."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()


@overload
def frozen(cls: type[_Class], /) -> type[_Class]: ...
@overload
def frozen(*, kw_only: bool = False) -> Callable[[type[_Class]], type[_Class]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(
    cls: type[_Class] | None = None, /, *, kw_only: bool = False
) -> type[_Class] | Callable[[type[_Class]], type[_Class]]:
    """Make a class a frozen dataclass with slots.

    It is ``@dataclass(frozen=True, slots=True)`` in everything but the time that making one takes.
    It cannot be derived from.

    Examples
    --------
    >>> @frozen
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(1), Point(1, y=2) == Point(1, 2)
    (Point(x=1, y=0), True)
    >>> Point(1).x = 2
    Traceback (most recent call last):
        ...
    dataclasses.FrozenInstanceError: cannot assign to field 'x'
    """

    def made(plain: type[_Class]) -> type[_Class]:
        closed: Any = dataclass(frozen=True, slots=True, kw_only=kw_only)(plain)
        twin = type(closed.__name__, (), {"__slots__": closed.__slots__})
        closed.__init__ = _written("__init__", _init(closed), closed, twin)
        closed._copy = _written("_copy", _copy(closed), closed, twin)
        closed.__init_subclass__ = classmethod(_not_derived)
        return closed  # type: ignore[no-any-return]

    return made if cls is None else made(cls)


def replaced(old: _Class, **changes: Any) -> _Class:  # noqa: ANN401
    """Return a value with some fields changed, a third of the time of `dataclasses.replace`.

    What the class checks when a value is made is not checked again.

    Examples
    --------
    >>> @frozen
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> replaced(Point(1), y=3)
    Point(x=1, y=3)
    """
    new: Any = old._copy()  # type: ignore[attr-defined]
    for name, changed in changes.items():
        setattr(new, name, changed)
    new.__class__ = old.__class__
    return new  # type: ignore[no-any-return]


def members(cls: type, *names: str) -> Callable[[object], dict[str, Any]]:
    """Return what gives the fields of an object of `cls` by name; all of a dataclass's by default.

    Examples
    --------
    >>> @frozen
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> members(Point)(Point(1))
    {'x': 1, 'y': 0}
    """
    wanted = names or tuple(cls.__dataclass_fields__)  # type: ignore[attr-defined]
    values = attrgetter(*wanted)
    return lambda each: dict(zip(wanted, values(each), strict=True))


def _init(cls: Any) -> list[str]:  # noqa: ANN401
    """Return the source of a constructor."""
    parameters, body = ["self"], ["_open(self, '__class__', _Twin)"]
    fields = cls.__dataclass_fields__
    keywords = False
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        if name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            parameters.append("*")
        if parameter.default is parameter.empty:
            parameters.append(name)
        else:
            is_made = callable(fields[name].default_factory)
            parameters.append(f"{name}=" + ("_FACTORY" if is_made else f"_default_{name}"))
    for name, each in fields.items():
        if each.init and callable(each.default_factory):
            body.append(f"self.{name} = _make_{name}() if {name} is _FACTORY else {name}")
        elif each.init:
            body.append(f"self.{name} = {name}")
    body.append("self.__class__ = _Closed")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    return [f"def __init__({', '.join(parameters)}):", *body]


def _copy(cls: Any) -> list[str]:  # noqa: ANN401
    """Return the source of what makes an open copy."""
    body = [f"new.{name} = self.{name}" for name in cls.__dataclass_fields__]
    return ["def _copy(self):", "new = _new(_Twin)", *body, "return new"]


def _written(name: str, source: list[str], closed: Any, twin: type) -> Callable[..., Any]:  # noqa: ANN401
    """Return the function that `source` defines."""
    known: dict[str, Any] = {
        "_Closed": closed,
        "_Twin": twin,
        "_FACTORY": _FACTORY,
        "_new": object.__new__,
        "_open": object.__setattr__,
    }
    for field_name, each in closed.__dataclass_fields__.items():
        known[f"_default_{field_name}"] = each.default
        known[f"_make_{field_name}"] = each.default_factory
    exec("\n    ".join(source), known)  # as the standard library makes dataclasses
    function: Callable[..., Any] = known[name]
    function.__qualname__ = f"{closed.__qualname__}.{name}"
    function.__module__ = closed.__module__
    if name == "__init__":
        function.__annotations__ = closed.__init__.__annotations__
    return function


def _not_derived(cls: type) -> None:
    raise TypeError(f"{cls.__mro__[1].__name__} is a value, which cannot be derived from")
