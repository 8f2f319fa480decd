"""The tokens of one episode as one model has seen and sampled them.

The one decision here: what was sampled is kept as the ids that were sampled. Text is decoded from
them for the reader, and never tokenised again; only what somebody else wrote (the prompt, an
observation) is tokenised, alone, when it is appended.

References
----------
Known faults of re-tokenising, and of a missing observation mask, in multi-turn reinforcement
learning: the notes in slime's search-r1 example.
"""

from dataclasses import dataclass, field

from polyroute.types import Message

__all__ = ["Session", "Tokens"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tokens:
    """One episode of a model, T tokens after the prompt."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    """Everything after the prompt: what was sampled, and what others wrote in between, T ids."""
    mask: tuple[bool, ...]
    """Which of `completion_ids` the model sampled, length T."""
    logprobs: tuple[float, ...]
    """Log-probability of each sampled token under the distribution it was drawn from (after
    temperature and nucleus; at temperature 0, where nothing is drawn, the model's own); 0 for the
    tokens of others. Length T."""
    turns: int
    """How many turns were sampled. When it is less than the turns of the trace, the episode did
    not continue its own transcript, and these are the tokens since it last began anew."""
    finish_reason: str | None
    """How the last turn ended: ``stop`` (a stop string, or the model's end of text) or
    ``length``."""


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """The growing state behind `Tokens`."""

    messages: tuple[Message, ...]
    """What the prompt was made from."""
    ids: list[int]
    """Prompt and completion."""
    prompt_length: int
    mask: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    shown: str = ""
    """The transcript after the prompt, as the policy knows it."""
    overhang: str = ""
    """What the last token holds beyond the stop string: the policy does not know of it."""
    turns: int = 0
    finish_reason: str | None = None
    busy: bool = False
    """Whether a turn is being sampled."""
    used: float = 0.0
    """When the last turn was asked for, on the monotonic clock."""
    cached: int = 0
    """How many of `ids`, from the first, have their keys and values in the cache."""
    row: int | None = None
    """Row of the cache; `None` when it has none."""

    def text_after(self, messages: tuple[Message, ...], prefix: str) -> str | None:
        """Return what others have written since the last turn.

        `None` when ``(messages, prefix)`` does not continue this session.
        """
        if self.messages != messages or not prefix.startswith(self.shown):
            return None
        added = prefix[len(self.shown) :]
        # a line end that came with the last sampled token is not said twice
        return added.removeprefix(self.overhang)

    def append(self, ids: list[int], transcript: str) -> None:
        """Take over what others have written; `transcript` is then all that is shown."""
        self.ids += ids
        self.mask += [False] * len(ids)
        self.logprobs += [0.0] * len(ids)
        self.shown, self.overhang = transcript, ""

    def cut(self, length: int) -> None:
        """Forget every token from `length` on."""
        del self.ids[length:]
        kept = length - self.prompt_length
        del self.mask[kept:], self.logprobs[kept:]
        self.cached = min(self.cached, length)

    def tokens(self) -> Tokens:
        """Return the tokens so far."""
        return Tokens(
            prompt_ids=tuple(self.ids[: self.prompt_length]),
            completion_ids=tuple(self.ids[self.prompt_length :]),
            mask=tuple(self.mask),
            logprobs=tuple(self.logprobs),
            turns=self.turns,
            finish_reason=self.finish_reason,
        )
