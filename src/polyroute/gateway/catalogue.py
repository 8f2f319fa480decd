"""What a request may call its ``model``: a policy, or a card of the pool.

The one decision here: a name means exactly one thing, as long as the server runs. Any other name
is an error that lists the near ones; nothing is ever rerouted to something else.
"""

import difflib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from polyroute.config import Setup, why_not
from polyroute.errors import ConfigError, UnknownModelError
from polyroute.gateway.errors import ApiError
from polyroute.policies.fixed import Fixed
from polyroute.policies.with_fallbacks import inside
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import Policy
from polyroute.registry import names
from polyroute.spec import construct, spec_inside
from polyroute.types import Json, JsonObject

__all__ = ["PREFIX", "Catalogue", "Choice", "find", "policy_of"]

PREFIX = "polyroute"
"""``polyroute`` is the default policy, ``polyroute/<name>`` another one."""

_DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a model name stands for."""

    name: str
    """Name of the policy; ``fixed`` for a card."""
    policy: Policy
    spec: JsonObject
    """What `policy` was built from, for the record."""
    card: str | None = None
    """The card that was named; `None` for a policy."""


class Catalogue:
    """The model names of one server.

    Parameters
    ----------
    setup : Setup
        Its pool and its policies.
    newest : callable, optional
        From a policy as it was configured to what it has become; the same by default.

    Raises
    ------
    ConfigError
        If a card has a name that stands for a policy.
    """

    def __init__(self, setup: Setup, newest: Callable[[Choice], Choice] | None = None) -> None:
        self._newest = newest
        self._pool = setup.pool
        self._created = int(time.time())
        self._setup = setup
        self._policies = {
            name: Choice(name=name, policy=setup.policy(name), spec=spec)
            for name, spec in setup.specs.items()
        }
        for card in setup.pool:
            for name in (card.id, *card.aliases):
                if name == PREFIX or name.startswith(f"{PREFIX}/"):
                    raise ConfigError(
                        f"pool.{card.id}: {name!r} is the name of a policy in requests; call the "
                        "card something else"
                    )
        self._cards = {
            name: _card_choice(card, setup)
            for card in setup.pool
            for name in (card.id, *card.aliases)
        }

    def choose(self, model: str, policy: str | None) -> Choice:
        """Return what a request asks for.

        Parameters
        ----------
        model : str
            The field ``model`` of the request.
        policy : str or None
            The field ``polyroute.policy``, which goes with the model ``polyroute`` only.

        Raises
        ------
        ApiError
            404 for an unknown name; 400 when `model` and `policy` contradict each other.
        """
        if model == PREFIX:
            return self._named(policy or _DEFAULT, param="model" if not policy else "policy")
        if policy is not None:
            raise ApiError(
                400,
                f"the policy {policy!r} is asked for by the model {PREFIX!r}, not by {model!r}",
                param="polyroute.policy",
            )
        if model.startswith(f"{PREFIX}/"):
            return self._named(model.removeprefix(f"{PREFIX}/"), param="model")
        if (choice := self._cards.get(model)) is None:
            raise self._unknown(model, "model")
        return choice

    def models(self) -> list[JsonObject]:
        """Return the entries of ``GET /v1/models``: policies, then cards in pool order."""
        for name in names("policies"):
            with suppress(ApiError):
                self._named(name, param="model")
        listed = [_DEFAULT, *sorted(name for name in self._policies if name != _DEFAULT)]
        policies = [self._policy_entry(self._policies[name]) for name in listed]
        return policies + self.cards()

    def cards(self) -> list[JsonObject]:
        """Return the entries of the cards, in pool order."""
        return [self._card_entry(card) for card in self._pool]

    def model(self, name: str) -> JsonObject:
        """Return one entry.

        Raises
        ------
        ApiError
            404, if there is none of that name.
        """
        if name == PREFIX or name.startswith(f"{PREFIX}/"):
            return self._policy_entry(self.choose(name, None))
        if (card := find(self._pool, name)) is None:
            raise self._unknown(name, "model")
        return self._card_entry(card)

    def _named(self, name: str, *, param: str) -> Choice:
        found = self._policies.get(name) or self._found(name, param=param)
        return found if self._newest is None else self._newest(found)

    def _found(self, name: str, *, param: str) -> Choice:
        if name not in self._policies:
            if name not in names("policies"):
                if (why := why_not(name)) is not None:
                    raise ApiError(404, why, code="policy_not_found", param=param)
                written = name if param == "policy" else f"{PREFIX}/{name}"
                raise self._unknown(written, param)
            self._policies[name] = self._registered(name)
        return self._policies[name]

    def _registered(self, name: str) -> Choice:
        """Build a policy that nobody configured; it is imported when it is first asked for."""
        try:
            return Choice(
                name=name, policy=self._setup.policy(name), spec=self._setup.spec({"name": name})
            )
        except ConfigError as error:
            message = f"the policy {name!r} has to be configured under 'policies' first: {error}"
            raise ApiError(404, message, code="policy_not_found", param="model") from error

    def _unknown(self, name: str, param: str) -> ApiError:
        known = [PREFIX, *(f"{PREFIX}/{policy}" for policy in self._policies)]
        if param == "policy":
            known, param = list(self._policies), "polyroute.policy"
        else:
            known += [alias for card in self._pool for alias in (card.id, *card.aliases)]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see GET /v1/models"
        what = "policy" if param == "polyroute.policy" else "model"
        return ApiError(
            404, f"there is no {what} {name!r}; {hint}", code=f"{what}_not_found", param=param
        )

    def _policy_entry(self, choice: Choice) -> JsonObject:
        method = type(inside(choice.policy)).method
        about: JsonObject = {
            "kind": "policy",
            "policy": spec_inside(choice.spec)["name"],
            "when": method.when,
            "what": list(method.what),
            "how": method.how,
            "paper": method.paper or None,
        }
        name = PREFIX if choice.name == _DEFAULT else f"{PREFIX}/{choice.name}"
        return self._entry(name, about)

    def _card_entry(self, card: ModelCard) -> JsonObject:
        wire = card.to_json()
        about = {key: wire[key] for key in _OF_A_CARD}
        return self._entry(card.id, about)

    def _entry(self, name: str, about: JsonObject) -> dict[str, Json]:
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": PREFIX,
            PREFIX: about,
        }


_OF_A_CARD = ("kind", "description", "price", "context", "max_output", "modalities", "aliases")


def _card_choice(card: ModelCard, setup: Setup) -> Choice:
    spec = setup.spec({"name": "fixed", "model": card.id})
    policy: Policy = Fixed(card.id)
    if spec["name"] != "fixed":
        policy = construct("policies", spec, where="fallbacks")
    return Choice(name="fixed", policy=policy, spec=spec, card=card.id)


def policy_of(model: str) -> str | None:
    """Return the policy that a model name stands for; `None` for a card.

    Examples
    --------
    >>> policy_of("polyroute"), policy_of("polyroute/cheapest"), policy_of("gpt-4o")
    ('default', 'cheapest', None)
    """
    if model == PREFIX:
        return _DEFAULT
    return model.removeprefix(f"{PREFIX}/") if model.startswith(f"{PREFIX}/") else None


def find(pool: Pool, name: str) -> ModelCard | None:
    """Return the card of that id or alias; `None` when there is none."""
    try:
        return pool.card(name)
    except UnknownModelError:
        return None
