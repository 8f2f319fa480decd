"""The policy: let a router model think, ask, read, and answer.

Everything it knows it reads off the trace: the last call of the router model holds the transcript
so far, its reply the turn, and a route after it the replies to the turn's searches.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from msgspec.structs import replace

from polyroute.answers import text as canonical
from polyroute.conversation import conversation
from polyroute.decision import Answer, Call, Decision, Route
from polyroute.errors import ConfigError
from polyroute.observation import inert
from polyroute.policies.router_r1.grammar import Dialect, Turn, grammar
from polyroute.policies.router_r1.prompt import (
    Layout,
    advice,
    instruction,
    observation,
    repair,
    state,
)
from polyroute.policies.router_r1.turns import is_own, offered_to, said, turns
from polyroute.pool import CardId, Pool
from polyroute.protocols import Method
from polyroute.trace import Trace
from polyroute.types import Budget, Json, JsonObject

__all__ = ["RouterR1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterR1:
    """Let `router` write turns: thoughts, then sub-queries to candidates, or the answer.

    Parameters
    ----------
    router : str
        Id of the router model. Its backend must continue a prefix (`polyroute.decision.Call`).
    dialect : {"polyroute", "paper", "code"}, default="polyroute"
        How turns are written and read, and the limits that go with it. ``code`` is what the
        released checkpoints (``ulab-ai/Router-R1-*``) were trained with, ``paper`` the same with
        the paper's tag for replies.
    layout : {"full", "brief"}, default="full"
        Of the prompt of the dialect ``polyroute``.
    specialists : tuple of str, optional
        Ids that may be asked; the whole pool but `router` when `None`.
    fallback : str, optional
        Id of the card that is asked the whole question when `router` gives no valid answer: the
        best constant choice, say. When `None`, and when it fails, the answer is the commonest one
        among the replies so far.
    max_turns : int, default=4
        Turns in which somebody may be asked, invalid ones included; one more follows that can only
        answer. The request's budget of rounds holds besides.
    observation_chars : int, optional
        Most characters of one reply that the router model sees. By default 600, and 2,400 in the
        dialects of the paper, whose limit is 600 tokens of the router model.
    router_params : mapping, optional
        Parameters of the router model's calls, over the dialect's own: at most 1,024 tokens at
        temperature 1 and top-p .95 in the dialects of the paper, 256 tokens at temperature 0 in
        ours. The seed is the request's, counted on turn by turn.
    search_params : mapping, optional
        Parameters of the sub-queries, over the dialect's own: at most 512 tokens; in the dialects
        of the paper at temperature 0, top-p 1 and seed 42.
    constrained : {"llama.cpp", "vllm"}, optional
        Generate turns under a grammar, so that no other text is possible, by the parameter that
        this server takes. Only with the dialect ``polyroute``.
    worth : float, optional
        US dollars that a right answer is worth where the request does not say
        (`Budget.usd_per_quality`): a router that was trained with the amount in sight needs one.
    show_usd : bool, default=True
        Whether the prompt says how many dollars are left. A router that was trained without a
        limit in dollars cannot read it; the limit holds all the same.
    faithful : bool, default=False
        With ``code``: a query ends at its second colon, and an empty answer counts.
    prompt_file, advice_file : str, optional
        Text files that take the place of the built-in prompt and of what a candidate is told, for
        checkpoints that are to see the words of their training. The first holds ``{question}``
        and, when the pool is to be shown, ``{candidates}``; the second holds ``{query}``.

    Raises
    ------
    ConfigError
        If a number is out of range, a file lacks its place, or an option does not fit the dialect.

    References
    ----------
    Zhang, Feng and You, *Router-R1*, arXiv:2506.09033: the loop, the tags and the limits (section
    3 and table 8). Where its code differs, ``code`` follows the code.
    """

    method: ClassVar[Method] = Method(
        when="multi-stage",
        what=("query", "model metadata", "response"),
        how="rl",
        paper="Zhang, Feng and You, Router-R1, arXiv:2506.09033",
    )

    router: CardId
    dialect: Dialect = "polyroute"
    layout: Layout = "full"
    specialists: tuple[CardId, ...] | None = None
    fallback: CardId | None = None
    max_turns: int = 4
    observation_chars: int | None = None
    router_params: JsonObject | None = None
    search_params: JsonObject | None = None
    constrained: Literal["llama.cpp", "vllm"] | None = None
    worth: float | None = None
    show_usd: bool = True
    faithful: bool = False
    prompt_file: str | None = None
    advice_file: str | None = None
    _prompt_text: str | None = field(init=False, repr=False, default=None)
    _advice_text: str | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.max_turns < 1:
            raise ConfigError(f"max_turns must be 1 or more, got {self.max_turns!r}")
        if self.observation_chars is not None and self.observation_chars < 8:
            raise ConfigError(f"observation_chars must be 8 or more, got {self.observation_chars}")
        if self.constrained is not None and self.dialect != "polyroute":
            raise ConfigError(
                f"constrained goes with the dialect 'polyroute', not with {self.dialect!r}; drop it"
            )
        if self.worth is not None and self.worth < 0:
            raise ConfigError(f"worth must be 0 or more, got {self.worth!r}")
        if self.faithful and self.dialect != "code":
            raise ConfigError(
                f"faithful goes with the dialect 'code', not with {self.dialect!r}; drop it"
            )
        if self.layout != "full" and self.dialect != "polyroute":
            raise ConfigError(
                f"layout {self.layout!r} goes with the dialect 'polyroute', not {self.dialect!r}"
            )
        # read once: a decision depends on nothing but the trace
        for name, place in (("prompt", "{question}"), ("advice", "{query}")):
            path = getattr(self, f"{name}_file")
            if path is not None:
                text = _read_text(f"{name}_file", path, place)
                object.__setattr__(self, f"_{name}_text", text)

    async def decide(self, trace: Trace) -> Decision:
        """Return a turn of the router model, the searches of one, an answer, or the fallback.

        Raises
        ------
        UnknownModelError
            If `router` or a specialist is not in the pool.
        """
        offered = offered_to(trace.pool, self.router, self.specialists)
        own = [step for step in trace.steps if is_own(step)]
        if not own:
            return self._think(trace, offered, self._prompt(trace, offered), prefix="")
        if any(isinstance(s.decision, Route) and s.decision.final for s in trace.steps):
            return self._majority(trace, f"the fallback {self.fallback!r} failed too")
        route, reply = own[-1].decision, own[-1].replies[0]
        assert isinstance(route, Route), "checked by is_own"
        if not reply.ok:
            failure = "" if reply.failure is None else reply.failure.message
            return self._fall_back(trace, f"the router model failed: {inert(failure, limit=200)}")
        turn = self.turns(trace)[-1]
        just_said = trace.steps[-1] is own[-1]
        if just_said and turn.answer is not None:
            return Answer(text=turn.answer, reason=f"turn {len(own)} answers")
        if just_said and turn.searches:
            return self._ask(turn, len(own))
        if len(own) > self.max_turns:
            why = turn.invalid or "its last turn was no answer"
            return self._fall_back(trace, f"no valid answer in {len(own)} turns: {why}")
        call = route.calls[0]
        shown = repair(turn, dialect=self.dialect, left=self._left(trace, len(own)))
        if not just_said:
            shown = observation(
                tuple(zip(turn.searches, trace.steps[-1].replies, strict=True)),
                dialect=self.dialect,
                layout=self.layout,
                limit=self._observation_chars,
                left=self._left(trace, len(own)),
            )
        prefix = call.prefix + said(reply) + shown
        why = f"the turn before was invalid: {turn.invalid}" if turn.invalid else ""
        return self._think(trace, offered, call.prompt or "", prefix, why)

    def turns(self, trace: Trace) -> list[Turn]:
        """Return the turns of an episode of this policy, read."""
        return turns(
            trace,
            dialect=self.dialect,
            offered=offered_to(trace.pool, self.router, self.specialists),
            most=self.max_turns,
            faithful=self.faithful,
        )

    def _prompt(self, trace: Trace, offered: Pool) -> str:
        if self._prompt_text is None:
            return instruction(
                replace(trace.request, budget=self._budget(trace)),
                offered,
                dialect=self.dialect,
                layout=self.layout,
                turns=self.max_turns,
            )
        cards = "\n\n".join(f"{card.id}: {card.description}" for card in offered)
        head, _, tail = self._prompt_text.partition("{question}")
        asked = conversation(trace.request.messages)
        return f"{head.replace('{candidates}', cards)}{asked}{tail.replace('{candidates}', cards)}"

    def _think(self, trace: Trace, offered: Pool, prompt: str, prefix: str, why: str = "") -> Route:
        turn = 1 + sum(is_own(step) for step in trace.steps)
        params: dict[str, Json] = {
            **(_OURS if self.dialect == "polyroute" else _REFERENCE),
            "stop": ["</search>", "</answer>"],
            **(self.router_params or {}),
        }
        if params.get("temperature") != 0:
            params.setdefault("seed", (trace.request.seed + turn - 1) % _SEEDS)
        if self.constrained is not None:
            may_search = turn <= self.max_turns and trace.left.rounds > 0
            gbnf = grammar(offered.ids, may_search=may_search)
            is_vllm = self.constrained == "vllm"
            params |= {"structured_outputs": {"grammar": gbnf}} if is_vllm else {"grammar": gbnf}
        reason = f"turn {turn}; {why}" if why else f"turn {turn}"
        call = Call(self.router, prompt, params, prefix)
        return Route(calls=(call,), own=True, reason=reason)

    def _ask(self, turn: Turn, number: int) -> Route:
        params = {
            **(_OUR_SEARCHES if self.dialect == "polyroute" else _REFERENCE_SEARCHES),
            **(self.search_params or {}),
        }
        calls = tuple(Call(s.model, self._advice(s.query), params) for s in turn.searches)
        return Route(calls=calls, reason=f"searches of turn {number}")

    def _advice(self, query: str) -> str:
        if self._advice_text is None:
            return advice(query, dialect=self.dialect)
        return self._advice_text.replace("{query}", query)

    def _left(self, trace: Trace, turns_used: int) -> str:
        left = trace.left
        rounds = min(left.rounds, self.max_turns - turns_used)
        usd = left.usd if self.show_usd else None
        return state(self._budget(trace), usd, rounds, layout=self.layout)

    def _budget(self, trace: Trace) -> Budget:
        """Return the budget as the router model is shown it."""
        budget = trace.request.budget
        worth = self.worth if budget.usd_per_quality is None else budget.usd_per_quality
        usd = budget.usd if self.show_usd else None
        return replace(budget, usd=usd, usd_per_quality=worth)

    def _fall_back(self, trace: Trace, why: str) -> Decision:
        """Ask the fallback the whole question; without one, take the commonest reply."""
        if self.fallback is None or trace.left.rounds == 0:
            return self._majority(trace, why)
        reason = f"fallback to {self.fallback!r}: {why}"
        return Route(calls=(Call(self.fallback),), final=True, reason=reason)

    def _majority(self, trace: Trace, why: str) -> Answer:
        """Answer with the commonest reply, the latest of equals."""
        answers = [(canonical(reply.text), reply.text) for reply in trace.good_replies]
        known = [(key, text) for key, text in answers if key]
        if not known:
            return trace.give_up(f"fallback, with no reply to fall back on: {why}")
        votes = Counter(key for key, _ in known)
        most = max(votes.values())
        text = next(text for key, text in reversed(known) if votes[key] == most)
        return Answer(
            text=text, reason=f"fallback to the commonest reply: {why}", fields={"fallback": why}
        )

    @property
    def _observation_chars(self) -> int:
        return self.observation_chars or (600 if self.dialect == "polyroute" else 2400)


_SEEDS = 2**31
_OURS: JsonObject = {"max_tokens": 256, "temperature": 0}
_REFERENCE: JsonObject = {"max_tokens": 1024, "temperature": 1.0, "top_p": 0.95}
_OUR_SEARCHES: JsonObject = {"max_tokens": 512}
_REFERENCE_SEARCHES: JsonObject = {"max_tokens": 512, "temperature": 0, "top_p": 1, "seed": 42}
"""Of the reference: yaml of its training run, and its service of routes."""


def _read_text(name: str, path: str, place: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} {path!r} cannot be read: {error}") from None
    if place not in text:
        raise ConfigError(f"{name} {path!r} must hold {place}, where the text goes in")
    return text
