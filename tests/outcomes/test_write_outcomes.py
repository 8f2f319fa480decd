import csv
import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.outcomes import OutcomeTable, read_outcomes, write_outcomes
from polyroute.outcomes.cells import line_of, lines_in

FORMATS = [".parquet", ".jsonl", ".jsonl.gz", ".csv", ".csv.gz"]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.floats(0, 1e9, allow_nan=False)
counts = st.none() | st.integers(0, 2**50)


@st.composite
def tables(draw):
    ids = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    queries = [
        {
            "query_id": query_id,
            "prompt": draw(texts),
            "dataset": draw(texts),
            "gold": draw(st.lists(texts, max_size=2)),
            "metric": draw(texts),
        }
        for query_id in ids
    ]
    keys = st.tuples(st.sampled_from(ids), texts, st.integers(0, 3))
    responses = [
        {
            "query_id": query_id,
            "model": model,
            "sample": sample,
            "score": draw(st.none() | st.floats(0, 1)),
            "response_text": draw(st.none() | texts),
            "pred": draw(st.none() | texts),
            "prompt_tokens": draw(counts),
            "completion_tokens": draw(counts),
            "cost_usd": draw(st.none() | numbers),
            "latency_s": draw(st.none() | numbers),
        }
        for query_id, model, sample in draw(st.lists(keys, max_size=5, unique=True))
    ]
    return OutcomeTable.of(queries, responses)


def assert_same(one, other):
    assert one.queries == other.queries
    assert one.models == other.models
    for name in one.responses.__dataclass_fields__:
        ours, theirs = getattr(one.responses, name), getattr(other.responses, name)
        if isinstance(ours, np.ndarray):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
        else:
            assert ours == theirs, name


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=25, deadline=None)
@given(table=tables())
def test_a_written_table_is_read_back_value_by_value(suffix, table):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"t{suffix}"
        written = write_outcomes(table, path)
        assert sorted(Path(folder).iterdir()) == [written.queries, written.responses]
        assert_same(read_outcomes(path), table)
        assert_same(read_outcomes(Path(folder) / "t"), table)
        assert_same(read_outcomes(written.responses), table)


@given(st.lists(st.lists(st.none() | texts, min_size=2, max_size=4), max_size=4))
def test_a_csv_reads_as_the_standard_library_reads_it(rows):
    text = "".join(line_of(row) for row in rows)
    ours = [[cell or "" for cell in row] for _, row in lines_in(text, name="t")]
    assert ours == list(csv.reader(io.StringIO(text, newline="")))
    assert [row for _, row in lines_in(text, name="t")] == rows


@given(st.lists(st.lists(texts, min_size=2, max_size=4), max_size=4))
def test_a_csv_of_the_standard_library_is_read(rows):
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    read = [[cell or "" for cell in row] for _, row in lines_in(file.getvalue(), name="t")]
    assert read == rows


def test_a_line_number_counts_the_line_ends_inside_quotes():
    lines = [number for number, _ in lines_in('a,b\r\n"x\ny\nz",1\r\n\r\nlast,2', name="t")]
    assert lines == [1, 2, 6]


@pytest.mark.parametrize("text", ['a,"b\n', 'a,"b"c\n'])
def test_a_quote_that_is_not_closed_is_named_with_its_row(text):
    with pytest.raises(ConfigError, match=r"t.csv, row 2: a quoted cell"):
        list(lines_in(f"x,y\n{text}", name="t.csv"))


def test_one_csv_of_joined_rows_is_read(tmp_path):
    (tmp_path / "t.csv").write_text(
        'query_id,prompt,gold,model,score,response_text\nq,"2 + 2?",4,a,1,4\nq,"2 + 2?",4,b,,\n'
    )
    table = read_outcomes(tmp_path / "t.csv")
    assert table.queries[0].gold == ("4",)
    assert table.texts == ("4", None)
    np.testing.assert_array_equal(table.scores_NM(), [[1.0, np.nan]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("query_id,prompt,model,score\nq,p,m,good\n", "t.csv, row 2: 'score' must be a number"),
        ("query_id,prompt,model,score\nq,p,m,2\n", "t.csv, row 2: 'score' must be from 0 to 1"),
        ("query_id,prompt,model,score\nq,p,m\n", "t.csv, row 2: 3 cells under 4 columns"),
        ("query_id,prompt,model,model\n", "t.csv, row 1: every column needs a name of its own"),
    ],
)
def test_an_error_in_a_csv_names_the_file_and_the_row(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_outcomes(tmp_path / "t.csv")


def test_half_a_character_cannot_be_written_and_leaves_the_old_table(tmp_path):
    good = OutcomeTable.of([{"query_id": "a", "prompt": "x"}], [])
    write_outcomes(good, tmp_path / "t.jsonl")
    bad = OutcomeTable.of([{"query_id": "a", "prompt": "\ud800"}], [])
    with pytest.raises(ConfigError, match="half a character"):
        write_outcomes(bad, tmp_path / "t.jsonl")
    assert read_outcomes(tmp_path / "t").queries == good.queries
    assert len(list(tmp_path.iterdir())) == 2


def test_parquet_without_pyarrow_names_the_command_and_the_other_formats(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    table = OutcomeTable.of([{"query_id": "a", "prompt": "x"}], [])
    with pytest.raises(MissingExtraError, match=r"polyroute\[tables\].*\.jsonl"):
        write_outcomes(table, tmp_path / "t")


def test_the_same_table_gives_the_same_bytes(tmp_path):
    table = OutcomeTable.of([{"query_id": "a", "prompt": "x"}], [])
    for suffix in FORMATS[1:]:
        first = write_outcomes(table, tmp_path / f"a{suffix}").queries.read_bytes()
        assert write_outcomes(table, tmp_path / f"b{suffix}").queries.read_bytes() == first
