"""The fields of another API's request -> those of a chat completion, field by field.

The one decision here: a field goes on as it came, is translated, or is refused by its name; none is
dropped because nobody knew it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from polyroute.gateway.errors import InvalidError
from polyroute.types import Json, JsonObject

__all__ = ["Translation", "unsayable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """How the fields of one API are said in chat completions."""

    ours: Collection[str]
    """Fields that are read elsewhere: the messages, the model."""
    only: Mapping[str, tuple[Json, ...]]
    """Fields that chat completions do not have, with the values that ask for nothing."""
    elsewhere: Mapping[str, str]
    """Fields of chat completions, and what says the same in this API."""
    translated: Mapping[str, Callable[[Json], dict[str, Json]]]
    """Fields that are said otherwise, with what says them."""
    known: Collection[str]
    """All fields of this API: one that is null is not there."""

    def params(self, wire: JsonObject) -> dict[str, Json]:
        """Return the parameters of the chat completion that `wire` asks for.

        Raises
        ------
        InvalidError
            With the name of a field that chat completions cannot express.
        """  # noqa: DOC501 - `unsayable` returns it
        for name, allowed in self.only.items():
            value = wire.get(name)
            if value is not None and value not in allowed:
                raise unsayable(name)
        for name, instead in self.elsewhere.items():
            if name in wire:
                raise InvalidError(f"{name} is no field here; use {instead}", param=name)
        said: dict[str, Json] = {}
        for name, value in wire.items():
            if name in self.ours or name in self.only or (value is None and name in self.known):
                continue
            translate = self.translated.get(name)
            said |= {name: value} if translate is None else translate(value)
        return said


def unsayable(place: str, what: Json = None, *, advice: str = "leave it out") -> InvalidError:
    """Return the refusal of something that no chat completion can carry."""
    named = place if what is None else f"{place} {what!r:.80}"
    return InvalidError(
        f"{named} cannot be carried out here: candidates are asked by chat completions, which "
        f"have no such thing; {advice}",
        param=place,
    )
