"""Put an outcome table together from answers as they are met, in whatever order.

The one decision here: the text is the question. What has the same prompt (but for white space) is
one question with one id, wherever it came from, and a second answer of the same model is its next
sample.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyroute.errors import ConfigError
from polyroute.outcomes.table import OutcomeTable
from polyroute.types import Json

__all__ = ["Answered", "Gathering", "Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row is, for error messages."""

    file: str
    row: int

    @classmethod
    def of(cls, path: Path, row: int) -> "Place":
        """Return the place of a row (from 1) of a file."""
        return cls(path.name, row)

    def error(self, problem: str) -> ConfigError:
        """Return the error that says what is wrong there."""
        return ConfigError(f"{self.file}, row {self.row}: {problem}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One model's answer to a question, as a source has it; `None` is unknown."""

    model: Json
    score: Json = None
    """A number from 0 to 1, or true and false; also as a string."""
    text: Json = None
    pred: Json = None
    prompt_tokens: Json = None
    completion_tokens: Json = None
    cost_usd: Json = None
    latency_s: Json = None


class Gathering:
    """The table so far.

    Examples
    --------
    >>> gathering = Gathering()
    >>> place = Place("log.jsonl", 1)
    >>> question = gathering.question("2 + 2?", place=place, gold="4")
    >>> gathering.answer(question, Answered(model="calc", score=True, text="4"), place=place)
    >>> gathering.table().scores_NM()
    array([[1.]])
    """

    def __init__(self) -> None:
        self._queries: dict[str, dict[str, Any]] = {}
        self._responses: list[dict[str, Any]] = []
        self._samples: Counter[tuple[str, str]] = Counter()

    def question(
        self,
        prompt: Json,
        *,
        place: Place,
        dataset: Json = None,
        task: Json = None,
        gold: Json = None,
        metric: Json = None,
    ) -> str:
        """Return the id of the question `prompt`; the first one met says what is known of it.

        Raises
        ------
        ConfigError
            If the prompt is no text.
        """
        if not isinstance(prompt, str):
            raise place.error(f"the question must be a text, got {prompt!r:.80}")
        words = " ".join(prompt.split())
        query_id = hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        if query_id not in self._queries:
            said = {"dataset": dataset, "task": task, "metric": metric}
            self._queries[query_id] = {
                "query_id": query_id,
                "prompt": prompt,
                "gold": _golds(gold),
                **{name: None if value is None else str(value) for name, value in said.items()},
            }
        return query_id

    def answer(self, query_id: str, answered: Answered, *, place: Place) -> None:
        """Add an answer to the question `query_id`.

        Raises
        ------
        ConfigError
            If the model has no name, or a number is none or out of its range.
        """
        if not isinstance(answered.model, str) or not answered.model:
            raise place.error(f"the model must be a name, got {answered.model!r:.80}")
        key = (query_id, answered.model)
        self._responses.append(
            {
                "query_id": query_id,
                "model": answered.model,
                "sample": self._samples[key],
                "score": _number("score", answered.score, place, high=1.0),
                "response_text": _text(answered.text),
                "pred": _text(answered.pred),
                "prompt_tokens": _count("prompt_tokens", answered.prompt_tokens, place),
                "completion_tokens": _count("completion_tokens", answered.completion_tokens, place),
                "cost_usd": _number("cost", answered.cost_usd, place),
                "latency_s": _number("latency", answered.latency_s, place),
            }
        )
        self._samples[key] += 1

    def __len__(self) -> int:
        return len(self._responses)

    def table(self) -> OutcomeTable:
        """Return the table of everything that was added."""
        return OutcomeTable.of([*self._queries.values()], self._responses, where="gathered")


def _golds(gold: Json) -> list[str]:
    if gold is None:
        return []
    if isinstance(gold, Sequence) and not isinstance(gold, str):
        return [_as_text(one) for one in gold]
    return [_as_text(gold)]


def _text(value: Json) -> str | None:
    return None if value is None else _as_text(value)


def _as_text(value: Json) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else str(value)


_WORDS: Mapping[str, float] = {"true": 1.0, "false": 0.0}


def _number(name: str, value: Json, place: Place, *, high: float = math.inf) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise place.error(f"the {name} must be a number, got {value!r:.80}") from None
    if math.isnan(number):
        return None
    if not 0 <= number <= high or math.isinf(number):
        bound = "0 or more" if high == math.inf else f"from 0 to {high:g}"
        raise place.error(f"the {name} must be {bound}, got {value!r:.80}")
    return number


def _count(name: str, value: Json, place: Place) -> int | None:
    number = _number(name, value, place)
    if number is not None and number != int(number):
        raise place.error(f"{name} must be a whole number, got {value!r:.80}")
    return None if number is None else int(number)
