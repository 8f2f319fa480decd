"""The one place of this backend where torch and transformers are imported."""

from typing import Any

from polyroute.errors import MissingExtraError

__all__ = ["torch", "transformers"]

_MISSING = "a model in process needs torch and transformers; run: pip install 'polyroute[train]'"


def torch() -> Any:  # noqa: ANN401 - an optional module without annotations
    """Return the module torch.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import torch as module
    except ImportError as error:
        raise MissingExtraError(f"{_MISSING} ({error})") from error
    return module


def transformers() -> Any:  # noqa: ANN401 - an optional module without annotations
    """Return the module transformers.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import transformers as module
    except ImportError as error:
        raise MissingExtraError(f"{_MISSING} ({error})") from error
    return module
