"""JSON Schema, as far as request bodies need it: what checks a body is what describes it.

The one decision here: fields that no schema names are let through. They are parameters that the
gateway does not know, and they go on to the candidate as they came.
"""

from collections.abc import Mapping

from polyroute.gateway.errors import InvalidError
from polyroute.types import Json, JsonObject

__all__ = ["check"]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}

_WORDS = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "null": "null",
}


def check(value: Json, schema: JsonObject, place: str = "") -> None:
    """Compare `value` with `schema`.

    Understood are ``type``, ``enum``, ``required``, ``properties``, ``items``, ``minimum``,
    ``maximum``, ``minItems`` and ``minLength``; other keywords are for readers.

    Parameters
    ----------
    value : JSON
    schema : mapping
    place : str, default=""
        Where `value` stands in the body.

    Raises
    ------
    InvalidError
        With the place of what is wrong.

    Examples
    --------
    >>> check({"n": 0}, {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}})
    Traceback (most recent call last):
        ...
    polyroute.gateway.errors.InvalidError: n must be 1 or more, got 0
    """  # noqa: DOC501
    _check_type(value, schema, place)
    if "enum" in schema and value not in schema["enum"]:
        words = ", ".join(map(repr, schema["enum"]))
        raise _wrong(place, f"one of {words}", value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if "minimum" in schema and value < schema["minimum"]:
            raise _wrong(place, f"{schema['minimum']} or more", value)
        if "maximum" in schema and value > schema["maximum"]:
            raise _wrong(place, f"{schema['maximum']} or less", value)
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            raise _wrong(place, f"a list of {schema['minItems']} or more", value)
        for k, item in enumerate(value):
            check(item, schema.get("items", {}), f"{place}[{k}]")
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        raise _wrong(place, "a string that is not empty", value)
    if isinstance(value, dict):
        _check_fields(value, schema, place)


def _check_fields(value: dict[str, Json], schema: JsonObject, place: str) -> None:
    for name in schema.get("required", ()):
        if name not in value:
            where = f"{place}.{name}" if place else name
            raise InvalidError(f"{where} is missing", param=where)
    for name, each in schema.get("properties", {}).items():
        if name in value:
            check(value[name], each, f"{place}.{name}" if place else name)


def _check_type(value: Json, schema: JsonObject, place: str) -> None:
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        raise _wrong(place, " or ".join(_WORDS[kind] for kind in kinds), value)


def _is(value: Json, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])


def _wrong(place: str, expected: str, value: Json) -> InvalidError:
    return InvalidError(
        f"{place or 'the body'} must be {expected}, got {value!r:.80}", param=place or None
    )
