import json

import pytest

DATA = {"small": [1, 0, 0, 1], "large": [1, 1, 0, 1]}


@pytest.fixture
def data(tmp_path):
    lines = []
    for split in ("train", "val"):
        for n in range(4):
            responses = [
                {"model": m, "score": s[n], "cost_usd": 0.001 * k, "response_text": f"{m} {n}",
                 "prompt_tokens": 10, "completion_tokens": 10}
                for k, (m, s) in enumerate(DATA.items(), start=1)
            ]  # fmt: skip
            lines.append(
                {"query_id": f"{split}{n}", "prompt": f"{split} {n}?", "split": split,
                 "responses": responses}
            )  # fmt: skip
    path = tmp_path / "table.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_routers_are_compared_and_the_report_is_written(run, data, tmp_path):
    spec = tmp_path / "second.yaml"
    spec.write_text("policy: {name: fixed, model: small}\n")
    found = run("evaluate", "--data", data, "--router", "large", "--router", spec,
                "--router", "random", "--report", tmp_path / "out", "--json")  # fmt: skip
    assert found.exit_code == 0, found.output
    summary = json.loads(found.stdout)
    rows = {(row["kind"], row["name"]): row for row in summary["rows"]}
    assert rows["router", "large"]["quality"]["estimate"] == 0.75
    assert rows["router", "second"]["quality"]["estimate"] == 0.5
    assert rows["router", "second"]["usd"] == pytest.approx(0.001)
    assert summary["constant"] == "large"
    assert summary["constant_from"] == "train"
    assert len(summary["curves"]) == 3
    assert (tmp_path / "out" / "report.html").exists()


def test_the_table_on_standard_output_has_every_router_and_the_bounds(run, data):
    found = run("evaluate", "--data", data, "--router", "cheapest", "--points", "0")
    assert found.exit_code == 0
    for name in ("cheapest", "best constant", "oracle", "random"):
        assert name in found.stdout
    assert "written" not in found.stderr


def test_a_run_is_taken_up_again_and_gives_the_same_numbers(run, data, tmp_path):
    def once(*more):
        found = run("evaluate", "--data", data, "--router", "random", "--report", tmp_path / "o",
                    "--points", "0", "--json", *more)  # fmt: skip
        assert found.exit_code == 0
        return found.stdout

    first = once()
    (log,) = (tmp_path / "o" / "outcomes").glob("*.jsonl")
    kept = log.read_text().splitlines(keepends=True)
    log.write_text("".join(kept[:2]))
    assert once("--resume") == first
    assert len(log.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--router", "larg"], "did you mean 'large'"),
        (["--router", "large", "--router", "large"], "same name"),
        (["--router", "large", "--split", "test"], "the table has 'train', 'val'"),
        (["--router", "large", "--split", "train"], "cannot be judged"),
        (["--router", "large", "--resume"], "--report"),
        (["--router", "nowhere.yaml"], "cannot read the policy"),
    ],
)
def test_what_cannot_be_compared_is_said(run, data, arguments, said):
    found = run("evaluate", "--data", data, *arguments)
    assert found.exit_code == 2
    assert said in found.stderr


def test_without_train_questions_the_reader_is_warned(run, data):
    found = run("evaluate", "--data", data, "--router", "large", "--train-split", "none")
    assert "chosen on the questions it is judged on" in found.stderr


def test_a_model_that_the_table_does_not_have_is_refused_before_anything_runs(run, data, tmp_path):
    spec = tmp_path / "typo.yaml"
    spec.write_text("{name: fixed, model: larg}")
    found = run("evaluate", "--data", data, "--router", spec)
    assert found.exit_code == 2
    assert "did you mean 'large'" in found.stderr


def test_a_router_that_answers_nothing_is_said(run, data):
    found = run("evaluate", "--data", data, "--router", "large", "--max-usd", "0.0000001")
    assert found.exit_code == 0
    assert "no answer to 4 questions (score 0): budget" in found.stderr


def test_a_router_with_prompts_of_its_own_is_judged_on_a_live_pool(run, data, configure, tmp_path):
    scripted = {"name": "scripted", "say": "says:echo"}
    cards = [{"id": m, "price": {"input": 1, "output": 2}, "backend": scripted} for m in DATA]
    config = configure(pool=cards, policy={"name": "random"}, policies={})
    spec = tmp_path / "checked.yaml"
    spec.write_text("{name: cascade, order: [small, large], verifier: large}\n")
    arguments = ("evaluate", "--data", data, "--router", spec, "--config", config, "--json")

    def of(found):
        assert found.exit_code == 0, found.output
        rows = json.loads(found.stdout)["rows"]
        return next(row for row in rows if row["name"] == "checked")

    assert of(run(*arguments))["unrecorded"] == 4  # nobody recorded what the verifier said
    live = of(run(*arguments, "--live"))
    assert live["unrecorded"] == 0
    assert live["quality"]["estimate"] == 0.75
    assert run(*arguments[:5], "--live").exit_code == 2
