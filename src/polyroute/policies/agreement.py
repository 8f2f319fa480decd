"""Cheap models side by side; where their answers agree the first is taken, else a better one.

The one decision here: nothing judges a reply. Two models of different makers that err seldom make
the same error, so that what they agree on is right more often than either of them is, and a reply
need not be understood to be compared.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

from polyroute.answers import CANONICAL, Canonical
from polyroute.decision import Answer, Call, Decision, Route
from polyroute.errors import ConfigError
from polyroute.pool import CardId
from polyroute.protocols import Method
from polyroute.spec import resolve
from polyroute.trace import Reply, Trace

__all__ = ["Agreement"]

_MOST_MEMBERS = 8


@dataclass(frozen=True, slots=True)
class Agreement:
    """Ask `members` at once; when enough of them agree, answer; otherwise ask `otherwise`.

    Parameters
    ----------
    members : tuple of str
        Ids, 2 to 8; each is sent the request's own messages.
    otherwise : str
        Id of the candidate that is asked when they do not agree. A member's reply is taken as it
        is, without asking it again.
    extract : str, default="text"
        How the answer is read from a reply: ``text`` (SQuAD normalisation), ``exact``, ``number``,
        ``choice``, ``boxed``, or ``module:function`` from a text to a string or `None`. A reply
        without an answer agrees with nothing.
    quorum : int, optional
        How many must agree, 2 to the number of members; all of them when `None`.

    Raises
    ------
    ConfigError
        If the numbers do not fit, a member is named twice, or `extract` is unknown.

    References
    ----------
    Kolawole et al., *Agreement-Based Cascading for Efficient Inference*, arXiv:2407.02348: an
    ensemble of small models, and deferral where they disagree. Yue et al., *Large language model
    cascades with mixture of thoughts representations*, arXiv:2310.03094: answer consistency of a
    weaker model as the sign of an easy question.
    """

    method: ClassVar[Method] = Method(
        when="post-generation",
        what=("response",),
        how="heuristic",
        paper="Kolawole et al., Agreement-Based Cascading, arXiv:2407.02348",
    )

    members: tuple[CardId, ...]
    otherwise: CardId
    extract: str = "text"
    quorum: int | None = None
    _read: Canonical = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        count = len(self.members)
        if not 2 <= count <= _MOST_MEMBERS or len(set(self.members)) < count:
            raise ConfigError(f"members needs 2 to {_MOST_MEMBERS} different ids: {self.members!r}")
        if self.quorum is not None and not 2 <= self.quorum <= count:
            raise ConfigError(f"quorum must be 2 to {count}, got {self.quorum!r}")
        read = CANONICAL.get(self.extract) or resolve(self.extract, where="extract")
        object.__setattr__(self, "_read", read)

    async def decide(self, trace: Trace) -> Decision:
        """Return the members, then an answer or the call to `otherwise`."""
        if not trace.steps:
            calls = tuple(Call(name) for name in self.members)
            return Route(calls=calls, reason="members", propensity=1.0)
        heard = trace.steps[0].replies
        good = [reply for reply in heard if reply.ok and reply.text.strip()]
        group = self._largest(good)
        quorum = self.quorum or len(self.members)
        said = f"{len(group)} of {len(self.members)} agree"
        if len(group) >= quorum:
            return _taken(group[0], said)
        mine = [
            reply
            for name, reply in zip(self.members, heard, strict=True)
            if self.otherwise in (name, reply.model) and reply in good
        ]
        if mine:
            return _taken(mine[0], f"{said}; the one that decides")
        asked = len(trace.steps) > 1 or self.otherwise in self.members
        if not asked and trace.left.rounds > 0:
            call = Call(self.otherwise)
            return Route(calls=(call,), final=True, reason=said, propensity=1.0)
        if not good:
            return trace.give_up(f"{said}; nobody else can be asked")
        return _taken(group[0], f"{said}; nobody else can be asked")

    def _largest(self, replies: list[Reply]) -> list[Reply]:
        """Return the replies of the commonest answer, the first of equals; else the first reply."""
        answers = [self._read(reply.text) for reply in replies]
        known = Counter(answer for answer in answers if answer is not None)
        if not known:
            return replies[:1]
        most = known.most_common(1)[0][0]  # insertion order between equals
        return [reply for reply, said in zip(replies, answers, strict=True) if said == most]


def _taken(reply: Reply, why: str) -> Answer:
    return Answer(text=reply.text, reason=f"reply of {reply.model!r}: {why}", fields=reply.fields)
