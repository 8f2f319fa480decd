"""The small world: made-up facts, new in every episode, over a closed vocabulary.

The one decision here: no fact can be learned by heart. Which river an entity has, and who knows
about rivers, under what name, at what price and how well, are drawn anew for every question; what
stays is the language. Every entity and every name is one word, so that a transformer of a few
hundred thousand parameters learns to route here, from scratch, on a CPU.
"""

import hashlib
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from polyroute.errors import ConfigError
from polyroute.pool import Pool
from polyroute.tasks.atlas.market import Market, Variant, failing, vary
from polyroute.tasks.atlas.specialists import ANYTHING, UNKNOWN, Fact, Specialists
from polyroute.tasks.problem import Hop, Problem, Split
from polyroute.types import Budget, Message, Request

__all__ = [
    "AtlasSmall", "vocabulary",
    # the language
    "EITHER", "ENTITIES", "HELD_PAIR", "NAMES", "RELATIONS", "WORDS", "WORTH",
]  # fmt: skip

RELATIONS = ("river", "metal", "animal", "colour", "food", "tree", "song", "leader")

HELD_PAIR = ("metal", "tree")
"""Never in training: "tree of metal of"."""

_FIRST = "Ba Co Di Fe Gu Ha Jo Ki Lu Me No Pa Ri So Ta Vu"
_SECOND = "bek dan fil gor hun jat kos lin mur nep pol rad sen tiv wax"

WORDS = tuple(first + second for first in _FIRST.split() for second in _SECOND.split())
"""What entities and specialists are called: 240 words."""

ENTITIES = WORDS[3::20]
"""Words that are never a name in training."""

NAMES = WORDS[11::20]
"""Words that are never an entity in training."""

EITHER = tuple(word for word in WORDS if word not in {*ENTITIES, *NAMES})
"""Words that are an entity in one episode and a name in another."""

WORTH = (3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63)
"""What a right answer may be worth, in millionths of a US dollar: the steps of the scale on which
a prompt says so."""

_ENTITIES, _NAMES = 40, 24
"""So many of either are drawn for an episode."""

_MARKET = Market(
    skills=RELATIONS,
    specialists=3,
    prices=(2, 3, 4),
    percents=(90, 100),
    dear_prices=(6, 7, 8),
    upset=0.25,
)

_FEW = 0.25
"""How likely in training only some of the candidates are there: one, two, up to all but one."""

_FAILS = 0.1
"""How likely in training a specialist no longer knows what its card says."""


def vocabulary() -> list[str]:
    """Return every word of the small world, each once: tags, marks, numbers, words, names.

    With the words in which a router's prompt puts a question (`polyroute.policies.router_r1`, its
    dialect ``polyroute`` in the layout ``brief``), so that a tokenizer of whole words and single
    marks knows whatever it meets.

    Examples
    --------
    >>> words = vocabulary()
    >>> len(words) == len(set(words)), "Babek" in words, "river" in words
    (True, True, True)
    """
    tags = [f"<{slash}{tag}>" for tag in _TAGS for slash in ("", "/")]
    numbers = sorted({*range(11), *WORTH, *_QUALITIES})
    words = dict.fromkeys([*RELATIONS, ANYTHING, UNKNOWN, "of", *_OF_PROMPTS.split()])
    return [*tags, *_MARKS, *map(str, numbers), *words, *WORDS]


_TAGS = ("think", "search", "answer", "information")
_MARKS = ".:;,?'‹›/()"
_QUALITIES = (40, 50, 60, 90, 95, 100)
_OF_PROMPTS = """
done name question asks answer ends Names prices skills Question rounds worth budget Invalid is not
one a search written NAME and there no colon action tag inside think information never closed the
router s to write asked nothing nobody can be any more so turn must empty searches are at most
no reply words outside
"""


