import json
from decimal import Decimal

import pytest

from polyroute.records.record import Record


def bill_lines(stderr):
    """Return the lines of the ledger: those of the calls, and the sum."""
    lines = stderr.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("round  asked"))
    end = next(k for k, line in enumerate(lines) if line.startswith("sum "))
    return lines[start + 1 : end], lines[end]


def dollars_in(line):
    return Decimal(next(word for word in line.split() if word.startswith("$"))[1:])


def test_the_answer_alone_goes_to_standard_output(run):
    result = run("ask", "-p", "b", "hello")
    assert result.exit_code == 0
    assert result.stdout == "b heard: hello\n"
    assert "round 1: asks b" in result.stderr


def test_the_dollars_of_the_lines_add_up_to_the_sum(run):
    result = run("ask", "how are you?")
    lines, total = bill_lines(result.stderr)
    assert len(lines) == 3
    assert sum(map(dollars_in, lines)) == dollars_in(total)


def test_the_id_of_the_trace_is_given_with_the_command_that_replays_it(run):
    stderr = run("ask", "hello").stderr
    command = next(line for line in stderr.splitlines() if line.startswith("replay this trace"))
    replay = run(*command.partition("polyroute ")[2].split())
    assert replay.exit_code == 0
    assert replay.stdout.startswith("same: ")


def test_json_is_one_record_and_nothing_else(run):
    result = run("ask", "-p", "b", "hello", "--json")
    record = Record.from_json(json.loads(result.stdout))
    assert record.trace().answer == "b heard: hello"
    assert record.intact


def test_json_of_a_store_without_texts_still_has_the_answer(run, configure, tmp_path):
    records = {"store": "jsonl", "path": str(tmp_path / "r.jsonl"), "content": "none"}
    configure(records=records)
    result = run("ask", "-p", "b", "hello", "--json")
    assert Record.from_json({**json.loads(result.stdout), **_SEALED}).trace().answer
    assert b"heard" not in (tmp_path / "r.jsonl").read_bytes()


_SEALED = {"hash": "0", "number": 1, "previous": None, "created_at": "2026-01-01T00:00:00Z"}


def test_standard_input_is_the_question_when_none_is_given(run):
    assert run("ask", "-p", "b", input="from a pipe\n").stdout == "b heard: from a pipe\n"
    assert run("ask", "-p", "b", "-", input="from a pipe\n").stdout == "b heard: from a pipe\n"


@pytest.mark.parametrize("name", ["only-b", "b"])
def test_a_policy_is_a_configured_name_or_a_card(run, name):
    assert run("ask", "--policy", name, "x").stdout == "b heard: x\n"


def test_a_registered_policy_without_parameters_can_be_named(run):
    result = run("ask", "--policy", "cheapest", "x", "--json")
    assert json.loads(result.stdout)["policy"] == {"name": "cheapest"}


def test_an_unknown_policy_names_the_nearest_and_calls_nothing(run, tmp_path):
    result = run("ask", "--policy", "onlyb", "x")
    assert result.exit_code == 2
    assert "did you mean 'only-b'" in result.stderr
    assert not (tmp_path / "records").exists()


def test_the_limits_of_the_command_line_are_the_budget(run):
    limits = ["--max-usd", "0.5", "--max-seconds", "9", "--max-rounds", "2", "--max-tokens", "1000"]
    result = run("ask", "-p", "b", "x", "--seed", "7", "--system", "Be brief.", "--json", *limits)
    request = json.loads(result.stdout)["request"]
    assert request["budget"] == {
        "usd": "0.5", "seconds": 9.0, "rounds": 2, "tokens": 1000, "usd_per_quality": None,
    }  # fmt: skip
    assert request["seed"] == 7
    assert [message["role"] for message in request["messages"]] == ["system", "user"]


@pytest.mark.parametrize("wrong", ["-1", "nan", "much"])
def test_an_amount_that_is_none_is_wrong_usage(run, wrong):
    result = run("ask", "x", f"--max-usd={wrong}")
    assert result.exit_code == 2
    assert result.stdout == ""


def test_a_budget_in_dollars_refuses_to_start_without_a_price(run, configure, card, tmp_path):
    configure(pool=[card("a"), card("b", price=False)])
    result = run("ask", "x", "--max-usd", "1")
    assert result.exit_code == 2
    assert "price of b is unknown" in result.stderr
    assert not (tmp_path / "records").exists()


def test_without_a_budget_in_dollars_a_missing_price_is_unknown_not_zero(run, configure, card):
    configure(pool=[card("a", price=False)], policy={"name": "fixed", "model": "a"}, policies={})
    result = run("ask", "x")
    assert result.exit_code == 0
    lines, total = bill_lines(result.stderr)
    assert "unknown" in lines[0]
    assert "1 unknown price" in total


