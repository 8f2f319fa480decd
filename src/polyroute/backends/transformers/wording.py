"""Text to tokens and back, for one tokenizer: the prompt, pieces of a transcript, what was said.

Needs no model, so whoever samples elsewhere (a server that takes tokens) reads and writes the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from polyroute.conversation import conversation
from polyroute.types import Message

__all__ = ["TAIL", "Wording"]

TAIL = 8
"""Tokens before a text that decide how its first one is decoded (a leading space)."""

_INSTRUCTS = ("system", "developer")

_KNOWN = 256
"""Texts whose tokens are kept: in training, episodes of a question share their prompt."""


@dataclass(frozen=True, slots=True, eq=False)
class Wording:
    """What a tokenizer makes of messages and transcripts."""

    tokenizer: Any
    """Of transformers."""
    system: str | None = None
    """System message for conversations that have none; when `None`, the chat template decides."""
    _tokens: Callable[..., tuple[int, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Remember the tokens of the last few texts."""
        object.__setattr__(self, "_tokens", lru_cache(_KNOWN)(self._tokenised))

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a prompt, up to where the model's own turn begins.

        With the chat template where the tokenizer has one; else the conversation as text, and a
        line end.
        """
        if self.system is not None and all(m.role not in _INSTRUCTS for m in messages):
            messages = (Message("system", self.system), *messages)
        if getattr(self.tokenizer, "chat_template", None):
            chat = [{"role": m.role, "content": m.text} for m in messages]
            text = self.tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, tokenize=False
            )
            return self.encode(text)
        return list(self._tokens(f"{conversation(messages)}\n", special=True))

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a piece of the transcript, tokenised alone."""
        return list(self._tokens(text, special=False))

    def decode(self, ids: Sequence[int], before: Sequence[int] = ()) -> str:
        """Return the text of `ids`, as it reads after the tokens `before`."""
        tail = list(before[-TAIL:])
        head = self.plain(tail)
        whole = self.plain([*tail, *ids])
        return whole[len(head) :] if whole.startswith(head) else self.plain(list(ids))

    def _tokenised(self, text: str, *, special: bool) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def plain(self, ids: list[int]) -> str:
        """Return the text of `ids` alone, special tokens left out."""
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
