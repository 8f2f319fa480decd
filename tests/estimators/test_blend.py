"""The blend: the mean of its members, who read the prompt once."""

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Request
from polyroute.errors import ConfigError
from polyroute.estimators.blend import Blend
from polyroute.estimators.clusters import Clusters
from polyroute.estimators.mean import Mean
from polyroute.estimators.neighbours import Neighbours
from polyroute.estimators.ridge import Ridge
from polyroute.signals.encoders.tfidf import TfIdf
from polyroute.spec import construct

POOL = Pool(ModelCard(id=name) for name in ("small", "large"))
ASKED = [
    Request.of(f"{'sum of primes' if k % 2 else 'capital of a country'} {k}") for k in range(40)
]
SCORES = np.tile([[1.0, 0.0], [0.0, 1.0]], (20, 1))
NEW = [Request.of("sum of primes"), Request.of("capital of a country")]


class Counting(TfIdf):
    """TF-IDF that counts how often it is used."""

    fits = 0
    encodes = 0

    def fit(self, texts):
        type(self).fits += 1
        return super().fit(texts)

    def encode(self, texts):
        type(self).encodes += 1
        return super().encode(texts)


def test_it_is_the_mean_of_what_its_members_predict_alone():
    alone = [
        factory().fit(ASKED, SCORES, POOL).predict(NEW, POOL)
        for factory in (Ridge, Neighbours, Clusters)
    ]
    blend = Blend().fit(ASKED, SCORES, POOL)
    np.testing.assert_allclose(blend.predict(NEW, POOL), np.mean(alone, axis=0), rtol=1e-12)


def test_its_default_members_read_a_prompt_once():
    blend = Blend(encoder=Counting()).fit(ASKED, SCORES, POOL)
    fits, encodes = Counting.fits, Counting.encodes
    assert fits == 1
    blend.predict(NEW, POOL)
    assert Counting.encodes == encodes + 1


def test_a_refit_on_the_same_prompts_reads_them_again():
    encoder = Counting()
    blend = Blend(encoder=encoder).fit(ASKED, SCORES, POOL)
    before = Counting.fits
    blend.fit(ASKED, SCORES, POOL)
    assert Counting.fits == before + 1


def test_a_card_that_one_member_knows_is_known():
    wider = Pool([*POOL, ModelCard(id="new")])
    one, other = (
        Mean().fit(ASKED[:1], np.array([[score]]), Pool([wider[2]])) for score in (0.2, 0.4)
    )
    knows = Mean().fit(ASKED, SCORES, POOL)
    blend = Blend(members=(knows, one, other))
    np.testing.assert_allclose(blend.predict(NEW[:1], wider), [[0.5, 0.5, 0.3]])


def test_members_are_written_in_a_configuration_as_estimators_are():
    spec = {"name": "blend", "members": ["mean", {"name": "ridge", "alpha": 3}]}
    blend = construct("estimators", spec, where="quality").fit(ASKED, SCORES, POOL)
    ridge = Ridge(alpha=3).fit(ASKED, SCORES, POOL).predict(NEW, POOL)
    np.testing.assert_allclose(blend.predict(NEW, POOL), (ridge + 0.5) / 2, rtol=1e-12)


def test_it_refuses_no_members_and_features_that_nobody_reads():
    with pytest.raises(ConfigError, match="one estimator or more"):
        Blend(members=())
    with pytest.raises(ConfigError, match="own"):
        Blend(members=(Mean(),), encoder=TfIdf())
