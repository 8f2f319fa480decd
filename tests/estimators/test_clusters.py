"""Clusters against means computed by hand, and new cards from a few probes."""

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Request
from polyroute.errors import ConfigError
from polyroute.estimators.clusters import Clusters

pytest.importorskip("sklearn")

POOL = Pool(ModelCard(id=name) for name in ("mathematician", "poet"))
MATHS = [Request.of(f"sum of primes {word}") for word in ("one", "two", "three", "four")] * 5
VERSE = [Request.of(f"rhyme with flower {word}") for word in ("red", "blue", "white", "pink")] * 5
TARGET_NM = np.array([[0.9, 0.2]] * 20 + [[0.3, 0.8]] * 20)


def fit(**parameters):
    return Clusters(clusters=2, nearest=1, **parameters).fit(MATHS + VERSE, TARGET_NM, POOL)


def test_with_little_shrinkage_a_cluster_s_means_are_those_of_its_questions():
    found_NM = fit(strength=1e-9).predict([MATHS[0], VERSE[0]], POOL)
    np.testing.assert_allclose(found_NM, [[0.9, 0.2], [0.3, 0.8]], atol=1e-6)


def test_with_endless_shrinkage_only_the_card_and_the_cluster_count():
    found_NM = fit(strength=1e9).predict([MATHS[0], VERSE[0]], POOL)
    np.testing.assert_allclose(found_NM, [[0.6, 0.5], [0.6, 0.5]], atol=1e-6)


def test_the_pull_is_that_of_so_many_observations():
    # two clusters of 20; the effects are zero here, so the prior is the card's mean
    found_NM = fit(strength=5).predict([MATHS[0]], POOL)
    np.testing.assert_allclose(found_NM, [[(20 * 0.9 + 5 * 0.6) / 25, (20 * 0.2 + 5 * 0.5) / 25]])


def test_a_new_card_is_known_from_probes_and_the_others_stay():
    new = Pool([ModelCard(id="tutor")])
    probes = [MATHS[0], MATHS[1], VERSE[0]]
    wider = fit(strength=0.5).onboard(probes, np.array([[1.0], [0.8], [0.0]]), new)
    all_three = Pool([*POOL, *new])
    found_NM = wider.predict([MATHS[0], VERSE[0]], all_three)
    assert found_NM[0, 2] > 0.75 > 0.3 > found_NM[1, 2]
    np.testing.assert_array_equal(
        found_NM[:, :2], fit(strength=0.5).predict([MATHS[0], VERSE[0]], POOL)
    )
    assert np.isnan(fit().predict(MATHS, all_three)[:, 2]).all()


def test_probes_on_hard_questions_are_not_held_against_a_new_card():
    # both cards score .9 on maths and .1 on verse; the new one was probed on verse alone
    target_NM = np.array([[0.9, 0.9]] * 20 + [[0.1, 0.1]] * 20)
    known = Clusters(clusters=2, nearest=1, strength=1e-3).fit(MATHS + VERSE, target_NM, POOL)
    new = Pool([ModelCard(id="tutor")])
    wider = known.onboard([VERSE[0]], np.array([[0.1]]), new)
    np.testing.assert_allclose(wider.predict([MATHS[0], VERSE[0]], new), [[0.9], [0.1]], atol=0.01)


def test_no_clusters_are_refused():
    with pytest.raises(ConfigError, match="clusters"):
        Clusters(clusters=0)
