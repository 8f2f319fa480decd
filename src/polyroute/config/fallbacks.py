"""Whom to ask instead of a card that fails."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from polyroute.config.strict import Strict
from polyroute.errors import FailureKind
from polyroute.types import Json, JsonObject

__all__ = ["FallbackSettings", "Fallbacks"]


class FallbackSettings(Strict):
    """Whom to ask instead of one card; a list of cards stands for one with `to` alone."""

    to: tuple[str, ...] = Field(min_length=1)
    """The cards that are asked, one after the other, until one has a reply."""
    kinds: tuple[FailureKind, ...] | None = None
    """The kinds of failure that count; those that another candidate may not have when null."""
    first_token_s: float | None = Field(None, gt=0)
    """A stream that has not begun after so many seconds counts as a timeout."""

    def spec(self, card: str) -> JsonObject:
        """Return the fallback of `card` as the policy `with_fallbacks` takes it."""
        spec: dict[str, Json] = {"card": card, "to": list(self.to)}
        return spec if self.kinds is None else {**spec, "kinds": list(self.kinds)}


Fallbacks = dict[
    str,
    Annotated[
        FallbackSettings,
        BeforeValidator(lambda value: {"to": value} if isinstance(value, (list, tuple)) else value),
    ],
]
"""By card id."""
