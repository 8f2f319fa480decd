"""RouteLLM's evaluation responses: a CSV with the prompt and, per model, whether it was right.

Columns: ``prompt``; one column per model with True or False (or a score from 0 to 1); optionally
``<model>_response`` with its text. A folder of such files is one table; the file is the data set.

References
----------
Ong et al., RouteLLM, arXiv:2406.18665; its repository, folder ``routellm/evals``.
"""

from pathlib import Path

from polyroute.outcomes.gathering import Answered, Gathering, Place
from polyroute.outcomes.importers.imported import Imported, files_at, finished
from polyroute.outcomes.rows import csv_rows

__all__ = ["read_routellm"]

_TEXT = "_response"


def read_routellm(path: Path) -> Imported:
    """Read one file, or all ``.csv`` files below a folder.

    Raises
    ------
    ConfigError
        If a row lacks the prompt, or a model's cell is neither true, false nor a score.
    """
    gathering = Gathering()
    for file in files_at(path, [".csv"]):
        dataset = file.name.removesuffix(".csv").removesuffix("_responses")
        for line, row in csv_rows(file):
            place = Place.of(file, line)
            if "prompt" not in row:
                raise place.error("no 'prompt'; expected the columns prompt, and one per model")
            question = gathering.question(row["prompt"], place=place, dataset=dataset)
            texts = {name for name in row if name.endswith(_TEXT) and name[: -len(_TEXT)] in row}
            for name in [key for key in row if key not in texts and key != "prompt"]:
                if row[name] is not None:
                    answered = Answered(model=name, score=row[name], text=row.get(name + _TEXT))
                    gathering.answer(question, answered, place=place)
    return finished(gathering, path)
