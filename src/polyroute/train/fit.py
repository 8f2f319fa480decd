"""Fit a policy: its estimators on recorded outcomes, its knobs on a part of them held out.

The one decision here: everything is chosen on the data that was given to learn from, divided by
question. What a router is judged by, no function of this module ever sees.
"""

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, get_type_hints, runtime_checkable

import numpy as np

from polyroute.errors import ConfigError
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import Encoder, Estimator, FloatArray, Policy
from polyroute.registry import Family, load
from polyroute.spec import Spec, construct, nearest, normal
from polyroute.train.artifact import Fitted, estimators_of
from polyroute.train.calibrate import Goal, calibrate, folds
from polyroute.train.examples import Examples
from polyroute.train.items import Items
from polyroute.types import Json, JsonObject

__all__ = ["HELD_OUT", "Plan", "fit", "in_full"]

HELD_OUT = 0.2
"""Share of the training questions by which hyper-parameters and knobs are chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to train."""

    policy: Spec
    """The policy, its estimators written as its parameters."""
    grid: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    """Values to try, by the path of a parameter: ``{"quality.alpha": [1, 10, 100]}``."""
    goal: Goal = field(default_factory=Goal)
    """What the policy's knob is set for."""
    seed: int = 0
    """Which part is held out."""


@runtime_checkable
class _Chooses(Protocol):
    def candidates(self, pool: Pool) -> tuple[ModelCard, ...]: ...


@runtime_checkable
class _HearsKinds(Protocol):
    def tell(self, kinds: Sequence[str]) -> object: ...


def fit(plan: Plan, examples: Examples, *, say: Callable[[str], None] = lambda _: None) -> Fitted:
    """Fit a policy to recorded outcomes.

    The estimator that a policy calls ``quality`` learns the score, the one it calls ``cost`` the
    decimal logarithm of the price in US dollars.

    Parameters
    ----------
    plan : Plan
        The policy, the hyper-parameters to try, and the goal of its knob.
    examples : Examples
        What to learn from. A fifth of it, by question, decides among the values of the grid (by
        the mean squared error of the estimators) and sets the knob; a knob for a quality is set on
        all of it, by five folds. Afterwards the estimators are fitted to all of it. Those of a
        conformal policy are not: its guarantee holds for the estimator that it was calibrated with.
    say : callable, optional
        Told what is being done.

    Raises
    ------
    ConfigError
        If the policy has no estimator or one that learns something else, a path of the grid leads
        nowhere, the goal is not one of the policy's, or there is too little data.
    """
    spec = in_full("policies", plan.policy)
    policy = _built(spec)
    if isinstance(policy, _Chooses):
        examples = examples.only([card.id for card in policy.candidates(examples.pool)])
    training: dict[str, Json] = {
        "questions": len(examples),
        "responses": int((~np.isnan(examples.quality_NM)).sum()),
        "data_sha256": examples.digest,
        "mean_score": _means(examples.quality_NM, examples.pool),
        "mean_usd": _means(examples.usd_NM, examples.pool),
    }
    if plan.grid or plan.goal.is_set:
        part, held = examples.held_out(HELD_OUT, seed=plan.seed)
        training |= {"held_out": len(held), "seed": plan.seed}
        spec, policy, tried = _best_of(spec, plan.grid, part, held, say)
        training["tried"] = tried
        if plan.goal.quality is None:
            say(f"calibrating on {len(held)} questions held out")
            pairs = [(policy, held)]
        else:
            say(f"calibrating on {len(examples)} questions, each by a fit that did not see it")
            parts = folds(examples, seed=plan.seed)
            pairs = [(_fitted(spec, rest), judged) for rest, judged in parts]
        (first, held), *more = pairs
        knob, found = calibrate(first, plan.goal, held, *more)
        spec, training["goal"] = {**spec, **knob}, found
    if plan.goal.refits:
        say(f"fitting to {len(examples)} questions")
        policy = _fitted(spec, examples)
    else:
        states = {name: one.state() for name, one in estimators_of(policy).items()}
        policy = _built(spec)
        for name, estimator in estimators_of(policy).items():
            estimator.restore(states[name])
    items = Items.of(examples)
    return Fitted(policy=policy, spec=spec, pool=examples.pool, training=training, items=items)


