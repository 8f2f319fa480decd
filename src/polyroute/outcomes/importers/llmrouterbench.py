"""LLMRouterBench's results: a JSON file per data set, split and model, with its records.

Keys of a file: ``model_name``, ``dataset_name`` (without them, the folders
``<dataset>/<split>/<model>/``), ``records``. Keys of a record: ``prompt`` or ``origin_query``,
``score``; optionally ``prediction``, ``ground_truth``, ``raw_output``, ``prompt_tokens``,
``completion_tokens``, ``cost``. The question is what the model was sent (``prompt``).

References
----------
LLMRouterBench, arXiv:2601.07206.
"""

from collections.abc import Mapping
from pathlib import Path

from polyroute.outcomes.gathering import Answered, Gathering, Place
from polyroute.outcomes.importers.imported import Imported, files_at, finished
from polyroute.outcomes.rows import json_value
from polyroute.types import Json

__all__ = ["read_llmrouterbench"]


def read_llmrouterbench(path: Path) -> Imported:
    """Read one file, or all ``.json`` files below a folder.

    Raises
    ------
    ConfigError
        If a file has no records, a model's name cannot be found, or a record lacks its question.
    """
    gathering = Gathering()
    for file in files_at(path, [".json"]):
        content = json_value(file)
        records = content.get("records") if isinstance(content, Mapping) else None
        if not isinstance(records, list):
            raise Place.of(file, 1).error("expected an object with a list 'records'")
        names = _names(file, content)
        for row, record in enumerate(records, start=1):
            _add(gathering, record, names, Place.of(file, row))
    return finished(gathering, path)


def _names(file: Path, content: Mapping[str, Json]) -> tuple[Json, Json]:
    """Return the model and the data set."""
    folders = [folder.name for folder in file.resolve().parents]
    model = content.get("model_name") or (folders[0] if len(folders) > 2 else None)
    return model, content.get("dataset_name") or (folders[2] if len(folders) > 2 else None)


def _add(gathering: Gathering, record: Json, names: tuple[Json, Json], place: Place) -> None:
    if not isinstance(record, Mapping) or "score" not in record:
        raise place.error("expected a record with a prompt and a score")
    question = gathering.question(
        record.get("prompt") or record.get("origin_query"),
        place=place,
        dataset=names[1],
        gold=record.get("ground_truth"),
    )
    answered = Answered(
        model=names[0],
        score=record["score"],
        text=record.get("raw_output"),
        pred=record.get("prediction"),
        prompt_tokens=record.get("prompt_tokens"),
        completion_tokens=record.get("completion_tokens"),
        cost_usd=record.get("cost"),
    )
    gathering.answer(question, answered, place=place)
