"""The exported trees against scikit-learn's own, to the last bit."""

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Request
from polyroute.errors import ConfigError
from polyroute.estimators import boosting
from polyroute.estimators.boosting import Boosting

ensemble = pytest.importorskip("sklearn.ensemble")

POOL = Pool(ModelCard(id=name) for name in "ab")


@pytest.mark.parametrize("rows", [1, 2, 200])
def test_the_walk_over_the_exported_trees_is_bit_equal(rows):
    rng = np.random.default_rng(0)
    x_ND, new_ND = rng.normal(size=(400, 6)), rng.normal(size=(rows, 6))
    new_ND[0] = x_ND[0]  # values that lie on the edge of a bin
    target_NM = np.stack([x_ND[:, 0] * x_ND[:, 1], np.abs(x_ND[:, 2])], axis=1)
    forest, models = boosting._Forest(2), []
    for j in range(2):
        model = ensemble.HistGradientBoostingRegressor(max_iter=40, random_state=0)
        models.append(model.fit(x_ND, target_NM[:, j]))
        forest.add(j, model)
    expected_NM = np.stack([model.predict(new_ND) for model in models], axis=1)
    np.testing.assert_array_equal(boosting._walk(forest.arrays(), new_ND), expected_NM)


def test_it_learns_from_the_length_of_the_prompt():
    requests = [Request.of("word " * (1 + k % 40)) for k in range(400)]
    target_NM = np.array([[k % 40 < 20, k % 40 >= 20] for k in range(400)], float)
    fit = Boosting().fit(requests, target_NM, POOL)
    found_NM = fit.predict([Request.of("word " * 5), Request.of("word " * 35)], POOL)
    np.testing.assert_allclose(found_NM, [[1, 0], [0, 1]], atol=0.1)


def test_a_tree_of_one_leaf_is_refused():
    with pytest.raises(ConfigError, match="leaves"):
        Boosting(leaves=1)
