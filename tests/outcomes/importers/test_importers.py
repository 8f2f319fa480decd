import csv
import json

import numpy as np
import pytest

from polyroute import Answer, Call, ModelCard, Pool, Request, Route, Step, Trace, Usage
from polyroute.decision import Failure
from polyroute.errors import ConfigError
from polyroute.outcomes.importers import IMPORTERS, of_records
from polyroute.records.record import Record
from polyroute.trace import Reply


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        lines = csv.DictWriter(file, list(rows[0]))
        lines.writeheader()
        lines.writerows(rows)
    return path


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_routellm_has_a_question_per_row_and_a_model_per_column(tmp_path):
    rows = [
        {"prompt": "1 + 1?\nAnswer:", "weak": True, "strong": False, "weak_response": "2, sure"},
        {"prompt": "2 + 2?", "weak": False, "strong": True, "weak_response": ""},
    ]
    write_csv(tmp_path / "gsm8k_responses.csv", rows)
    table = IMPORTERS["routellm"](tmp_path / "gsm8k_responses.csv").table
    assert table.models == ("weak", "strong")
    assert [question.dataset for question in table.queries] == ["gsm8k", "gsm8k"]
    np.testing.assert_array_equal(table.scores_NM(), [[1, 0], [0, 1]])
    assert table.responses.text[0] == "2, sure"


def test_a_folder_of_routellm_files_is_one_table_with_a_data_set_per_file(tmp_path):
    for name in ("mmlu_a", "mmlu_b"):
        write_csv(tmp_path / f"{name}.csv", [{"": 0, "prompt": name, "m": True}])
    table = IMPORTERS["routellm"](tmp_path).table
    assert [(q.prompt, q.dataset) for q in table.queries] == [("mmlu_a",) * 2, ("mmlu_b",) * 2]


def test_llmrouter_rows_are_read_from_lines_and_from_a_list(tmp_path):
    rows = [
        {
            "task_name": "nq", "query": "who?", "ground_truth": ["he", 7], "metric": "f1",
            "model_name": model, "response": f"{model} says", "performance": score,
            "token_num": 30, "input_tokens": 10, "output_tokens": 20, "response_time": 0.5,
        }
        for model, score in [("a", 1.0), ("b", 0.25)]
    ]  # fmt: skip
    write_lines(tmp_path / "r.jsonl", rows)
    (tmp_path / "r.json").write_text(json.dumps(rows))
    for name in ("r.jsonl", "r.json"):
        table = IMPORTERS["llmrouter"](tmp_path / name).table
        (question,) = table.queries
        assert (question.gold, question.metric, question.dataset) == (("he", "7"), "f1", "nq")
        np.testing.assert_array_equal(table.scores_NM(), [[1.0, 0.25]])
        assert table.responses.prompt_tokens.tolist() == [10, 10]
        assert table.responses.latency_s.tolist() == [0.5, 0.5]


def test_routerbench_columns_become_responses_with_their_price(tmp_path):
    row = {
        "sample_id": "mmlu.0", "prompt": "['What is up?']", "eval_name": "mmlu",
        "org/m": 1.0, "org/m|model_response": "['the sky']", "org/m|total_cost": 0.00012,
        "n": "", "n|model_response": "", "n|total_cost": "",
        "oracle_model_to_route_to": "org/m",
    }  # fmt: skip
    table = IMPORTERS["routerbench"](write_csv(tmp_path / "rb.csv", [row])).table
    assert table.models == ("org/m",)
    assert table.queries[0].prompt == "What is up?"
    assert table.responses.text == ("the sky",)
    assert str(table.responses.usd(0)) == "0.00012"


def test_a_pickle_is_refused_without_being_opened(tmp_path):
    (tmp_path / "rb.pkl").write_bytes(b"\x80\x04boom")
    with pytest.raises(ConfigError, match="can run code"):
        IMPORTERS["routerbench"](tmp_path / "rb.pkl")


def test_llmrouterbench_takes_names_from_the_file_or_its_folders(tmp_path):
    record = {
        "index": 1, "origin_query": "q", "prompt": "Answer: q", "prediction": "B",
        "ground_truth": "B", "score": 1.0, "prompt_tokens": 5, "completion_tokens": 6,
        "cost": 0.01, "raw_output": "It is B",
    }  # fmt: skip
    named = {"model_name": "m1", "dataset_name": "aime", "records": [record]}
    for model, content in [("m1", named), ("m2", {"records": [{**record, "score": False}]})]:
        folder = tmp_path / "bench" / "aime" / "test" / model
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(content))
    table = IMPORTERS["llmrouterbench"](tmp_path / "bench").table
    assert table.models == ("m1", "m2")
    assert table.queries[0].dataset == "aime"
    assert table.responses.pred == ("B", "B")
    np.testing.assert_array_equal(table.scores_NM(), [[1.0, 0.0]])


def user(text):
    return [{"role": "system", "content": "Be short."}, {"role": "user", "content": text}]


