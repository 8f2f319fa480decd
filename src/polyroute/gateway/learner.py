"""Bandits that learn from feedback while they serve.

The one decision here: what was learned is a function of the feedback. The learner reads it
from where it stopped, so that a restart, a crash or a second process lose nothing and count nothing
twice. Each state has a name, and the specification of a policy in a record carries it: what decided
then can decide again.
"""

import asyncio
import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from polyroute.config import LearningSettings, Setup
from polyroute.errors import ConfigError, RecordError
from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.catalogue import Choice
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import Outcome
from polyroute.policies.bandit.online import Learns, Online, PageHinkley
from polyroute.policies.with_fallbacks import WithFallbacks, inside
from polyroute.records.feedback import rewards_of
from polyroute.records.record import Record
from polyroute.records.snapshots import Snapshots
from polyroute.records.store import RecordStore
from polyroute.spec import WITH_FALLBACKS, construct, spec_inside
from polyroute.trace import Trace
from polyroute.types import Json, JsonObject

__all__ = ["Learner"]

_log = logging.getLogger(__name__)

_COUNTED = "explored_usd"
"""The part of a state that changes with every exploring request; it is not in its snapshot."""


@dataclass(frozen=True, slots=True)
class _Newest:
    """A policy, and the specification that builds it again."""

    policy: Learns
    spec: JsonObject


