"""ACAR: ask one model three times, and ask the others only as far as its answers differ."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from polyroute.answers import CANONICAL, Canonical
from polyroute.decision import Answer, Call, Decision, Route
from polyroute.errors import ConfigError
from polyroute.policies.self_consistency.prompt import judge_prompt, verdict
from polyroute.pool import CardId
from polyroute.protocols import Method
from polyroute.spec import resolve
from polyroute.trace import Step, Trace
from polyroute.types import Json, Request

__all__ = ["Mode", "SelfConsistency", "sigma"]

Mode: TypeAlias = Literal["single_agent", "arena_lite", "full_arena"]

_PROBES = 3
_LITE = 2
"""Members of the arena that are asked when two of three probes agree."""

_SEEDS = 2**31
"""Seeds stay below this: every upstream takes 31 bits."""


def sigma(answers: Sequence[str | None]) -> float:
    """Return the self-consistency variance of three canonical answers: 0, 0.5 or 1.

    ``(number of distinct answers - 1) / 2``. An answer of `None` (a reply in which there is none)
    agrees with nothing, another `None` included.

    Raises
    ------
    ValueError
        If there are not three.

    References
    ----------
    Kumaresan, ACAR, arXiv:2602.21231: the definition of sigma for three probes.

    Examples
    --------
    >>> sigma(["4", "4", "4"]), sigma(["4", "5", "4"]), sigma(["4", "5", "6"])
    (0.0, 0.5, 1.0)
    """
    if len(answers) != _PROBES:
        raise ValueError(f"sigma is defined for {_PROBES} answers, got {len(answers)}")
    known = [answer for answer in answers if answer is not None]
    return (len(set(known)) + len(answers) - len(known) - 1) / 2


@dataclass(frozen=True, slots=True)
class _Said:
    """A good reply, and what it answers."""

    reply: int
    """Its place among this policy's replies; the first probe's is 0."""
    model: str
    text: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the trace has of this policy's own steps."""

    probes: tuple[_Said, ...]
    sigma: float | None
    """`None` when a probe failed: it is defined for three."""
    mode: Mode
    arena: tuple[_Said, ...] | None = None
    """`None` while the arena has not been asked."""
    judged: Step | None = None


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """Ask `probe` three times; the more its answers differ, the more of the `arena` is asked.

    With sigma = (distinct canonical answers - 1) / 2:

    ===== ============ ================================================================
    sigma mode         what happens
    ===== ============ ================================================================
    0     single_agent the first probe's reply is the answer
    0.5   arena_lite   the first two of the arena are asked; see `sigma_half`
    1     full_arena   all of the arena is asked; `judge` selects one of its replies
    ===== ============ ================================================================

    The answer is the unchanged text of one reply; ``Answer.fields`` has ``sigma``, ``mode``,
    ``probe_answers``, ``arena_answers``, ``winner`` (model), ``winner_reply`` (its place among
    this policy's replies, the first probe's being 0), ``selected_by`` and ``warning``.

    When fewer than three probes reply, sigma is unknown and the full arena is asked. A member of
    the arena that fails, refuses or says nothing is left out. When nobody of the arena has
    anything to say, or no round or money is left to ask it, the probes' majority answers.

    Parameters
    ----------
    probe : str or tuple of str
        The model that is asked three times; or three models, each asked once (our addition, for
        tables with one sample per answer and for models that ignore the temperature).
    arena : tuple of str
        M1, M2, M3 in the order in which ties are broken: the strongest first.
    extract : str
        How the canonical answer is read from a reply: ``text`` (SQuAD normalisation), ``exact``,
        ``number`` (the last one), ``choice`` (A to J), ``boxed``, or ``module:function`` for a
        function from text to str or `None`.
    sigma_half : {"probe_majority", "vote"}
        Who answers at 0.5. ``probe_majority`` is the paper's: the answer of the two probes that
        agree, M1 and M2 being asked for the record only. ``vote``: M1, M2 and the probes'
        majority vote with one voice each.
    judge : str, optional
        The model that selects at 1. Without it, or when its verdict is not one letter, the
        arena's members vote; ties go to the arena's order.
    temperature : float, optional
        Of the probes; `None` sends none. The paper states 0, where a deterministic probe always
        agrees with itself, so ours is 0.7. The judge is asked at 0, or with none.
    probe_accuracy_when_agreed : float, optional
        How often the probes are right when all three agree, measured on your own questions
        (``benchmarks/acar.py`` prints it).
    warn_below : float
        An answer at sigma 0 carries a warning when `probe_accuracy_when_agreed` is below this.
        Sigma cannot see a mistake that the probes share, and no further model is asked then.

    Raises
    ------
    ConfigError
        If a parameter cannot be used.

    Notes
    -----
    The paper's artefacts hold two different sigmas. This is the one of the paper. A design
    document in its repository describes another: the mean of five features of the request
    (constraints, tokens, grounding, taxonomy, earlier failures), with cuts at 0.3 and 0.7.
    Nothing of it is used here. The paper does not give its judge's prompt; ours is our own.

    References
    ----------
    Kumaresan, ACAR: Adaptive Complexity Routing for Multi-Model Ensembles with Auditable Decision
    Traces, arXiv:2602.21231, the sections on sigma and on execution modes.
    """

    method: ClassVar[Method] = Method(
        when="multi-stage",
        what=("response",),
        how="heuristic",
        paper="Kumaresan, ACAR, arXiv:2602.21231",
    )

    probe: CardId | tuple[CardId, ...]
    arena: tuple[CardId, ...]
    extract: str = field(default="text", kw_only=True)
    sigma_half: Literal["probe_majority", "vote"] = field(default="probe_majority", kw_only=True)
    judge: CardId | None = field(default=None, kw_only=True)
    temperature: float | None = field(default=0.7, kw_only=True)
    probe_accuracy_when_agreed: float | None = field(default=None, kw_only=True)
    warn_below: float = field(default=0.9, kw_only=True)
    _canonical: Canonical = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.probe, str) and len(self.probe) != _PROBES:
            raise ConfigError(f"probe is one model or {_PROBES}, got {self.probe!r}")
        if isinstance(self.arena, str) or not self.arena:
            raise ConfigError(f"arena is a list of one model or more, got {self.arena!r}")
        if self.sigma_half not in ("probe_majority", "vote"):
            raise ConfigError(
                f"sigma_half must be 'probe_majority' or 'vote', got {self.sigma_half!r}"
            )
        for name in ("probe_accuracy_when_agreed", "warn_below"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name} must be from 0 to 1, got {value!r}")
        if self.extract not in CANONICAL and ":" not in self.extract:
            known = ", ".join(CANONICAL)
            raise ConfigError(f"extract must be {known} or 'module:function', got {self.extract!r}")
        canonical = CANONICAL.get(self.extract) or resolve(self.extract, where="extract")
        object.__setattr__(self, "_canonical", canonical)

    async def decide(self, trace: Trace) -> Decision:
        """Return the probes, then the arena when they differ, then the judge, then the answer."""
        heard = self._hear(trace)
        if heard is None:
            return self._probes(trace.request)
        if heard.arena is None and heard.mode != "single_agent" and trace.left.rounds > 0:
            members = self.arena[:_LITE] if heard.mode == "arena_lite" else self.arena
            return Route(calls=tuple(Call(model) for model in members), reason=_in_words(heard))
        if self.judge is not None and heard.mode == "full_arena" and heard.judged is None:
            candidates = _one_of_each(heard.arena or ())
            if len(candidates) > 1:
                return self._ask_judge(candidates, trace.request)
        return self._answer(heard, trace)

    def _probes(self, request: Request) -> Route:
        """Return the three probes; consecutive seeds, and none in common with another request's."""
        models = (self.probe,) * _PROBES if isinstance(self.probe, str) else self.probe
        heat = {} if self.temperature is None else {"temperature": self.temperature}
        calls = tuple(
            Call(model, params={**heat, "seed": (_PROBES * request.seed + k) % _SEEDS})
            for k, model in enumerate(models)
        )
        return Route(calls=calls, reason="three probes")

    def _hear(self, trace: Trace) -> _Heard | None:
        """Read this policy's steps: the last three, two or one, from its probes on.

        A policy in front of this one may have left steps of its own before them.
        """
        calls = self._probes(trace.request).calls
        for start in reversed(range(len(trace.steps))):
            decision = trace.steps[start].decision
            if isinstance(decision, Route) and decision.calls == calls:
                break
        else:
            return None
        steps = trace.steps[start:]
        probes = self._said(steps, 0)
        spread = sigma([said.answer for said in probes]) if len(probes) == _PROBES else None
        mode: Mode = "full_arena"
        if spread is not None and spread < 1:
            mode = "single_agent" if spread == 0 else "arena_lite"
        return _Heard(
            probes=probes,
            sigma=spread,
            mode=mode,
            arena=tuple(said for said in self._said(steps, 1) if said.text.strip())
            if len(steps) > 1
            else None,
            judged=steps[2] if len(steps) > 2 else None,
        )

    def _said(self, steps: Sequence[Step], which: int) -> tuple[_Said, ...]:
        """Return the good replies of one of this policy's steps, in call order."""
        before = sum(len(earlier.replies) for earlier in steps[:which])
        return tuple(
            _Said(before + k, reply.model, reply.text, self._canonical(reply.text))
            for k, reply in enumerate(steps[which].replies)
            if reply.ok
        )

    def _ask_judge(self, candidates: Sequence[_Said], request: Request) -> Route:
        assert self.judge is not None
        prompt = judge_prompt(request.prompt, [said.text for said in candidates])
        params = {} if self.temperature is None else {"temperature": 0}
        call = Call(self.judge, prompt, params)
        return Route(calls=(call,), own=True, reason="the arena differs: the judge selects")

    def _answer(self, heard: _Heard, trace: Trace) -> Answer:
        winner, selected_by = self._select(heard)
        if winner is None:
            return trace.give_up("neither the probes nor the arena replied")
        fields: dict[str, Json] = {
            "sigma": heard.sigma,
            "mode": heard.mode,
            "probe_answers": [said.answer for said in heard.probes],
            "arena_answers": {said.model: said.answer for said in heard.arena or ()},
            "winner": winner.model,
            "winner_reply": winner.reply,
            "selected_by": selected_by,
            "warning": self._warning(heard),
        }
        return Answer(text=winner.text, reason=f"{_in_words(heard)}: {selected_by}", fields=fields)

    def _select(self, heard: _Heard) -> tuple[_Said | None, str]:
        majority = _vote(heard.probes)
        arena = heard.arena or ()
        if heard.mode == "single_agent":
            return heard.probes[0], "agreement"
        if heard.mode == "arena_lite" and majority is not None:
            if self.sigma_half == "vote" and arena:
                return _vote((*arena, majority)), "vote"
            return majority, "probe_majority"
        if not arena:
            return majority, "probe_majority"
        chosen = None
        candidates = _one_of_each(arena)
        if heard.judged is not None and heard.judged.replies[0].ok:
            chosen = verdict(heard.judged.replies[0].text, len(candidates))
        if chosen is not None:
            return candidates[chosen], "judge"
        return _vote(arena), "vote"

    def _warning(self, heard: _Heard) -> str | None:
        if heard.sigma is None:
            return (
                f"only {len(heard.probes)} of {_PROBES} probes replied, so sigma is unknown; "
                "treated as full disagreement"
            )
        if heard.mode != "single_agent" and not heard.arena:
            return "the probes disagree, and nobody of the arena could be asked or had an answer"
        right = self.probe_accuracy_when_agreed
        if heard.mode == "single_agent" and right is not None and right < self.warn_below:
            return (
                f"the probes agree, but where they agree they are right only {right:.0%} of the "
                "time (measured); sigma cannot see a mistake that they share"
            )
        return None


def _vote(ballots: Sequence[_Said]) -> _Said | None:
    """Return the first of those whose answer most agree on; ties go to the earliest."""
    counts = Counter(said.answer for said in ballots if said.answer is not None)
    if not counts:
        return next((said for said in ballots if said.text.strip()), next(iter(ballots), None))
    most = max(counts.values())
    return next(said for said in ballots if said.answer is not None and counts[said.answer] == most)


def _one_of_each(ballots: Sequence[_Said]) -> list[_Said]:
    """Return the first reply of every canonical answer; replies without one are all kept."""
    seen: set[str] = set()
    kept = []
    for said in ballots:
        if said.answer is None or said.answer not in seen:
            kept.append(said)
        if said.answer is not None:
            seen.add(said.answer)
    return kept


def _in_words(heard: _Heard) -> str:
    spread = "unknown" if heard.sigma is None else f"{heard.sigma:g}"
    return f"sigma {spread}, {heard.mode}"
