"""Support vector machines against scikit-learn's own prediction and a linear program."""

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Request
from polyroute.errors import ConfigError
from polyroute.estimators.ridge import Ridge
from polyroute.estimators.svm import SupportVectors

sklearn_svm = pytest.importorskip("sklearn.svm")
sklearn_text = pytest.importorskip("sklearn.feature_extraction.text")

POOL = Pool(ModelCard(id=name) for name in "ab")
WORDS = ["prime", "sum", "city", "river", "rhyme", "rose", "gold", "boil", "atom", "verse"]
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, size=RNG.integers(2, 9))) for _ in range(150)]
REQUESTS = [Request.of(text) for text in TEXTS]
TARGET_NM = np.array([[t.count("sum") / 3, 0.8 if "city" in t else 0.4] for t in TEXTS])


@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_the_exported_head_predicts_as_scikit_learn_s_machine(loss):
    target_NM = TARGET_NM.copy()
    target_NM[RNG.random(target_NM.shape) < 0.3] = np.nan
    found_NM = SupportVectors(loss=loss).fit(REQUESTS, target_NM, POOL).predict(REQUESTS, POOL)
    vectorizer = sklearn_text.TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    x_ND = vectorizer.fit_transform(TEXTS)
    for j in range(2):
        seen = ~np.isnan(target_NM[:, j])
        mean = target_NM[seen, j].mean()
        model = sklearn_svm.SVR(kernel="linear", C=0.05, epsilon=0, tol=1e-8)
        expected_N = model.fit(x_ND[seen], target_NM[seen, j] - mean).predict(x_ND) + mean
        # the kernel machine has the absolute loss and a free intercept
        atol = 0.03 if loss == "absolute" else 0.2
        np.testing.assert_allclose(found_NM[:, j], expected_N, atol=atol)


def test_with_the_squared_loss_and_no_slack_it_is_ridge_regression():
    # 1/2 |w|^2 + c sum error^2 is ridge with alpha = 1 / (2 c)
    found_NM = SupportVectors(c=0.5).fit(REQUESTS, TARGET_NM, POOL).predict(REQUESTS, POOL)
    expected_NM = Ridge(alpha=1.0).fit(REQUESTS, TARGET_NM, POOL).predict(REQUESTS, POOL)
    np.testing.assert_allclose(found_NM, expected_NM, atol=0.02)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ConfigError, match="squared"):
        SupportVectors(loss="hinge")
