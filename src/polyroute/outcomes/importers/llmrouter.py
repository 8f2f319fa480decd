"""LLMRouter's routing data: one JSON object per question and model, as JSON lines or a list.

Keys: ``query``, ``model_name``, ``performance`` (0 to 1); optionally ``task_name``,
``ground_truth``, ``metric``, ``response``, ``input_tokens`` and ``output_tokens`` (also without the
s), ``response_time``. ``token_num`` alone does not say what was prompt and what was completion, and
is not read.

References
----------
LLMRouter, its repository, folder ``data/example_data/routing_data``.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from polyroute.outcomes.gathering import Answered, Gathering, Place
from polyroute.outcomes.importers.imported import Imported, files_at, finished
from polyroute.outcomes.rows import json_rows, json_value
from polyroute.outcomes.sheet import Row
from polyroute.types import Json

__all__ = ["read_llmrouter"]


def read_llmrouter(path: Path) -> Imported:
    """Read one file, or all ``.jsonl`` and ``.json`` files below a folder.

    Raises
    ------
    ConfigError
        If a row lacks the question, the model or its performance.
    """
    gathering = Gathering()
    for file in files_at(path, [".jsonl", ".jsonl.gz", ".json"]):
        for line, row in _rows(file):
            place = Place.of(file, line)
            for key in ("query", "model_name", "performance"):
                if key not in row:
                    raise place.error(f"no {key!r}; a row needs query, model_name and performance")
            question = gathering.question(
                row["query"],
                place=place,
                dataset=row.get("task_name"),
                gold=row.get("ground_truth", row.get("gt")),
                metric=row.get("metric"),
            )
            answered = Answered(
                model=row["model_name"],
                score=row["performance"],
                text=row.get("response"),
                prompt_tokens=_first(row, "input_tokens", "input_token"),
                completion_tokens=_first(row, "output_tokens", "output_token"),
                latency_s=row.get("response_time"),
            )
            gathering.answer(question, answered, place=place)
    return finished(gathering, path)


def _rows(file: Path) -> Iterable[Row]:
    if not file.name.endswith(".json"):
        return json_rows(file)
    rows = json_value(file)
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise Place.of(file, 1).error("expected a list of objects")
    return enumerate(rows, start=1)


def _first(row: Mapping[str, Json], *keys: str) -> Json:
    return next((row[key] for key in keys if row.get(key) is not None), None)
