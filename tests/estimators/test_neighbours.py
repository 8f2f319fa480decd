"""Nearest neighbours against scikit-learn's, and its approximate indices against the exact one."""

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Request
from polyroute.errors import ConfigError
from polyroute.estimators.neighbours import Neighbours

sklearn_neighbours = pytest.importorskip("sklearn.neighbors")
sklearn_text = pytest.importorskip("sklearn.feature_extraction.text")

POOL = Pool(ModelCard(id=name) for name in "abc")
WORDS = ["prime", "sum", "city", "river", "rhyme", "rose", "gold", "boil", "atom", "verse"]
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, size=RNG.integers(3, 12))) for _ in range(300)]
REQUESTS = [Request.of(text) for text in TEXTS]
TARGET_NM = RNG.random((300, 3))


def test_it_agrees_with_scikit_learn_on_complete_outcomes():
    fit = Neighbours(k=7, strength=0).fit(REQUESTS[:250], TARGET_NM[:250], POOL)
    vectorizer = sklearn_text.TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    x_ND = vectorizer.fit_transform(TEXTS[:250]).toarray()
    model = sklearn_neighbours.KNeighborsRegressor(
        7, metric="cosine", weights=lambda distance: 1 - distance
    ).fit(x_ND, TARGET_NM[:250])
    expected_NM = model.predict(vectorizer.transform(TEXTS[250:]).toarray())
    np.testing.assert_allclose(fit.predict(REQUESTS[250:], POOL), expected_NM, atol=1e-5)


def test_what_was_not_observed_of_a_neighbour_is_left_out_of_its_card_alone():
    requests = [Request.of("red car"), Request.of("red car"), Request.of("blue sea blue sea")]
    requests += requests
    target_NM = np.array([[1.0, 0.2], [np.nan, 0.4], [0.0, 0.0]] * 2)
    fit = Neighbours(k=4, strength=0).fit(requests, target_NM, Pool([POOL[0], POOL[1]]))
    found_NM = fit.predict([Request.of("red car")], Pool([POOL[0], POOL[1]]))
    np.testing.assert_allclose(found_NM, [[1.0, 0.3]], atol=1e-6)


def test_a_question_like_none_before_gets_the_means():
    found_NM = Neighbours().fit(REQUESTS, TARGET_NM, POOL).predict([Request.of("zzz")], POOL)
    np.testing.assert_allclose(found_NM[0], TARGET_NM.mean(axis=0))


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_an_approximate_index_finds_the_same_neighbours_on_a_small_table(index):
    pytest.importorskip("faiss")
    exact = Neighbours(k=10, dimensions=20).fit(REQUESTS, TARGET_NM, POOL)
    fit = Neighbours(k=10, dimensions=20, index=index).fit(REQUESTS, TARGET_NM, POOL)
    again = Neighbours(k=10, dimensions=20, index=index).restore(fit.state())
    found_NM = fit.predict(REQUESTS, POOL)
    np.testing.assert_array_equal(found_NM, again.predict(REQUESTS, POOL))
    close = np.isclose(found_NM, exact.predict(REQUESTS, POOL), atol=0.02).mean()
    assert close > 0.9


@pytest.mark.parametrize("dimensions", [20, 21])
def test_a_large_ivf_index_compares_codes_and_then_the_rows_themselves(dimensions):
    pytest.importorskip("faiss")
    words = [f"w{k}" for k in range(60)]
    requests = [Request.of(" ".join(RNG.choice(words, size=8))) for _ in range(1_200)]
    target_NM = RNG.random((1_200, 3))
    settings = {"k": 10, "dimensions": dimensions}
    exact = Neighbours(**settings).fit(requests, target_NM, POOL)
    fit = Neighbours(**settings, index="ivf").fit(requests, target_NM, POOL)
    asked = requests[:100]
    found_NM = fit.predict(asked, POOL)
    again = Neighbours(**settings, index="ivf").restore(fit.state())
    np.testing.assert_array_equal(found_NM, again.predict(asked, POOL))
    assert np.isclose(found_NM, exact.predict(asked, POOL), atol=1e-4).mean() > 0.9


def test_an_approximate_index_over_sparse_features_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match="dimensions"):
        Neighbours(index="hnsw").fit(REQUESTS, TARGET_NM, POOL)
