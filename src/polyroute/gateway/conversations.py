"""Who answered a conversation last: remembered by the id that its requests carry.

The one decision here: it is a memory and no record. It holds the newest conversations, each for the
tenant that had it, and a server that starts again begins without; the first answer then chooses
freely once more.
"""

from collections import OrderedDict

from msgspec.structs import replace

from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.run import Outcome
from polyroute.pool import CardId

__all__ = ["Conversations"]


class Conversations:
    """Remembers the candidate that answered each conversation last.

    Parameters
    ----------
    most : int, default=10000
        Conversations to remember; of more, the one that was idle longest is forgotten.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._last: OrderedDict[tuple[str, str], CardId] = OrderedDict()

    def known(self, caller: Caller, asked: Asked) -> Asked:
        """Return `asked` with who answered before, where its conversation is known."""
        conversation = asked.request.conversation
        if conversation is None or conversation.id is None:
            return asked
        model = self._last.get((caller.tenant, conversation.id))
        if model is None or model not in asked.pool.ids:
            return asked
        said = replace(conversation, model=model)
        return replace(asked, request=replace(asked.request, conversation=said))

    def ended(self, caller: Caller, asked: Asked, outcome: Outcome | None) -> None:
        """Remember who answered."""
        conversation = asked.request.conversation
        if conversation is None or conversation.id is None or outcome is None:
            return
        if outcome.trace.answer is None or not outcome.trace.good_replies:
            return
        place = (caller.tenant, conversation.id)
        self._last[place] = outcome.trace.good_replies[-1].model
        self._last.move_to_end(place)
        while len(self._last) > self._most:
            self._last.popitem(last=False)
