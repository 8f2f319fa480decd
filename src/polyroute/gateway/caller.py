"""Who asks."""

from dataclasses import dataclass

from starlette.types import Scope

__all__ = ["ANYBODY", "Caller", "caller_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A client, as its key says."""

    id: str
    """Of the key; never the key itself."""
    tenant: str = "default"
    """Whose it is: nothing that one tenant said is ever shown to another."""
    policies: frozenset[str] | None = None
    """The policies it may ask for; `None`: all."""
    cards: frozenset[str] | None = None
    """The cards that may be asked for it; `None`: all."""
    admin: bool = False
    """Whether it may see and change what is not its own."""
    scopes: frozenset[str] | None = None
    """What it may use: ``ask``, ``feedback``, ``traces``, ``metrics``, ``admin``; `None`: all."""


ANYBODY = Caller(id="anybody", admin=True)
"""The caller of a server without keys, which only its own machine can reach."""

_PLACE = "polyroute.caller"


def caller_of(scope: Scope) -> Caller:
    """Return who sent the request of `scope`."""
    caller: Caller = scope.get(_PLACE, ANYBODY)
    return caller
