"""The outcome table: which candidate answered which question how, how well, and at what price.

It is the one offline format: the replay backend, training, evaluation and off-policy estimates all
read it. Two tables, in parquet, JSON lines or CSV:

* queries: ``query_id``, ``prompt``; optional ``dataset``, ``split``, ``task``, ``gold`` (right
  answers), ``metric``;
* responses: ``query_id``, ``model``, ``score`` (0 to 1, null where nobody judged); optional
  ``sample`` (0 when absent), ``response_text``, ``pred`` (the answer somebody extracted from the
  text), ``prompt_tokens``, ``completion_tokens``, ``cost_usd``, ``latency_s``.

Other columns are allowed and not read. One file of joined rows will do too: the columns of both in
every row, or one row per question with a list ``responses``.

The one decision here: questions are values, responses are columns. There are a few thousand of the
former and soon a million of the latter; columns load in seconds and go into numpy as they are.
"""

from polyroute.outcomes.describe import Interval, ModelSummary, Picked, TableSummary, describe
from polyroute.outcomes.leaks import Leak, check_leaks, normal_question
from polyroute.outcomes.read import read_outcomes, read_questions
from polyroute.outcomes.split import by_split, side_of, with_splits
from polyroute.outcomes.table import OutcomeTable, Question, Responses
from polyroute.outcomes.write import Written, write_outcomes

__all__ = [
    # the table
    "OutcomeTable", "Question", "Responses",
    # in files
    "Written", "read_outcomes", "read_questions", "write_outcomes",
    # in numbers
    "Interval", "ModelSummary", "Picked", "TableSummary", "describe",
    # divided by question
    "Leak", "by_split", "check_leaks", "normal_question", "side_of", "with_splits",
]  # fmt: skip
