"""A card that joins a trained router: what is expected of it, and what is decided with it."""

import asyncio
import json

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Price, Request, Trace
from polyroute.errors import ArtifactError, ConfigError
from polyroute.outcomes import OutcomeTable
from polyroute.train import artifact_files
from polyroute.train.artifact import extend, load, read_items, read_manifest, save
from polyroute.train.examples import Examples
from polyroute.train.fit import Plan, fit
from polyroute.train.items import Items, key_of
from polyroute.train.probing import AdaptiveTest, Probe, measure_card, measure_known

ABILITY = {"tiny": -1.5, "small": -0.5, "middle": 0.3, "large": 1.0, "huge": 1.6}
USD = {"tiny": 0.1, "small": 0.3, "middle": 1.0, "large": 3.0, "huge": 9.0, "new": 1.0, "best": 6.0}
NEW = ModelCard(id="new", price=Price.per_million("1", "1"))


def world(size=240, abilities=ABILITY):
    """Return questions whose words say how hard they are, answered by Rasch's model."""
    rng = np.random.default_rng(1)
    queries, responses = [], []
    for n in range(size):
        ease = (1.5, 0.0, -1.5)[n % 3]
        queries.append({"query_id": f"q{n}", "prompt": f"{('easy', 'fair', 'hard')[n % 3]} {n}"})
        for model, ability in abilities.items():
            right = rng.random() < 1 / (1 + np.exp(-(ability + ease)))
            responses.append(
                {
                    "query_id": f"q{n}", "model": model, "score": float(right),
                    "cost_usd": USD[model] / 1000 * (1 + n % 3),
                }
            )  # fmt: skip
    return OutcomeTable.of(queries, responses)


def cards(names=ABILITY):
    return Pool([ModelCard(id=id, price=Price.per_million(USD[id], USD[id])) for id in names])


@pytest.fixture(scope="module")
def fitted():
    spec = {"name": "greedy", "quality": "ridge", "cost": "mean"}
    return fit(Plan(policy=spec), Examples.of(world(), pool=cards()))


@pytest.fixture
def stored(fitted, tmp_path):
    save(tmp_path / "my.router", fitted, created_at="2026-11-22")
    return tmp_path / "my.router"


def measured(items, ability, probes, card=NEW, seed=0):
    """Return what is found of a card of that ability, which answers as the model says."""
    rng = np.random.default_rng(seed)

    async def ask(row):
        chance = items.bank.chances(np.array([ability]))[row, 0]
        return Probe(float(rng.random() < chance), USD[card.id] / 1000 * 2)

    return asyncio.run(measure_card(items, cards(), card, probes=probes, ask=ask))


def test_the_kept_questions_come_back_bit_for_bit(fitted, stored):
    again = read_items(stored)
    assert again.keys == fitted.items.keys
    assert again.ids == tuple(ABILITY)
    for name, array in fitted.items.state().arrays.items():
        assert again.state().arrays[name].tobytes() == array.tobytes()
    assert key_of("EASY  0") in again.keys  # the same words in other case and white space


def test_levels_are_the_recorded_means_and_expected_ones_where_some_are_missing(fitted):
    mean_M = fitted.items.score_NM.mean(axis=0)
    assert fitted.items.level_M.tobytes() == mean_M.tobytes()
    examples = Examples.of(world(), pool=cards())
    examples.quality_NM[::3, 0] = np.nan  # the easy questions: a plain mean would be too low
    holed = Items.of(examples)
    assert abs(holed.level_M[0] - mean_M[0]) < abs(np.nanmean(holed.score_NM[:, 0]) - mean_M[0])


def test_fewer_than_three_cards_keep_no_questions():
    two = {id: ABILITY[id] for id in ("tiny", "huge")}
    assert Items.of(Examples.of(world(abilities=two), pool=cards(two))) is None


def test_probes_narrow_down_what_the_card_says(fitted):
    items = fitted.items
    truth = float(items.bank.level(np.array([1.0]))[0])
    by_card, by_few, by_many = (measured(items, 1.0, k).expected for k in (0, 10, 60))
    assert by_many.high - by_many.low < by_few.high - by_few.low < by_card.high - by_card.low
    assert by_many.low <= truth <= by_many.high
    assert by_many.probes == 60


