"""What every part of a configuration is: closed, frozen, and exact about money."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["Strict", "Usd"]

Usd = Annotated[
    Decimal, BeforeValidator(lambda value: str(value) if isinstance(value, float) else value)
]
"""Dollars, read as they are written: 0.1 is one tenth, not its nearest binary fraction."""


class Strict(BaseModel):
    """A part of a configuration: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
