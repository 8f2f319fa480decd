"""Find plug-ins by name through entry points. Nothing is imported until it is asked for."""

import difflib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeAlias

from polyroute.errors import MissingExtraError, UnknownPluginError

__all__ = ["Family", "load", "names"]

Family: TypeAlias = Literal[
    "policies", "estimators", "encoders", "backends", "balancers", "tools", "records", "state",
    "tasks",
]  # fmt: skip


@cache
def _points(family: Family) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"polyroute.{family}")}


def names(family: Family) -> list[str]:
    """Names registered under the entry-point group ``polyroute.<family>``, sorted."""
    return sorted(_points(family))


def load(family: Family, name: str) -> Any:  # noqa: ANN401 - a factory; each family has its own
    """Import and return what is registered as `name`.

    Raises
    ------
    UnknownPluginError
        If no installed distribution registers `name`; the message lists the known names.
    MissingExtraError
        If it needs a package that is not installed; the message has the command.
    ModuleNotFoundError
        If the plug-in itself is broken.
    """
    try:
        point = _points(family)[name]
    except KeyError:
        known = names(family)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownPluginError(
            f"no {family} named {name!r} (known: {', '.join(known)}){hint}"
        ) from None
    try:
        return point.load()
    except ModuleNotFoundError as error:
        if str(error.name).startswith("polyroute"):
            raise
        extra = _EXTRAS.get(str(error.name).partition(".")[0], "local")
        raise MissingExtraError(
            f"{name!r} of {family} needs the package {error.name!r}, which is not installed; "
            f"run: pip install 'polyroute[{extra}]'"
        ) from error


_EXTRAS = {
    "starlette": "serve",
    "uvicorn": "serve",
    "orjson": "serve",
    "redis": "store",
    "pyarrow": "tables",
    "sklearn": "learn",
    "scipy": "learn",
    "faiss": "learn",
    "onnx": "embed",
    "onnxruntime": "embed",
    "safetensors": "embed",
    "tokenizers": "embed",
    "torch": "train",
    "transformers": "train",
    "datasets": "train",
}
"""Which extra brings a module, where it is not ``[local]``."""