def test_a_question_without_an_outcome_is_not_counted_and_not_asked_again(fitted):
    asked = []

    async def ask(row):
        asked.append(row)
        return None if len(asked) <= 3 else Probe(1.0)

    added = asyncio.run(measure_card(fitted.items, cards(), NEW, probes=5, ask=ask))
    assert added.expected.probes == 5
    assert len(asked) == len(set(asked)) == 8
    assert len(added.report["probes"]) == 5


def test_the_test_ends_when_no_question_is_left(fitted):
    test = AdaptiveTest(fitted.items.bank, measured(fitted.items, 0.0, 0).expected.ability)
    for _ in range(len(fitted.items)):
        test.record(test.question(), None)
    assert test.question() is None


def test_the_yardstick_is_the_same_procedure_on_known_cards(fitted):
    items = fitted.items
    many, none = (measure_known(items, cards(), k) for k in (40, 0))
    assert many.cards == none.cards == len(ABILITY)
    assert many.low <= many.mean_error <= many.high
    assert many.mean_error < none.mean_error
    assert many.mean_error < 0.06
    # one card by hand: left out, tested, compared
    others = items.without("tiny")
    assert others.ids == ("small", "middle", "large", "huge")
    again = Items.of(Examples.of(world(), pool=cards()).only(others.ids))
    np.testing.assert_allclose(others.bank.ability_M, again.bank.ability_M)


def test_three_cards_give_an_expectation_and_no_yardstick():
    three = {id: ABILITY[id] for id in ("tiny", "middle", "huge")}
    items = Items.of(Examples.of(world(abilities=three), pool=cards(three)))
    assert measure_known(items, cards(three), 0) is None
    added = asyncio.run(measure_card(items, cards(three), NEW))
    assert 0 < added.expected.low < added.expected.high < 1


def test_what_a_call_costs_comes_from_probes_or_from_the_price_list(fitted):
    by_probes, by_card = measured(fitted.items, 0.0, 20), measured(fitted.items, 0.0, 0)
    mean = np.log10([USD["new"] / 1000 * (1 + n % 3) for n in range(3)]).mean()
    assert by_card.log_usd == pytest.approx(mean, abs=0.01)  # its price is that of middle
    assert by_probes.log_usd == pytest.approx(np.log10(0.002) - 0.0, abs=0.35)
    unpriced = asyncio.run(measure_card(fitted.items, cards(), ModelCard(id="new")))
    assert unpriced.log_usd is None


def chosen(router, pool, prompts, usd_per_quality=None):
    picks = []
    for prompt in prompts:
        request = Request.of(prompt)
        decision = asyncio.run(router.decide(Trace(request, pool)))
        picks.append(decision.calls[0].model)
    return picks


def test_a_better_card_is_chosen_and_a_worse_one_is_not(fitted, stored, tmp_path):
    best = ModelCard(id="best", price=Price.per_million("6", "6"))
    pool = Pool([*cards(), best])
    prompts = [f"{word} {n}" for n in range(20) for word in ("easy", "fair", "hard")]
    assert "best" not in chosen(load(stored, pool), pool, prompts)
    for ability, expected in ((4.0, {"best"}), (-2.0, set())):
        added = measured(fitted.items, ability, 40, best)
        out = tmp_path / f"{ability}.router"
        manifest = extend(stored, [added], out)
        router = load(out, pool)
        assert router.manifest == manifest
        assert {pick for pick in chosen(router, pool, prompts) if pick == "best"} == expected
        # the new card has the shape of the known ones, at its own level
        asked = [Request.of("easy 1"), Request.of("hard 2")]
        column = router.policy.quality.predict(asked, pool)[:, -1]
        assert column[0] > column[1]


