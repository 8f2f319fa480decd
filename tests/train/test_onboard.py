"""What is expected of a new card: against brute force, and against abilities that are known."""

import numpy as np
import pytest

from polyroute import ModelCard
from polyroute.errors import ConfigError
from polyroute.pool import Pool, Price
from polyroute.train.item_bank import Belief, ItemBank, choose_probes
from polyroute.train.onboard import (
    belief_from_card,
    belief_without_card,
    card_features,
    expect,
    expect_beside,
    quality_of_new_card,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def world(seed=0, questions=400, cards=30):
    rng = np.random.default_rng(seed)
    slope_N = np.exp(0.3 * rng.standard_normal(questions))
    ease_N = rng.normal(0.0, 1.2, questions)
    ability_M = rng.normal(0.0, 1.0, cards)
    chance_NM = sigmoid(slope_N[:, None] * ability_M + ease_N[:, None])
    return slope_N, ease_N, ability_M, (rng.random(chance_NM.shape) < chance_NM).astype(float)


def cards(rng, count):
    prices = 10 ** rng.uniform(-1, 1.5, count)
    return [
        ModelCard(
            id=f"model-{m}-{rng.choice([3, 7, 34, 70])}B",
            price=Price.per_million(round(p, 3), round(2 * p, 3)) if m % 4 else None,
        )
        for m, p in enumerate(prices)
    ]


def test_calibration_recovers_the_order_of_known_abilities():
    _, _, ability_M, score_NM = world()
    bank = ItemBank.fit(score_NM)
    assert np.corrcoef(bank.ability_M, ability_M)[0, 1] > 0.97
    np.testing.assert_allclose(bank.level(bank.ability_M), score_NM.mean(axis=0), atol=0.04)


def test_what_was_not_observed_is_not_counted_as_wrong():
    _, _, _, score_NM = world()
    half_NM = score_NM.copy()
    half_NM[::2, 0] = np.nan
    bank = ItemBank.fit(half_NM)
    assert abs(bank.level(bank.ability_M[:1])[0] - score_NM[:, 0].mean()) < 0.06


def test_a_known_ability_is_recovered_from_many_probes():
    slope_N, ease_N, _, _ = world(questions=3000)
    rng = np.random.default_rng(5)
    bank = ItemBank(slope_N, ease_N, np.zeros(2))
    for ability in (-1.5, 0.0, 1.2):
        score_N = rng.random(3000) < sigmoid(slope_N * ability + ease_N)
        found = expect(bank, Belief(0.0, 1.0), range(3000), score_N.astype(float))
        assert abs(found.ability.mean - ability) < 4 * found.ability.sd
        assert found.ability.sd < 0.06
        assert found.low < bank.level(np.array([ability]))[0] < found.high


def test_the_zero_shot_ability_is_that_of_a_ridge_by_least_squares():
    rng = np.random.default_rng(2)
    known, ability_M = cards(rng, 12), rng.standard_normal(12)
    new = ModelCard(id="model-new-13B", price=Price.per_million(1, 2))
    x_MF = np.array([card_features(card) for card in [*known, new]])[:, :3]
    x_MF = (x_MF - np.nanmean(x_MF[:-1], axis=0)) / np.nanstd(x_MF[:-1], axis=0)
    x_MF = np.where(np.isnan(x_MF), 0.0, x_MF)

    def by_least_squares(rows, ability, row):
        count = len(rows)
        top = np.hstack([np.ones((count, 1)), rows])
        bottom = np.hstack([np.zeros((3, 1)), np.sqrt(2.0) * np.eye(3)])
        weights = np.linalg.lstsq(
            np.vstack([top, bottom]), np.append(ability, np.zeros(3)), rcond=None
        )[0]
        return weights[0] + row @ weights[1:]

    belief = belief_from_card(known, ability_M, new, penalty=2.0)
    assert belief.mean == pytest.approx(by_least_squares(x_MF[:-1], ability_M, x_MF[-1]))
    left_out = [
        ability_M[m]
        - by_least_squares(np.delete(x_MF[:-1], m, 0), np.delete(ability_M, m), x_MF[m])
        for m in range(12)
    ]
    assert belief.sd == pytest.approx(np.sqrt(np.mean(np.square(left_out))))


def test_the_error_shrinks_with_the_number_of_probes_and_informative_ones_help():
    slope_N, ease_N, _, _ = world(questions=600)
    bank, prior = ItemBank(slope_N, ease_N, np.zeros(2)), Belief(0.0, 1.0)
    rng = np.random.default_rng(8)
    errors = {}
    for ability in rng.standard_normal(60):
        score_N = (rng.random(600) < sigmoid(slope_N * ability + ease_N)).astype(float)
        for k in (0, 5, 20, 80):
            for how, rows in (
                ("best", choose_probes(bank, prior, k)),
                ("any", rng.permutation(600)[:k]),
            ):
                found = expect(bank, prior, rows, score_N[list(rows)])
                errors.setdefault((how, k), []).append((found.ability.mean - ability) ** 2)
    mean = {key: np.mean(value) for key, value in errors.items()}
    for how in ("best", "any"):
        assert mean[how, 0] > mean[how, 5] > mean[how, 20] > mean[how, 80]
    assert mean["best", 20] < mean["any", 20]


def test_the_first_probe_is_the_one_with_the_best_expected_information_by_brute_force():
    slope_N, ease_N, _, _ = world(questions=50)
    bank, prior = ItemBank(slope_N, ease_N, np.zeros(2)), Belief(0.5, 0.001)
    chance_N = sigmoid(slope_N * 0.5 + ease_N)
    information_N = slope_N**2 * chance_N * (1 - chance_N)
    order = tuple(np.argsort(-information_N)[:4])
    assert choose_probes(bank, prior, 3) == order[:3]
    assert choose_probes(bank, prior, 3, asked=order[:1]) == order[1:]
    assert sorted(choose_probes(bank, prior, 99)) == list(range(50))


def test_without_probes_the_expectation_is_the_prior():
    slope_N, ease_N, _, _ = world(questions=50)
    found = expect(ItemBank(slope_N, ease_N, np.zeros(2)), Belief(0.3, 0.7))
    assert found.ability.mean == pytest.approx(0.3)
    assert found.ability.sd == pytest.approx(0.7, rel=1e-3)
    assert found.low < found.level < found.high
    assert found.probes == 0


def test_a_missing_outcome_tells_nothing():
    slope_N, ease_N, _, _ = world(questions=50)
    bank, prior = ItemBank(slope_N, ease_N, np.zeros(2)), Belief(0.0, 1.0)
    assert expect(bank, prior, [1, 2], [1.0, np.nan]) == expect(bank, prior, [1], [1.0])


def test_the_new_column_has_the_known_shape_at_the_given_level():
    predicted_NM = np.array([[0.6, 0.7, np.nan], [0.5, 0.6, np.nan], [0.4, 0.5, np.nan]])
    level_M = np.array([0.5, 0.6, 0.9])
    column_N = quality_of_new_card(predicted_NM, level_M, 0.3)
    assert column_N[1] == pytest.approx(0.3)
    assert column_N[0] > 0.3 > column_N[2]


def test_beside_the_cards_of_an_artifact_a_card_is_expected_where_its_like_are():
    rng = np.random.default_rng(4)
    known = [
        ModelCard(id=f"model-{m}-{size}B", price=Price.per_million(size / 50, size / 25))
        for m, size in enumerate([1, 2, 4, 8, 16, 32, 64] * 3)
    ]
    size_M = np.array([10 ** card_features(card)[2] for card in known])
    level_M = sigmoid(np.log2(size_M) - 3 + 0.2 * rng.standard_normal(len(known)))
    mean_score = {card.id: float(x) for card, x in zip(known, level_M, strict=True)}
    pool = Pool([*known, ModelCard(id="never-asked")])
    mean_score["never-asked"] = None
    new = ModelCard(id="new-16B", price=Price.per_million(16 / 50, 16 / 25))
    found = expect_beside(pool, mean_score, new)
    assert found.low < sigmoid(1.0) < found.high
    assert abs(found.level - sigmoid(1.0)) < 0.06
    # a card of the pool does not see its own mean score
    same = expect_beside(pool, {**mean_score, known[0].id: 0.99}, known[0])
    assert same == expect_beside(pool, mean_score, known[0])
    with pytest.raises(ConfigError, match="three known cards"):
        expect_beside(pool, {known[0].id: 0.5}, new)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        expect_beside(pool, {**mean_score, known[1].id: 1.5}, new)


def test_sizes_are_read_from_words():
    sizes = {"Qwen-7B-Chat": 7, "Mixtral-8x7B-v0.1": 56, "gemma-2-2b-it": 2, "Yi_34B": 34}
    for name, billions in sizes.items():
        assert card_features(ModelCard(id=name))[2] == pytest.approx(np.log10(billions))
    assert np.isnan(card_features(ModelCard(id="gpt-4o-2024-08-06"))[2])
    assert card_features(ModelCard(id="gpt-4o-mini"))[3] == -1
    assert card_features(ModelCard(id="gemini-1.5-flash"))[3] == -1
    assert card_features(ModelCard(id="geminiature"))[3] == 0


def test_what_does_not_fit_is_refused_with_the_reason():
    bank = ItemBank(np.ones(3), np.zeros(3), np.zeros(2))
    with pytest.raises(ConfigError, match="two cards"):
        ItemBank.fit(np.ones((3, 1)))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        ItemBank.fit(np.full((3, 2), 2.0))
    with pytest.raises(ConfigError, match="without any score"):
        ItemBank.fit(np.array([[np.nan, 1.0]]))
    with pytest.raises(ConfigError, match="as many scores"):
        expect(bank, Belief(0, 1), [0, 1], [1.0])
    with pytest.raises(ConfigError, match="between 0 and 1"):
        expect(bank, Belief(0, 1), [0], [1.5])
    with pytest.raises(ConfigError, match="three known cards"):
        belief_from_card([ModelCard(id="a")], np.zeros(1), ModelCard(id="b"))
    with pytest.raises(ConfigError, match="two abilities"):
        belief_without_card(np.zeros(1))
    with pytest.raises(ConfigError, match="0 or more"):
        choose_probes(bank, Belief(0, 1), -1)
    with pytest.raises(ConfigError, match="knows none"):
        quality_of_new_card(np.full((2, 2), np.nan), np.ones(2), 0.5)
