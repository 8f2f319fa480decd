"""Who asks."""

from dataclasses import dataclass

from starlette.types import Scope

from polyroute.records.record import Record

__all__ = ["ANYBODY", "Caller", "caller_of"]

_TENANT = "default"
"""Whose everything is where nobody says otherwise; it is not written into records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A client, as its key says."""

    id: str
    """Of the key; never the key itself."""
    tenant: str = _TENANT
    """Whose it is: nothing that one tenant said is ever shown to another."""
    policies: frozenset[str] | None = None
    """The policies it may ask for; `None`: all."""
    cards: frozenset[str] | None = None
    """The cards that may be asked for it; `None`: all."""
    admin: bool = False
    """Whether it may see and change what is not its own."""
    scopes: frozenset[str] | None = None
    """What it may use: ``ask``, ``feedback``, ``traces``, ``metrics``, ``admin``; `None`: all."""

    @property
    def named(self) -> str | None:
        """Whose its requests are, as their records say it; `None` where nobody says otherwise."""
        return None if self.tenant == _TENANT else self.tenant

    def sees(self, record: Record) -> bool:
        """Whether it may be shown `record`: an administrator all, others those of their tenant."""
        return self.admin or record.request.get("tenant") == self.named

    def may_ask(self, policy: str, card: str | None = None) -> bool:
        """Whether it may ask for a policy; for a card, the policy is ``fixed``."""
        if self.policies is not None and policy not in self.policies:
            return False
        return card is None or self.cards is None or card in self.cards


ANYBODY = Caller(id="anybody", admin=True)
"""The caller of a server without keys, which only its own machine can reach."""

_PLACE = "polyroute.caller"


def caller_of(scope: Scope) -> Caller:
    """Return who sent the request of `scope`."""
    caller: Caller = scope.get(_PLACE, ANYBODY)
    return caller
