"""RouterBench's wide table as CSV: a row per question, three columns per model.

Columns: ``sample_id``, ``prompt``, ``eval_name``; per model ``<model>`` (its score),
``<model>|model_response``, ``<model>|total_cost``. The file as published is a pickle, which can run
code when it is read, so it is not read here; write it as CSV where you trust it:
``pandas.read_pickle("routerbench_0shot.pkl").to_csv("routerbench_0shot.csv", index=False)``.

References
----------
Hu et al., RouterBench, arXiv:2403.12031; the data set withmartian/routerbench.
"""

import ast
from pathlib import Path

from polyroute.errors import ConfigError
from polyroute.outcomes.gathering import Answered, Gathering, Place
from polyroute.outcomes.importers.imported import Imported, files_at, finished
from polyroute.outcomes.rows import csv_rows

__all__ = ["read_routerbench"]

_COST = "|total_cost"
_TEXT = "|model_response"


def read_routerbench(path: Path) -> Imported:
    """Read one file, or all ``.csv`` files below a folder.

    Raises
    ------
    ConfigError
        If it is a pickle, there is no model in it, or a row lacks the prompt.
    """
    gathering = Gathering()
    for file in files_at(path, [".csv", ".csv.gz"]):
        if file.suffix in (".pkl", ".pickle"):
            raise ConfigError(
                f"{file.name} is a pickle, which can run code when it is read; write it as CSV "
                "first: pandas.read_pickle(path).to_csv(path, index=False)"
            )
        for line, row in csv_rows(file):
            place = Place.of(file, line)
            models = [name.removesuffix(_COST) for name in row if name.endswith(_COST)]
            if "prompt" not in row or not models:
                raise place.error(
                    "no 'prompt' or no '<model>|total_cost'; this is no RouterBench table"
                )
            question = gathering.question(
                _unlisted(row["prompt"]), place=place, dataset=row.get("eval_name")
            )
            for model in models:
                if row.get(model) is not None:
                    answered = Answered(
                        model=model,
                        score=row[model],
                        text=_unlisted(row.get(model + _TEXT)),
                        cost_usd=row[model + _COST],
                    )
                    gathering.answer(question, answered, place=place)
    return finished(gathering, path)


def _unlisted(text: str | None) -> str | None:
    """Return the text of a cell, which may be a list of one text as Python writes it."""
    if text is None or not (text.startswith("[") and text.endswith("]")):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    is_texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return "\n".join(value) if is_texts and value else text
