"""Which requests have the same answer.

The one decision here: everything that a request says goes into the key, but for what is known not
to change its answer. A field that nobody here has heard of separates two requests.
"""

import hashlib
import re
from dataclasses import dataclass

from polyroute.errors import RecordError
from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.records.canonical import canonical
from polyroute.types import Json

__all__ = ["Key", "exact_parts", "key_of", "repeatable", "temperature"]

_VERSION = 1
"""Of what a key is made of."""

_NEVER = (
    "tools", "functions", "tool_choice", "function_call", "web_search_options", "logprobs",
    "top_logprobs", "audio", "prediction",
)  # fmt: skip
"""Parameters with which an answer is not remembered: it acts on the world, or reads it, or is more
than its text."""

_SINGLE = ("n", "best_of")
"""Parameters that ask for several answers."""

_EXACT = re.compile(r"\d+(?:[.,:/]\d+)*|`[^`]+`|\"[^\"]+\"|“[^”]+”|«[^»]+»")


@dataclass(frozen=True, slots=True)
class Key:
    """Where the answer to a request is remembered."""

    exact: str
    """The same for requests that are the same."""
    context: str
    """The same for requests that differ in the text of their last message only."""
    text: str | None
    """That text; `None` when the last message is no plain text of the user."""


def repeatable(asked: Asked) -> bool:
    """Whether an answer to `asked` could be given a second time."""
    params = asked.request.params
    if any(params.get(name) for name in _NEVER):
        return False
    return all(params.get(name) in (None, 1) for name in _SINGLE)


def temperature(asked: Asked) -> float:
    """Return the temperature of a request; 1 when it names none, or nothing that can be read."""
    value = asked.request.params.get("temperature")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 1.0
    return float(value)


def key_of(caller: Caller, asked: Asked, *, generation: str) -> Key | None:
    """Return the key of a request; `None` when it holds something that JSON cannot express.

    Parameters
    ----------
    caller : Caller
        Who asks: nothing is shared between tenants.
    asked : Asked
        The request.
    generation : str
        Of the configuration: another one answers differently.

    Notes
    -----
    The limit in dollars is not part of it: what a caller has left changes with every request. An
    answer knows the limit it was made with, and is given only where there was no less to spend.
    """
    request = asked.request
    messages = [message.to_json() for message in request.messages]
    budget, conversation = request.budget, request.conversation
    if conversation is not None and conversation.model is None and not conversation.switch_cost:
        conversation = None  # a name alone changes nothing
    about: dict[str, Json] = {
        "version": _VERSION,
        "generation": generation,
        "tenant": caller.tenant,
        "policy": asked.choice.name,
        "card": asked.choice.card,
        "spec": asked.choice.spec,
        "pool": asked.pool.digest,
        "cards": asked.pool.ids,
        "params": request.params,
        "budget": [budget.seconds, budget.rounds, budget.tokens, budget.usd_per_quality],
        "conversation": conversation and [conversation.model, conversation.switch_cost],
    }
    last = messages[-1]
    text = last.get("content") if last.get("role") == "user" else None
    try:
        exact = _digest({**about, "messages": messages})
        if not isinstance(text, str):
            return Key(exact, "", None)
        without = {key: value for key, value in last.items() if key != "content"}
        return Key(exact, _digest({**about, "like": [*messages[:-1], without]}), text)
    except RecordError:
        return None


def exact_parts(text: str) -> tuple[str, ...]:
    """Return what must be the same in two questions that mean the same: numbers, quotations, code.

    Examples
    --------
    >>> exact_parts('What is 17.5 % of 2,480, and who said "yes"?')
    ('17.5', '2,480', '"yes"')
    """
    return tuple(_EXACT.findall(text))


def _digest(value: Json) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()
