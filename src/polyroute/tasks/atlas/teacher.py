"""Teachers: backends for the router's card that know the way and write turns as a router would.

The one decision here: a teacher sees the hops of the problem and the cards, never a fact, so what
it writes is what a policy could have written from the transcript alone; a student that copies it
learns the protocol, not the answers.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from polyroute.decision import Call
from polyroute.errors import ConfigError
from polyroute.policies.router_r1.prompt import price_of
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import Emit
from polyroute.tasks.atlas.optimum import Optimum
from polyroute.tasks.atlas.progress import Ask, Progress, progress
from polyroute.tasks.atlas.specialists import ANYTHING, UNKNOWN, quality
from polyroute.tasks.problem import Problem
from polyroute.trace import Reply, Trace
from polyroute.types import Usage

__all__ = ["CHOICE", "Style", "Tags", "Teacher", "Writing", "known_by"]

Style: TypeAlias = Literal[
    "optimum",  # the highest expected reward; gives up where nothing is worth its price
    "cheapest",  # hop by hop, the best trade of quality and price; never gives up
    "random",  # anyone not asked yet, or at times nobody any more: the protocol, and no preference
    "mixed",  # cheapest, with wrong turns, detours to somebody who cannot know, and what mends them
    "mended",  # optimum, with the same, and with calls to just anybody
]
"""How a teacher chooses."""

_RESIGNS = 0.1
"""How often one that asks at random gives up: what a student never saw, it never tries."""

CHOICE = "."
"""Between what may be chosen and what is."""

_DETOUR = 0.2
_INVALID = 0.1
_ASTRAY = 0.2
_NOBODY = 0.5


class Writing(Protocol):
    """How turns are written."""

    def search(self, thought: str, model: str, query: str) -> str:
        """Return the turn that asks `model`."""
        ...

    def answer(self, thought: str, text: str) -> str:
        """Return the turn that answers."""
        ...


@dataclass(frozen=True, slots=True)
class Tags:
    """Turns in the tags that all dialects of Router-R1 share.

    Parameters
    ----------
    spaced : bool, default=False
        A space around every tag and mark: as a tokenizer of whole words writes.

    Examples
    --------
    >>> Tags().search("river", "Birk", "river of Avo")
    '<think>river</think><search>Birk: river of Avo</search>'
    >>> Tags(spaced=True).answer("done", "Bela")
    '<think> done </think> <answer> Bela </answer>'
    """

    spaced: bool = False

    def search(self, thought: str, model: str, query: str) -> str:
        """Return the turn that asks `model`."""
        colon = " :" if self.spaced else ":"
        return self._turn(thought, "search", f"{model}{colon} {query}")

    def answer(self, thought: str, text: str) -> str:
        """Return the turn that answers."""
        return self._turn(thought, "answer", text)

    def _turn(self, thought: str, action: str, content: str) -> str:
        parts = ["<think>", thought, "</think>", f"<{action}>", content, f"</{action}>"]
        return (" " if self.spaced else "").join(parts)


class Teacher:
    """Write the router's turns for problems whose hops are known.

    Parameters
    ----------
    problems : iterable of Problem
        Those it can be asked about, found again by the id of their request.
    style : {"optimum", "cheapest", "random", "mixed", "mended"}, default="cheapest"
        How it chooses; see `Style`.
    writing : Writing, optional
        How it writes; `Tags` by default.
    weight : float, default=1.0
        Weight of the cost in the reward; see `Optimum`.
    seed : int, default=0
        With the request's seed, what decides where the style leaves a choice.
    max_turns : int, default=4
        Turns in which the policy lets it ask somebody, invalid ones included.

    Notes
    -----
    A turn that is wrong on purpose has ``reply.fields["mistake"]``: ``"invalid"``, ``"detour"`` or
    ``"astray"``. A student should see it and not imitate it: what is imitated is how to go on from
    wherever one is, and not how one gets there (Laskey et al., DART, arXiv:1703.09327).
    """

    def __init__(
        self,
        problems: Iterable[Problem],
        *,
        style: Style = "cheapest",
        writing: Writing | None = None,
        weight: float = 1.0,
        seed: int = 0,
        max_turns: int = 4,
    ) -> None:
        self._problems = {problem.request.id: problem for problem in problems}
        self._optima: dict[str, Optimum] = {}
        self.style = style
        self.writing = writing or Tags()
        self.weight = weight
        self.seed = seed
        self.max_turns = max_turns

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Return the next turn of the episode; a token is a word.

        Raises
        ------
        ConfigError
            If the episode is none of the teacher's problems, or its problem has no hops.
        """
        problem = self._problems.get(trace.request.id)
        if problem is None or not problem.hops:
            raise ConfigError(
                f"the teacher knows no way through {trace.request.id!r}; it teaches problems that "
                "it was given, and that have hops"
            )
        turn = self._turn(problem, trace)
        usage = Usage(output=len(turn.text.split()))
        fields = {"mistake": turn.mistake} if turn.mistake else {}
        return Reply(
            model=call.model, text=turn.text, usage=usage, finish_reason="stop", fields=fields
        )

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _turn(self, problem: Problem, trace: Trace) -> "_Turn":
        now = progress(problem, trace)
        if now.ask is None:
            return _Turn(self.writing.answer("done", now.answers[-1]))
        left = min(trace.left.rounds, self.max_turns - now.turns)
        draw = random.Random(f"{self.seed}|{trace.request.seed}|{len(trace.steps)}")
        spare = left - (len(problem.hops) - len(now.answers))
        if self.style in ("mixed", "mended") and spare > 0 and not now.repairs:
            mistake = self._mistake(problem, now.ask, draw)
            if mistake is not None:
                return mistake
        model = self._choose(problem, now, left, draw) if left > 0 else None
        thought = _thought(problem.pool, now.ask, model)
        if model is None:
            return _Turn(self.writing.answer(thought, UNKNOWN))
        return _Turn(self.writing.search(thought, model, now.ask.query))

    def _choose(
        self, problem: Problem, now: Progress, left: int, draw: random.Random
    ) -> str | None:
        if now.ask is None:
            return None
        if self.style in ("optimum", "mended"):
            if problem.request.id not in self._optima:
                self._optima[problem.request.id] = Optimum(problem, self.weight)
            return self._optima[problem.request.id].choose(now, left)
        untried = [card for card in problem.pool if card.id not in now.ask.tried]
        if self.style == "random":
            return draw.choice(untried).id if untried and draw.random() >= _RESIGNS else None
        skill = now.ask.hop.skill
        knowing = [card for card in untried if quality(card, skill)]
        best = max(knowing, key=lambda card: self._merit(problem, card, skill), default=None)
        return None if best is None else best.id

    def _merit(self, problem: Problem, card: ModelCard, skill: str) -> float:
        """Return the chance that one call is right, less its share of what that is worth."""
        worth = problem.request.budget.usd_per_quality
        return quality(card, skill) - (self.weight * _usd(card) / worth if worth else 0.0)

    def _mistake(self, problem: Problem, ask: Ask, draw: random.Random) -> "_Turn | None":
        """Return, at times, a turn that is wrong on purpose."""
        kind = draw.random()
        skill = ask.hop.skill
        if kind < _INVALID:
            return _Turn(self._invalid(problem.pool, ask, draw), "invalid")
        strangers = [c.id for c in problem.pool if not quality(c, skill) and c.id not in ask.tried]
        if kind < _INVALID + _DETOUR and strangers:
            text = self.writing.search(skill, draw.choice(strangers), ask.query)
            return _Turn(text, "detour")
        untried = [card.id for card in problem.pool if card.id not in ask.tried]
        if self.style == "mended" and kind > 1 - _ASTRAY and untried:
            return _Turn(self.writing.search(skill, draw.choice(untried), ask.query), "astray")
        return None

    def _invalid(self, pool: Pool, ask: Ask, draw: random.Random) -> str:
        """Return a turn that asks somebody who is not there, or nobody."""
        skill = ask.hop.skill
        if draw.random() < _NOBODY:
            said = self.writing.answer(skill, ask.query)
            return said.replace("<answer>", "<search>").replace("</answer>", "</search>")
        stranger = skill if skill not in pool.ids else UNKNOWN
        return self.writing.search(skill, stranger, ask.query)


