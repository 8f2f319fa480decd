"""The outcome table as a value: questions, and the responses of every model as columns."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

import numpy as np

from polyroute.outcomes.sheet import QUERY, RESPONSE, BoolColumn, FloatColumn, IntColumn, Sheet

__all__ = ["OutcomeTable", "Question", "Responses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question, and what is known of its right answer."""

    query_id: str
    prompt: str
    dataset: str = ""
    split: str = ""
    """``train``, ``val`` or ``test``; a question is on one side in every table."""
    task: str = ""
    """Group of questions within the data set."""
    gold: tuple[str, ...] = ()
    """Right answers; any of them will do."""
    metric: str = ""
    """How `Responses.score` was made."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Responses:
    """All responses as columns of one length n."""

    query: IntColumn
    """Index into `OutcomeTable.queries`."""
    model: IntColumn
    """Index into `OutcomeTable.models`."""
    sample: IntColumn
    """Which of several answers of the same model to the same question."""
    text: tuple[str | None, ...]
    """What the model said; `None` where it was not kept."""
    pred: tuple[str | None, ...]
    """The answer extracted from the text, where the table has one."""
    score: FloatColumn
    """0 to 1; NaN where nobody judged."""
    prompt_tokens: IntColumn
    """-1 where unknown."""
    completion_tokens: IntColumn
    """-1 where unknown."""
    cost_usd: FloatColumn
    """US dollars; NaN where unknown."""
    latency_s: FloatColumn
    """Seconds to the full reply; NaN where unknown."""

    def __len__(self) -> int:
        return len(self.query)

    def usd(self, row: int) -> Decimal | None:
        """Return the recorded price of one response to the digit it was written with.

        Returns
        -------
        Decimal or None
            US dollars; `None` where the table does not know.
        """
        cost = float(self.cost_usd[row])
        return None if np.isnan(cost) else Decimal(repr(cost))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutcomeTable:
    """Questions, and the recorded responses of every model to them.

    Examples
    --------
    >>> table = OutcomeTable.of(
    ...     [{"query_id": "q", "prompt": "2 + 2?"}],
    ...     [{"query_id": "q", "model": "calc", "score": 1.0, "response_text": "4"}],
    ... )
    >>> table.models, table.texts, table.scores_NM()
    (('calc',), ('4',), array([[1.]]))
    """

    queries: tuple[Question, ...]
    """N questions."""
    models: tuple[str, ...]
    """M names, in the order in which the table first has them."""
    responses: Responses

    @classmethod
    def of(
        cls,
        queries: Sequence[Mapping[str, Any]],
        responses: Sequence[Mapping[str, Any]],
        *,
        where: str = "table",
    ) -> "OutcomeTable":
        """Return the table of rows given as mappings; errors name `where`.

        Raises
        ------
        ConfigError
            As in `read_outcomes`.
        """
        return cls.of_sheets(
            Sheet.of_rows(f"{where}.queries", list(enumerate(queries, start=1)), QUERY),
            Sheet.of_rows(f"{where}.responses", list(enumerate(responses, start=1)), RESPONSE),
        )

    @classmethod
    def of_sheets(cls, queries: Sheet, responses: Sheet) -> "OutcomeTable":
        """Return the table of two checked sheets.

        Raises
        ------
        ConfigError
            As in `read_outcomes`.
        """
        questions = _questions(queries)
        index = {question.query_id: n for n, question in enumerate(questions)}
        ids, models = responses.coded("query_id"), responses.coded("model")
        for code, query_id in enumerate(ids.values):
            if query_id not in index:
                raise responses.error(
                    int(np.flatnonzero(ids.codes == code)[0]),
                    f"query_id {query_id!r} is not in {queries.name}; add it or drop the row",
                )
        columns = Responses(
            query=np.array([index[query_id] for query_id in ids.values], np.int64)[ids.codes],
            model=models.codes,
            sample=responses.counts("sample", default=0),
            text=responses.texts("response_text"),
            pred=responses.texts("pred"),
            score=responses.floats("score", high=1.0),
            prompt_tokens=responses.counts("prompt_tokens", default=-1),
            completion_tokens=responses.counts("completion_tokens", default=-1),
            cost_usd=responses.floats("cost_usd"),
            latency_s=responses.floats("latency_s"),
        )
        _refuse_duplicates(responses, columns)
        return cls(queries=questions, models=tuple(models.values), responses=columns)

    @property
    def texts(self) -> tuple[str | None, ...]:
        """What each response said: its text, or the extracted answer where the text is missing."""
        pairs = zip(self.responses.text, self.responses.pred, strict=True)
        return tuple(pred if text is None else text for text, pred in pairs)

    def scores_NM(self) -> FloatColumn:  # noqa: N802 - shape suffix
        """Return the mean score over samples, shape (N, M); NaN where not observed."""
        return self._means(self.responses.score)

    def costs_NM(self) -> FloatColumn:  # noqa: N802 - shape suffix
        """Return the mean cost over samples in US dollars, shape (N, M); NaN where unknown."""
        return self._means(self.responses.cost_usd)

    def only(self, keep_N: BoolColumn) -> "OutcomeTable":
        """Return the questions of a boolean mask, with their responses and all the models."""
        keep_N = np.asarray(keep_N, np.bool_)
        rows = np.flatnonzero(keep_N[self.responses.query])
        columns: dict[str, Any] = {}
        for column in fields(Responses):
            values = getattr(self.responses, column.name)
            columns[column.name] = (
                tuple(values[row] for row in rows) if isinstance(values, tuple) else values[rows]
            )
        columns["query"] = (np.cumsum(keep_N) - 1)[columns["query"]]
        return OutcomeTable(
            queries=tuple(q for q, kept in zip(self.queries, keep_N, strict=True) if kept),
            models=self.models,
            responses=Responses(**columns),
        )

    def _means(self, column: FloatColumn) -> FloatColumn:
        shape = (len(self.queries), len(self.models))
        cell = np.ravel_multi_index((self.responses.query, self.responses.model), shape)
        known = ~np.isnan(column)
        size = shape[0] * shape[1]
        count = np.bincount(cell[known], minlength=size)
        total = np.bincount(cell[known], weights=column[known], minlength=size)
        mean = np.full(size, np.nan)
        np.divide(total, count, out=mean, where=count > 0)
        return mean.reshape(shape)


def _questions(sheet: Sheet) -> tuple[Question, ...]:
    seen: dict[str, int] = {}
    for row, query_id in enumerate(sheet.strings("query_id")):
        if query_id in seen:
            first = sheet.lines[seen[query_id]]
            raise sheet.error(row, f"query_id {query_id!r} is in row {first} already")
        seen[query_id] = row
    strings = [field.name for field in fields(Question) if field.name != "gold"]
    columns: dict[str, list[Any]] = {
        name: sheet.strings(name, default=None if name in QUERY.required else "")
        for name in strings
    }
    columns["gold"] = [_golds(sheet, row, gold) for row, gold in enumerate(sheet.values("gold"))]
    return tuple(
        Question(**{name: column[row] for name, column in columns.items()})
        for row in range(len(seen))
    )


def _golds(sheet: Sheet, row: int, gold: Any) -> tuple[str, ...]:  # noqa: ANN401 - as written
    """Read a list of strings, a JSON list of strings, or one plain string."""
    if isinstance(gold, str) and gold.startswith("["):
        try:
            gold = json.loads(gold)
        except json.JSONDecodeError:
            gold = [gold]
    golds = [] if gold is None else [gold] if isinstance(gold, str) else gold
    if not isinstance(golds, list) or not all(isinstance(one, str) for one in golds):
        raise sheet.error(row, f"'gold' must be a list of strings or null, got {gold!r:.80}")
    return tuple(golds)


def _refuse_duplicates(sheet: Sheet, columns: Responses) -> None:
    keys = np.stack([columns.query, columns.model, columns.sample], axis=1)
    order = np.lexsort(keys.T[::-1])
    same = np.flatnonzero((keys[order][1:] == keys[order][:-1]).all(axis=1))
    if same.size:
        first, second = sorted((int(order[same[0]]), int(order[same[0] + 1])))
        where = ("query_id", "model")
        query_id, model = (sheet.values(name)[second] for name in where)
        raise sheet.error(
            second,
            f"a second response of {model!r} to {query_id!r} with sample "
            f"{columns.sample[second]}; the first is in row {sheet.lines[first]}. Number them "
            "with 'sample'",
        )
