import gzip
import json
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.outcomes import OutcomeTable, read_outcomes

TINY = Path(__file__).parents[1] / "data/replay_tiny.jsonl.gz"
DEV = Path(__file__).parents[2] / "../shared/data/dev"

QUERIES = [
    {"query_id": "a", "prompt": "2 + 2?", "gold": ["4", "four"], "split": "train", "extra": 1},
    {"query_id": "b", "prompt": "capital of France?"},
]
RESPONSES = [
    {"query_id": "a", "model": "m", "score": 1, "response_text": "4", "cost_usd": 0.00015},
    {"query_id": "a", "model": "m", "score": 0, "sample": 1, "response_text": "5"},
    {"query_id": "b", "model": "n", "score": None, "pred": "Paris", "prompt_tokens": 7},
]


def write_pair(folder, queries=QUERIES, responses=RESPONSES):
    for half, rows in (("queries", queries), ("responses", responses)):
        text = "\n".join(json.dumps(row) for row in rows)
        (folder / f"t.{half}.jsonl").write_text(text + "\n")
    return folder / "t"


def test_a_pair_of_json_lines_is_read_with_every_value_in_its_place(tmp_path):
    table = read_outcomes(write_pair(tmp_path))
    assert table.models == ("m", "n")
    assert table.queries[0].gold == ("4", "four")
    assert table.texts == ("4", "5", "Paris")
    assert table.responses.usd(0) == Decimal("0.00015")
    assert table.responses.usd(1) is None
    assert table.responses.prompt_tokens.tolist() == [-1, -1, 7]
    np.testing.assert_array_equal(table.scores_NM(), [[0.5, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(table.costs_NM(), [[0.00015, np.nan], [np.nan, np.nan]])


@pytest.mark.parametrize("name", ["t", "t.queries.jsonl", "t.responses.jsonl"])
def test_a_pair_is_found_by_its_start_or_by_either_file(tmp_path, name):
    write_pair(tmp_path)
    assert len(read_outcomes(tmp_path / name).responses) == 3


def test_joined_rows_are_read_flat_or_with_a_list_of_responses(tmp_path):
    flat = [{**q, **r} for q in QUERIES for r in RESPONSES if q["query_id"] == r["query_id"]]
    nested = [
        {**q, "responses": [r for r in RESPONSES if r["query_id"] == q["query_id"]]}
        for q in QUERIES
    ]
    tables = []
    for name, rows in (("flat.jsonl", flat), ("nested.jsonl.gz", nested)):
        text = "\n".join(json.dumps(row) for row in rows).encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
        tables.append(read_outcomes(tmp_path / name))
    for table in tables:
        assert table.queries == OutcomeTable.of(QUERIES, RESPONSES).queries
        assert table.texts == ("4", "5", "Paris")


def test_parquet_gives_the_same_table_as_json_lines(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    expected = read_outcomes(write_pair(tmp_path))
    golds = [{**row, "gold": json.dumps(row.get("gold", []))} for row in QUERIES]
    for half, rows in (("queries", golds), ("responses", RESPONSES)):
        names = {name: None for row in rows for name in row}
        columns = {name: [row.get(name) for row in rows] for name in names}
        table = pyarrow.table(columns)
        if half == "responses":
            k = table.column_names.index("cost_usd")
            table = table.set_column(k, "cost_usd", table["cost_usd"].cast(pyarrow.float32()))
        parquet.write_table(table, tmp_path / f"p.{half}.parquet")
    table = read_outcomes(tmp_path / "p")
    assert table.queries == expected.queries
    assert table.texts == expected.texts
    assert table.responses.usd(0) == Decimal("0.00015")  # not the digits of a 32-bit float


def test_the_tiny_table_has_120_questions_with_four_or_five_answers():
    table = read_outcomes(TINY)
    rows = [json.loads(line) for line in gzip.decompress(TINY.read_bytes()).splitlines()]
    assert len(table.queries) == len(rows) == 120
    assert len(table.responses) == sum(len(row["responses"]) for row in rows)
    first = rows[0]["responses"][2]
    assert (table.texts[2], table.responses.score[2]) == (first["text"], first["score"])


def replaced(rows, k, **changes):
    return [{**row, **(changes if n == k else {})} for n, row in enumerate(rows)]


def without(rows, k, name):
    return [
        {key: v for key, v in row.items() if (n, key) != (k, name)} for n, row in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("queries", "responses", "words"),
    [
        (QUERIES, replaced(RESPONSES, 1, sample=0), ["t.responses.jsonl, row 2", "'m'", "row 1"]),
        (QUERIES, replaced(RESPONSES, 2, query_id="z"), ["t.responses.jsonl, row 3", "'z'"]),
        (QUERIES, replaced(RESPONSES, 0, score=1.5), ["row 1", "'score'", "from 0 to 1", "1.5"]),
        (QUERIES, replaced(RESPONSES, 0, score="good"), ["row 1", "'score'", "'good'"]),
        (QUERIES, replaced(RESPONSES, 2, cost_usd=-1), ["row 3", "'cost_usd'", "0 or more"]),
        (QUERIES, replaced(RESPONSES, 2, prompt_tokens=0.5), ["row 3", "whole number"]),
        (QUERIES, replaced(RESPONSES, 2, response_text=4), ["row 3", "'response_text'"]),
        (QUERIES, without(RESPONSES, 1, "model"), ["t.responses.jsonl, row 2", "'model'"]),
        (without(QUERIES, 1, "prompt"), RESPONSES, ["t.queries.jsonl, row 2", "'prompt'"]),
        (replaced(QUERIES, 1, query_id="a"), RESPONSES, ["t.queries.jsonl, row 2", "row 1"]),
        (replaced(QUERIES, 0, gold=[4]), RESPONSES, ["t.queries.jsonl, row 1", "'gold'"]),
    ],
)
def test_an_error_names_the_file_the_row_and_the_value(tmp_path, queries, responses, words):
    with pytest.raises(ConfigError) as caught:
        read_outcomes(write_pair(tmp_path, queries, responses))
    for word in words:
        assert word in str(caught.value)


def test_a_broken_line_is_named(tmp_path):
    write_pair(tmp_path)
    with (tmp_path / "t.responses.jsonl").open("a") as file:
        file.write("\n{half")
    with pytest.raises(ConfigError, match=r"t.responses.jsonl, row 5: not JSON"):
        read_outcomes(tmp_path / "t")


def test_one_question_with_two_prompts_is_refused(tmp_path):
    rows = [{"query_id": "a", "prompt": p, "model": p, "score": 1} for p in ("x", "y")]
    (tmp_path / "j.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(ConfigError, match="another prompt in row 1"):
        read_outcomes(tmp_path / "j.jsonl")


def test_a_missing_table_and_a_missing_half_are_told_apart(tmp_path):
    with pytest.raises(ConfigError, match="no outcome table at"):
        read_outcomes(tmp_path / "nothing")
    write_pair(tmp_path)
    (tmp_path / "t.queries.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"t.queries.jsonl does not exist; t.responses.jsonl"):
        read_outcomes(tmp_path / "t")


def test_a_missing_parquet_column_names_the_file(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"query_id": ["a"]}), tmp_path / "t.queries.parquet")
    parquet.write_table(pyarrow.table({"query_id": ["a"]}), tmp_path / "t.responses.parquet")
    with pytest.raises(ConfigError, match=r"t.queries.parquet: no column 'prompt'"):
        read_outcomes(tmp_path / "t")


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"not parquet")
    with pytest.raises(ConfigError, match=r"t.parquet cannot be read as parquet"):
        read_outcomes(tmp_path / "t.parquet")


def test_parquet_without_pyarrow_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"pip install 'polyroute\[tables\]'"):
        read_outcomes(tmp_path / "t.parquet")


@pytest.mark.skipif(not DEV.is_dir(), reason="the shared outcome tables are not here")
def test_the_mean_scores_of_a_real_table_equal_those_of_pandas():
    pandas = pytest.importorskip("pandas")
    table = read_outcomes(DEV / "zeroeval_gsm")
    frame = pandas.read_parquet(DEV / "zeroeval_gsm.responses.parquet")
    expected = frame.pivot_table(index="query_id", columns="model", values="score")
    expected = expected.loc[[question.query_id for question in table.queries], list(table.models)]
    np.testing.assert_allclose(table.scores_NM(), expected.to_numpy(), equal_nan=True)


def test_parquet_of_any_column_type_gives_the_same_table(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    expected = read_outcomes(write_pair(tmp_path))
    kinds = {
        "model": pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
        "query_id": pyarrow.large_string(),
        "score": pyarrow.int8(),
        "sample": pyarrow.uint16(),
        "cost_usd": pyarrow.float64(),
        "prompt_tokens": pyarrow.int32(),
    }
    queries = [{**row, "gold": json.dumps(row.get("gold", []))} for row in QUERIES]
    for half, rows in (("queries", queries), ("responses", RESPONSES)):
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {
            name: pyarrow.array(
                [row.get(name) for row in rows],
                kinds.get(name) if half == "responses" else None,
            )
            for name in names
        }
        parquet.write_table(pyarrow.table(columns), tmp_path / f"p.{half}.parquet")
    table = read_outcomes(tmp_path / "p")
    assert table.models == expected.models
    for name in table.responses.__dataclass_fields__:
        ours, theirs = getattr(table.responses, name), getattr(expected.responses, name)
        np.testing.assert_array_equal(np.array(ours), np.array(theirs), err_msg=name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query_id": "z"}, "p.responses.parquet, row 2: query_id 'z' is not in"),
        ({"query_id": None}, "row 2: 'query_id' must be a string"),
        ({"model": None}, "row 2: 'model' must be a string"),
        ({"score": 1.5}, "row 2: 'score' must be from 0 to 1, got 1.5"),
        ({"sample": 0}, "row 2: a second response of 'm' to 'a'"),
        ({"prompt_tokens": 0.5}, "row 2: 'prompt_tokens' must be a whole number"),
    ],
)
def test_an_error_in_parquet_names_the_file_and_the_row(tmp_path, change, words):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = replaced(RESPONSES, 1, **change)
    for half, table in (("queries", without(QUERIES, 0, "gold")), ("responses", rows)):
        names = dict.fromkeys(name for row in table for name in row)
        columns = {name: [row.get(name) for row in table] for name in names}
        parquet.write_table(pyarrow.table(columns), tmp_path / f"p.{half}.parquet")
    with pytest.raises(ConfigError) as caught:
        read_outcomes(tmp_path / "p")
    assert words in str(caught.value)
