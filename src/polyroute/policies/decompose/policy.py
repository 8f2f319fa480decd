"""The policy: plan, ask in waves, merge.

Everything it knows it reads off the trace: the first own calls are the plan and its repair, every
route after them is a wave (the sub-questions whose references are answered, side by side), and a
final call to the chair is the last resort.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from polyroute.conversation import answer_params
from polyroute.decision import Answer, Call, Decision, Route
from polyroute.errors import ConfigError
from polyroute.observation import observe
from polyroute.policies.decompose.plan import Plan, grammar, read_plan
from polyroute.policies.decompose.prompt import (
    EXAMPLES,
    Example,
    fillings,
    merge_prompt,
    plan_prompt,
    repair_prompt,
)
from polyroute.policies.decompose.spans import span_grammar
from polyroute.pool import CardId, Pool
from polyroute.protocols import Method
from polyroute.trace import Reply, Step, Trace
from polyroute.types import JsonObject, Request

__all__ = ["Decompose"]


@dataclass(frozen=True, slots=True)
class _Findings:
    """What the waves so far have brought; lines count from 1."""

    replies: dict[int, Reply]
    failures: dict[int, int]
    """How often each line has failed."""
    refused: bool
    """Whether the last wave was refused as a whole: the budget pays for no other either."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """One line of the plan that can be asked now, and whom."""

    number: int
    models: tuple[str, ...]
    why: str = ""
    """Why it is not asked of the candidate that the plan names."""


@dataclass(frozen=True, slots=True)
class Decompose:
    """Let `router` split the question, ask the specialists, and let `chair` merge.

    Nothing is trained: this is the baseline that a learned multi-round router has to beat.

    Parameters
    ----------
    router : str
        Id of the model that writes the plan.
    chair : str, optional
        Id of the model that merges, and that is asked whatever has no other candidate; `router`
        when `None`.
    specialists : tuple of str, optional
        Ids that a plan may name; the whole pool when `None`.
    merge : {"chair", "last"}, default="chair"
        Who has the last word. With ``last`` the reply to the last sub-question is the answer where
        that rests on all others, as in a chain of hops; sub-questions side by side are merged by
        the chair all the same. A plan of one line is answered by its candidate in either case.
    split : {"free", "spans"}, default="free"
        Whether the router model writes the sub-questions, or only chooses where to cut the
        question, which is all that a very small model can do. ``spans`` works through a grammar
        (see there), and for questions in English.
    examples : tuple of Example, optional
        Shown to the router model, those that name only candidates on offer; by default five over
        the specialists of the embedded pool.
    grammar : bool, default=False
        Constrain the router model to plans, by a GBNF grammar in the parameter ``grammar`` of its
        call. For backends on llama.cpp. Always on with ``split="spans"``.
    most_parts : int, default=4
        Most sub-questions, 1 to 9.
    answer_chars : int, default=200
        Most characters of an answer that take the place of ``#k`` or stand in the chair's prompt.
    router_params : mapping, optional
        Parameters of the router model's calls.

    Raises
    ------
    ConfigError
        If `most_parts` or `answer_chars` is out of range.

    References
    ----------
    Zhang, Feng and You, *Router-R1*, arXiv:2506.09033, table 1: the decompose baselines ("Prompt
    LLM*", "KNN Router*"), whose code and prompts are not published. Here references between
    sub-questions make it sequential where it must be, and independent ones are asked in parallel.
    """

    method: ClassVar[Method] = Method(
        when="multi-stage",
        what=("query", "model metadata", "response"),
        how="prompted",
        paper="decompose baselines of Router-R1, arXiv:2506.09033",
    )

    router: CardId
    chair: CardId | None = None
    specialists: tuple[CardId, ...] | None = None
    merge: Literal["chair", "last"] = "chair"
    split: Literal["free", "spans"] = "free"
    examples: tuple[Example, ...] = EXAMPLES
    grammar: bool = False
    most_parts: int = 4
    answer_chars: int = 200
    router_params: JsonObject = field(
        default_factory=lambda: {"max_tokens": 200, "temperature": 0, "stop": ["\nQuestion:"]}
    )

    def __post_init__(self) -> None:
        if not 1 <= self.most_parts <= 9:
            raise ConfigError(f"most_parts must be 1 to 9, got {self.most_parts}")
        if self.answer_chars < 1:
            raise ConfigError(f"answer_chars must be 1 or more, got {self.answer_chars}")

    async def decide(self, trace: Trace) -> Decision:
        """Return the plan's call, a wave of sub-questions, the merge, or an answer.

        Raises
        ------
        UnknownModelError
            If a specialist is not in the pool.
        """
        offered = (
            trace.pool.candidates if self.specialists is None else trace.pool.only(self.specialists)
        )
        own = [step.replies[0] for step in trace.steps if _is_own(step)]
        asked = [step for step in trace.steps if not _is_own(step)]
        if not own:
            prompt = plan_prompt(trace.request, offered, self.examples)
            return self._think(trace.request, offered, prompt, "plan")
        plans = [self._read(reply, offered, trace) for reply in own]
        plan = min(plans, key=lambda plan: (not plan.usable, len(plan.problems)))
        if len(own) == 1 and plan.parts and plan.problems and not asked:
            prompt = repair_prompt(trace.request, offered, own[0], plan)
            why = f"repair the plan: {'; '.join(plan.problems)}"
            return self._think(trace.request, offered, prompt, why)
        if not plan.usable:
            why = (
                f"the router model failed: {observe(own[0])}"
                if not own[0].ok
                else (f"no plan in what it said: {'; '.join(plan.problems) or 'no line of one'}")
            )
            return self._ask_whole(trace, why)
        return self._carry_out(trace, plan, asked, offered)

    def _think(self, request: Request, offered: Pool, prompt: str, reason: str) -> Route:
        params = dict(self.router_params)
        if self.split == "spans":
            params["grammar"] = span_grammar(request, offered.ids, most=self.most_parts)
        elif self.grammar:
            params["grammar"] = grammar(offered.ids, most=self.most_parts)
        return Route(calls=(Call(self.router, prompt, params),), own=True, reason=reason)

    def _read(self, reply: Reply, offered: Pool, trace: Trace) -> Plan:
        if not reply.ok:
            return Plan(parts=(), usable=False)
        return read_plan(reply.text, offered, question=trace.request.prompt, most=self.most_parts)

    def _carry_out(
        self, trace: Trace, plan: Plan, asked: Sequence[Step], offered: Pool
    ) -> Decision:
        """Ask the next wave, or merge; after a final call to the chair there is nothing left."""
        found = self._find(plan, asked, offered)
        if any(self._is_last_resort(step) for step in asked):
            return self._answer_without_the_chair(trace, plan, found, "it failed")
        wave = [] if found.refused else self._wave(plan, found, offered)
        if len(plan.parts) == 1:
            return self._ask_one(trace, plan, wave)
        if wave and trace.left.rounds >= self._rounds_for(plan, wave):
            return self._ask(plan, wave, found)
        if self.merge == "last" and plan.last_is_the_answer and len(plan.parts) in found.replies:
            reply = found.replies[len(plan.parts)]
            return Answer(text=reply.text, reason="the last part is the answer")
        if trace.left.rounds == 0:
            return self._answer_without_the_chair(trace, plan, found, "no round is left for it")
        if not found.replies:
            return self._ask_whole(trace, "no part has an answer")
        prompt = merge_prompt(trace.request, plan, found.replies, limit=self.answer_chars)
        call = Call(self._chair, prompt, answer_params(trace.request))
        reason = f"merge {len(found.replies)} of {len(plan.parts)} answers"
        return Route(calls=(call,), final=True, reason=reason)

    def _find(self, plan: Plan, asked: Sequence[Step], offered: Pool) -> _Findings:
        """Match the replies of each wave to the parts it asked; the first good one counts."""
        found = _Findings({}, {}, refused=False)
        for step in asked:
            if self._is_last_resort(step):
                break
            replies, failures = dict(found.replies), dict(found.failures)
            heard = iter(step.replies)
            for ask in self._wave(plan, found, offered):
                mine = [next(heard) for _ in ask.models]
                good = [reply for reply in mine if reply.ok and reply.text.strip()]
                if good:
                    replies[ask.number] = good[0]
                else:
                    failures[ask.number] = failures.get(ask.number, 0) + 1
            refused = all(r.failure and r.failure.kind == "budget" for r in step.replies)
            found = _Findings(replies, failures, refused=refused)
        return found

    def _wave(self, plan: Plan, found: _Findings, offered: Pool) -> list[_Ask]:
        """Return what can be asked now: open parts of which all that they need is answered."""
        wave = []
        for number, part in enumerate(plan.parts, 1):
            attempts = self._attempts(plan, number, offered)
            failed = found.failures.get(number, 0)
            if (
                number not in found.replies
                and part.needs <= found.replies.keys()
                and failed < len(attempts)
            ):
                wave.append(attempts[failed])
        return wave

    def _attempts(self, plan: Plan, number: int, offered: Pool) -> list[_Ask]:
        """Return whom a part is asked of: its candidate, then the other tools and the chair.

        Tools say themselves when a question is not theirs, so to ask them all is no guess. The
        chair is asked along with them to save a round, and its reply counts last; the only part
        of a plan is the whole question, so there the chair waits and can stream.
        """
        model = plan.parts[number - 1].model
        chair = () if model == self._chair else (self._chair,)
        if model is None:
            return [_Ask(number, chair, "names no candidate")]
        others = tuple(c.id for c in offered if c.kind == "tool" and c.id not in (model, *chair))
        if len(plan.parts) == 1:
            rest = [_Ask(number, models, "failed at its candidate") for models in (others, chair)]
        else:
            rest = [_Ask(number, (*others, *chair), "failed at its candidate")]
        return [_Ask(number, (model,)), *(ask for ask in rest if ask.models)]

    def _ask(self, plan: Plan, wave: Sequence[_Ask], found: _Findings) -> Route:
        answers = fillings(found.replies, limit=self.answer_chars)
        calls = tuple(
            Call(model, plan.parts[ask.number - 1].filled(answers))
            for ask in wave
            for model in ask.models
        )
        parts = ", ".join(str(ask.number) for ask in wave)
        notes = (
            f"part {ask.number} {ask.why}, so it goes to {', '.join(ask.models)}"
            for ask in wave
            if ask.why
        )
        return Route(
            calls=calls, reason="; ".join([f"ask part {parts} of {len(plan.parts)}", *notes])
        )

    def _ask_one(self, trace: Trace, plan: Plan, wave: Sequence[_Ask]) -> Decision:
        """Ask the only part, as the answer; the chair is asked the question as it came."""
        if not wave:
            return self._ask_whole(trace, "the only part failed at everybody")
        ask = wave[0]
        chairs_turn = ask.models == (self._chair,) or trace.left.rounds == 1
        if ask.why and chairs_turn:
            return self._ask_whole(trace, f"the only part {ask.why}")
        calls = tuple(Call(model, plan.parts[0].question) for model in ask.models)
        reason = f"the only part {ask.why}" if ask.why else "the plan has one part"
        return Route(calls=calls, final=True, reason=reason)

    def _ask_whole(self, trace: Trace, why: str) -> Decision:
        """Ask the chair the question as it came, tools and images included; at most once."""
        if trace.left.rounds == 0 or any(self._is_last_resort(step) for step in trace.steps):
            return trace.give_up()
        reason = f"the whole question goes to {self._chair!r}: {why}"
        return Route(calls=(Call(self._chair),), final=True, reason=reason)

    @staticmethod
    def _rounds_for(plan: Plan, wave: Sequence[_Ask]) -> int:
        """Return how many rounds must be left to ask `wave`: one more when a merge must follow."""
        ends = plan.last_is_the_answer and [ask.number for ask in wave] == [len(plan.parts)]
        return 1 if ends else 2

    def _answer_without_the_chair(
        self, trace: Trace, plan: Plan, found: _Findings, why: str
    ) -> Answer:
        """Answer with the last part where it is the answer, and else with all that was found."""
        if not found.replies:
            return trace.give_up()
        reason = f"not merged by {self._chair!r}: {why}"
        last = found.replies.get(len(plan.parts))
        if last is not None and plan.last_is_the_answer:
            return Answer(text=last.text, reason=f"{reason}; the last part is the answer")
        answers = fillings(found.replies, limit=self.answer_chars)
        lines = []
        for number, part in enumerate(plan.parts, 1):
            asked = part.filled({k: answers.get(k, f"#{k}") for k in part.needs})
            reply = found.replies.get(number)
            lines.append(f"{asked} {'(no answer)' if reply is None else reply.text.strip()}")
        return Answer(text="\n".join(lines), reason=f"{reason}; this is what the parts brought")

    @property
    def _chair(self) -> str:
        return self.chair or self.router

    def _is_last_resort(self, step: Step) -> bool:
        """Whether `step` asked the chair for the answer: nothing can follow when it failed."""
        route = step.decision
        return isinstance(route, Route) and route.final and route.calls[0].model == self._chair


def _is_own(step: Step) -> bool:
    return isinstance(step.decision, Route) and step.decision.own
