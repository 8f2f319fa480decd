import numpy as np
import pytest

from polyroute.errors import ConfigError
from polyroute.estimators.competence import Competence
from polyroute.pool import ModelCard, Pool
from polyroute.types import Request

POOL = Pool([ModelCard(id="sums"), ModelCard(id="verse"), ModelCard(id="even")])
BOOK = {
    "arithmetic": ("add multiply number", "sum product digits"),
    "poetry": ("poem rhyme stanza", "verse sonnet metre"),
}


def drawn(count, seed=0):
    """Questions of two kinds: `sums` is right on one, `verse` on the other, `even` on half."""
    rng = np.random.default_rng(seed)
    words = (BOOK["arithmetic"], BOOK["poetry"])
    kind_N = rng.integers(2, size=count)
    requests = [
        Request.of(" ".join(rng.permutation(" ".join(words[kind]).split())[:4]), id=str(n))
        for n, kind in enumerate(kind_N)
    ]
    chance_NM = np.stack([0.9 - 0.7 * kind_N, 0.2 + 0.7 * kind_N, np.full(count, 0.5)], axis=1)
    return requests, (rng.random(chance_NM.shape) < chance_NM).astype(float), chance_NM


@pytest.mark.parametrize("book", [BOOK, None])
def test_it_finds_the_chances_that_the_outcomes_were_drawn_from(book):
    requests, target_NM, chance_NM = drawn(2000)
    fitted = Competence(book=book, skills=2, sharpness=60, strength=2).fit(
        requests, target_NM, POOL
    )
    assert np.abs(fitted.predict(requests, POOL) - chance_NM).max() < 0.08


def test_a_cell_is_the_mean_of_its_beta_posterior():
    requests = [Request.of("add numbers")] * 5
    target_NM = np.array([[1.0, 0.0], [1, 0], [0, 0], [1, 1], [1, np.nan]])
    fitted = Competence(skills=1, strength=3.0).fit(
        requests, target_NM, POOL.only(["sums", "verse"])
    )
    pooled = (5 + 3 * 5 / 9) / (9 + 3)
    surplus = (4 - 5 * pooled) / (5 + 3)
    assert fitted.competence("sums")[0] == pytest.approx((3 * (pooled + surplus) + 4) / (3 + 5))


def test_a_new_card_is_onboarded_from_a_few_outcomes():
    requests, target_NM, chance_NM = drawn(1000)
    two = POOL.only(["sums", "even"])
    fitted = Competence(book=BOOK, sharpness=60, strength=2).fit(
        requests, target_NM[:, [0, 2]], two
    )
    assert np.isnan(fitted.predict(requests, POOL)[:, 1]).all()
    before = fitted.predict(requests, two)
    fitted.observe("verse", requests[:60], target_NM[:60, 1])
    assert np.array_equal(fitted.predict(requests, two), before)
    assert np.abs(fitted.predict(requests, POOL)[:, 1] - chance_NM[:, 1]).mean() < 0.1


def test_observing_later_is_as_good_as_having_been_there():
    requests, target_NM, _ = drawn(300)
    at_once = Competence(book=BOOK, seed=3).fit(requests, target_NM, POOL)
    with_gap = target_NM.copy()
    with_gap[100:, 1] = np.nan
    later = Competence(book=BOOK, seed=3).fit(requests, with_gap, POOL)
    later.observe("verse", requests[100:], target_NM[100:, 1])
    for name in ("hits", "mass"):
        np.testing.assert_allclose(later.state().arrays[name], at_once.state().arrays[name])


def test_a_card_is_believed_about_its_skills_until_it_is_observed():
    requests, target_NM, _ = drawn(200)
    fitted = Competence(book=BOOK, sharpness=60).fit(requests, target_NM, POOL)
    said = ModelCard(id="new", skills={"arithmetic": 0.95, "poetry": 0.1})
    column = fitted.predict([Request.of("add multiply sum")], Pool([said]))
    assert column[0, 0] == pytest.approx(0.95, abs=0.02)
    assert np.isnan(fitted.predict(requests, Pool([ModelCard(id="mute")]))).all()


def test_what_it_observed_survives_its_state():
    requests, target_NM, _ = drawn(100)
    fitted = Competence(skills=3).fit(requests, target_NM, POOL)
    fitted.observe("new", requests[:10], np.ones(10))
    pool = Pool([ModelCard(id="new"), *POOL])
    again = Competence(skills=3).restore(fitted.state())
    assert np.array_equal(again.predict(requests, pool), fitted.predict(requests, pool))


def test_a_log_cost_is_predicted_on_its_own_scale():
    requests, target_NM, _ = drawn(400)
    cost_NM = -4 + 2 * target_NM
    predicted_NM = (
        Competence(skills=2, strength=1).fit(requests, cost_NM, POOL).predict(requests, POOL)
    )
    np.testing.assert_allclose(predicted_NM.mean(axis=0), cost_NM.mean(axis=0), atol=0.05)


@pytest.mark.parametrize(
    "parameters", [{"skills": 0}, {"strength": 0.0}, {"sharpness": -1.0}, {"book": {}}]
)
def test_a_parameter_out_of_range_is_refused(parameters):
    with pytest.raises(ConfigError):
        Competence(**parameters)


def test_outcomes_of_another_length_are_refused():
    requests, target_NM, _ = drawn(20)
    fitted = Competence().fit(requests, target_NM, POOL)
    with pytest.raises(ConfigError, match="20 requests"):
        fitted.observe("sums", requests, np.ones(3))
