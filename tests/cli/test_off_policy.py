"""`polyroute evaluate off-policy`, and the feedback that it and `data from-records` read."""

import json

import numpy as np
import pytest

from polyroute.outcomes import read_outcomes
from polyroute.records.feedback import Feedback, FeedbackLog


@pytest.fixture
def traffic(run, configure, tmp_path):
    """Forty questions sent to a or b by a coin; b is right on all, a on none."""
    configure(policies={"coin": {"name": "random"}})
    for k in range(40):
        assert run("ask", f"question {k}?", "--policy", "coin", "--seed", k).exit_code == 0
    path = tmp_path / "records" / "r.jsonl"
    log = FeedbackLog.beside(path)
    records = json.loads(run("trace", "list", "--json", "--limit", 100).stdout)
    for record in records:
        shown = json.loads(run("trace", "show", record["id"], "--json").stdout)
        model = shown["steps"][0]["decision"]["calls"][0]["model"]
        log.add(Feedback(trace_id=record["id"], reward=float(model == "b")))
    return path


def test_a_router_is_estimated_from_what_a_coin_did(run, traffic):
    result = run(
        "evaluate", "off-policy", traffic, "--router", "a", "--router", "b", "--min-ess", 5,
        "--estimator", "mean", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["rows"] == 40
    for name, truth in (("a", 0.0), ("b", 1.0)):
        by = {one["method"]: one for one in said["routers"][name]["estimates"]}
        assert by["snips"]["value"] == pytest.approx(truth)
        assert by["doubly_robust"]["value"] == pytest.approx(truth, abs=0.15)
        assert by["ips"]["low"] - 1e-9 <= truth <= by["ips"]["high"] + 1e-9


def test_without_support_there_is_a_reason_and_no_number(run, traffic):
    result = run("evaluate", "off-policy", traffic, "--router", "b", "--min-ess", 39)
    assert result.exit_code == 1
    assert "effective sample size" in result.stderr


def test_without_a_reward_it_says_how_to_give_one(run, tmp_path):
    assert run("ask", "one?", "--policy", "only-b").exit_code == 0
    result = run("evaluate", "off-policy", "--router", "b")
    assert result.exit_code == 2
    assert "/v1/feedback" in result.stderr


def test_feedback_scores_the_table_and_a_file_of_scores_wins(run, traffic, tmp_path):
    assert run("data", "from-records", "-o", tmp_path / "t.jsonl", traffic).exit_code == 0
    table = read_outcomes(tmp_path / "t")
    means = np.nanmean(table.scores_NM(), axis=0)
    assert dict(zip(table.models, means, strict=True)) == {"a": 0.0, "b": 1.0}
    id = json.loads(run("trace", "list", "--json").stdout)[0]["id"]
    (tmp_path / "s.jsonl").write_text(json.dumps({"id": id, "score": 0.25}))
    out = tmp_path / "u.jsonl"
    run("data", "from-records", "-o", out, "--scores", tmp_path / "s.jsonl", traffic)
    assert 0.25 in read_outcomes(tmp_path / "u").responses.score.tolist()
