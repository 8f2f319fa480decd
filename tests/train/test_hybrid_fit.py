import itertools

import numpy as np
import pytest

from polyroute import ModelCard, Pool
from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable
from polyroute.train.calibrate import Goal
from polyroute.train.hybrid_fit import Pair, best_relaxation, fit_hybrid, soft_labels

POOL = Pool([ModelCard(id="weak"), ModelCard(id="strong")])


def drawn(seed, n=20):
    rng = np.random.default_rng(seed)
    return [[rng.random(rng.integers(0, 5)) for _ in range(n)] for _ in range(2)]


@pytest.mark.parametrize("form", ["deterministic", "probabilistic", "transformed"])
def test_labels_are_the_papers_formulas_written_out(form):
    weak, strong = drawn(0)
    labels = soft_labels(weak, strong, form=form, relaxation=0.2)
    for label, low, high in zip(labels, weak, strong, strict=True):
        pairs = list(itertools.product(low, high))
        if not pairs:
            assert np.isnan(label)
        elif form == "deterministic":
            assert label == (np.mean(low) >= np.mean(high))
        else:
            slack = 0.2 if form == "transformed" else 0
            assert label == pytest.approx(np.mean([a - b >= -slack for a, b in pairs]))


def test_the_relaxation_spreads_the_labels_as_no_other_does():
    weak, strong = drawn(1)
    weak = [scores * 0.4 for scores in weak]  # nearly always worse: labels crowd at 0

    def spread(t):
        y = soft_labels(weak, strong, form="transformed", relaxation=t)
        y = y[~np.isnan(y)]
        return np.abs(y[:, None] - y[None, :]).mean()

    t = best_relaxation(weak, strong)
    assert t > 0
    assert spread(t) >= max(spread(u) for u in np.linspace(0, 1, 50)) * 0.98
    assert spread(t) > spread(0.0)


@pytest.fixture
def table():
    """Sums are easy for both; of proofs the weak model gets few right."""
    rng = np.random.default_rng(0)
    queries, responses = [], []
    for n in range(300):
        easy = n % 2 == 0
        queries.append({"query_id": str(n), "prompt": f"{'sum' if easy else 'proof'} no {n}"})
        for model, usd, chance in (("weak", 0.001, 0.9 if easy else 0.1), ("strong", 0.01, 0.9)):
            for k in range(2):
                responses.append(
                    {
                        "query_id": str(n), "model": model, "sample": k, "cost_usd": usd,
                        "score": float(rng.random() < chance),
                    }
                )  # fmt: skip
    return OutcomeTable.of(queries, responses)


@pytest.mark.parametrize("form", ["deterministic", "probabilistic", "transformed"])
def test_the_weak_model_gets_what_it_can_do(table, form):
    fitted = fit_hybrid(
        table, POOL, Pair(strong="strong", weak="weak"), form=form, goal=Goal(quality=0.95)
    )
    found = fitted.training["goal"]
    assert found["reached"]
    assert found["got_usd"] < 0.7 * found["best_single_usd"]
    assert fitted.spec["name"] == "threshold"
    assert 0 < fitted.training["mean_label"] < 1


def test_a_share_of_strong_calls_is_kept(table):
    pair = Pair(strong="strong", weak="weak", quality="ridge")
    fitted = fit_hybrid(table, POOL, pair, goal=Goal(strong_share=0.3))
    assert fitted.training["goal"]["got_share"] <= 0.3


def test_without_scores_of_both_there_is_nothing_to_learn():
    table = OutcomeTable.of(
        [{"query_id": "1", "prompt": "a"}, {"query_id": "2", "prompt": "b"}],
        [
            {"query_id": "1", "model": "weak", "score": 1.0},
            {"query_id": "2", "model": "strong", "score": 1.0},
        ],
    )
    with pytest.raises(ConfigError, match="both"):
        fit_hybrid(table, POOL, Pair(strong="strong", weak="weak"))
