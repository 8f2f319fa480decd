"""Ridge regression against scikit-learn's."""

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Request
from polyroute.errors import ConfigError
from polyroute.estimators.ridge import Ridge

sklearn_linear = pytest.importorskip("sklearn.linear_model")
sklearn_text = pytest.importorskip("sklearn.feature_extraction.text")

POOL = Pool(ModelCard(id=name) for name in "abc")
WORDS = [
    "prime",
    "sum",
    "city",
    "river",
    "rhyme",
    "rose",
    "gold",
    "boil",
    "atom",
    "verse",
    "lake",
    "count",
    "root",
]


def questions(count, seed=0):
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(2, 9))) for _ in range(count)]
    target_NM = np.stack([[t.count("o"), len(t), "sum" in t] for t in texts]).astype(float)
    return texts, target_NM / target_NM.max(axis=0) + rng.normal(0, 0.1, (count, 3))


def reference(texts, target_N, new, alpha):
    vectorizer = sklearn_text.TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    x_ND = vectorizer.fit_transform(texts[0]).toarray()[texts[1]]
    model = sklearn_linear.Ridge(alpha=alpha, solver="cholesky").fit(x_ND, target_N)
    return model.predict(vectorizer.transform(new).toarray())


@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_it_agrees_with_scikit_learn(alpha):
    texts, target_NM = questions(200)
    new, _ = questions(20, seed=1)
    fit = Ridge(alpha=alpha).fit([Request.of(t) for t in texts], target_NM, POOL)
    expected_NM = reference((texts, slice(None)), target_NM, new, alpha)
    found_NM = fit.predict([Request.of(t) for t in new], POOL)
    np.testing.assert_allclose(found_NM, expected_NM, atol=1e-6)


def test_a_column_with_holes_is_fitted_on_its_observed_rows():
    texts, target_NM = questions(200)
    target_NM[np.random.default_rng(2).random((200, 3)) < [0.1, 0.5, 0.9]] = np.nan
    new, _ = questions(20, seed=1)
    fit = Ridge(alpha=1.0).fit([Request.of(t) for t in texts], target_NM, POOL)
    found_NM = fit.predict([Request.of(t) for t in new], POOL)
    for j in range(3):
        seen = ~np.isnan(target_NM[:, j])
        expected_N = reference((texts, seen), target_NM[seen, j], new, 1.0)
        np.testing.assert_allclose(found_NM[:, j], expected_N, atol=1e-6)


def test_a_penalty_of_zero_is_refused():
    with pytest.raises(ConfigError, match="alpha"):
        Ridge(alpha=0)