def test_predictions_of_known_cards_do_not_change(fitted, stored, tmp_path):
    extend(stored, [measured(fitted.items, 0.5, 10)], tmp_path / "out.router")
    router = load(tmp_path / "out.router")
    pool = Pool([NEW, *cards()])  # in another order, too
    asked = [Request.of("easy 1"), Request.of("hard 2")]
    for name in ("quality", "cost"):
        before = getattr(fitted.policy, name).predict(asked, cards())
        after = getattr(router.policy, name).predict(asked, pool)
        assert after[:, 1:].tobytes() == before.tobytes()
        assert not np.isnan(after).any()
        only = getattr(router.policy, name).predict(asked, Pool([NEW]))
        assert only[:, 0].tobytes() == after[:, 0].tobytes()


def test_the_added_card_is_part_of_what_is_checked(fitted, stored):
    before = read_manifest(stored)
    manifest = extend(stored, [measured(fitted.items, 0.5, 10)], stored)
    assert manifest.digest != before.digest
    assert [one.card for one in manifest.added] == [NEW]
    assert manifest.files == before.files
    with pytest.raises(ArtifactError, match="lacks 'new'"):
        load(stored, cards())
    body = json.loads((stored / "manifest.json").read_bytes())
    body["added"][0]["expected"]["level"] = 0.99
    (stored / "manifest.json").write_bytes(artifact_files.json_bytes(body, of=""))
    with pytest.raises(ArtifactError, match="was changed"):
        load(stored)


def test_measuring_again_replaces_what_was_expected(fitted, stored):
    for probes in (0, 30):
        extend(stored, [measured(fitted.items, 0.5, probes)], stored)
    (one,) = read_manifest(stored).added
    assert one.expected.probes == 30


def test_a_card_that_was_trained_on_is_not_added(fitted, stored):
    with pytest.raises(ConfigError, match="trained on 'large'"):
        asyncio.run(measure_card(fitted.items, cards(), cards().card("large")))


def test_a_policy_whose_knob_holds_for_two_models_takes_no_third(tmp_path):
    spec = {"name": "threshold", "strong": "huge", "weak": "tiny", "quality": "ridge"}
    examples = Examples.of(world(), pool=cards())
    two = fit(Plan(policy=spec), examples)
    assert two.items is None  # there are two cards only
    save(tmp_path / "two.router", two, created_at="2026-11-22")
    with pytest.raises(ArtifactError, match="keeps no questions"):
        extend(tmp_path / "two.router", [], tmp_path / "x.router")
    sets = fit(Plan(policy={"name": "conformal", "quality": "ridge"}), examples)
    save(tmp_path / "sets.router", sets, created_at="2026-11-22")
    with pytest.raises(ConfigError, match="takes no cards after training"):
        extend(tmp_path / "sets.router", [measured(sets.items, 0.0, 0)], tmp_path / "x.router")
    assert not (tmp_path / "x.router").exists()


def test_an_artifact_of_the_first_version_is_read_and_cannot_grow(fitted, stored):
    body, _ = artifact_files.contents_of(stored)
    for name in ("item_bank.npz", "item_bank.json"):
        (stored / name).unlink()
        body["files"].pop(name)
    body = {k: v for k, v in body.items() if k not in ("added", "digest")} | {"version": 1}
    (stored / "manifest.json").write_bytes(artifact_files.manifest_bytes(body))
    prompts = ["easy 1", "hard 2"]
    assert chosen(load(stored), cards(), prompts) == chosen(fitted.policy, cards(), prompts)
    with pytest.raises(ArtifactError, match="keeps no questions"):
        extend(stored, [measured(fitted.items, 0.0, 0)], stored)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["expected"].update(level=1.5),
        lambda one: one["expected"].pop("ability"),
        lambda one: one.update(log_usd="cheap"),
        lambda one: one["card"].update(id="large"),
    ],
)
def test_a_forged_addition_is_refused(fitted, stored, change):
    extend(stored, [measured(fitted.items, 0.5, 0)], stored)
    body, _ = artifact_files.contents_of(stored)
    body.pop("digest")
    change(body["added"][0])
    (stored / "manifest.json").write_bytes(artifact_files.manifest_bytes(body))
    with pytest.raises(ConfigError):
        load(stored)
