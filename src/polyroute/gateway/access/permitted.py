"""What a caller may ask for: its policies, and its cards."""

from msgspec.structs import replace

from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.errors import ApiError

__all__ = ["permitted"]


def permitted(caller: Caller, asked: Asked) -> Asked:
    """Return `asked` with the cards that `caller` may use.

    Raises
    ------
    _RefusedError
        An `ApiError`, 403, for a policy or a card that it may not use.
    """
    name = asked.choice.name
    if not caller.may_ask(name):
        what = f"the policy {name!r}" if asked.choice.card is None else "single cards"
        raise _RefusedError(f"this key may not ask for {what}", "policy_not_allowed")
    if caller.cards is None:
        return asked
    if not caller.may_ask(name, asked.choice.card):
        raise _RefusedError(f"this key may not ask for {asked.choice.card!r}", "model_not_allowed")
    left = [id for id in asked.pool.ids if id in caller.cards]
    if not left:
        raise _RefusedError("this key may use none of the cards that are left", "model_not_allowed")
    if len(left) == len(asked.pool):
        return asked
    return replace(asked, pool=asked.pool.only(left), restricted=True)


class _RefusedError(ApiError):
    """A request that the key does not allow."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(403, message, type="permission_error", code=code, param="model")