def completion(text):
    return {
        "choices": [{"message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }


def test_logs_of_litellm_and_of_openai_give_the_same_outcome(tmp_path):
    litellm = {
        "model": "m", "messages": user("hi?"), "response": completion("ho"), "status": "success",
        "prompt_tokens": 3, "completion_tokens": 4, "response_cost": 0.002, "response_time": 1.5,
        "metadata": {"score": 1, "gold": "ho"},
    }  # fmt: skip
    openai = {
        "request": {"model": "m", "messages": user("hi?")}, "response": completion("ho"),
        "cost_usd": 0.002, "latency_s": 1.5, "score": True,
    }  # fmt: skip
    table = IMPORTERS["openai_logs"](write_lines(tmp_path / "l.jsonl", [litellm, openai])).table
    assert len(table.queries) == 1
    rows = table.responses
    assert rows.text == ("ho", "ho")
    assert rows.sample.tolist() == [0, 1]
    for column in (rows.score, rows.cost_usd, rows.latency_s, rows.prompt_tokens):
        assert column[0] == column[1] > 0


def test_failures_and_conversations_are_left_out_and_counted(tmp_path):
    turns = [*user("a"), {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    rows = [
        {"model": "m", "messages": user("a"), "status": "failure"},
        {"model": "m", "messages": turns, "response": "d"},
        {"model": "m", "messages": image, "response": "d"},
        {"model": "m", "messages": user("a"), "response": "d"},
    ]
    imported = IMPORTERS["openai_logs"](write_lines(tmp_path / "l.jsonl", rows))
    assert len(imported.table.responses) == 1
    assert np.isnan(imported.table.responses.score[0])
    assert sum(imported.left_out.values()) == 3


def episode(id, *, decision_text, replies):
    pool = Pool([ModelCard(id="a"), ModelCard(id="b")])
    trace = Trace(Request.of(f"question {id}", id=id), pool)
    calls = tuple(Call(reply.model) for reply in replies)
    trace = trace.with_step(Step(Route(calls=calls), tuple(replies), 1.0))
    own = Route(calls=(Call("a", prompt="judge this"),), own=True)
    trace = trace.with_step(Step(own, (Reply(model="a", text="fine"),), 1.0))
    return Record.of(trace.with_step(Step(Answer(text=decision_text), (), 2.0)), policy=None)


def test_records_become_the_outcomes_of_the_replies_to_the_question_itself():
    failed = Reply(model="b", failure=Failure("timeout", "late"), usage=None)
    records = [
        episode("t1", decision_text="4", replies=[
            Reply(model="a", text="5", usage=Usage(input=2, cached=1, output=3)),
            Reply(model="b", text="4", seconds=0.5),
        ]),
        episode("t2", decision_text="", replies=[failed]),
    ]  # fmt: skip
    imported = of_records([record.to_json() for record in records], scores={"t1": 0.75})
    table = imported.table
    assert table.responses.text == ("5", "4")
    np.testing.assert_array_equal(table.scores_NM(), [[np.nan, 0.75]])
    assert table.responses.prompt_tokens.tolist()[0] == 3
    assert imported.left_out == {"no model answered the question itself": 1}
    with pytest.raises(ConfigError, match="'t9'"):
        of_records([record.to_json() for record in records], scores={"t9": 1.0})


def test_an_export_of_records_is_imported_and_what_is_none_is_named(tmp_path):
    record = episode("t1", decision_text="4", replies=[Reply(model="a", text="4")])
    path = write_lines(tmp_path / "e.jsonl", [record.to_json()])
    assert IMPORTERS["records"](path).table.models == ("a",)
    with path.open("a") as file:
        file.write('{"no": "record"}\n')
    with pytest.raises(ConfigError, match=r"e.jsonl, row 2: not a record"):
        IMPORTERS["records"](path)


@pytest.mark.parametrize(
    ("name", "file", "text", "words"),
    [
        ("routellm", "a.csv", "question,m\nx,True\n", "a.csv, row 2: no 'prompt'"),
        ("routellm", "a.csv", "prompt,m\nx,True\ny,perhaps\n", "a.csv, row 3: the score must be"),
        ("llmrouter", "a.jsonl", '{"query": "x", "model_name": "m"}', "row 1: no 'performance'"),
        ("llmrouter", "a.json", '{"query": "x"}', "expected a list of objects"),
        ("routerbench", "a.csv", "prompt,m\nx,1\n", "a.csv, row 2: no 'prompt' or"),
        ("routerbench", "a.csv", "prompt,m,m|total_cost\nx,1,-2\n", "cost must be 0 or more"),
        ("llmrouterbench", "a.json", "[]", "a list 'records'"),
        ("llmrouterbench", "a.json", '{"records": [{"prompt": "x"}]}', "a.json, row 1"),
        ("openai_logs", "a.jsonl", '\n{"model": "m"}', "a.jsonl, row 2: no 'messages'"),
        ("openai_logs", "a.jsonl", "", "there is no outcome in it"),
        ("records", "a.jsonl", "[]", "expected an object"),
    ],
)
def test_what_cannot_be_imported_is_named_with_its_row(tmp_path, name, file, text, words):
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError) as caught:
        IMPORTERS[name](tmp_path / file)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", IMPORTERS)
def test_a_path_without_anything_is_refused(name, tmp_path):
    with pytest.raises(ConfigError, match="nothing to import"):
        IMPORTERS[name](tmp_path)
