"""Learn from feedback while a bandit serves: new snapshots, forgetting, and drift.

The one decision here: the policy that decides never changes. Learning makes a new policy with a
new immutable snapshot and puts it in the old one's place; an episode that has begun ends with the
policy it began with, so its propensities are right and its trace can be replayed.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

from polyroute.errors import ConfigError
from polyroute.protocols import Policy
from polyroute.trace import Trace

__all__ = ["Learns", "Online", "PageHinkley"]


@runtime_checkable
class Learns(Policy, Protocol):
    """A policy that can be followed by one that has seen more: Thompson, LinUCB."""

    def predicted(self, trace: Trace, model: str) -> float:
        """Return the reward expected of `model` on the request of `trace`."""
        ...

    def learned(
        self, trace: Trace, reward: float, *, forgetting: float = 1.0, counted: bool = False
    ) -> Self:
        """Return the policy that has also seen what `trace` earned."""
        ...

    def explored(self, trace: Trace) -> Self:
        """Return the policy that has counted what the choices of `trace` cost over the best."""
        ...

    def forgot(self, model: str, keep: float) -> Self:
        """Return the policy that kept only the share `keep` of what it knew of `model`."""
        ...


_PolicyT = TypeVar("_PolicyT", bound=Learns)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageHinkley:
    """A change of the mean of a sequence, in either direction; a value, extended by `with_value`.

    Fed with prediction errors (reward less expected reward): their mean is 0 until the world
    changes.

    Parameters
    ----------
    tolerance : float, default=0.05
        Changes of the mean up to this are let pass, 0 or more.
    threshold : float, default=15
        Sum of excesses at which it is a change. Lower finds changes sooner and sees more that
        are none: a drop by 0.5 is found after about ``threshold / 0.45`` rewards.

    References
    ----------
    Page, *Continuous inspection schemes*, Biometrika 1954; Gama et al., *A survey on concept
    drift adaptation*, ACM Computing Surveys 2014, section 3.2.

    Examples
    --------
    >>> test = PageHinkley(threshold=2)
    >>> for error in [0.1, -0.1, 0.0, -0.9, -0.8, -0.9]:
    ...     test = test.with_value(error)
    >>> test.changed
    True
    """

    tolerance: float = 0.05
    threshold: float = 15.0
    up: float = 0.0
    """Excess of a mean over zero so far, 0 or more."""
    down: float = 0.0

    def __post_init__(self) -> None:
        if not (self.tolerance >= 0 and self.threshold > 0):
            raise ConfigError(
                f"tolerance must be 0 or more and threshold over 0, got {self.tolerance!r} and "
                f"{self.threshold!r}"
            )

    def with_value(self, error: float) -> "PageHinkley":
        """Return the test after one more prediction error."""
        return replace(
            self,
            up=max(0.0, self.up + error - self.tolerance),
            down=max(0.0, self.down - error - self.tolerance),
        )

    @property
    def changed(self) -> bool:
        """Whether the mean has changed."""
        return max(self.up, self.down) > self.threshold


class Online(Generic[_PolicyT]):
    """Holds the newest policy, and makes the next from feedback. Safe to use from many threads.

    Parameters
    ----------
    policy : Learns
        What to begin with.
    forgetting : float, default=1
        What older rewards are multiplied by at each new one, over 0 and at most 1: 0.99
        remembers about the last 100.
    drift : PageHinkley, optional
        Watch the prediction errors of each model with this test; `None` does not watch.
    keep : float, default=0.05
        Share of what is known of a model that is kept when it has changed, 0 to 1.
    on_drift : callable, optional
        Called with the model's id, after the new policy is in place.
    tests : mapping, optional
        How far each model's drift test had come: `tests` of an earlier learner.

    Raises
    ------
    ConfigError
        If `forgetting` or `keep` is out of range.

    Examples
    --------
    >>> import asyncio
    >>> from polyroute import ModelCard, Pool, Request, run_episode
    >>> from polyroute.backends.scripted import Scripted
    >>> from polyroute.policies.bandit.thompson import Thompson
    >>> online = Online(Thompson())
    >>> pool = Pool([ModelCard(id="a"), ModelCard(id="b")])
    >>> says = Scripted(lambda model, prompt: model)
    >>> trace = asyncio.run(run_episode(online.policy, says, Request.of("x"), pool))
    >>> online.update(trace, reward=1.0).state.updates
    1
    """

    def __init__(
        self,
        policy: _PolicyT,
        *,
        forgetting: float = 1.0,
        drift: PageHinkley | None = None,
        keep: float = 0.05,
        on_drift: Callable[[str], None] | None = None,
        tests: Mapping[str, PageHinkley] | None = None,
    ) -> None:
        if not 0 < forgetting <= 1:
            raise ConfigError(f"forgetting must be over 0 and at most 1, got {forgetting!r}")
        if not 0 <= keep <= 1:
            raise ConfigError(f"keep must be 0 to 1, got {keep!r}")
        self._policy = policy
        self._forgetting = forgetting
        self._drift = drift
        self._keep = keep
        self._on_drift = on_drift
        self._tests = dict(tests or {})
        self._lock = threading.Lock()

    @property
    def policy(self) -> _PolicyT:
        """The newest policy: take it once per episode."""
        return self._policy

    @property
    def tests(self) -> Mapping[str, PageHinkley]:
        """How far each model's drift test has come."""
        return dict(self._tests)

    def explored(self, trace: Trace) -> _PolicyT:
        """Count what exploring in `trace` cost, and return the newest policy.

        Call it when an episode ends, whether or not it will ever get a reward, and give `update`
        ``counted=True`` afterwards: a cap on exploration holds for what was spent, not for what was
        heard of.
        """
        with self._lock:
            self._policy = self._policy.explored(trace)
            return self._policy

    def update(self, trace: Trace, reward: float, *, counted: bool = False) -> _PolicyT:
        """Learn what `trace` earned, and return the newest policy.

        Parameters
        ----------
        trace : Trace
            A finished trace of a policy of this learner; not necessarily of the newest.
        reward : float
            0 to 1.
        counted : bool, default=False
            Whether `explored` was told of the trace.

        Raises
        ------
        ConfigError
            If `reward` is not in 0 to 1.
        """
        if not 0 <= reward <= 1:
            raise ConfigError(f"a reward is a number from 0 to 1, got {reward!r}")
        with self._lock:
            policy = self._policy
            changed = self._changed(policy, trace, reward)
            for model in changed:
                policy = policy.forgot(model, self._keep)
            policy = policy.learned(trace, reward, forgetting=self._forgetting, counted=counted)
            self._policy = policy
        if self._on_drift is not None:
            for model in changed:
                self._on_drift(model)
        return policy

    def _changed(self, policy: _PolicyT, trace: Trace, reward: float) -> list[str]:
        """Feed the tests; return the models that have changed, whose tests start again."""
        if self._drift is None or trace.answer is None:
            return []
        model = trace.good_replies[-1].model
        test = self._tests.get(model, self._drift)
        test = test.with_value(reward - policy.predicted(trace, model))
        self._tests[model] = self._drift if test.changed else test
        return [model] if test.changed else []
