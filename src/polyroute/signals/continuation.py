"""Whether a request goes on with a conversation, and what that makes dearer or cheaper.

The one decision here: the candidate that answered last has read everything before the last message
already. Where its price list has a price for cached tokens, that is what they are expected to cost.
"""

from polyroute.pool import CardId, ModelCard
from polyroute.types import Request, Usage

__all__ = ["cache_saving_usd", "previous_model", "switch_cost", "warm_tokens"]

_CHARACTERS_PER_TOKEN = 4
"""Rule of thumb for English text. It only weighs candidates; nothing is billed by it."""


def previous_model(request: Request) -> CardId | None:
    """Return the candidate that gave the last answer of the conversation; `None`: unknown.

    It is what ``request.conversation`` says, else the field ``model`` of the last assistant
    message. OpenAI's clients do not send one: a caller without a gateway that remembers
    conversations adds it.
    """
    if request.conversation is not None and request.conversation.model is not None:
        return request.conversation.model
    for message in reversed(request.messages):
        if message.role == "assistant":
            named = message.fields.get("model")
            return named if isinstance(named, str) else None
    return None


def switch_cost(request: Request, configured: float) -> float:
    """Return the quality that leaving the last candidate must gain: as asked, else `configured`."""
    asked = None if request.conversation is None else request.conversation.switch_cost
    return configured if asked is None else asked


def warm_tokens(request: Request) -> int:
    """Return about how many tokens are before the last message."""
    return sum(len(message.text) // _CHARACTERS_PER_TOKEN for message in request.messages[:-1])


def cache_saving_usd(card: ModelCard, request: Request) -> float:
    """Return what `card` is expected to cost less because it answered before; 0 for others.

    US dollars.
    """
    if card.price is None or card.id != previous_model(request):
        return 0.0
    warm = warm_tokens(request)
    return float(card.price.cost(Usage(input=warm)) - card.price.cost(Usage(cached=warm)))
