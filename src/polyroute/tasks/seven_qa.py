"""The seven question-answering sets of Router-R1, with the sampling of its paper.

The one decision here: what is trained on is not tested on. The paper draws its validation from the
same rows as its test; that is what `faithful` gives, and nothing else does.
"""

import functools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from polyroute.backends.by_card import ByCard
from polyroute.config import build, read
from polyroute.errors import ConfigError, MissingExtraError
from polyroute.outcomes import Question, normal_question, read_questions
from polyroute.outcomes.rows import json_rows
from polyroute.pool import Pool
from polyroute.protocols import Backend
from polyroute.tasks.draw import Draw
from polyroute.tasks.problem import Problem, Split
from polyroute.types import Budget

__all__ = ["HUB", "SETS", "SevenQA"]

HUB = "RUC-NLPIR/FlashRAG_datasets"
"""Where the paper takes them from."""

SETS = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
"""Natural Questions, TriviaQA, PopQA, HotpotQA, 2WikiMultiHopQA, MuSiQue, Bamboogle."""

_TRAINED = ("nq", "hotpotqa")
_SEED = 42
_TRAIN, _VAL, _TEST = 7_000, 100, 500
_OTHER_NAMES = {"tq": "triviaqa", "2wiki": "2wikimultihopqa"}
_SPLITS = {"validation": "dev", "val": "dev"}
_HELD = ("test", "dev", "train")
"""Where questions for the test come from: the first that a set has."""

_Splits: TypeAlias = Mapping[str, Sequence[Question]]