def test_no_answer_is_exit_code_1_and_an_empty_standard_output(run, configure, card):
    configure(pool=[card("a", "fail"), card("b", "fail")])
    result = run("ask", "x")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "no answer (unavailable): the upstream is down" in result.stderr
    assert "hint: polyroute doctor" in result.stderr


def test_a_budget_that_pays_for_nothing_says_what_to_raise(run):
    result = run("ask", "-p", "b", "x", "--max-usd", "0")
    assert result.exit_code == 1
    assert "hint: raise the limit" in result.stderr


def test_records_that_cannot_be_written_cost_no_answer(run, configure, tmp_path):
    (tmp_path / "file").write_text("a file is no folder")
    configure(records={"store": "sqlite", "path": str(tmp_path / "file" / "r.sqlite")})
    result = run("ask", "-p", "b", "hello")
    assert result.stdout == "b heard: hello\n"
    assert result.exit_code == 3
    assert "warning: " in result.stderr
    assert "is lost" in result.stderr


def test_no_record_keeps_none(run, tmp_path):
    result = run("ask", "-p", "b", "hello", "--no-record")
    assert result.exit_code == 0
    assert "no record was kept" in result.stderr
    assert not (tmp_path / "records").exists()


def test_a_question_that_is_not_utf8_names_the_byte_and_its_place(run):
    result = run("ask", input=b"one\ntwo \xff three")
    assert result.exit_code == 2
    assert "0xff at offset 8 (line 2)" in result.stderr


@pytest.mark.parametrize("nothing", ["", " \n\n"])
def test_an_empty_question_is_wrong_usage(run, nothing):
    result = run("ask", input=nothing)
    assert result.exit_code == 2
    assert "holds no question" in result.stderr


def test_twenty_megabytes_on_standard_input_are_a_question(run):
    result = run("ask", "-p", "b", "--no-record", input="x" * 20_000_000)
    assert result.exit_code == 0
    assert result.stdout == f"b heard: {'x' * 200}\n"


def test_an_endless_standard_input_is_refused(run, monkeypatch):
    monkeypatch.setattr("polyroute.cli.question._MOST_MB", 1)
    result = run("ask", input="x" * 3_000_000)
    assert result.exit_code == 2
    assert "longer than 1 MB" in result.stderr


def test_an_unknown_key_names_its_place_and_the_nearest_known_one(run, configure):
    configure(budgett={"usd": 1})
    result = run("ask", "x")
    assert result.exit_code == 2
    assert "did you mean 'budget'" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_model_file_that_is_none_names_the_file(run, configure, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04 is a zip")
    pytest.importorskip("xllamacpp")
    backend = {"name": "local", "gguf": str(tmp_path / "model.gguf")}
    configure(pool=[{"id": "a", "backend": backend}], policy="cheapest", policies={})
    result = run("ask", "x")
    assert result.exit_code == 2
    assert "is no GGUF" in result.stderr


def test_a_missing_key_is_named_with_the_command_that_sets_it(run, configure, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    instance = {"url": "http://127.0.0.1:9/v1", "key_env": "NO_SUCH_KEY"}
    backend = {"name": "openai", "instances": [instance]}
    configure(pool=[{"id": "a", "backend": backend}], policy="cheapest", policies={})
    result = run("ask", "x")
    assert result.exit_code == 1
    assert "NO_SUCH_KEY" in result.stderr


def test_a_broken_policy_is_answered_by_the_fallback_and_says_so(run, configure, says, tmp_path):
    says.ACCEPTS = None
    policy = {"name": "cascade", "order": ["a", "b"], "accept": "says:accept"}
    configure(policy=policy, fallback="b")
    result = run("ask", "hello")
    assert result.exit_code == 0
    assert result.stdout == "b heard: hello\n"
    assert "the policy broke" in result.stderr
    kept = [json.loads(line) for line in (tmp_path / "records/r.jsonl").read_text().splitlines()]
    assert [record["status"] for record in kept] == ["failed", "answered"]
    assert "a bug in the policy" in kept[0]["error"]
    assert kept[1]["id"] == f"{kept[0]['id']}-fallback"


def test_a_broken_policy_without_fallback_has_no_answer(run, configure, says):
    says.ACCEPTS = None
    configure(policy={"name": "cascade", "order": ["a", "b"], "accept": "says:accept"})
    result = run("ask", "hello")
    assert result.exit_code == 1
    assert "a bug in the policy" in result.stderr
    assert "Traceback" not in result.stderr