@dataclass(frozen=True, slots=True)
class _Facts:
    """The facts of one episode: by relation, what each entity has."""

    table: Mapping[str, Mapping[str, str]]

    def about(self, query: str) -> Fact | None:
        """Return the fact asked for by "RELATION of ENTITY", courtesies aside."""
        words = query.replace("?", " ").split()
        if words[:1] == ["the"]:
            words = words[1:]
        if len(words) != 3 or words[1] != "of" or words[0] not in self.table:
            return None
        relation, _, entity = words
        answer = self.table[relation].get(entity)
        return None if answer is None else Fact(relation, answer, tuple(self.table[relation]))


@dataclass(frozen=True, slots=True)
class AtlasSmall:
    """Questions of one to three hops in a made-up world.

    Parameters
    ----------
    hops : tuple of int, default=(1, 2)
        How many hops a question may have, equally likely; 1 to 3.
    variant : str, default="plain"
        How the world differs from the one of training; see `polyroute.tasks.atlas.market.Variant`.
        ``unseen_entities`` speaks of words that in training are names only, ``unseen_specialists``
        is named by words that are entities only, so a closed vocabulary has seen them all; most
        words are either. The unseen relation is the pair `HELD_PAIR`.
    worth : tuple of int, default=(3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63)
        What a right answer may be worth (`Budget.usd_per_quality`), in millionths of a US dollar,
        equally likely. A call costs 1 to 9 of them.
    roles : {"dealt", "fixed"}, default="dealt"
        Whether names are dealt out anew in every episode, so that only the cards tell who knows
        what; or each skill has its own name (a second one for a second specialist), so that prices,
        error rates and who is there at all are what a policy must read.

    Raises
    ------
    ConfigError
        If `hops` or `worth` has nothing to choose from, a number of hops is not 1, 2 or 3, or a
        variant needs new names where names are fixed.

    Notes
    -----
    Questions are split by a hash of their words: 80 % train, 10 % val, 10 % test. The k-th problem
    depends on the seed and k alone, so a longer draw begins with a shorter one. There are five
    candidates; in a quarter of the questions of ``train`` fewer, down to one, and in a tenth one of
    them fails, so that a router also learns what to do when hardly anybody is there or knows.
    """

    name: ClassVar[str] = "atlas-small"

    hops: tuple[int, ...] = (1, 2)
    variant: Variant = "plain"
    worth: tuple[int, ...] = WORTH
    roles: Literal["dealt", "fixed"] = "dealt"

    def __post_init__(self) -> None:
        if not self.hops or not set(self.hops) <= {1, 2, 3}:
            raise ConfigError(f"hops must be some of 1, 2 and 3, got {self.hops!r}")
        if not self.worth:
            raise ConfigError("worth must have one value or more, got none")
        if self.roles == "fixed" and self.variant in ("unseen_entities", "unseen_specialists"):
            raise ConfigError(
                f"{self.variant!r} calls somebody by a new name, and with roles='fixed' a name is "
                "a role; drop one of the two"
            )

    def problems(self, split: Split, n: int, seed: int) -> Sequence[Problem]:
        """Return the first `n` problems of `split` under `seed`."""
        return [self._problem(split, seed, k) for k in range(n)]

    def _problem(self, split: Split, seed: int, k: int) -> Problem:
        draw = random.Random(f"{self.name}|{split}|{seed}|{k}")
        question = None
        while question is None:
            entities, names = self._words(draw)
            question = self._question(draw, split, entities)
        chain, subject = question
        table = _facts(draw, entities)
        while len({subject, *_walk(table, chain, subject)}) <= len(chain):
            table = _facts(draw, entities)
        pool = _MARKET.draw(draw, names, chain)
        if split == "train" and draw.random() < _FEW:
            pool = Pool(pool[: draw.randrange(1, len(pool))])
        pool = vary(_by_role(pool, names) if self.roles == "fixed" else pool, self.variant)
        worth = draw.choice(self.worth)
        key = f"{self.name}/{self.variant}/{split}/{seed}/{k}"
        request = Request(
            id=key,
            messages=(Message("user", _wording(chain, subject)),),
            budget=Budget(rounds=max(4, 2 * len(chain)), usd_per_quality=worth / 1_000_000),
            seed=draw.getrandbits(31),
        )
        sure = 1.0 if self.variant == "failing_specialist" else 0.0
        fails = draw.random() < max(sure, _FAILS if split == "train" else 0.0)
        silent = failing(pool, chain[0]) if fails else frozenset()
        answers = _walk(table, chain, subject)
        queries = [f"{relation} of {{}}" for relation in chain]
        queries[0] = f"{chain[0]} of {subject}"
        return Problem(
            request=request,
            pool=pool,
            backend=Specialists(_Facts(table), pool, request.seed, silent),
            golds=(answers[-1],),
            metric="exact_match",
            kind=f"{len(chain)}-hop",
            hops=tuple(map(Hop, queries, chain, answers)),
        )

    def _words(self, draw: random.Random) -> tuple[Sequence[str], Sequence[str]]:
        """Return what entities and what specialists are called in this episode."""
        if self.variant == "unseen_entities":
            return NAMES, draw.sample(EITHER, _NAMES)
        if self.variant == "unseen_specialists":
            return draw.sample(EITHER, _ENTITIES), ENTITIES
        if self.roles == "fixed":
            return EITHER[:_ENTITIES], EITHER[-_NAMES:]
        entities = draw.sample((*ENTITIES, *EITHER), _ENTITIES)
        taken = set(entities)
        return entities, draw.sample([w for w in (*NAMES, *EITHER) if w not in taken], _NAMES)

    def _question(
        self, draw: random.Random, split: Split, entities: Sequence[str]
    ) -> tuple[tuple[str, ...], str] | None:
        """Draw the relations, first hop first, and what they are about, for a question of `split`.

        `None` when the held pair can be asked of none of these entities in this split.
        """
        if self.variant == "unseen_relation":
            fitting = [entity for entity in entities if _split(HELD_PAIR, entity) == split]
            return (HELD_PAIR, draw.choice(fitting)) if fitting else None
        while True:
            chain = tuple(draw.sample(RELATIONS, draw.choice(self.hops)))
            subject = draw.choice(entities)
            if HELD_PAIR not in itertools.pairwise(chain) and _split(chain, subject) == split:
                return chain, subject


