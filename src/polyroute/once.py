"""A property that is worked out once for each object, and then lies in the object.

The one decision here: no lock. That of `functools.cached_property`, which it has before Python
3.12, makes the first look twice as dear, and every request takes several. Two threads that look
first at the same time both work out the same value.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["once"]

_Owner = TypeVar("_Owner")
_Value = TypeVar("_Value")


class once(Generic[_Owner, _Value]):  # noqa: N801 - a decorator, as `property` is
    """Decorate a method of an object that has a ``__dict__``, and changes no more.

    Examples
    --------
    >>> class Word:
    ...     @once
    ...     def length(self):
    ...         print("counted")
    ...         return 4
    >>> word = Word()
    >>> word.length, word.length
    counted
    (4, 4)
    """

    def __init__(self, compute: Callable[[_Owner], _Value]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, owner: None, kind: type[_Owner]) -> "once[_Owner, _Value]": ...

    @overload
    def __get__(self, owner: _Owner, kind: type[_Owner]) -> _Value: ...

    def __get__(self, owner: Any, kind: type[_Owner]) -> Any:
        """Work it out; what lies in the object hides this property from then on."""
        if owner is None:
            return self
        value = owner.__dict__[self._name] = self._compute(owner)
        return value
