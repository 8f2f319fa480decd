import itertools

import numpy as np
import pytest
from scipy.optimize import minimize

from polyroute.errors import ConfigError
from polyroute.estimators.item_response import ItemResponse
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import State
from polyroute.types import Request

POOL = Pool([ModelCard(id=f"card-{j}") for j in range(6)])


class Rows:
    """An encoder whose texts are row numbers."""

    def __init__(self, rows_NV):
        self.rows_NV = rows_NV.astype(np.float32)

    def fit(self, texts):
        return self

    def encode(self, texts):
        return self.rows_NV[[int(text) for text in texts]]

    def state(self):
        return State()

    def restore(self, state):
        return self


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def drawn(count=1500, *, abilities=1, seed=0):
    """Outcomes drawn from the model itself: chances, difficulties, and what was observed."""
    rng = np.random.default_rng(seed)
    rows_NV = rng.standard_normal((count, 4))
    ability_MA = rng.standard_normal((len(POOL), abilities)) * 1.5
    a_NA = np.logaddexp(0, 0.5 + 0.8 * rows_NV[:, :abilities])
    b_N = rows_NV @ np.array([0.0, 0.5, 1.0, -1.0])
    chance_NM = sigmoid(a_NA @ ability_MA.T - b_N[:, None])
    requests = [Request.of(str(n)) for n in range(count)]
    target_NM = (rng.random(chance_NM.shape) < chance_NM).astype(float)
    return Rows(rows_NV), requests, target_NM, chance_NM, b_N, ability_MA


def test_it_recovers_the_model_that_the_outcomes_were_drawn_from():
    rows, requests, target_NM, chance_NM, b_N, ability_MA = drawn(3000)
    fitted = ItemResponse(encoder=rows, abilities=1, penalty=1e-4).fit(requests, target_NM, POOL)
    assert np.abs(fitted.predict(requests, POOL) - chance_NM).mean() < 0.02
    assert np.corrcoef(fitted.difficulty(requests), b_N)[0, 1] > 0.98
    found = fitted.state().arrays["ability"][:, 0]
    assert np.array_equal(np.argsort(found), np.argsort(ability_MA[:, 0]))


def test_two_abilities_are_recovered_as_chances():
    rows, requests, target_NM, chance_NM, _, _ = drawn(3000, abilities=2)
    fitted = ItemResponse(encoder=rows, abilities=2, penalty=1e-4).fit(requests, target_NM, POOL)
    assert np.abs(fitted.predict(requests, POOL) - chance_NM).mean() < 0.03


def test_missing_outcomes_are_not_failures():
    rows, requests, target_NM, chance_NM, _, _ = drawn(3000)
    target_NM[np.random.default_rng(1).random(target_NM.shape) < 0.5] = np.nan
    fitted = ItemResponse(encoder=rows, abilities=1, penalty=1e-4).fit(requests, target_NM, POOL)
    assert np.abs(fitted.predict(requests, POOL) - chance_NM).mean() < 0.03


def test_information_is_the_curvature_of_the_expected_likelihood():
    rows, requests, target_NM, _, _, _ = drawn(200, abilities=2)
    fitted = ItemResponse(encoder=rows, abilities=2).fit(requests, target_NM, POOL)
    state = fitted.state().arrays
    asked, j, step = requests[:3], 2, 1e-4
    chance_N = fitted.predict(asked, POOL)[:, j]

    def expected(shift_A):
        moved = ItemResponse(encoder=rows, abilities=2).restore(fitted.state())
        moved._learned = {**state, "ability": state["ability"] + shift_A}
        other_N = moved.predict(asked, POOL)[:, j]
        return -(chance_N * np.log(other_N) + (1 - chance_N) * np.log(1 - other_N))

    shifts = step * np.eye(2)
    found_NAA = fitted.information(asked, POOL[j].id)
    for a, b in itertools.product(range(2), repeat=2):
        bend_N = (
            expected(shifts[a] + shifts[b])
            - expected(shifts[a] - shifts[b])
            - expected(shifts[b] - shifts[a])
            + expected(-shifts[a] - shifts[b])
        ) / (4 * step**2)
        np.testing.assert_allclose(found_NAA[:, a, b], bend_N, atol=1e-4)


def test_a_new_card_is_placed_at_the_mode_of_its_posterior():
    rows, requests, target_NM, _, _, _ = drawn(400, abilities=2)
    known = Pool(POOL[:5])
    fitted = ItemResponse(encoder=rows, abilities=2).fit(requests, target_NM[:, :5], known)
    others_MA = fitted.state().arrays["ability"]
    away_MA = others_MA - others_MA.mean(axis=0)
    precision = np.linalg.inv((away_MA.T @ away_MA + np.eye(2)) / 6)
    fitted.observe("card-5", requests[:40], target_NM[:40, 5])
    a_NA, b_N = fitted._questions(requests[:40])

    def loss(ability_A):
        logit_N = a_NA @ ability_A - b_N
        gap_A = ability_A - others_MA.mean(axis=0)
        fit = np.sum(np.logaddexp(0, logit_N) - target_NM[:40, 5] * logit_N)
        return fit + 0.5 * gap_A @ precision @ gap_A

    np.testing.assert_allclose(
        fitted.state().arrays["ability"][5], minimize(loss, np.zeros(2)).x, atol=1e-3
    )


def test_chosen_probes_place_a_new_card_better_than_random_ones():
    rows, requests, _, chance_NM, _, _ = drawn(1200, abilities=2, seed=4)
    rng = np.random.default_rng(0)
    target_NM = (rng.random(chance_NM.shape) < chance_NM).astype(float)
    chosen_errors, random_errors = [], []
    for j in range(6):
        others = [m for m in range(6) if m != j]
        fitted = ItemResponse(encoder=rows, abilities=2, penalty=1e-4).fit(
            requests, target_NM[:, others], Pool(POOL[m] for m in others)
        )
        for draw in range(6):
            drawn_N = (rng.random(len(requests)) < chance_NM[:, j]).astype(float)
            picks = {
                "chosen": np.array(fitted.probes(15, requests)),
                "random": np.random.default_rng(draw).choice(len(requests), 15, replace=False),
            }
            for name, errors in (("chosen", chosen_errors), ("random", random_errors)):
                at = picks[name]
                fitted.observe(POOL[j].id, [requests[n] for n in at], drawn_N[at])
                predicted_N = fitted.predict(requests, Pool([POOL[j]]))[:, 0]
                errors.append(np.abs(predicted_N - chance_NM[:, j]).mean())
    assert np.mean(chosen_errors) < np.mean(random_errors)


def test_probes_are_distinct_and_no_more_than_there_are():
    rows, requests, target_NM, _, _, _ = drawn(50)
    fitted = ItemResponse(encoder=rows).fit(requests, target_NM, POOL)
    assert sorted(fitted.probes(80, requests)) == list(range(50))
    assert len(set(fitted.probes(7, requests, "card-1"))) == 7
    with pytest.raises(ConfigError, match="card-1"):
        fitted.probes(3, requests, "stranger")


@pytest.mark.parametrize("parameters", [{"abilities": 0}, {"penalty": 0.0}, {"steps": 0}])
def test_a_parameter_out_of_range_is_refused(parameters):
    with pytest.raises(ConfigError):
        ItemResponse(**parameters)