def _by_role(pool: Pool, names: Sequence[str]) -> Pool:
    """Return the pool with the name of its role on each card; further ones take what is left."""
    best = max(card.skills.get(ANYTHING, 0.0) for card in pool)
    last = len(RELATIONS)
    free = iter(names[2 * last + 2 :])
    taken: set[str] = set()
    cards = []
    for card in pool:
        if ANYTHING in card.skills:
            choices = [names[2 * last + (card.skills[ANYTHING] == best)]]
        else:
            first = 2 * RELATIONS.index(next(iter(card.skills)))
            choices = [names[first], names[first + 1]]
        name = next((name for name in choices if name not in taken), None) or next(free)
        taken.add(name)
        cards.append(replace(card, id=name))
    return Pool(cards)


def _facts(draw: random.Random, entities: Sequence[str]) -> dict[str, dict[str, str]]:
    """Draw, for every relation, which entity each entity has."""
    order = draw.random
    return {
        relation: dict(zip(entities, sorted(entities, key=lambda _: order()), strict=True))
        for relation in RELATIONS
    }


def _walk(
    table: Mapping[str, Mapping[str, str]], chain: Sequence[str], subject: str
) -> tuple[str, ...]:
    """Return the answer of every hop."""
    answers = []
    for relation in chain:
        subject = table[relation][subject]
        answers.append(subject)
    return tuple(answers)


def _wording(chain: Sequence[str], subject: str) -> str:
    return " of ".join([*reversed(chain), subject]) + "?"


def _split(chain: Sequence[str], subject: str) -> Split:
    digest = hashlib.sha256(_wording(chain, subject).encode()).digest()[0] % 10
    return "test" if digest == 0 else "val" if digest == 1 else "train"
