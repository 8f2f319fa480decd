import json
import os
import signal
import subprocess
import sys
import time

import pytest

from polyroute.outcomes import OutcomeTable, read_outcomes, write_outcomes

QUERIES = [
    {"query_id": "q1", "prompt": "2 + 2?", "gold": ["4"], "split": "train"},
    {"query_id": "q2", "prompt": "2  + 2", "gold": ["4"], "split": "val"},
    {"query_id": "q3", "prompt": "capital of France?", "gold": ["Paris"], "split": "val"},
]


@pytest.fixture
def table(tmp_path):
    responses = [
        {"query_id": q, "model": m, "score": s, "cost_usd": c}
        for q, m, s, c in [
            ("q1", "cheap", 1, 0.001),
            ("q1", "dear", 1, 0.01),
            ("q2", "cheap", 0, 0.001),
            ("q2", "dear", 1, 0.01),
            ("q3", "dear", 1, None),
        ]
    ]
    write_outcomes(OutcomeTable.of(QUERIES, responses), tmp_path / "t.jsonl")
    return tmp_path / "t"


def test_describe_names_every_model_the_best_and_the_oracle(run, table):
    result = run("data", "describe", table)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "3 questions, 2 models, 5 responses; 3 questions judged"
    assert lines[2].split()[:2] == ["dear", "1.000"]
    assert "best single: dear" in lines
    assert "some costs are unknown" in result.stderr


def test_describe_for_programs_is_json_of_one_split(run, table):
    summary = json.loads(run("data", "describe", table, "--split", "val", "--json").stdout)
    assert summary["questions"] == 2
    assert [model["model"] for model in summary["models"]] == ["cheap", "dear"]


def test_an_unknown_split_is_refused_with_the_known_ones(run, table):
    result = run("data", "describe", table, "--split", "dev")
    assert result.exit_code == 2
    assert "'train', 'val'" in result.stderr


def test_split_keeps_one_question_on_one_side(run, table, tmp_path):
    result = run("data", "split", table, "-o", tmp_path / "s.csv", "--fractions", "a=0.5,b=0.5")
    assert result.exit_code == 0
    sides = {q.query_id: q.split for q in read_outcomes(tmp_path / "s").queries}
    assert sides["q1"] == sides["q2"]
    assert set(sides.values()) <= {"a", "b"}


def test_split_warns_of_near_identical_questions(run, tmp_path):
    text = "How many people lived in the town of Springfield in the year {} by its census?"
    queries = [{"query_id": str(k), "prompt": text.format(k)} for k in range(1000, 1020)]
    write_outcomes(OutcomeTable.of(queries, []), tmp_path / "t.jsonl")
    result = run("data", "split", tmp_path / "t", "-o", tmp_path / "s.jsonl")
    assert "are nearly one of" in result.stderr


@pytest.mark.parametrize("fractions", ["train", "train=much", "train=0.5"])
def test_fractions_that_are_none_are_a_wrong_usage(run, table, tmp_path, fractions):
    result = run("data", "split", table, "-o", tmp_path / "s", "--fractions", fractions)
    assert result.exit_code == 2
    assert "fractions" in result.stderr


def test_import_writes_a_table_and_says_what_is_in_it(run, tmp_path):
    (tmp_path / "r.csv").write_text("prompt,weak,strong\n2 + 2?,True,False\n")
    result = run("data", "import", "routellm", tmp_path / "r.csv", "-o", tmp_path / "t.jsonl")
    assert result.exit_code == 0
    assert result.stdout.startswith("1 question, 2 models, 2 responses in t.queries.jsonl")
    assert read_outcomes(tmp_path / "t").models == ("weak", "strong")


def test_an_unknown_format_is_refused_with_the_known_ones(run, tmp_path):
    result = run("data", "import", "routelm", tmp_path, "-o", tmp_path / "t")
    assert result.exit_code == 2
    assert "did you mean 'routellm'" in result.stderr


def test_from_records_makes_a_table_of_what_was_asked(run, tmp_path):
    for question in ("one?", "two?"):
        assert run("ask", question, "--policy", "only-b").exit_code == 0
    ids = [record["id"] for record in json.loads(run("trace", "list", "--json").stdout)]
    (tmp_path / "s.jsonl").write_text(json.dumps({"id": ids[0], "score": 1}))
    output = tmp_path / "t.jsonl"
    result = run("data", "from-records", "-o", output, "--scores", tmp_path / "s.jsonl")
    assert result.exit_code == 0
    table = read_outcomes(tmp_path / "t")
    assert table.models == ("b",)
    assert sorted(table.texts) == ["b heard: one?", "b heard: two?"]
    assert table.responses.score[table.texts.index("b heard: two?")] == 1


INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from polyroute.cli import main
main()
"""
"""What a shell starts in the background ignores ctrl-c, and so does what that starts."""


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(query) + "\n" for query in QUERIES))
    return path


def test_collect_asks_every_card_and_goes_on_where_it_ended(run, questions, tmp_path):
    command = ("data", "collect", questions, "-o", tmp_path / "c", "--metric", "contains")
    first = run(*command, "--limit", 1)
    assert first.exit_code == 0
    assert first.stdout.startswith("2 answers new, 0 there before, 0 missing; $")
    second = run(*command)
    assert second.stdout.startswith("4 answers new, 2 there before, 0 missing")
    table = read_outcomes(tmp_path / "c")
    assert sorted(table.models) == ["a", "b"]
    assert len(table.responses) == 6


def test_collect_stops_at_its_money_and_says_how_to_go_on(run, questions, tmp_path):
    result = run("data", "collect", questions, "-o", tmp_path / "c", "--metric", "f1",
                 "--max-usd", "0.0000001", "--max-tokens", "10")  # fmt: skip
    assert result.exit_code == 1
    assert "6 missing" in result.stdout
    assert "--max-usd" in result.stderr


def test_collect_needs_a_metric_that_exists(run, questions, tmp_path):
    result = run("data", "collect", questions, "-o", tmp_path / "c")
    assert result.exit_code == 2
    assert "unknown metric ''" in result.stderr
    assert not (tmp_path / "c.responses.jsonl").exists()


def test_ctrl_c_keeps_every_answer_that_came(configure, card, tmp_path, questions):
    pool = [card("quick"), card("slow", latency_s="says:slowly")]
    config = configure(pool=pool, policy={"name": "fixed", "model": "quick"}, policies={})
    command = [sys.executable, "-c", INTERRUPTIBLE, "data", "collect"]
    command += [questions, "-o", tmp_path / "c", "--metric", "contains", "--config", config]
    path = tmp_path / "c.responses.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while not (path.exists() and path.read_text().count("\n") == 3):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
        assert process.wait(20) == 130
    assert "interrupted" in said
    assert read_outcomes(tmp_path / "c").models == ("quick",)
