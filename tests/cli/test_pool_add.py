"""`polyroute pool add`: from a card to a router that knows it, by recorded and by live probes."""

import json

import pytest

from polyroute.outcomes import OutcomeTable, write_outcomes

USD = {"a": 0.001, "b": 0.002, "c": 0.004, "d": 0.008, "new": 0.003}


def write(path, models, good):
    """Write 120 questions; model m is right on those whose number is below ``good[m]`` of 12."""
    queries = [
        {
            "query_id": str(n), "prompt": f"What is item {n} {'xyz'[n % 3]}?", "split": "train",
            "gold": ["right"], "metric": "contains",
        }
        for n in range(120)
    ]  # fmt: skip
    responses = [
        {
            "query_id": str(n), "model": model, "score": float((7 * n) % 12 < good[model]),
            "cost_usd": USD[model], "response_text": "x",
        }
        for n in range(120)
        for model in models
    ]  # fmt: skip
    write_outcomes(OutcomeTable.of(queries, responses), path.with_suffix(".jsonl"))
    return path


@pytest.fixture
def router(run, tmp_path):
    known = write(tmp_path / "known", ["a", "b", "c", "d"], {"a": 2, "b": 5, "c": 7, "d": 10})
    trained = run("train", "greedy", "-d", known, "-o", "my.router", "--val", "")
    assert trained.exit_code == 0, trained.stderr
    return tmp_path / "my.router"


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "card.yaml"
    path.write_text("id: new\nprice: {input: 1, output: 2}\n")
    return path


def test_a_card_alone_is_enough_and_the_report_says_how_good_that_is(run, router, card):
    said = run("pool", "add", card, "-a", router, "--json")
    assert said.exit_code == 0, said.stderr
    added = json.loads(said.stdout)
    assert added["expected"]["probes"] == 0
    assert added["expected"]["low"] < added["expected"]["level"] < added["expected"]["high"]
    assert added["report"]["left_out"]["cards"] == 4
    shown = json.loads(run("artifact", "show", router, "--json").stdout)
    assert shown["digest"] == added["digest"]
    assert [one["card"]["id"] for one in shown["added"]] == ["new"]
    assert "| new | added |" in run("artifact", "card", router).stdout
    assert "new (model" in run("artifact", "show", router).stdout


def test_recorded_probes_are_the_most_telling_ones(run, router, card, tmp_path):
    new = write(tmp_path / "new", ["new"], {"new": 9})
    said = run("pool", "add", card, "-a", router, "--probes", 12, "-d", new, "--json")
    added = json.loads(said.stdout)
    assert added["expected"]["probes"] == 12
    assert added["report"]["check"]["mean"] == pytest.approx(0.75)
    assert added["report"]["check"]["error"] < 0.15
    text = run("pool", "add", card, "-a", router, "--probes", 12, "-d", new)
    assert "each left out" in text.stdout
    assert "recorded: 0.750" in text.stdout
    assert "probe 12 of 12" in text.stderr


def test_the_grown_router_is_evaluated_and_asked(run, router, card, tmp_path, configure):
    new = write(tmp_path / "new", ["new"], {"new": 12})
    everybody = write(
        tmp_path / "all", ["a", "b", "c", "d", "new"],
        {"a": 2, "b": 5, "c": 7, "d": 10, "new": 12},
    )  # fmt: skip
    run("pool", "add", card, "-a", router, "--probes", 30, "-d", new, "-o", "grown.router")
    rows = {}
    for name in ("my.router", "grown.router"):
        done = run(
            "evaluate", "--data", everybody, "--router", name, "--split", "train",
            "--train-split", "none", "--json", "--points", 0, "--perturbed", 0,
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        (row,) = [r for r in json.loads(done.stdout)["rows"] if r["kind"] == "router"]
        rows[name] = row
    assert rows["my.router"]["most_used"] == "d"
    assert rows["grown.router"]["most_used"] == "new"
    assert rows["grown.router"]["quality"]["estimate"] > rows["my.router"]["quality"]["estimate"]
    echo = {"price": {"input": 1, "output": 2}, "backend": {"name": "scripted", "say": "says:echo"}}
    pool = [{"id": id, **echo} for id in ("a", "b", "c", "d", "new")]
    configure(pool=pool, policy={"name": "trained", "artifact": "grown.router"}, policies={})
    asked = run("ask", "What is item 5 z?", "--json")
    assert asked.exit_code == 0, asked.stderr
    (step, *_) = json.loads(asked.stdout)["steps"]
    assert [call["model"] for call in step["decision"]["calls"]] == ["new"]
    assert run("trace", "replay", "last").exit_code == 0


def test_live_probes_ask_the_model_and_stay_in_the_budget(run, router, tmp_path, says):
    says.right = lambda model, prompt: "the right answer"
    content = {
        "id": "new", "price": {"input": 1, "output": 2},
        "backend": {"name": "scripted", "say": "says:right"},
    }  # fmt: skip
    (tmp_path / "live.json").write_text(json.dumps(content))
    arguments = ("pool", "add", "live.json", "-a", router, "--probes", 5, "-d", "known", "--live")
    said = run(*arguments, "--json")
    assert said.exit_code == 0, said.stderr
    added = json.loads(said.stdout)
    assert [probe["score"] for probe in added["report"]["probes"]] == [1.0] * 5
    assert all(probe["usd"] > 0 for probe in added["report"]["probes"])
    refused = run(*arguments, "--max-usd", "0")
    assert refused.exit_code == 1
    assert "gives no answer" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--probes", "3"], "needs --data"),
        (["--probes", "3", "-d", "known"], "no outcomes of 'new'"),
        (["--probes", "3", "-d", "known", "--live"], "has no backend"),
    ],
)
def test_what_is_missing_is_named(run, router, card, arguments, says):
    before = (router / "manifest.json").read_bytes()
    result = run("pool", "add", card, "-a", router, *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert (router / "manifest.json").read_bytes() == before


def test_a_card_of_the_configuration_can_be_named(run, router, configure, card):
    pool = [{"id": "new", "price": {"input": 1, "output": 2}, "backend": "scripted"}]
    configure(pool=pool, policy="cheapest", policies={})
    assert run("pool", "add", "new", "-a", router).exit_code == 0
    assert "did you mean 'new'" in run("pool", "add", "nwe", "-a", router).stderr
    card.write_text("- id\n")
    assert "expected a card" in run("pool", "add", card, "-a", router).stderr
    card.write_text("id: x\nprize: 3\n")
    assert "did you mean 'price'" in run("pool", "add", card, "-a", router).stderr