def in_full(family: Family, spec: Spec) -> dict[str, Json]:
    """Return `spec` with every parameter that has a plain default written out, nested ones too.

    So an artifact means the same when a later version changes a default.

    Examples
    --------
    >>> in_full("policies", {"name": "cheapest", "completion_tokens": 9})
    {'name': 'cheapest', 'completion_tokens': 9, 'models': None}
    """
    full = normal(spec, where=family)
    factory = load(family, full["name"])
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    for name, parameter in inspect.signature(factory).parameters.items():
        default = parameter.default
        if name not in full and isinstance(default, str | int | float | bool | None):
            full[name] = default
        inner = _family_of(hints.get(name))
        if inner is not None and isinstance(full.get(name), str | Mapping):
            full[name] = in_full(inner, full[name])
    return full


_FAMILIES: Mapping[str, Family] = {
    Policy.__name__: "policies",
    Estimator.__name__: "estimators",
    Encoder.__name__: "encoders",
}


def _family_of(annotation: Any) -> Family | None:  # noqa: ANN401 - an annotation
    options = getattr(annotation, "__args__", None) or (annotation,)
    names = [getattr(option, "__name__", "") for option in options]
    return next((_FAMILIES[name] for name in names if name in _FAMILIES), None)


def _built(spec: JsonObject) -> Policy:
    policy: Policy = construct("policies", spec, where="policy")
    if not estimators_of(policy):
        raise ConfigError(
            f"{spec['name']!r} has no estimator to fit; give it one, such as quality: ridge, or "
            "configure it without training"
        )
    return policy


def _fitted(spec: JsonObject, examples: Examples) -> Policy:
    policy = _built(spec)
    for name, estimator in estimators_of(policy).items():
        if isinstance(estimator, _HearsKinds):
            estimator.tell(examples.kinds)
        estimator.fit(examples.requests, _target(name, examples), examples.pool)
    return policy


def _target(name: str, examples: Examples) -> FloatArray:
    if name == "quality":
        return examples.quality_NM
    if name != "cost":
        raise ConfigError(f"no table says what the estimator {name!r} is to learn")
    if np.isnan(examples.usd_NM).all():
        raise ConfigError("the table has no prices to fit 'cost' to; leave it out")
    return examples.log_usd_NM


def _best_of(
    spec: dict[str, Json],
    grid: Mapping[str, Sequence[Json]],
    part: Examples,
    held: Examples,
    say: Callable[[str], None],
) -> tuple[dict[str, Json], Policy, list[JsonObject]]:
    """Return the spec with the least error on `held`, its policy fitted, and all tries."""
    best: tuple[float, dict[str, Json], Policy] | None = None
    tried: list[JsonObject] = []
    for values in _points(grid):
        candidate = spec
        for path, value in values.items():
            candidate = _with(candidate, path.split("."), value, path)
        said = ", ".join(f"{path} {value}" for path, value in values.items())
        say(f"fitting to {len(part)} questions{': ' if said else ''}{said}")
        policy = _fitted(candidate, part)
        errors = {
            name: _error(estimator.predict(held.requests, held.pool), _target(name, held))
            for name, estimator in estimators_of(policy).items()
        }
        tried.append({**values, "mean_squared_error": errors})
        total = sum(errors.values())
        if best is None or total < best[0]:
            best = total, candidate, policy
    assert best is not None  # a grid of nothing has one point
    return best[1], best[2], tried


def _points(grid: Mapping[str, Sequence[Json]]) -> Iterator[dict[str, Json]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _with(spec: JsonObject, path: Sequence[str], value: Json, whole: str) -> dict[str, Json]:
    """Return `spec` with the parameter at `path` set."""
    head, *rest = path
    if head not in spec:
        raise ConfigError(f"grid: no parameter {whole!r}; {nearest(head, list(spec))}")
    if not rest:
        return {**spec, head: value}
    inner = spec[head]
    if not isinstance(inner, Mapping):
        raise ConfigError(f"grid: {whole!r}: {head!r} has no parameters of its own")
    return {**spec, head: _with(inner, rest, value, whole)}


def _error(predicted_NM: FloatArray, target_NM: FloatArray) -> float:
    """Return the mean squared error where both are known; infinity where nothing is."""
    squares = (predicted_NM - target_NM) ** 2
    known = squares[~np.isnan(squares)]
    return float(known.mean()) if known.size else float("inf")


def _means(matrix_NM: FloatArray, pool: Pool) -> dict[str, float | None]:
    """Return the mean of each column over what is known of it."""
    return {
        card.id: float(column[~np.isnan(column)].mean()) if (~np.isnan(column)).any() else None
        for card, column in zip(pool, matrix_NM.T, strict=True)
    }
