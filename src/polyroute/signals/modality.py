"""What kinds of input a request holds, and so who can take it."""

from typing import Final

from polyroute.pool import Modality, ModelCard
from polyroute.types import Request

__all__ = ["modalities", "takes"]


def modalities(request: Request) -> frozenset[Modality]:
    """Return the modalities of all messages of `request`; text is always one of them.

    Examples
    --------
    >>> sorted(modalities(Request.of("capital of France?")))
    ['text']
    """
    found: set[Modality] = {"text"}
    for message in request.messages:
        if isinstance(message.content, tuple):
            kinds = (_MODALITIES.get(str(part.get("type"))) for part in message.content)
            found |= {kind for kind in kinds if kind is not None}
    return frozenset(found)


def takes(card: ModelCard, request: Request) -> bool:
    """Whether the input of `card` may hold all that `request` holds."""
    return modalities(request) <= card.modalities


_MODALITIES: Final[dict[str, Modality]] = {
    "image_url": "image",
    "image": "image",
    "input_image": "image",
    "input_audio": "audio",
    "audio": "audio",
    "file": "file",
    "input_file": "file",
}
"""Which modality a content part of OpenAI's shapes is; parts of unknown type count as text."""
