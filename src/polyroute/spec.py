"""Build a plug-in from its name and parameters, as a configuration file or a record spells it.

The one decision here: the parameters of a plug-in *are* its constructor's, checked and converted
by their annotations. There is no second schema that could disagree, and a wrong key is an error
that names the place and the nearest right one.
"""

import difflib
import importlib
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import is_dataclass
from typing import Any, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from polyroute.errors import ConfigError
from polyroute.pool import CardId
from polyroute.protocols import Balancer, Encoder, Estimator, Policy
from polyroute.registry import Family, load
from polyroute.types import Json

__all__ = [
    "WITH_FALLBACKS",
    "Spec",
    "construct",
    "filled",
    "named_cards",
    "nearest",
    "normal",
    "resolve",
    "spec_inside",
]

Spec: TypeAlias = str | Mapping[str, Json]
"""A plug-in: its name, or an object of ``name`` and its parameters."""

WITH_FALLBACKS = "with_fallbacks"
"""Name of the policy that stands around another and asks the declared fallbacks."""

_Built = TypeVar("_Built")


def construct(family: Family, spec: Spec, *, where: str, imports: bool = True) -> Any:  # noqa: ANN401 - as the family says
    """Build the plug-in that `spec` describes.

    Parameters
    ----------
    family : Family
        Where its name is registered.
    spec : str or mapping
        ``"cheapest"``, or ``{"name": "fixed", "model": "gpt"}``; a parameter that is itself a
        policy is written the same way.
    where : str
        Place in the configuration, for error messages: ``"policy"``.
    imports : bool, default=True
        Whether ``"package.module:name"`` may stand for a function. In a spec that somebody else
        wrote (an artifact's) it must not: importing runs code.

    Raises
    ------
    ConfigError
        If the name is unknown, or a parameter is unknown, missing or of the wrong type, or names
        a function where that is not allowed.

    Examples
    --------
    >>> construct("policies", {"name": "fixed", "model": "gpt"}, where="policy")
    Fixed(model='gpt')
    """
    plain = normal(spec, where=where)
    name = plain.pop("name")
    allowed = _MAY_IMPORT.set(imports and _MAY_IMPORT.get())
    try:
        return _call(load(family, name), plain, where=where)
    finally:
        _MAY_IMPORT.reset(allowed)


def filled(kind: Callable[..., _Built], values: Mapping[str, Json], *, where: str) -> _Built:
    """Call `kind`, a dataclass say, with `values` checked and converted as a plug-in's are.

    Raises
    ------
    ConfigError
        If a parameter is unknown, missing or of the wrong type.

    Examples
    --------
    >>> from polyroute.types import Budget
    >>> filled(Budget, {"rounds": 2}, where="budget").rounds
    2
    """
    built: _Built = _call(kind, values, where=where)
    return built


def normal(spec: Spec, *, where: str) -> dict[str, Json]:
    """Return `spec` as a new object with a ``name``.

    Raises
    ------
    ConfigError
        If it is neither a name nor an object with one.
    """
    if isinstance(spec, str):
        return {"name": spec}
    if isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
        return dict(spec)
    raise ConfigError(f"{where}: expected a name, or an object with a 'name', got {spec!r:.120}")


