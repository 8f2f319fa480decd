"""The reward of a multi-round router: format first, then the outcome less what it cost.

Three forms of one reward: `polyroute` is ours; `paper` and `code` are Router-R1's as its paper
states it and as its code computes it, which differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Self, TypeAlias

from polyroute.decision import Answer
from polyroute.errors import ConfigError
from polyroute.protocols import State
from polyroute.rewards.cost import Cost, Linear, Reference, bill
from polyroute.rewards.format import Malformed, answer_in, in_code, in_paper, own_turns
from polyroute.rewards.outcome import outcome
from polyroute.trace import Trace

__all__ = ["Form", "RouterR1Reward", "Terms"]

Form: TypeAlias = Literal["polyroute", "paper", "code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A reward and what it is made of; every term is measured whatever the others are."""

    total: float
    """What the policy is trained on."""
    format: float
    """-1 when the policy's own text is malformed or there is no answer, else 0."""
    outcome: float
    """How right the answer is, 0 to 1, also when the format is -1."""
    cost: float
    """How dear the episode was by the reward's measure; 0 is free."""
    usd: Decimal | None
    """The bill, the router's own calls included; `None` is unknown."""
    calls: int
    """Calls to candidates that were answered."""
    malformed: str | None = None
    """What was wrong with the format."""


class RouterR1Reward:
    """Score an episode of a router that thinks, searches and answers.

    With ``o`` the outcome, ``c`` the cost and ``w`` the weight:

    * ``polyroute``: -1 if malformed or unanswered, else ``o - w c``; an answer that a fallback gave
      in place of the policy (`Answer.fields["fallback"]`, or a final route) is none;
    * ``paper``: -1 if malformed or unanswered, else ``(1 - w) o + w (1 - c)``;
    * ``code``: -1 if malformed; 0 if unanswered or ``o`` is 0; else ``(1 - w) o + w (1 - c)``.

    Parameters
    ----------
    form : {"polyroute", "paper", "code"}, default="polyroute"
    metric : str, default="exact_match"
        A name of `polyroute.rewards.outcome`, where a problem does not name its own.
    weight : float, optional
        Of the cost; 1 in our form (a right answer that cost all it was worth is worth nothing),
        0 in the others, as in the reference.
    cost : Cost, optional
        How dear an episode was: `Linear` in our form, `Reference` in the others.
    gated : bool, default=False
        In our form: let the cost count only when the outcome is above 0. The form ``code`` always
        does, and ``paper`` never.
    malformed : callable, optional
        From a trace to what is wrong with the policy's own text, or `None`. By default the rules
        of the form; our form then asks only that there is an answer, and a policy with a grammar
        gives its own check.
    strict : bool, default=True
        Whether a malformed or unanswered episode is worth -1. When not, it is rewarded as any
        other, and what was wrong is still told: to see what the format reward is good for.

    Raises
    ------
    ConfigError
        If the form is unknown, or the weight is outside 0 to 1 (our form: below 0).

    References
    ----------
    Zhang, Feng and You, Router-R1, arXiv:2506.09033, section 3.2 and appendix A.1.3.
    """

    def __init__(  # noqa: PLR0913 - one parameter per part of the reward
        self,
        *,
        form: Form = "polyroute",
        metric: str = "exact_match",
        weight: float | None = None,
        cost: Cost | None = None,
        gated: bool = False,
        malformed: Malformed | None = None,
        strict: bool = True,
    ) -> None:
        if form not in _RULES:
            raise ConfigError(f"no form {form!r} of the reward; known: {', '.join(_RULES)}")
        ours = form == "polyroute"
        self.form = form
        self.metric = metric
        self.weight = float(ours) if weight is None else weight
        if self.weight < 0 or (self.weight > 1 and not ours):
            raise ConfigError(f"the weight of the cost must be from 0 to 1, got {weight!r}")
        self.cost: Cost = cost or (Linear() if ours else Reference())
        self.gated = gated
        self.malformed: Malformed = malformed or _RULES[form]
        self.strict = strict

    def __call__(
        self,
        trace: Trace,
        golds: Sequence[str],
        *,
        metric: str | None = None,
        training: bool = False,
    ) -> Terms:
        """Return the reward of a finished episode.

        Parameters
        ----------
        trace : Trace
        golds : sequence of str
            Right answers; any of them will do.
        metric : str, optional
            The problem's own metric; the reward's by default.
        training : bool, default=False
            Whether a cost that learns may learn from this episode, before it is applied. An
            evaluation must not change what training sees.

        Raises
        ------
        ConfigError
            If there is no such metric.
        """
        if training:
            self.cost.observe(trace)
        malformed = self.malformed(trace)
        ours = self.form == "polyroute"
        answer = _own_answer(trace) if ours else answer_in(own_turns(trace))
        if malformed is None and answer is None and self.form != "code":
            malformed = "no answer"
        right = outcome(answer, golds, metric or self.metric)
        cost = self.cost(trace)
        refused = malformed is not None and self.strict
        return Terms(
            total=-1.0 if refused else self._total(right, cost, answered=answer is not None),
            format=-1.0 if malformed else 0.0,
            outcome=right,
            cost=cost,
            usd=bill(trace).total,
            calls=len(trace.good_replies),
            malformed=malformed,
        )

    def step(self) -> None:
        """Let the cost learn; call it after every step of training."""
        self.cost.step()

    def state(self) -> State:
        """Return what the cost has learned."""
        return self.cost.state()

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        self.cost.restore(state)
        return self

    def _total(self, right: float, cost: float, *, answered: bool) -> float:
        if self.form == "polyroute":
            counts = right > 0 or not self.gated
            return right - self.weight * cost if counts else right
        if self.form == "code" and not (answered and right > 0):
            return 0.0
        return (1 - self.weight) * right + self.weight * (1 - cost)


def _no_rules(trace: Trace) -> str | None:
    return None


_RULES: dict[str, Malformed] = {"polyroute": _no_rules, "paper": in_paper, "code": in_code}


def _own_answer(trace: Trace) -> str | None:
    """Return the answer that the policy itself gave: what a fallback said in its place is not."""
    last = trace.steps[-1].decision if trace.steps else None
    if not isinstance(last, Answer) or last.failure is not None or "fallback" in last.fields:
        return None
    return last.text
