"""Show in the reference how a value is made that is a `msgspec.Struct`.

Griffe, which reads the sources for the reference, knows by itself how dataclasses are made.
"""

from typing import Any

from griffe import (
    Attribute,
    Class,
    Expr,
    ExprCall,
    ExprKeyword,
    Extension,
    Function,
    Parameter,
    ParameterKind,
    Parameters,
)

__all__ = ["Structs"]


class Structs(Extension):
    """Gives every `msgspec.Struct` the constructor that its fields make."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Add the constructor, when the members of a class have been read."""
        bases = [base.canonical_path for base in cls.bases if isinstance(base, Expr)]
        if "msgspec.Struct" not in bases or "__init__" in cls.members:
            return
        kind = ParameterKind.positional_or_keyword
        if str(cls.keywords.get("kw_only")) == "True":
            kind = ParameterKind.keyword_only
        parameters = [
            Parameter(each.name, annotation=each.annotation, kind=kind, default=_default(each))
            for each in cls.members.values()
            if isinstance(each, Attribute) and each.annotation and "property" not in each.labels
        ]
        itself = Parameter("self", kind=ParameterKind.positional_or_keyword)
        init = Function("__init__", parameters=Parameters(itself, *parameters), returns="None")
        init.parent = cls
        cls.set_member("__init__", init)


def _default(field: Attribute) -> Expr | str | None:
    """Return what a field is when it is not given; a factory as the call of it."""
    value = field.value
    if not isinstance(value, ExprCall) or value.canonical_path != "msgspec.field":
        return value
    given = {arg.name: arg.value for arg in value.arguments if isinstance(arg, ExprKeyword)}
    if "default_factory" in given:
        return ExprCall(function=given["default_factory"], arguments=[])
    return given.get("default")
