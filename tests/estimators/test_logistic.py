"""Logistic regression against scikit-learn's."""

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Request
from polyroute.errors import ConfigError
from polyroute.estimators.logistic import Logistic

sklearn_linear = pytest.importorskip("sklearn.linear_model")
sklearn_text = pytest.importorskip("sklearn.feature_extraction.text")

POOL = Pool(ModelCard(id=name) for name in "ab")
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
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, size=RNG.integers(2, 9))) for _ in range(200)]
REQUESTS = [Request.of(text) for text in TEXTS]
CHANCE_NM = np.array([[0.9 if "sum" in t else 0.3, 0.8 if "city" in t else 0.4] for t in TEXTS])


def features():
    vectorizer = sklearn_text.TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    return vectorizer.fit_transform(TEXTS).toarray()


@pytest.mark.parametrize("alpha", [0.05, 1.0])
def test_it_agrees_with_scikit_learn_where_observed(alpha):
    target_NM = (RNG.random((200, 2)) < CHANCE_NM).astype(float)
    target_NM[RNG.random((200, 2)) < 0.3] = np.nan
    found_NM = Logistic(alpha=alpha).fit(REQUESTS, target_NM, POOL).predict(REQUESTS, POOL)
    for j in range(2):
        seen = ~np.isnan(target_NM[:, j])
        model = sklearn_linear.LogisticRegression(C=1 / alpha, tol=1e-10, max_iter=10_000)
        model.fit(features()[seen], target_NM[seen, j])
        np.testing.assert_allclose(found_NM[:, j], model.predict_proba(features())[:, 1], atol=1e-4)


def test_a_soft_score_counts_as_that_share_of_successes():
    soft_NM = CHANCE_NM
    found_NM = Logistic().fit(REQUESTS, soft_NM, POOL).predict(REQUESTS, POOL)
    for j in range(2):
        model = sklearn_linear.LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000)
        model.fit(
            np.tile(features(), (2, 1)),
            np.repeat([1, 0], 200),
            sample_weight=np.concatenate([soft_NM[:, j], 1 - soft_NM[:, j]]),
        )
        np.testing.assert_allclose(found_NM[:, j], model.predict_proba(features())[:, 1], atol=1e-4)


def test_it_refuses_what_is_no_chance():
    with pytest.raises(ConfigError, match="from 0 to 1"):
        Logistic().fit(REQUESTS, CHANCE_NM - 4, POOL)
