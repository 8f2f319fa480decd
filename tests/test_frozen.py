"""Frozen values: dataclasses in everything but the time they take."""

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from polyroute.frozen import frozen, replaced


@frozen(kw_only=True)
class Value:
    """A value with every kind of field."""

    name: str
    number: int = 3
    parts: list[int] = field(default_factory=list)
    hidden: int = field(default=0, compare=False, repr=False)
    twice: int = field(init=False)

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("number must be 0 or more")
        object.__setattr__(self, "twice", 2 * self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordinary:
    """The same, by the standard library."""

    name: str
    number: int = 3
    parts: list[int] = field(default_factory=list)
    hidden: int = field(default=0, compare=False, repr=False)
    twice: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "twice", 2 * self.number)


def test_a_value_is_what_a_frozen_dataclass_is() -> None:
    mine, theirs = Value(name="a", hidden=1), Ordinary(name="a", hidden=1)
    assert repr(mine) == repr(theirs).replace("Ordinary", "Value")
    assert [each.name for each in fields(mine)] == [each.name for each in fields(theirs)]
    assert str(inspect.signature(Value)) == str(inspect.signature(Ordinary))
    assert mine == Value(name="a", hidden=2) != Value(name="b")
    assert not hasattr(mine, "__dict__")
    assert Value(name="a").parts is not Value(name="a").parts


def test_a_value_cannot_be_changed_nor_given_new_fields() -> None:
    value = Value(name="a")
    with pytest.raises(FrozenInstanceError):
        value.name = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del value.name
    with pytest.raises((FrozenInstanceError, TypeError)):  # as Python 3.11 has it with slots
        value.other = 1  # type: ignore[attr-defined]


def test_a_value_is_copied_pickled_and_replaced_like_any_dataclass() -> None:
    value = Value(name="a", parts=[1])
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value
    changed = replace(value, number=4)
    assert (changed.number, changed.twice, changed.parts) == (4, 8, [1])
    with pytest.raises(ValueError, match="0 or more"):
        replace(value, number=-1)


def test_replaced_leaves_the_old_one_and_refuses_unknown_fields() -> None:
    value = Value(name="a")
    assert replaced(value, name="b") == Value(name="b")
    assert type(replaced(value, name="b")) is Value
    assert value == Value(name="a")
    with pytest.raises(AttributeError):
        replaced(value, nme="b")


def test_wrong_arguments_are_refused() -> None:
    for wrong in ({}, {"name": "a", "nme": "b"}):
        with pytest.raises(TypeError):
            Value(**wrong)  # type: ignore[arg-type]


def test_a_value_cannot_be_derived_from() -> None:
    with pytest.raises(TypeError, match="Value is a value"):
        type("Derived", (Value,), {})
