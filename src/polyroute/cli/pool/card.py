"""A card of the configuration, as `pool list` and `pool show` word it.

Read off the settings, so that a pool can be looked at before what it needs is installed.
"""

from collections.abc import Mapping, Sequence

from polyroute.config import CardSettings, PriceSettings
from polyroute.types import Json

__all__ = ["backend_in_words", "price_in_words", "to_json"]


def price_in_words(price: PriceSettings | None) -> str:
    """Return a price as a phrase.

    Examples
    --------
    >>> price_in_words(PriceSettings(input="0.5", output=1, call="0.001"))
    '$0.5 in, $1 out per million tokens; $0.001 a call'
    >>> price_in_words(None), price_in_words(PriceSettings())
    ('unknown', 'free')
    """
    if price is None:
        return "unknown"
    words = []
    if price.input or price.output:
        words.append(f"${price.input:f} in, ${price.output:f} out per million tokens")
    if price.call:
        words.append(f"${price.call:f} a call")
    return "; ".join(words) or "free"


def backend_in_words(card: CardSettings) -> str:
    """Return the name of a card's backend and what it is given, headers left out.

    Examples
    --------
    >>> backend_in_words(CardSettings(id="geo", backend={"name": "tool", "tool": "geography"}))
    'tool: geography'
    """
    spec = card.backend
    if not isinstance(spec, Mapping):
        return spec
    shown = []
    for key, value in spec.items():
        if key == "instances" and isinstance(value, Sequence):
            shown += [str(one.get("url", "?")) for one in value if isinstance(one, Mapping)]
        elif isinstance(value, str) and key != "name":
            shown.append(value)
        elif isinstance(value, bool | int | float):
            shown.append(f"{key} {value}")
    name = str(spec.get("name", "?"))
    return f"{name}: {', '.join(shown)}" if shown else name


def to_json(card: CardSettings) -> dict[str, Json]:
    """Return a card for programs; its backend in words, since headers may hold secrets."""
    wire: dict[str, Json] = card.model_dump(mode="json", exclude={"backend", "modalities"})
    wire["modalities"] = sorted(card.modalities)
    wire["backend"] = backend_in_words(card)
    return wire
