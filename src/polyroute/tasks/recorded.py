"""Questions that real models have answered: candidates reply what they said then, at that price.

The one decision here: a sub-query is answered from the split that the problem is of. A question
for the test cannot be learned from a neighbour in training, nor answered from one.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from polyroute.backends.replay import Replay
from polyroute.config import cards_of, read
from polyroute.correctness import METRICS
from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable, Question, read_outcomes, with_splits
from polyroute.outcomes.implied import pool_of
from polyroute.pool import ModelCard, Pool
from polyroute.rewards.outcome import NAMES
from polyroute.tasks.draw import Draw
from polyroute.tasks.problem import Problem, Split
from polyroute.types import Budget

__all__ = ["Recorded", "Splits"]

Splits: TypeAlias = Literal["table", "text"]
"""As the table says; or by a hash of each question's text, 70 % train, 15 % val, 15 % test."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """Questions of an outcome table with recorded answers.

    The candidates are the table's models, each with the price that its costs imply and the mean
    score it reached on the training questions of each group (`Question.task`) as a measured skill.
    A candidate that is asked the question itself replies what it said when it was recorded; asked
    anything else, it replies what it said to the most similar question of the same split
    (`Reply.similarity` says how similar), if `nearest` allows one that far, and fails otherwise.

    Parameters
    ----------
    table : str
        As `polyroute.outcomes.read_outcomes` takes it. Questions without a right answer are left
        out.
    models : tuple of str, optional
        Names in the table. When `None`, all that have texts and a known price: what is unknown is
        not free, and a reward could not tell what it costs.
    config : path, optional
        A configuration whose cards (prices, descriptions) stand for the models, matched by id or
        alias, in place of those that the table implies.
    nearest : float, optional
        Least similarity, 0 to 1, of a question that is answered in place of the one asked; only
        the same question when `None`. Spelling, not meaning: see
        `polyroute.backends.replay.TextIndex`.
    metric : str, default="exact_match"
        How an answer is scored where the table's own metric cannot be computed from the right
        answers (a human's judgement).
    splits : {"table", "text"}, default="table"
    budget : Budget, optional
        Of every request.
    worth : tuple of float, optional
        What a right answer may be worth, in millionths of a US dollar; one is drawn per problem.

    Raises
    ------
    ConfigError
        If the table cannot be read, or none of its models can be a candidate.
    """

    name: ClassVar[str] = "recorded"

    table: str
    _: KW_ONLY
    models: tuple[str, ...] | None = None
    config: Path | None = None
    nearest: float | None = 0.5
    metric: str = "exact_match"
    splits: Splits = "table"
    budget: Budget = field(default_factory=Budget)
    worth: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        len(self.pool)  # a wrong table is an error here, not at the first problem

    @cached_property
    def pool(self) -> Pool:
        """The candidates."""
        cards = pool_of(self._outcomes) if self.config is None else cards_of(read(self.config))
        return _candidates(cards, self.models, self._outcomes)

    def problems(self, split: Split, n: int, seed: int) -> Sequence[Problem]:
        """Return `n` problems of `split` in the order of `seed`.

        Raises
        ------
        ConfigError
            If the table has no such split.
        """
        draw, questions = self._by_split(split)
        return draw.problems(questions, n, seed)

    @cached_property
    def _outcomes(self) -> OutcomeTable:
        whole = read_outcomes(self.table)
        return whole if self.splits == "table" else with_splits(whole)

    @cached_property
    def _by_split(self) -> Callable[[str], tuple[Draw, tuple[Question, ...]]]:
        return functools.cache(self._part)

    def _part(self, split: str) -> tuple[Draw, tuple[Question, ...]]:
        mine = np.array([question.split == split for question in self._outcomes.queries], np.bool_)
        if not mine.any():
            known = sorted({question.split for question in self._outcomes.queries})
            raise ConfigError(
                f"the table has no questions of the split {split!r}, only of "
                f"{', '.join(map(repr, known))}; splits='text' divides it anew"
            )
        part = self._outcomes.only(mine)
        questions = tuple(self._scorable(q) for q in part.queries if q.gold)
        backend = Replay.of(part, nearest=self.nearest)
        draw = Draw(
            pool=self.pool,
            backend=backend,
            metric=self.metric,
            budget=self.budget,
            worth=self.worth,
        )
        return draw, questions

    def _scorable(self, question: Question) -> Question:
        """Return the question with a metric that right answers suffice for."""
        known = question.metric in METRICS or question.metric in NAMES
        return question if known else replace(question, metric=self.metric)


def _candidates(cards: Pool, models: tuple[str, ...] | None, table: OutcomeTable) -> Pool:
    """Return the cards that the table can answer for, with skills measured in it.

    Raises
    ------
    ConfigError
        If there is none, or a model that was named cannot be one.
    """
    told = _told(table)
    chosen = []
    for card in cards:
        names = (card.id, *card.aliases)
        wanted = card.price is not None if models is None else bool({*names} & {*models})
        recorded = next((name for name in names if name in told), None)
        if wanted and recorded is not None:
            chosen.append(_with_skills(card, recorded, table))
    missing = set(models or ()) - {name for card in chosen for name in (card.id, *card.aliases)}
    if missing or not chosen:
        raise ConfigError(
            f"no candidates for {', '.join(sorted(missing)) or 'this table'}: a model needs "
            f"recorded texts ({', '.join(sorted(told)) or 'no model has any'}) and, when it is not "
            "named in 'models', a price"
        )
    return Pool(chosen)


def _told(table: OutcomeTable) -> set[str]:
    """Return the models of which the table has what they said."""
    pairs = zip(table.texts, table.responses.model.tolist(), strict=True)
    return {table.models[model] for text, model in pairs if text is not None}


def _with_skills(card: ModelCard, name: str, table: OutcomeTable) -> ModelCard:
    """Return the card with its mean training score per group of questions, where it has none."""
    if card.skills:
        return card
    scores = table.scores_NM()[:, table.models.index(name)]
    groups: dict[str, list[float]] = {}
    for question, score in zip(table.queries, scores.tolist(), strict=True):
        if question.split == "train" and not np.isnan(score):
            groups.setdefault(question.task or question.dataset or "all", []).append(score)
    means = {group: round(sum(found) / len(found), 2) for group, found in groups.items()}
    return replace(card, skills=means)
