"""The same beginning goes to the same instance, where its prompt cache is warm.

The one decision here: what is hashed is the conversation up to its first user message. So every
turn of a conversation finds the instance of the first one, and conversations that share no more
than a system prompt are spread.
"""

import hashlib
import math
from bisect import bisect_right
from collections.abc import Sequence

from polyroute.decision import Call
from polyroute.errors import ConfigError
from polyroute.protocols import Facts
from polyroute.types import Request

__all__ = ["PrefixHash"]

_POINTS = 100
"""Points on the ring for the heaviest instance: shares are then even within about 10 %."""


class PrefixHash:
    """Consistent hashing of the prompt's beginning, with bounded loads.

    An instance that goes away loses its own prompts only; those of the others stay where their
    caches are. An instance that already has more than its share of the running calls is passed
    over, so that one popular prompt does not drown it.

    Parameters
    ----------
    characters : int, default=2048
        How much of the beginning is hashed, 1 or more; it ends with the first user message.
    overload : float, default=1.25
        How far above its fair share of the running calls an instance may go, more than 1. Lower
        spreads more evenly, higher finds the warm cache more often.

    Raises
    ------
    ConfigError
        If a parameter is out of its range.

    References
    ----------
    Karger et al., *Consistent hashing and random trees*, STOC 1997; Mirrokni, Thorup and
    Zadimoghaddam, *Consistent hashing with bounded loads*, arXiv:1608.01350 (`overload` is their
    1 + epsilon).
    """

    def __init__(self, *, characters: int = 2048, overload: float = 1.25) -> None:
        if characters < 1 or not overload > 1:
            raise ConfigError(
                f"prefix_hash needs characters of 1 or more and an overload over 1, got "
                f"{characters!r} and {overload!r}"
            )
        self._characters = characters
        self._overload = overload
        self._hashes: list[int] = []
        self._places: list[int] = []
        self._ring_of: Sequence[Facts] | None = None

    def choose(
        self, facts: Sequence[Facts], among: Sequence[int], call: Call, request: Request
    ) -> int:
        """Return the place of the first instance after the prompt's point that has room."""
        if self._ring_of is not facts:
            self._build(facts)
        if len(among) == 1:
            return among[0]
        rooms = self._rooms(facts, among)
        start = bisect_right(self._hashes, _hash(self._beginning(call, request)))
        for step in range(len(self._places)):
            place = self._places[(start + step) % len(self._places)]
            room = rooms.get(place)
            if room is None:
                continue
            if facts[place].outstanding < room:
                return place
        return among[0]  # cannot be: the rooms together hold one more than all running calls

    def _rooms(self, facts: Sequence[Facts], among: Sequence[int]) -> dict[int, int]:
        """Most running calls of each instance, this one included."""
        calls = 1 + sum(facts[place].outstanding for place in among)
        weight = sum(facts[place].weight for place in among)
        each = self._overload * calls / weight
        return {place: math.ceil(each * facts[place].weight) for place in among}

    def _beginning(self, call: Call, request: Request) -> str:
        pieces, length = [], 0
        for message in call.messages(request):
            pieces.append(message.text)
            length += len(pieces[-1])
            if message.role == "user" or length >= self._characters:
                break
        return "\0".join(pieces)[: self._characters]

    def _build(self, facts: Sequence[Facts]) -> None:
        heaviest = max(one.weight for one in facts)
        points = sorted(
            (_hash(f"{one.label}#{k}"), place)
            for place, one in enumerate(facts)
            for k in range(max(1, round(_POINTS * one.weight / heaviest)))
        )
        self._hashes = [hash for hash, _ in points]
        self._places = [place for _, place in points]
        self._ring_of = facts


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