def spec_inside(spec: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the specification of the policy that decides, without the fallbacks around it.

    Examples
    --------
    >>> spec_inside({"name": "with_fallbacks", "policy": "cheapest", "fallbacks": []})
    {'name': 'cheapest'}
    >>> spec_inside({"name": "fixed", "model": "gpt"})
    {'name': 'fixed', 'model': 'gpt'}
    """
    if spec.get("name") != WITH_FALLBACKS:
        return spec
    within = spec.get("policy")
    return within if isinstance(within, Mapping) else {"name": within}


def named_cards(family: Family, spec: Spec, *, where: str) -> Iterator[tuple[str, str]]:
    """Yield every card that `spec` names, after its place, from parameters annotated `CardId`."""
    plain = normal(spec, where=where)
    yield from _cards_of(load(family, plain.pop("name")), plain, where=where)


def nearest(key: str, known: Sequence[str]) -> str:
    """Return the clause of an error message that helps with the unknown `key`."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"known here: {', '.join(known) or 'none'}{hint}"


def resolve(path: str, *, where: str) -> Any:  # noqa: ANN401 - whatever the user wrote
    """Import what ``"package.module:name"`` names.

    Raises
    ------
    ConfigError
        If it is not of that form or cannot be imported, or nothing may be imported here.
    """
    if not _MAY_IMPORT.get():
        raise ConfigError(f"{where}: {path!r} would import code, which is not allowed here")
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{where}: cannot import {path!r} ('module:name'): {error}") from error


def _call(factory: Callable[..., Any], values: Mapping[str, Json], *, where: str) -> Any:  # noqa: ANN401
    """Call `factory` with `values`, each converted to its parameter's annotation."""
    known = [
        parameter.name
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; {nearest(key, known)}")
    hints = _hints(factory)
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.default is parameter.empty and parameter.name not in values:
            raise ConfigError(f"{where}: the key {parameter.name!r} is missing")
    arguments = {
        key: _convert(hints.get(key, Any), value, where=f"{where}.{key}")
        for key, value in values.items()
    }
    try:
        return factory(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    target = factory.__init__ if inspect.isclass(factory) else factory
    return get_type_hints(target, include_extras=True)


def _convert(annotation: Any, value: Json, *, where: str) -> Any:  # noqa: ANN401 - one case per shape
    options = _options(annotation)
    if value is None and type(None) in options:
        return None
    for option in options:
        origin = get_origin(option)
        if option in _FAMILIES:
            built = isinstance(value, option)
            return value if built else construct(_FAMILIES[option], value, where=where)
        if origin is tuple and isinstance(value, (list, tuple)):
            inner = get_args(option)[0]
            return tuple(
                _convert(inner, item, where=f"{where}.{k}") for k, item in enumerate(value)
            )
        if inspect.isclass(option) and is_dataclass(option) and isinstance(value, Mapping):
            return _call(option, value, where=where)
        if origin is Callable and isinstance(value, str):
            return resolve(value, where=where)
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        why = "; ".join(problem["msg"] for problem in error.errors())
        raise ConfigError(f"{where}: {why}, got {value!r:.120}") from None
    except TypeError:  # an annotation that pydantic cannot check: leave it to the constructor
        return value


def _cards_of(
    factory: Callable[..., Any], values: Mapping[str, Json], *, where: str
) -> Iterator[tuple[str, str]]:
    hints = _hints(factory)
    for key, value in values.items():
        yield from _cards_in(hints.get(key, Any), value, where=f"{where}.{key}")


def _cards_in(annotation: Any, value: Json, *, where: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    for option in _options(annotation):
        if option == CardId and isinstance(value, str):
            yield where, value
        elif option in _FAMILIES and isinstance(value, (str, Mapping)):
            yield from named_cards(_FAMILIES[option], value, where=where)
        elif get_origin(option) is tuple and isinstance(value, (list, tuple)):
            for k, item in enumerate(value):
                yield from _cards_in(get_args(option)[0], item, where=f"{where}.{k}")
        elif inspect.isclass(option) and is_dataclass(option) and isinstance(value, Mapping):
            yield from _cards_of(option, value, where=where)


_MAY_IMPORT: ContextVar[bool] = ContextVar("may_import", default=True)
"""Not an argument, since plug-ins call `resolve` in their own constructors."""

_FAMILIES: Mapping[Any, Family] = {
    Policy: "policies",
    Estimator: "estimators",
    Encoder: "encoders",
    Balancer: "balancers",
}
"""Parameters that are themselves plug-ins are written as such."""


def _options(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)
