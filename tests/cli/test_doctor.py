import json
import socket

from polyroute.backends.local.weights import EMBEDDED


def findings(result):
    return {one["subject"]: one for one in json.loads(result.stdout)}


def test_a_sound_configuration_is_exit_code_0(run):
    result = run("doctor")
    assert result.exit_code == 0
    assert "WRONG" not in result.stdout
    for subject in ("polyroute", "extra [serve]", "configuration", "records", "pool.a", "pool.b"):
        assert any(line.startswith(subject) for line in result.stdout.splitlines())


def test_an_endpoint_that_is_not_there_is_wrong(run, configure):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take the port
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        backend = {"name": "openai", "instances": [{"url": url}]}
        configure(pool=[{"id": "a", "backend": backend}], policy="cheapest", policies={})
        result = run("doctor", "--json")
    assert result.exit_code == 1
    found = findings(result)["pool.a"]
    assert found["level"] == "error"
    assert "url" in found["remedy"]


def test_a_candidate_that_fails_is_wrong_and_the_others_are_still_tried(run, configure, card):
    configure(pool=[card("a", "fail"), card("b")])
    result = run("doctor", "--json")
    assert result.exit_code == 1
    found = findings(result)
    assert "the upstream is down" in found["pool.a"]["problem"]
    assert found["pool.b"]["level"] == "ok"


def test_a_candidate_that_says_a_question_is_not_its_own_is_well(run, configure):
    backend = {"name": "tool", "tool": "says:nothing"}
    configure(pool=[{"id": "t", "kind": "tool", "price": {}, "backend": backend}],
              policy="random", policies={})  # fmt: skip
    result = run("doctor", "--json")
    assert findings(result)["pool.t"]["problem"].startswith("says a question is not its own")


def test_a_records_folder_that_is_none_is_wrong_and_says_what_to_do(run, configure, tmp_path):
    (tmp_path / "file").write_text("")
    configure(records={"path": str(tmp_path / "file" / "r.sqlite")})
    result = run("doctor", "--json")
    assert result.exit_code == 1
    assert "records.path" in findings(result)["records"]["remedy"]


def test_damaged_records_are_wrong(run, tmp_path):
    run("ask", "-p", "b", "x")
    with (tmp_path / "records" / "r.jsonl").open("ab") as file:
        file.write(b"{broken\n")
    result = run("doctor", "--json")
    assert result.exit_code == 1
    assert "line 2" in findings(result)["records"]["problem"]


def test_a_configuration_that_cannot_be_read_is_a_finding(run, configure):
    configure(polciy="x")
    result = run("doctor")
    assert result.exit_code == 1
    assert "did you mean 'policy'" in result.stdout


def test_missing_weights_are_wrong_with_the_command_that_fetches_them(run, configure, monkeypatch):
    monkeypatch.setattr("polyroute.backends.local.weights._installed", lambda weights: None)
    name = next(iter(EMBEDDED))
    backend = {"name": "local", "gguf": name}
    configure(pool=[{"id": "a", "backend": backend}], policy="cheapest", policies={})
    result = run("doctor", "--json")
    assert result.exit_code == 1
    assert findings(result)[f"weights {name}"]["remedy"] == f"polyroute pool fetch {name}"