class Learner:
    """Holds the newest state of every policy of a server that learns.

    Parameters
    ----------
    setup : Setup
        Its policies, its record store, and how they learn.

    Raises
    ------
    ConfigError
        If what was learned before does not fit the policy any more.
    """

    def __init__(self, setup: Setup) -> None:
        self._store: RecordStore | None = setup.records
        path = getattr(setup.records, "path", None)
        settings = setup.settings
        learns = settings.learning.on and path is not None and settings.records.content == "full"
        self._online: dict[str, Online[Learns]] = {}
        self._specs: dict[str, JsonObject] = {}
        """As configured."""
        self._newest: dict[str, _Newest] = {}
        self._names: dict[str, str | None] = {}
        """Snapshot of the state of each policy; `None` before it learned anything."""
        self._offset = 0
        self._lock = threading.Lock()
        if not learns or path is None:
            return
        self._path = Path(path).with_name(f"{Path(path).name}.learned.json")
        feedback = rewards_of(setup.records)
        assert feedback is not None, "a store with a place of its own keeps feedback"
        self._log, self._states = feedback, Snapshots.beside(path)
        earlier = self._earlier()
        self._offset = int(earlier.get("offset", 0))
        self._heard = {one.trace_id for one in self._log.since(0, until=self._offset)[0]}
        for name, spec in setup.specs.items():
            policy, spec = inside(setup.policy(name)), spec_inside(spec)
            if isinstance(policy, Learns) and (key := _key(spec)) not in self._online:
                self._take_up(key, policy, spec, earlier.get("policies", {}), settings.learning)
        if self._online:
            self.learn()

    @property
    def learns(self) -> bool:
        """Whether a policy of this server learns."""
        return bool(self._online)

    def newest(self, choice: Choice) -> Choice:
        """Return `choice` with what was learned until now."""
        found = self._newest.get(_key(choice.spec)) if self._newest else None
        if found is None:
            return choice
        if isinstance(choice.policy, WithFallbacks):
            return replace(
                choice,
                policy=replace(choice.policy, policy=found.policy),
                spec={**choice.spec, "policy": found.spec},
            )
        return replace(choice, policy=found.policy, spec=found.spec)

    def learn(self) -> None:
        """Learn from all feedback that is new. It reads and writes files: not on the event loop.

        Raises
        ------
        RecordError
            If what was learned cannot be kept; it is then learned again after a restart.
        """
        with self._lock:
            found, offset = self._log.since(self._offset)
            changed = set()
            for feedback in found:
                if feedback.trace_id in self._heard:
                    continue  # a reward that was learned cannot be taken back
                self._heard.add(feedback.trace_id)
                key = self._taught(feedback.trace_id, feedback.reward)
                changed |= {key} if key is not None else set()
            for key in changed:
                self._names[key] = self._states.put(_rest(self._online[key].policy))
                self._publish(key)
            self._offset = offset
            if found:
                self._save()

    def refused(self, caller: Caller, error: ApiError) -> None:
        """Take no note."""

    def began(self, caller: Caller, asked: Asked) -> None:
        """Take no note."""

    def ended(self, caller: Caller, asked: Asked, outcome: Outcome | None) -> None:
        """Count what exploring has cost, before any feedback comes."""
        key = _key(asked.choice.spec)
        if outcome is None or key not in self._online:
            return
        # neither a fallback's trace, nor that of another request whose answer was remembered
        traces = [one for one in outcome.traces if one.request.id == asked.request.id]
        if isinstance(asked.choice.policy, WithFallbacks):
            traces = [asked.choice.policy.folded(one) for one in traces]
        online = self._online[key]
        before = online.policy
        try:
            for trace in traces:
                online.explored(trace)
        except Exception:  # noqa: BLE001 - the episode ended with the same error, and says so
            _log.warning("what exploring in %s has cost is not counted", asked.request.id)
        if online.policy is not before:
            self._publish(key)

    async def close(self) -> None:
        """Save what exploring has cost."""
        if self._online:
            try:
                await asyncio.to_thread(self._save)
            except RecordError as error:
                _log.warning("%s", error)

    def _taught(self, trace_id: str, reward: float) -> str | None:
        """Teach the policy that decided; return its key, `None` when none here did."""
        assert self._store is not None, "what learns has a store"
        try:
            record = self._store.get(trace_id)
        except RecordError:
            return None
        key = None if record.policy is None else _key(record.policy)
        if record.id != trace_id or key not in self._online:
            return None
        trace = record.trace()
        if any(reply.failure is not None for reply in trace.replies) and _fell_back(record, trace):
            return None  # the reward is not that of the candidate it chose
        self._online[key].update(trace, float(reward), counted=True)
        return key

    def _take_up(
        self,
        key: str,
        policy: Learns,
        spec: JsonObject,
        earlier: Mapping[str, Any],
        settings: LearningSettings,
    ) -> None:
        """Go on with a policy where an earlier server stopped."""
        test = None
        if settings.drift is not None:
            test = PageHinkley(tolerance=settings.tolerance, threshold=settings.drift)
        kept = earlier.get(key)
        tests: dict[str, PageHinkley] = {}
        self._names[key] = None
        if kept is not None:
            state: dict[str, Json] = {**(spec.get("state") or {}), _COUNTED: kept[_COUNTED]}
            if kept["state"] is not None:
                self._names[key] = kept["state"]
                state |= self._states.get(kept["state"])
            policy = construct("policies", {**spec, "state": state}, where="what was learned")
            if test is not None:
                tests = {model: replace(test, **sums) for model, sums in kept["tests"].items()}
        self._online[key] = Online(
            policy,
            forgetting=settings.forgetting,
            drift=test,
            keep=settings.keep,
            on_drift=lambda model: _log.warning(
                "%s has changed; what was known is forgotten", model
            ),
            tests=tests,
        )
        self._specs[key] = spec
        self._publish(key)

    def _publish(self, key: str) -> None:
        """Put the newest policy in place, with a specification that names its state."""
        policy, spec = self._online[key].policy, self._specs[key]
        state: Any = policy.state  # type: ignore[attr-defined]
        name = self._names[key]
        said: dict[str, Json] = dict(spec.get("state") or {}) if name is None else {"sha256": name}
        if state.explored_usd:
            said[_COUNTED] = state.explored_usd
        self._newest[key] = _Newest(policy, {**spec, "state": said} if said else spec)

    def _earlier(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"what was learned cannot be read: {self._path}: {error}; remove the file to learn "
                "again from all feedback"
            ) from error
        return found

    def _save(self) -> None:
        policies: dict[str, Json] = {
            key: {
                "state": self._names[key],
                _COUNTED: online.policy.state.explored_usd,  # type: ignore[attr-defined]
                "tests": {m: {"up": t.up, "down": t.down} for m, t in online.tests.items()},
            }
            for key, online in self._online.items()
        }
        written = self._path.with_suffix(".json.new")
        try:
            written.write_text(json.dumps({"offset": self._offset, "policies": policies}), "utf-8")
            os.replace(written, self._path)
        except OSError as error:
            raise RecordError(f"what was learned cannot be kept: {self._path}: {error}") from error


def _say_changed(model: str) -> None:
    _log.warning("%s has changed: most of what was known of it is forgotten", model)


def _key(spec: JsonObject) -> str:
    """Return what the same policy has in all its states, and with any fallbacks around it."""
    spec = spec_inside(spec)
    return json.dumps({k: v for k, v in spec.items() if k != "state"}, sort_keys=True, default=str)


def _fell_back(record: Record, trace: Trace) -> bool:
    """Whether a fallback was asked in the episode of `record`."""
    spec = record.policy
    if spec is None or spec.get("name") != WITH_FALLBACKS:
        return False
    # who decided does not matter for that, and its state may be gone
    anybody = {"name": "fixed", "model": trace.pool[0].id}
    policy: WithFallbacks = construct("policies", {**spec, "policy": anybody}, where="record")
    return policy.folded(trace) is not trace


def _rest(policy: Learns) -> dict[str, Json]:
    """Return the state of `policy` without what changes with every request."""
    state: dict[str, Json] = asdict(policy.state)  # type: ignore[attr-defined]
    return {key: value for key, value in state.items() if key != _COUNTED}
