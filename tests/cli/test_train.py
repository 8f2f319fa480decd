"""`polyroute train` and `polyroute artifact`, end to end on a small table."""

import json

import numpy as np
import pytest

from polyroute.outcomes import OutcomeTable, write_outcomes

CHANCES = {"sum": (0.9, 0.95), "poem": (0.9, 0.2), "proof": (0.1, 0.8)}


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    queries, responses = [], []
    for n in range(240):
        topic = list(CHANCES)[n % 3]
        split = "val" if n % 4 == 0 else "train"
        queries.append({"query_id": str(n), "prompt": f"Write {topic} no {n}", "split": split})
        for model, usd, chance in zip(("a", "b"), (0.001, 0.01), CHANCES[topic], strict=True):
            responses.append(
                {
                    "query_id": str(n), "model": model, "score": float(rng.random() < chance),
                    "response_text": f"{model} says", "cost_usd": usd, "prompt_tokens": 10,
                    "completion_tokens": 5,
                }
            )  # fmt: skip
    write_outcomes(OutcomeTable.of(queries, responses), tmp_path / "t.jsonl")
    return tmp_path / "t"


@pytest.fixture
def router(run, data, tmp_path):
    result = run("train", "greedy", "--data", data, "-o", "my.router", "--json")
    assert result.exit_code == 0, result.stderr
    return tmp_path / "my.router"


def test_one_command_trains_and_judges(run, data, tmp_path):
    result = run("train", "greedy", "-d", data, "-o", "my.router", "--target", "0.95")
    assert result.exit_code == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[1][0] == "greedy"
    assert {"oracle", "cheapest", "random"} <= {row[0] for row in rows if row}
    said = json.loads(run("artifact", "show", "my.router", "--json").stdout)
    router, *others = said["evaluation"]["rows"]
    best = next(row for row in others if row["name"] == "best constant")
    assert router["quality"]["estimate"] >= 0.95 * best["quality"]["estimate"]
    assert router["usd"] < 0.8 * best["usd"]
    assert said["evaluation"]["questions"] == 60
    assert said["training"]["questions"] == 180
    assert said["training"]["goal"]["reached"]


def test_what_is_trained_is_whole_and_served(run, router, configure):
    verified = run("artifact", "verify", router)
    assert verified.exit_code == 0
    digest = json.loads(run("artifact", "show", router, "--json").stdout)["digest"]
    assert digest in verified.stdout
    spec = {"name": "trained", "artifact": str(router), "digest": digest}
    config = configure(policies={"mine": spec})
    assert run("artifact", "verify", router, "-c", config).exit_code == 0
    asked = run("ask", "Write proof no 5", "--policy", "mine", "--json")
    record = json.loads(asked.stdout)
    assert [call["model"] for call in record["steps"][0]["decision"]["calls"]] == ["b"]
    assert digest in asked.stdout  # the record says which artifact decided
    assert run("trace", "replay", "last").exit_code == 0


def test_the_same_artifact_is_evaluated(run, router, data):
    summary = json.loads(run("evaluate", "--data", data, "--router", router, "--json").stdout)
    (row,) = [row for row in summary["rows"] if row["kind"] == "router"]
    card = json.loads(run("artifact", "show", router, "--json").stdout)["evaluation"]["rows"][0]
    assert row["quality"] == card["quality"]
    assert row["usd"] == card["usd"]


def test_a_pool_that_does_not_fit_is_refused_before_anything_is_asked(run, router, configure, card):
    spec = {"name": "trained", "artifact": str(router)}
    config = configure(pool=[card("a")], policy=spec, policies={})
    asked = run("ask", "why?")
    assert asked.exit_code == 2
    assert "lacks 'b'" in asked.stderr
    assert run("artifact", "verify", router, "-c", config).exit_code == 3


def test_damage_is_named_and_has_its_exit_code(run, router):
    (router / "quality.npz").write_bytes(b"")
    verified = run("artifact", "verify", router)
    assert verified.exit_code == 3
    assert "'quality.npz' was changed" in verified.stderr
    said = json.loads(run("artifact", "verify", router, "--json").stdout)
    assert said == {"ok": False, "digest": None, "reason": said["reason"]}
    assert run("artifact", "show", router).exit_code == 2
    assert run("artifact", "card", "absent").exit_code == 2


def test_another_digest_than_the_wanted_one_is_a_failure(run, router):
    assert run("artifact", "verify", router, "--digest", "0").exit_code == 3


def test_show_and_card_say_what_there_is(run, router):
    shown = run("artifact", "show", router).stdout
    assert "policy: greedy" in shown
    assert "quality: kinds" in shown
    card = run("artifact", "card", router).stdout
    assert card.startswith("# greedy over 2 models")
    assert "| oracle |" in card
    assert "180" in card


def test_a_recipe_says_it_all(run, data, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "policy: {name: threshold, strong: b, weak: a, quality: ridge}\n"
        "grid: {quality.alpha: [1, 100]}\ngoal: {strong_share: 0.4}\nseed: 3\n"
    )
    result = run("train", "--recipe", "recipe.yaml", "-d", data, "-o", "r", "--json")
    said = json.loads(result.stdout)
    assert said["policy"]["quality"]["alpha"] in (1, 100)
    assert said["training"]["goal"]["got_share"] <= 0.4
    assert said["training"]["seed"] == 3


def test_a_conformal_router_is_trained_and_judged(run, data):
    said = json.loads(
        run("train", "conformal", "-d", data, "-o", "r", "--alpha", "0.1", "--json").stdout
    )
    assert 0 <= said["policy"]["mass"] <= 1
    assert said["evaluation"]["rows"][0]["name"] == "conformal"


def test_prices_come_from_the_configuration_when_it_is_given(run, data, configure):
    config = configure()
    run("train", "greedy", "-d", data, "-o", "r", "--cost", "none", "-c", config)
    said = json.loads(run("artifact", "show", "r", "--json").stdout)
    assert [card["price"]["input"] for card in said["pool"]["cards"]] == ["1", "3"]
    assert said["policy"]["cost"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a policy"),
        (["cheapest"], "unknown key 'quality'"),
        (["greedy", "--estimator", "rigde"], "did you mean 'ridge'"),
        (["greedy", "--split", "dev"], "no split 'dev'"),
        (["greedy", "--split", "val"], "both 'val'"),
        (["threshold", "--strong", "b"], "'weak' is missing"),
        (["greedy", "--alpha", "0.1"], "no such goal"),
        (["--recipe", "absent.yaml"], "cannot read the recipe"),
    ],
)
def test_a_wrong_use_writes_nothing(run, data, tmp_path, arguments, said):
    result = run("train", *arguments, "-d", data, "-o", "r")
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "r").exists()


def test_a_recipe_with_an_unknown_key_is_refused(run, data, tmp_path):
    (tmp_path / "recipe.yaml").write_text("policy: greedy\ngird: {}\n")
    result = run("train", "--recipe", "recipe.yaml", "-d", data, "-o", "r")
    assert result.exit_code == 2
    assert "gird" in result.stderr
