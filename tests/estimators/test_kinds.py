import numpy as np
import pytest

from polyroute import ModelCard, Pool, Request
from polyroute.errors import ConfigError
from polyroute.estimators.kinds import Kinds
from polyroute.estimators.ridge import Ridge
from polyroute.outcomes import OutcomeTable
from polyroute.train.examples import Examples
from polyroute.train.fit import Plan, fit

POOL = Pool([ModelCard(id="poet"), ModelCard(id="clerk")])
TOLD = ["rhyme", "sum", "sum", "rhyme"] * 10
ASKED = [Request.of(f"{kind} number {n} please") for n, kind in enumerate(TOLD)]
CHANCE = {"rhyme": (0.9, 0.2), "sum": (0.3, 0.8)}
RIGHT = (np.random.default_rng(0).random((40, 2)) < [CHANCE[kind] for kind in TOLD]).astype(float)


def test_a_prompt_that_is_surely_of_a_kind_gets_the_shrunk_means_of_that_kind():
    seen = RIGHT.copy()
    seen[:6, 1] = np.nan
    found = Kinds(alpha=1e-3, strength=5, least=20).tell(TOLD).fit(ASKED, seen, POOL)
    rows = seen[[kind == "sum" for kind in TOLD]]
    count = (~np.isnan(rows)).sum(axis=0)
    expected = (np.nansum(rows, axis=0) + 5 * np.nanmean(seen, axis=0)) / (count + 5)
    assert found.predict([Request.of("sum please")], POOL)[0] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("told", [[], ["sum"] * 40, ["rare", "rarer"] * 20])
def test_where_there_is_one_kind_it_is_the_ridge_to_the_last_bit(told):
    new = [Request.of("a sum of numbers"), Request.of("")]
    ridge = Ridge().fit(ASKED, RIGHT, POOL).predict(new, POOL)
    assert np.array_equal(Kinds().tell(told).fit(ASKED, RIGHT, POOL).predict(new, POOL), ridge)


def test_a_prompt_of_no_kind_gets_a_mixture_and_nothing_leaves_the_range_of_scores():
    found = Kinds(least=20).tell(TOLD).fit(ASKED, RIGHT, POOL)
    predicted = found.predict([Request.of("?"), Request.of("sum sum sum rhyme"), *ASKED], POOL)
    assert (predicted >= 0).all()
    assert (predicted <= 1).all()


def test_kinds_of_other_questions_are_refused():
    with pytest.raises(ConfigError, match="39 questions were told"):
        Kinds().tell(TOLD[1:]).fit(ASKED, RIGHT, POOL)


def test_training_tells_the_data_set_and_the_task_of_every_question():
    table = OutcomeTable.of(
        [
            {"query_id": str(n), "prompt": r.prompt, "dataset": "d", "task": kind, "split": "train"}
            for n, (r, kind) in enumerate(zip(ASKED, TOLD, strict=True))
        ],
        [
            {"query_id": str(n), "model": card.id, "score": RIGHT[n, m]}
            for n in range(40)
            for m, card in enumerate(POOL)
        ],
    )
    examples = Examples.of(table)
    assert examples.kinds == tuple(f"d/{kind}" for kind in TOLD)
    assert examples.rows(np.array([3, 1])).kinds == ("d/rhyme", "d/sum")
    policy = fit(
        Plan(policy={"name": "greedy", "quality": {"name": "kinds", "least": 20}}), examples
    ).policy
    alone = Kinds(least=20).tell(examples.kinds).fit(examples.requests, RIGHT, examples.pool)
    new = [Request.of("sum please")]
    assert np.array_equal(
        policy.quality.predict(new, examples.pool), alone.predict(new, examples.pool)
    )
