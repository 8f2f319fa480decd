"""Rules that a person writes: the first one that matches says who is asked.

The one decision here: a rule is a *first try*, not a verdict. A specialist that refuses or fails
lets the request fall through to the next matching rule, and in the end to another policy.
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar

from msgspec.structs import replace

from polyroute.decision import Call, Decision, Route
from polyroute.errors import ConfigError
from polyroute.pool import CardId
from polyroute.protocols import Method, Policy
from polyroute.signals.language import LANGUAGES, language
from polyroute.signals.modality import modalities
from polyroute.trace import Step, Trace
from polyroute.types import Request

__all__ = ["Rule", "Rules"]

_SEARCHED_CHARACTERS = 20_000
"""A pattern sees at most this much of a message, so that a quadratic one ends in a moment. No cap
saves an exponential one, such as ``(a+)+$``: Python's `re` knows no time limit."""

_MOST_TRIES = 8
"""Rules tried for one request: refused calls are no rounds, so rounds do not bound them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    r"""Ask `to` when every condition that is given holds; without conditions it always does.

    Raises
    ------
    ConfigError
        If `matches` is no regular expression, or a language is not one that we can tell.

    Examples
    --------
    >>> rule = Rule(to="calc", matches=r"^[\d\s+*/().-]+$")
    >>> rule.holds(Request.of("2 + 2")), rule.holds(Request.of("two and two"))
    (True, False)
    """

    to: CardId
    """Id of the candidate."""
    name: str = ""
    """What the reason calls the rule; `to` when empty."""
    matches: str = ""
    """Regular expression, searched in the last user message without regard to case."""
    min_chars: int | None = None
    """Least length of the last user message, in characters."""
    max_chars: int | None = None
    """Most length of the last user message, in characters."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes; the language of the last user message must be one of them."""
    has_image: bool | None = None
    """Whether any message holds an image."""
    has_tools: bool | None = None
    """Whether the request offers tools to call."""
    min_messages: int | None = None
    """Least number of messages, whoever said them."""
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)
    """`matches`, compiled."""

    def __post_init__(self) -> None:
        try:
            pattern = re.compile(self.matches, re.IGNORECASE)
        except re.error as error:
            raise ConfigError(
                f"rule {self.label!r}: 'matches' is no regular expression: {error} in "
                f"{self.matches!r}"
            ) from error
        object.__setattr__(self, "pattern", pattern)
        if unknown := set(self.languages) - LANGUAGES:
            raise ConfigError(
                f"rule {self.label!r}: cannot tell the languages {sorted(unknown)}; known are "
                f"{', '.join(sorted(LANGUAGES))}"
            )

    @property
    def label(self) -> str:
        """The rule's name in a reason."""
        return self.name or self.to

    def holds(self, request: Request) -> bool:
        """Whether every condition holds for `request`."""
        prompt = request.prompt
        return (
            (self.min_messages is None or len(request.messages) >= self.min_messages)
            and (self.min_chars is None or len(prompt) >= self.min_chars)
            and (self.max_chars is None or len(prompt) <= self.max_chars)
            and self.has_tools in (None, _has_tools(request))
            and self.has_image in (None, "image" in modalities(request))
            and (not self.matches or self.pattern.search(prompt[:_SEARCHED_CHARACTERS]) is not None)
            and (not self.languages or language(prompt) in self.languages)
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """Ask the candidate of the first rule that holds; `otherwise` decides the rest.

    A routed request is passed through untouched (one final call with the request's own messages
    and parameters), so it streams, and tools and images keep working.

    Parameters
    ----------
    rules : tuple of Rule
        In order of precedence.
    otherwise : Policy
        Decides when no rule holds, or when the candidates of all that hold have failed. It sees a
        trace of its own steps only, with the budget that the rules left over.

    References
    ----------
    The conditions are the heuristic signals of Liu et al., *Signal Driven Decision Routing for
    Mixture-of-Modality Models*, arXiv:2603.04444, that need no learned classifier.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation", what=("query", "model metadata"), how="heuristic"
    )

    rules: tuple[Rule, ...]
    otherwise: Policy

    async def decide(self, trace: Trace) -> Decision:
        """Return a final call to the next matching rule's candidate, or what `otherwise` says."""
        matching = self._matching(trace)
        tries = len(trace.steps)
        if tries < len(matching):
            if trace.left.rounds == 0:
                return trace.give_up()
            rule = matching[tries]
            return Route(
                calls=(Call(rule.to),), final=True, reason=f"rule {rule.label!r}", propensity=1.0
            )
        first = len(matching)
        if first and replace(trace, steps=trace.steps[:first]).left.rounds == 0:
            return trace.give_up()
        return await self.otherwise.decide(_without_the_rules(trace, first))

    def _matching(self, trace: Trace) -> list[Rule]:
        """Return the rules that hold, one per candidate, in order."""
        matching: dict[str, Rule] = {}
        for rule in self.rules:
            if rule.to not in matching and rule.holds(trace.request):
                matching[rule.to] = rule
        return list(matching.values())[:_MOST_TRIES]


def _without_the_rules(trace: Trace, first: int) -> Trace:
    """Return the trace as `otherwise` must see it: its own steps, and the budget it was left.

    A policy counts its steps to know where it stands, so steps of the rules would mislead it; to
    know what it may still spend it subtracts from the budget, so that has to shrink by what the
    rules spent.
    """
    if not first:
        return trace
    before = replace(trace, steps=trace.steps[:first])
    left = before.left
    budget = replace(
        trace.request.budget,
        usd=left.usd,
        seconds=left.seconds,
        rounds=left.rounds,
        tokens=left.tokens,
    )

    def since(step: Step) -> Step:
        return replace(step, seconds=step.seconds - before.seconds)

    return replace(
        trace,
        request=replace(trace.request, budget=budget),
        steps=tuple(since(step) for step in trace.steps[first:]),
    )


def _has_tools(request: Request) -> bool:
    return bool(request.params.get("tools") or request.params.get("functions"))
