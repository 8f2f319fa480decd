"""A fingerprint of a policy, so that a run that is taken up again is the same run."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict

from polyroute.errors import ConfigError
from polyroute.protocols import State

__all__ = ["digest"]

_DEEPEST = 12


def digest(value: object) -> str:
    """Return the SHA-256, as hexadecimal, of a policy and everything it is built from.

    It covers class names, fields, and what estimators and encoders have learned. Two policies with
    one digest decide alike; a policy of an unusual make may get a new one where nothing changed.

    Raises
    ------
    ConfigError
        If a part of it cannot be told apart from others of its kind.

    Examples
    --------
    >>> from polyroute.policies.fixed import Fixed
    >>> digest(Fixed("a")) == digest(Fixed("a")), digest(Fixed("a")) == digest(Fixed("b"))
    (True, False)
    """
    hashed = hashlib.sha256()
    _add(hashed, value, 0)
    return hashed.hexdigest()


def _add(hashed: Any, value: Any, depth: int) -> None:  # noqa: ANN401 - one branch per shape
    if depth > _DEEPEST:
        raise ConfigError(f"a policy holds itself, or is built too deep: {type(value).__name__}")
    if value is None or isinstance(value, (bool, int, float, str, bytes, Decimal, PurePath)):
        _say(hashed, type(value).__name__, repr(value))
    elif isinstance(value, (np.ndarray, np.generic)):
        array = np.ascontiguousarray(value)
        if array.dtype == object:
            _add(hashed, array.tolist(), depth + 1)
            return
        _say(hashed, "array", f"{array.dtype.str}{array.shape}")
        hashed.update(array.tobytes())
    elif isinstance(value, Mapping):
        _say(hashed, "mapping", str(len(value)))
        for key in sorted(value, key=repr):
            _add(hashed, key, depth + 1)
            _add(hashed, value[key], depth + 1)
    elif isinstance(value, (list, tuple)):
        _say(hashed, "sequence", str(len(value)))
        for item in value:
            _add(hashed, item, depth + 1)
    elif isinstance(value, (set, frozenset)):
        _add(hashed, sorted(map(repr, value)), depth + 1)
    elif isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        _say(hashed, "named", f"{value.__module__}:{value.__qualname__}")
    else:
        _say(hashed, "object", f"{type(value).__module__}:{type(value).__qualname__}")
        _add(hashed, _parts(value), depth + 1)


def _say(hashed: Any, kind: str, text: str) -> None:  # noqa: ANN401 - hashlib has no public type
    hashed.update(f"{kind}:{len(text)}:{text};".encode("utf-8", "surrogatepass"))


def _parts(value: object) -> dict[str, object]:
    if isinstance(value, Struct):
        return asdict(value)
    if isinstance(value, State) or is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    names = dict.fromkeys(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = getattr(kind, "__slots__", ())
        names |= dict.fromkeys((slots,) if isinstance(slots, str) else slots)
    names.pop("__dict__", None)
    names.pop("__weakref__", None)
    return {name: getattr(value, name) for name in names if hasattr(value, name)}
