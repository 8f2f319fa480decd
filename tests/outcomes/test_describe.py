import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.errors import ConfigError
from polyroute.outcomes import Interval, OutcomeTable, describe, read_outcomes

DEV = Path(__file__).parents[2] / "../shared/data/dev"

scores = st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0])
costs = st.none() | st.sampled_from([0.0, 0.001, 0.002, 0.5])
cells = st.tuples(scores, costs)
grids = st.integers(1, 4).flatmap(
    lambda m: st.lists(st.lists(cells, min_size=m, max_size=m), min_size=1, max_size=6)
)


def table_of(grid):
    queries = [{"query_id": str(n), "prompt": str(n)} for n in range(len(grid))]
    responses = [
        {"query_id": str(n), "model": f"m{m}", "score": score, "cost_usd": cost}
        for n, row in enumerate(grid)
        for m, (score, cost) in enumerate(row)
    ]
    return OutcomeTable.of(queries, responses)


def mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def close(one, other):
    return one is other is None or one == pytest.approx(other)


def dear(cell):
    return 1e9 if cell[1] is None else cell[1]


@given(grids)
def test_every_number_is_that_of_the_definition(grid):
    summary = describe(table_of(grid))
    for m, model in enumerate(summary.models):
        column = [row[m] for row in grid]
        assert close(model.score, mean([score for score, _ in column]))
        assert close(model.cost_usd, mean([cost for _, cost in column]))
        assert model.questions + model.missing == len(grid)
        assert model.missing == sum(score is None for score, _ in column)
        assert model.priced == sum(cost is not None for _, cost in column)
    judged = [[cell for cell in row if cell[0] is not None] for row in grid]
    judged = [row for row in judged if row]
    best = [min(row, key=lambda cell: (-cell[0], dear(cell))) for row in judged]
    cheap = [min([cell for cell in row if cell[0] >= 0.5] or row, key=dear) for row in judged]
    assert summary.judged == len(judged)
    for picked, expected in ((summary.oracle, best), (summary.cheapest_right, cheap)):
        if not judged:
            assert picked is None
            continue
        assert close(picked.cost_usd, mean([cost for _, cost in expected]))
        if picked is summary.oracle:
            assert close(picked.score, mean([score for score, _ in expected]))
    pairs = [row for row in judged if len(row) > 1]
    hits = [sum(score >= 0.5 for score, _ in row) for row in pairs]
    assert close(summary.one_right, mean([hit == 1 for hit in hits]))
    assert close(summary.all_wrong, mean([hit == 0 for hit in hits]))
    assert close(
        summary.all_right, mean([hit == len(row) for hit, row in zip(hits, pairs, strict=True)])
    )


@given(grids)
def test_what_another_model_rescues_is_counted_pair_by_pair(grid):
    summary = describe(table_of(grid))
    for i in range(len(grid[0])):
        for j in range(len(grid[0])):
            both = [
                (row[i][0], row[j][0])
                for row in grid
                if row[i][0] is not None and row[j][0] is not None
            ]
            expected = mean([one < 0.5 <= other for one, other in both])
            assert close(summary.rescue_MM[i][j], expected)


def test_the_interval_is_that_of_the_textbook():
    # Agresti and Coull (1998): 0 of 20 gives (0, 0.161), 5 of 10 gives (0.237, 0.763)
    assert Interval.of_mean(0.0, 20).high == pytest.approx(0.1611, abs=1e-4)
    half = Interval.of_mean(0.5, 10)
    assert (half.low, half.high) == (
        pytest.approx(0.2366, abs=1e-4),
        pytest.approx(0.7634, abs=1e-4),
    )


def test_samples_are_averaged_before_questions_are():
    responses = [
        {"query_id": "a", "model": "m", "sample": k, "score": s} for k, s in enumerate([1, 1, 1, 0])
    ]
    responses.append({"query_id": "b", "model": "m", "score": 0})
    queries = [{"query_id": q, "prompt": q} for q in "ab"]
    summary = describe(OutcomeTable.of(queries, responses))
    assert summary.models[0].score == 0.375
    assert summary.models[0].responses == 5
    assert summary.all_right is None  # nothing to compare a single model with


def test_a_table_without_a_score_says_so_in_json_too():
    table = OutcomeTable.of([{"query_id": "a", "prompt": "a"}], [])
    summary = describe(table)
    assert (summary.best_single, summary.oracle, summary.judged) == (None, None, 0)
    assert json.loads(json.dumps(summary.to_json(), allow_nan=False))["oracle"] is None


def test_of_two_equally_good_models_the_cheaper_is_the_best():
    assert describe(table_of([[(1.0, 0.5), (1.0, 0.1)]])).best_single == "m1"


@pytest.mark.parametrize("right", [0, 1.5])
def test_a_score_that_is_no_threshold_is_refused(right):
    with pytest.raises(ConfigError, match="right"):
        describe(table_of([[(1.0, None)]]), right=right)


@pytest.mark.skipif(not DEV.is_dir(), reason="the shared outcome tables are not here")
def test_a_real_table_has_the_figures_that_are_known_of_it():
    from polyroute.outcomes import by_split

    summary = describe(by_split(read_outcomes(DEV / "llmrouter_mix"))["val"])
    best = next(model for model in summary.models if model.model == summary.best_single)
    assert (round(best.score, 3), round(summary.oracle.score, 3)) == (0.605, 0.8)
