"""A file -> validated settings, or an error that names the place and the nearest known key."""

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from polyroute.config.routers import with_routers
from polyroute.config.settings import Settings
from polyroute.errors import ConfigError
from polyroute.spec import nearest

__all__ = ["DEFAULT", "find", "parse", "read"]

DEFAULT = files("polyroute") / "default.yaml"
"""The configuration that is used when there is none: the embedded pool."""

_ENVIRONMENT = "POLYROUTE_CONFIG"
_FILE = "polyroute.yaml"


def find(path: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the configuration file to use; `None` means the built-in one.

    In this order: `path`, the environment variable ``POLYROUTE_CONFIG``, ``polyroute.yaml`` in
    the working folder.

    Raises
    ------
    ConfigError
        If a file that was named does not exist.
    """
    named = path or os.environ.get(_ENVIRONMENT)
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"there is no configuration file {str(named)!r}")
        return Path(named)
    return Path(_FILE) if Path(_FILE).is_file() else None


def read(path: str | os.PathLike[str] | None = None) -> Settings:
    """Read and validate a configuration.

    Parameters
    ----------
    path : path, optional
        A file; see `find`.

    Raises
    ------
    ConfigError
        If the file cannot be read, is no YAML, or does not fit the schema. The message names the
        place, what was expected, and for an unknown key the nearest known one.
    """
    file = find(path)
    name = "the built-in configuration" if file is None else str(file)
    try:
        text = DEFAULT.read_text("utf-8") if file is None else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {name}: {error}") from error
    return parse(text, name=name)


def parse(text: str, *, name: str) -> Settings:
    """Validate the text of a configuration file called `name`; errors as in `read`."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # it reads dates and numbers, too
        raise ConfigError(f"{name} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{name}: expected keys and values, got {type(content).__name__}")
    try:
        return with_routers(Settings.model_validate(content))
    except ValidationError as error:
        places = [problem["loc"] for problem in error.errors()]
        problems = "\n".join(
            f"  {_explain(problem)}"
            for problem in error.errors()
            # a part that is wrong makes its whole wrong: say it once, where it is
            if not any(
                len(p) > len(problem["loc"]) and p[: len(problem["loc"])] == problem["loc"]
                for p in places
            )
        )
        raise ConfigError(f"{name}:\n{problems}") from None


def _explain(problem: Mapping[str, Any]) -> str:
    """Return one line on one thing that is wrong."""
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        return f"{place}: unknown key; {nearest(str(problem['loc'][-1]), known)}"
    return f"{place}: {problem['msg']}, got {problem['input']!r:.80}"


def _known_keys(place: tuple[str | int, ...]) -> list[str]:
    """Return the keys that may stand at `place`, as far as the schema is known there."""
    model: type[BaseModel] = Settings
    for part in place:
        field = model.model_fields.get(str(part))
        nested = None if field is None else _model_in(field.annotation)
        model = model if nested is None else nested
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any annotation
    """Return the part of a configuration that `annotation` speaks of, when there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model is not None), None)
