import asyncio
import itertools

import numpy as np
import pytest

from polyroute.backends.replay import Replay
from polyroute.episode import run_episode
from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable
from polyroute.outcomes.implied import pool_of
from polyroute.spec import construct
from polyroute.train.agreement_fit import best_agreement, fit_agreement
from polyroute.types import Request

NAMES = ("a", "b", "c", "big")


def world(n=200, seed=0):
    """Three cheap models that err on their own, and a dear one; errors are other numbers."""
    rng = np.random.default_rng(seed)
    right_NM = rng.random((n, 4)) < np.array([0.8, 0.8, 0.75, 0.9])
    answer_NM = np.where(right_NM, 0, rng.integers(1, 50, (n, 4)))
    usd_NM = np.tile([0.001, 0.0012, 0.0008, 0.01], (n, 1))
    return answer_NM, right_NM.astype(float), usd_NM


def tabled(answer_NM, quality_NM, usd_NM):
    n = len(answer_NM)
    return OutcomeTable.of(
        [{"query_id": str(k), "prompt": f"question {k}"} for k in range(n)],
        [
            {
                "query_id": str(k), "model": NAMES[m], "response_text": f"it is {answer_NM[k, m]}",
                "score": quality_NM[k, m], "cost_usd": usd_NM[k, m], "prompt_tokens": 5,
                "completion_tokens": 5,
            }
            for k in range(n)
            for m in range(4)
        ],
    )  # fmt: skip


@pytest.mark.parametrize("sure", [0.0, 1.645])
def test_it_is_the_cheapest_of_all_that_reach_the_bar(sure):
    answer_NM, quality_NM, usd_NM = world()
    bar_N = quality_NM[:, 3] * 0.98
    found = best_agreement(answer_NM, quality_NM, usd_NM, bar_N=bar_N, sure=sure, members=[0, 1, 2])
    prices = {}
    for a, b in itertools.combinations(range(3), 2):
        for other in set(range(4)) - {a, b}:
            rows = [
                (quality_NM[k, a], usd_NM[k, a] + usd_NM[k, b])
                if answer_NM[k, a] == answer_NM[k, b]
                else (quality_NM[k, other], usd_NM[k, [a, b, other]].sum())
                for k in range(len(bar_N))
            ]
            got, paid = np.array(rows).T
            more = got - bar_N
            if more.mean() - sure * more.std(ddof=1) / np.sqrt(len(more)) >= 0:
                prices[a, b, other] = paid.mean()
    assert (*found.members, found.otherwise) == min(prices, key=prices.get)
    assert found.usd == pytest.approx(min(prices.values()))


def test_what_is_expected_is_what_the_policy_does():
    table = tabled(*world(60, 3))
    pool = pool_of(table)
    spec, expected = fit_agreement(table, pool, answers="number", target=0.9, sure=0)
    policy = construct("policies", spec, where="")
    replay, scores = Replay.of(table), table.scores_NM()
    got, paid = [], []
    for k, question in enumerate(table.queries):
        request = Request.of(question.prompt, id=question.query_id)
        trace = asyncio.run(run_episode(policy, replay, request, pool))
        right = {f"it is {world(60, 3)[0][k, m]}": scores[k, m] for m in range(4)}
        got.append(right[trace.answer])
        paid.append(float(trace.usd))
    assert np.mean(got) == pytest.approx(expected["quality"])
    assert np.mean(paid) == pytest.approx(expected["usd"])


def test_what_cannot_be_reached_is_refused():
    table = tabled(*world())
    with pytest.raises(ConfigError, match="surely reach"):
        fit_agreement(table, pool_of(table), answers="number", target=1.2)
    with pytest.raises(ConfigError, match="text"):
        fit_agreement(table, pool_of(table), answers="boxed")
