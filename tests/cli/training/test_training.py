"""The other ways to train: each writes what `polyroute evaluate` takes."""

import json
import sys

import numpy as np
import pytest
import yaml

from polyroute.outcomes import OutcomeTable, write_outcomes
from polyroute.spec import construct


@pytest.fixture
def data(tmp_path):
    """Three cheap models and a dear one, on sums with numbers for answers."""
    rng = np.random.default_rng(0)
    queries, responses = [], []
    chances = {"a": (0.85, 0.001), "b": (0.85, 0.0012), "c": (0.7, 0.0008), "big": (0.9, 0.02)}
    for n in range(240):
        split = "val" if n % 4 == 0 else "train"
        queries.append({"query_id": str(n), "prompt": f"What is {n} + {n}?", "split": split})
        for model, (chance, usd) in chances.items():
            right = rng.random() < chance
            said = 2 * n if right else int(rng.integers(1000, 9999))
            responses.append(
                {
                    "query_id": str(n), "model": model, "score": float(right), "cost_usd": usd,
                    "response_text": f"{'Clearly' if right else 'Perhaps'} {said}",
                    "prompt_tokens": 10, "completion_tokens": 5,
                }
            )  # fmt: skip
    write_outcomes(OutcomeTable.of(queries, responses), tmp_path / "t.jsonl")
    return tmp_path / "t"


def test_who_has_to_agree_is_found_and_the_policy_is_evaluated(run, data, tmp_path):
    result = run(
        "train", "agreement", "-d", data, "-o", "pair.yaml", "--answers", "number", "--json"
    )
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert yaml.safe_load((tmp_path / "pair.yaml").read_text("utf-8"))["policy"] == said["policy"]
    assert said["evaluation"]["usd"] < 0.5 * said["training"]["best_single_usd"]
    judged = run("evaluate", "--data", data, "--router", "pair.yaml", "--json")
    summary = json.loads(judged.stdout)
    (row,) = [row for row in summary["rows"] if row["kind"] == "router"]
    assert row["quality"]["estimate"] == said["evaluation"]["quality"]
    assert row["usd"] == pytest.approx(said["evaluation"]["usd"])


def test_a_bar_out_of_reach_writes_nothing(run, data, tmp_path):
    result = run("train", "agreement", "-d", data, "-o", "x.yaml", "--target", "2")
    assert result.exit_code == 2
    assert "surely reach" in result.stderr
    assert not (tmp_path / "x.yaml").exists()


def test_a_cascade_is_fitted_to_a_price(run, data):
    result = run(
        "train", "frugal", "-d", data, "-o", "f.router", "--usd", "0.008", "-m", "a", "-m", "big",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["policy"]["order"] == ["a", "big"]
    assert said["training"]["expected"]["usd"] <= 0.008
    assert said["evaluation"]["rows"][0]["quality"]["estimate"] > 0.85
    assert run("artifact", "verify", "f.router").exit_code == 0


def test_hybrid_learns_soft_labels_and_is_served_as_a_threshold(run, data):
    result = run(
        "train", "hybrid", "-d", data, "-o", "h.router", "--strong", "big", "--weak", "c",
        "--strong-share", "0.5", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["policy"]["name"] == "threshold"
    assert said["training"]["labels"] == "transformed"
    assert said["training"]["goal"]["got_share"] <= 0.5


def test_the_word_policy_may_be_left_out(run):
    assert run("train", "policy", "--help").stdout == run("train", "policy", "-h").stdout
    assert "--estimator" in run("train", "greedy", "--help").stdout
    assert "agreement" in run("train", "--help").stdout


def test_what_a_models_own_checks_mean_is_learned(run, data, configure, card, tmp_path):
    """The scripted pool says "Yes" to a reply that says "Clearly", which the right ones do."""
    (tmp_path / "says.py").write_text(
        (tmp_path / "says.py").read_text()
        + "\n\ndef check(model, prompt):\n"
        + "    return 'Yes' if 'Clearly' in prompt else 'No'\n"
    )
    sys.modules.pop("says", None)
    configure(pool=[card("c", "check"), card("big", "check")], policy="cheapest", policies={})
    result = run(
        "train", "automix", "-d", data, "-o", "m.yaml", "--order", "c", "--order", "big",
        "--samples", "2", "--limit", "80", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["training"]["questions"] == 80
    (table,) = said["policy"]["beliefs"]
    never, _, always = table
    assert never[0] < 0.3 < 0.9 < always[0]  # the first stage's own quality after 0 and 2 votes
    assert never[1] > 0.7
    assert construct("policies", yaml.safe_load((tmp_path / "m.yaml").read_text())["policy"],
                     where="").order == ("c", "big")  # fmt: skip
