"""The ten lines of scikit-learn that a router has to beat, reproduced by the default `ridge`.

TF-IDF over words and pairs of words (min_df 2, counts as 1 + ln n) and ridge regression with
alpha = 10, fitted on the questions of the train split that all models answered, judged on those of
the val split by the score of the model with the largest prediction.
"""

from pathlib import Path

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Request
from polyroute.estimators.mean import Mean
from polyroute.estimators.ridge import Ridge
from polyroute.outcomes import read_outcomes

DEV = Path(__file__).parents[2] / "../shared/data/dev"

pytestmark = [
    pytest.mark.skipif(not DEV.is_dir(), reason="needs the tables of ../shared/data/dev"),
    pytest.mark.slow,
]


@pytest.mark.parametrize(
    ("name", "best_single", "ridge", "oracle"),
    [
        ("llmrouter_mix", 0.605, 0.647, 0.800),
        ("mmlu_pro", 0.665, 0.672, 0.950),
        ("evouna", 0.843, 0.849, 0.947),
        ("routellm_mmlu", 0.801, 0.802, 0.852),
    ],
)
def test_the_default_ridge_is_the_ten_line_baseline(name, best_single, ridge, oracle):
    pytest.importorskip("pyarrow")
    pytest.importorskip("scipy")
    table = read_outcomes(DEV / name)
    score_NM = table.scores_NM()
    complete = ~np.isnan(score_NM).any(axis=1)
    split = np.array([question.split for question in table.queries])
    train, val = ((split == side) & complete for side in ("train", "val"))
    requests = [Request.of(question.prompt) for question in table.queries]
    pool = Pool(ModelCard(id=model) for model in table.models)

    def judged(estimator):
        estimator.fit([requests[n] for n in np.flatnonzero(train)], score_NM[train], pool)
        predicted_NM = estimator.predict([requests[n] for n in np.flatnonzero(val)], pool)
        return score_NM[val][np.arange(val.sum()), predicted_NM.argmax(axis=1)].mean()

    assert judged(Mean()) == pytest.approx(best_single, abs=0.001)
    assert judged(Ridge()) == pytest.approx(ridge, abs=0.003)
    assert score_NM[val].max(axis=1).mean() == pytest.approx(oracle, abs=0.001)