def _thought(pool: Pool, ask: Ask, chosen: str | None) -> str:
    """Return what is to be known, who did not know it, what those who may cost, and whom to ask.

    Said aloud, that is there to be read when the next word is to be written: a student that has to
    find everything at once compares no prices, and asks the first name that goes with the skill
    again and again. Whom to ask comes last, after everything is decided by words that are always
    there: a name that was never met before would lose against them. Of who did not know it the name
    comes first: it stands beside that very word in what was replied, and all else on its card.
    """
    said = [ask.hop.skill]
    for id in ask.tried:
        card = pool.card(id)
        if quality(card, ask.hop.skill):  # of whom else nothing was to be expected
            said += [UNKNOWN, id, *known_by(card)]
    for card in _options(pool, ask):
        said += known_by(card) or [card.id, price_of(card)]
    if chosen is not None:
        said += [CHOICE, *known_by(pool.card(chosen)), chosen]
    return " ".join(said)


def _options(pool: Pool, ask: Ask) -> list[ModelCard]:
    """Return the cheapest specialist that has not been asked yet, and the generalists."""
    knowing = [c for c in pool if quality(c, ask.hop.skill) and c.id not in ask.tried]
    able = [card for card in knowing if ANYTHING in card.skills]
    special = sorted((card for card in knowing if card not in able), key=_usd)
    return [*special[:1], *sorted(able, key=lambda card: -card.skills[ANYTHING])]


def _usd(card: ModelCard) -> float:
    return 0.0 if card.price is None else float(card.price.cost(Usage(20, 10)))


def known_by(card: ModelCard) -> list[str]:
    """Return the words of a card that a name is found by; none when it has no measured skills.

    They come in the order of the card, of which a name is the word before. Of one skill there may
    be two who differ in their price; of generalists there are two, so theirs is also how often they
    are right in a hundred.

    Examples
    --------
    >>> from decimal import Decimal
    >>> from polyroute.pool import Price
    >>> price = Price(call=Decimal("0.000002"))
    >>> known_by(ModelCard(id="Birk", skills={"river": 0.9}, price=price))
    ['2', 'river']
    >>> known_by(ModelCard(id="Lund", skills={"all": 0.6}, price=price))
    ['2', 'all', '60']
    """
    words = [*card.skills][:1]
    if words == [ANYTHING]:
        words.append(f"{100 * card.skills[ANYTHING]:.0f}")
    return [price_of(card), *words] if words else []


@dataclass(frozen=True, slots=True)
class _Turn:
    text: str
    mistake: str = ""