@dataclass(frozen=True, kw_only=True, eq=False)
class SevenQA:
    """Questions with short answers, of one hop (NQ, TriviaQA, PopQA) and of several (the others).

    Train: 7,000 questions each of NQ and HotpotQA. Val: 100 each of the same. Test: 500 of every
    set, or all it has (Bamboogle: 125), from its split ``test``, else ``dev``, else ``train``. All
    drawn by Python's ``random`` with seed 42, as the paper's program does.

    The sets come with right answers and without candidates: those are `candidates`, else the pool
    of a configuration.

    Parameters
    ----------
    source : str, default="RUC-NLPIR/FlashRAG_datasets"
        A name on the Hugging Face hub, read with `datasets`; or a folder with a file
        ``<set>/<split>.jsonl`` for each; or a file of questions, as
        `polyroute.outcomes.read_questions` takes it, whose ``task`` is the set. A folder or file
        may have fewer rows and sets than the hub.
    sets : tuple of str, optional
        Of `SETS`; all by default.
    faithful : bool, default=False
        Exactly the paper's questions: with a "?" at the end of every question that has none, and
        with validation drawn from the rows that the test is drawn from. Without, validation comes
        from rows of ``train`` that training leaves out, and a question of the test, however it is
        punctuated, is in neither.
    config : path, optional
        The configuration whose pool answers; see `polyroute.config.find` for `None`.
    candidates : pair of Pool and Backend, optional
        Who answers, and by what; the pool of `config` when `None`.
    metric : str, default="exact_match"
    budget : Budget, optional
        Of every request; that of the configuration by default.
    worth : tuple of float, optional
        What a right answer may be worth, in millionths of a US dollar; one is drawn per problem.

    Raises
    ------
    ConfigError
        If a set is unknown.

    References
    ----------
    Zhang, Feng and You, Router-R1, arXiv:2506.09033, section 4.1; Jin et al., FlashRAG,
    arXiv:2405.13576: the collection.
    """

    name: ClassVar[str] = "seven_qa"

    source: str = HUB
    sets: tuple[str, ...] = SETS
    faithful: bool = False
    config: Path | None = None
    candidates: tuple[Pool, Backend] | None = None
    metric: str = "exact_match"
    budget: Budget | None = None
    worth: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.sets if name not in SETS]
        if unknown or not self.sets:
            raise ConfigError(f"no set {unknown or 'given'}; known: {', '.join(SETS)}")

    def problems(self, split: Split, n: int, seed: int) -> Sequence[Problem]:
        """Return `n` problems of `split` in the order of `seed`.

        Raises
        ------
        ConfigError
            If a set cannot be read.
        """
        return self._draw.problems(self.questions(split), n, seed)

    def questions(self, split: Split) -> Sequence[Question]:
        """Return all questions of `split`, in the order in which they were sampled."""
        return self._by_split(split)

    @cached_property
    def _rows(self) -> Callable[[str], _Splits]:
        return functools.cache(_reader(self.source))

    @cached_property
    def _by_split(self) -> Callable[[Split], tuple[Question, ...]]:
        return functools.cache(self._sampled)

    def _sampled(self, split: Split) -> tuple[Question, ...]:
        if split == "test":
            chosen = [row for name in self.sets for row in _sample(self._held(name), _TEST)]
        elif self.faithful:
            chosen = self._as_in_the_paper(split)
        else:
            chosen = self._apart_from_the_test(split)
        return tuple(replace(row, split=split, prompt=self._asked(row.prompt)) for row in chosen)

    def _as_in_the_paper(self, split: Split) -> list[Question]:
        draw = random.Random(_SEED)  # one generator for both sets, in this order
        chosen: list[Question] = []
        for name in self._trained():
            rows = self._rows(name)["train"] if split == "train" else self._held(name)
            chosen += _sample(rows, _TRAIN if split == "train" else _VAL, draw)
        return chosen

    def _apart_from_the_test(self, split: Split) -> list[Question]:
        tested = {normal_question(question.prompt) for question in self.questions("test")}
        draw = random.Random(_SEED)
        chosen: list[Question] = []
        for name in self._trained():
            rows = [
                row
                for row in self._rows(name).get("train", ())
                if normal_question(row.prompt) not in tested
            ]
            held = min(_VAL, len(rows) // 10)
            drawn = _sample(rows, min(_TRAIN, len(rows) - held) + held, draw)
            train, val = drawn[: len(drawn) - held], drawn[len(drawn) - held :]
            chosen += train if split == "train" else val
        return chosen

    def _trained(self) -> list[str]:
        return [name for name in _TRAINED if name in self.sets]

    def _held(self, name: str) -> Sequence[Question]:
        splits = self._rows(name)
        return next(splits[split] for split in _HELD if splits.get(split))

    def _asked(self, question: str) -> str:
        question = question.strip()
        return f"{question}?" if self.faithful and not question.endswith("?") else question

    @cached_property
    def _draw(self) -> Draw:
        budget = self.budget
        if self.candidates is not None:
            pool, backend = self.candidates
        else:
            setup = build(read(self.config))
            pool, backend = setup.pool, ByCard(setup.backends)
            budget = budget or setup.budget
        return Draw(
            pool=pool,
            backend=backend,
            metric=self.metric,
            budget=budget or Budget(),
            worth=self.worth,
        )


def _sample(
    rows: Sequence[Question], most: int, draw: random.Random | None = None
) -> list[Question]:
    """Return `most` of `rows` in the order drawn; all, as they lie, when there are no more."""
    draw = draw or random.Random(_SEED)
    return list(rows) if len(rows) <= most else draw.sample(list(rows), most)


def _reader(source: str) -> Callable[[str], _Splits]:
    """Return what reads one set of `source`, by split."""
    path = Path(source)
    if path.is_dir():
        return functools.partial(_of_folder, path)
    if path.exists() or path.suffix:
        return functools.partial(_of_table, path, read_questions(path))
    return functools.partial(_of_hub, source)


def _of_hub(source: str, name: str) -> _Splits:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            f"{source} is read with the package 'datasets', which is not installed; "
            "run: pip install 'polyroute[train]'"
        ) from error
    try:
        found = datasets.load_dataset(source, name)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the set {name!r} of {source} cannot be loaded: {error}; give a local folder as "
            "'source' where there is no network"
        ) from error
    return _by_split(name, ((split, row) for split, rows in found.items() for row in rows))


def _of_folder(folder: Path, name: str) -> _Splits:
    files = sorted((folder / name).glob("*.jsonl"))
    if not files:
        raise ConfigError(f"no file {folder / name / '<split>.jsonl'}; see the task's 'source'")
    return _by_split(name, ((file.stem, row) for file in files for _, row in json_rows(file)))


def _of_table(path: Path, questions: Sequence[Question], name: str) -> _Splits:
    splits: dict[str, list[Question]] = {}
    for question in questions:
        if _OTHER_NAMES.get(question.task, question.task) == name and question.gold:
            split = _SPLITS.get(question.split, question.split) or "test"
            splits.setdefault(split, []).append(replace(question, task=name, metric=""))
    if not splits:
        raise ConfigError(f"{path} has no questions with right answers whose task is {name!r}")
    return splits


def _by_split(name: str, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> _Splits:
    splits: dict[str, list[Question]] = {}
    for split, row in rows:
        split = _SPLITS.get(split, split)
        try:
            golds = tuple(map(str, row["golden_answers"]))
            prompt = str(row["question"])
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"a row of {name!r} needs 'question' and a list 'golden_answers', got {row!r:.120}"
            ) from error
        place = len(splits.setdefault(split, []))
        query_id = f"{name}-{row.get('id', f'{split}-{place}')}"
        splits[split].append(
            Question(query_id=query_id, prompt=prompt, dataset="seven_qa", task=name, gold=golds)
        )
    return splits
