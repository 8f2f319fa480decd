"""What may be spent, and whether anybody knows what was."""

from collections.abc import Iterator
from pathlib import Path

from polyroute.cli.findings import Finding
from polyroute.cli.production.check import Check, Found
from polyroute.config import Settings
from polyroute.types import Json

__all__ = ["CHECKS"]


def _budget(settings: Settings, _: Path | None) -> Found:
    budget = settings.budget
    if budget.usd is None:
        problem = "no request has a limit in dollars, unless it names one itself"
        yield Finding("budget", "error", problem, "budget.usd: the most one answer is worth")
    if budget.seconds is None:
        problem = "no request has a limit in seconds"
        yield Finding("budget", "warning", problem, "budget.seconds: 120")


def _prices(settings: Settings, _: Path | None) -> Found:
    for family, cards in (("pool", settings.pool), ("embeddings", settings.embeddings)):
        for card in cards:
            if card.price is None:
                problem = "price unknown: its bills are unknown, and no dollar limit holds"
                remedy = f"give {card.id} a price: {{input: ..., output: ...}}"
                yield Finding(f"{family}.{card.id}", "error", problem, remedy)


def _fallback(settings: Settings, _: Path | None) -> Found:
    if settings.fallback is None:
        problem = "when a policy breaks, its requests fail"
        yield Finding("fallback", "warning", problem, "fallback: the id of a card that always can")
    models = [card.id for card in settings.pool if card.kind == "model"]
    if len(models) > 1 and not settings.fallbacks:
        problem = "a model that is down fails the requests that name it"
        remedy = f"fallbacks: {{{models[0]}: [{models[1]}]}}"
        yield Finding("fallbacks", "warning", problem, remedy)


def _artifacts(settings: Settings, _: Path | None) -> Found:
    specs: dict[str, Json] = {"policy": settings.policy}
    specs |= {f"policies.{name}": spec for name, spec in settings.policies.items()}
    for place, spec in specs.items():
        for trained in _trained(spec):
            if trained.get("digest") is None:
                artifact = trained.get("artifact")
                problem = f"{artifact} is taken as it lies there, whoever put it there"
                remedy = f"polyroute artifact show {artifact}; put its digest beside it"
                yield Finding(place, "error", problem, remedy)


def _trained(spec: Json) -> Iterator[dict[str, Json]]:
    """Yield every trained router within a specification."""
    if isinstance(spec, dict):
        if spec.get("name") == "trained":
            yield spec
        for value in spec.values():
            yield from _trained(value)
    elif isinstance(spec, (list, tuple)):
        for value in spec:
            yield from _trained(value)


CHECKS = (
    Check("budget", "every request has a limit", _budget),
    Check("prices", "all are known", _prices),
    Check("fallback", "somebody answers when a policy or a model fails", _fallback),
    Check("artifacts", "none, or named by their digest", _artifacts),
)
"""What is looked at here."""
