"""What every registered estimator must do. A new one is under test by being registered."""

import inspect
import io
import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Price, Request
from polyroute.errors import ConfigError, NotFittedError
from polyroute.protocols import Estimator, Method, State
from polyroute.registry import load, names
from polyroute.spec import construct

SPECS = {"encoder_tuning": {"layers": 1, "epochs": 1}}
"""Parameters that make an estimator small enough to be tested in a moment."""

SLOW = {"encoder_tuning", "graph"}
"""Names of estimators that take seconds to fit: their tests run in CI, not by default."""

FROM_CARDS = {"token_cost"}
"""Names of estimators that predict a card they never observed from its descriptor."""

EVERY = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [], id=name)
    for name in names("estimators")
]
every_estimator = pytest.mark.parametrize("name", EVERY)

POOL = Pool(
    ModelCard(
        id=name, description=f"answers {name}", price=Price.per_million(rate, rate), skills={}
    )
    for name, rate in [("small", 1), ("large", 8), ("odd", 2)]
)
TOPICS = ["sum of primes", "capital of a country", "rhyme with a flower", "boiling point of gold"]
REQUESTS = [Request.of(f"what is the {TOPICS[k % 4]} number {k}?", id=str(k)) for k in range(48)]
NEW = [Request.of(f"tell me the {topic} please") for topic in TOPICS]


def outcomes(seed=0, holes=0.2):
    """Scores that depend on the topic, with what was not observed as NaN."""
    rng = np.random.default_rng(seed)
    chance_TM = np.array([[0.9, 0.9, 0.1], [0.2, 0.9, 0.5], [0.9, 0.2, 0.5], [0.1, 0.5, 0.9]])
    score_NM = (rng.random((48, 3)) < chance_TM[np.arange(48) % 4]).astype(float)
    score_NM[rng.random((48, 3)) < holes] = np.nan
    return score_NM


def build(name):
    return construct("estimators", {"name": name, **SPECS.get(name, {})}, where=name)


@cache
def fitted(name):
    return build(name).fit(REQUESTS, outcomes(), POOL)


def stored(state):
    """The state after it went through a file of arrays and a file of JSON."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **state.arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return State(arrays=dict(arrays), values=json.loads(json.dumps(state.values)))


def known(name, predicted_NM, columns):
    """Whether the columns are NaN exactly where the estimator may not know."""
    finite = np.isfinite(predicted_NM[:, columns]).all()
    others = [j for j in range(predicted_NM.shape[1]) if j not in columns]
    return finite and (name in FROM_CARDS or np.isnan(predicted_NM[:, others]).all())


@every_estimator
def test_it_satisfies_the_protocol_and_says_where_it_stands(name):
    assert isinstance(build(name), Estimator)
    assert isinstance(load("estimators", name).method, Method)


@every_estimator
def test_its_parameters_are_documented_keywords_with_defaults(name):
    factory = load("estimators", name)
    for parameter in inspect.signature(factory).parameters.values():
        assert parameter.kind is parameter.KEYWORD_ONLY, parameter.name
        assert parameter.default is not parameter.empty, parameter.name
        assert parameter.name in factory.__doc__, f"{parameter.name} is not in the docstring"


@every_estimator
def test_it_refuses_to_predict_before_it_is_fitted(name):
    with pytest.raises(NotFittedError):
        build(name).predict(NEW, POOL)
    with pytest.raises(NotFittedError):
        build(name).state()


@every_estimator
def test_it_refuses_a_target_of_another_shape_and_one_without_observations(name):
    with pytest.raises(ConfigError, match="shape"):
        build(name).fit(REQUESTS, outcomes()[:, :2], POOL)
    with pytest.raises(ConfigError, match="observed"):
        build(name).fit(REQUESTS, np.full((48, 3), np.nan), POOL)


@every_estimator
def test_it_predicts_a_finite_number_for_every_card(name):
    predicted_NM = fitted(name).predict(NEW, POOL)
    assert predicted_NM.shape == (4, 3)
    assert predicted_NM.dtype == np.float64
    assert np.isfinite(predicted_NM).all()


@every_estimator
def test_columns_follow_the_pool_it_is_given(name):
    whole_NM = fitted(name).predict(NEW, POOL)
    turned = Pool([POOL[2], POOL[0], POOL[1]])
    np.testing.assert_array_equal(fitted(name).predict(NEW, turned), whole_NM[:, [2, 0, 1]])
    part = Pool([POOL[1]])
    np.testing.assert_array_equal(fitted(name).predict(NEW, part), whole_NM[:, [1]])


@every_estimator
def test_a_card_it_never_saw_is_unknown_unless_its_descriptor_speaks(name):
    wider = Pool([ModelCard(id="new", description="another"), *POOL])
    predicted_NM = fitted(name).predict(NEW, wider)
    assert known(name, predicted_NM, [1, 2, 3])
    np.testing.assert_array_equal(predicted_NM[:, 1:], fitted(name).predict(NEW, POOL))


@every_estimator
def test_what_was_not_observed_is_not_read_as_zero(name):
    ones_NM = outcomes()
    ones_NM[~np.isnan(ones_NM)] = 1.0
    predicted_NM = build(name).fit(REQUESTS, ones_NM, POOL).predict(NEW, POOL)
    np.testing.assert_allclose(predicted_NM, 1.0, atol=0.1)


@every_estimator
def test_a_model_without_observations_is_unknown_and_harms_no_other(name):
    target_NM = outcomes()
    target_NM[:, 1] = np.nan
    predicted_NM = build(name).fit(REQUESTS, target_NM, POOL).predict(NEW, POOL)
    assert known(name, predicted_NM, [0, 2])


@every_estimator
def test_a_question_without_observations_is_no_obstacle(name):
    target_NM = outcomes()
    target_NM[3] = np.nan
    assert np.isfinite(build(name).fit(REQUESTS, target_NM, POOL).predict(NEW, POOL)).all()


@every_estimator
def test_refitting_gives_the_same_bits(name):
    first_NM = fitted(name).predict(NEW, POOL)
    again = build(name).fit(REQUESTS, outcomes(), POOL)
    np.testing.assert_array_equal(again.predict(NEW, POOL), first_NM)
    again.fit(REQUESTS[:30], outcomes(1)[:30], POOL)
    again.fit(REQUESTS, outcomes(), POOL)
    np.testing.assert_array_equal(again.predict(NEW, POOL), first_NM)


@every_estimator
def test_predicting_changes_nothing(name):
    before_NM = fitted(name).predict(NEW, POOL)
    fitted(name).predict(REQUESTS, POOL)
    np.testing.assert_array_equal(fitted(name).predict(NEW, POOL), before_NM)


@every_estimator
def test_a_stored_state_predicts_the_same_bits(name):
    state = stored(fitted(name).state())
    again = build(name).restore(state)
    expected_NM = fitted(name).predict(NEW + REQUESTS, POOL)
    np.testing.assert_array_equal(again.predict(NEW + REQUESTS, POOL), expected_NM)
    repeated = again.state()
    assert repeated.values == state.values
    assert repeated.arrays.keys() == state.arrays.keys()


@every_estimator
def test_its_state_is_arrays_of_plain_numbers(name):
    for key, array in fitted(name).state().arrays.items():
        assert array.dtype.kind in "biuf", key


@every_estimator
def test_it_predicts_one_request_as_it_predicts_many(name):
    together_NM = fitted(name).predict(NEW, POOL)
    alone_NM = np.concatenate([fitted(name).predict([one], POOL) for one in NEW])
    np.testing.assert_allclose(alone_NM, together_NM, rtol=1e-6, atol=1e-9)


@every_estimator
def test_no_requests_give_no_rows(name):
    assert fitted(name).predict([], POOL).shape == (0, 3)


@every_estimator
@pytest.mark.parametrize(
    "prompt", ["", " ", "\ud800", "word " * 20_000, "x" * 100_000], ids=["empty", "blank",
    "half a surrogate", "20,000 words", "one long word"],
)  # fmt: skip
def test_any_prompt_is_predicted(name, prompt):
    assert np.isfinite(fitted(name).predict([Request.of(prompt)], POOL)).all()


@every_estimator
def test_any_prompt_can_be_learned_from(name):
    odd = [Request.of(""), Request.of("word " * 20_000), *REQUESTS[2:]]
    assert np.isfinite(build(name).fit(odd, outcomes(), POOL).predict(NEW, POOL)).all()


@every_estimator
def test_prompts_without_a_word_can_be_learned_from(name):
    empty = [Request.of("") for _ in range(4)]
    target_NM = np.tile([0.0, 1.0, 0.5], (4, 1))
    assert np.isfinite(build(name).fit(empty, target_NM, POOL).predict(NEW, POOL)).all()


@every_estimator
def test_one_row_is_enough(name):
    estimator = build(name).fit(REQUESTS[:1], np.array([[1.0, 0.0, np.nan]]), POOL)
    assert known(name, estimator.predict(NEW, POOL), [0, 1])


@every_estimator
def test_one_model_is_enough(name):
    alone = Pool([POOL[0]])
    assert np.isfinite(
        build(name).fit(REQUESTS, outcomes(holes=0)[:, :1], alone).predict(NEW, alone)
    ).all()


@every_estimator
@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_equal_scores_are_predicted_as_they_are(name, score):
    target_NM = np.full((48, 3), score)
    predicted_NM = build(name).fit(REQUESTS, target_NM, POOL).predict(NEW, POOL)
    np.testing.assert_allclose(predicted_NM, score, atol=0.1)


@every_estimator
def test_it_is_served_without_the_packages_that_trained_it(name):
    served = serve(name) if name in SLOW else served_together()[name]
    assert not served["heavy"], f"serving imported {served['heavy']}"
    expected_NM = fitted(name).predict([NEW[0]], POOL)
    np.testing.assert_allclose(served["predicted"], expected_NM.tolist(), rtol=1e-12)


@cache
def served_together():
    """What one fresh process predicts with the stored states of all estimators that are quick."""
    return serve(*[name for name in names("estimators") if name not in SLOW])


def serve(*chosen):
    with tempfile.TemporaryDirectory() as place:
        for name in chosen:
            folder = Path(place) / name
            folder.mkdir()
            state = fitted(name).state()
            np.savez(folder / "arrays.npz", allow_pickle=False, **state.arrays)
            spec = {"name": name, **SPECS.get(name, {})}
            pool = [card.to_json() for card in POOL]
            for part, value in [("values", state.values), ("spec", spec), ("pool", pool)]:
                (folder / f"{part}.json").write_text(json.dumps(value), "utf-8")
        program = inspect.getsource(in_a_fresh_process) + f"\nin_a_fresh_process({place!r})"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if len(chosen) > 1 else json.loads(done.stdout)[chosen[0]]


def in_a_fresh_process(place):
    import json
    import sys
    from pathlib import Path

    import numpy as np

    from polyroute import ModelCard, Pool, Request
    from polyroute.protocols import State
    from polyroute.spec import construct

    served, known = {}, set()
    for folder in sorted(Path(place).iterdir()):
        spec, values, cards = (
            json.loads((folder / f"{part}.json").read_text()) for part in ("spec", "values", "pool")
        )
        estimator = construct("estimators", spec, where="")
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            estimator.restore(State(arrays=dict(arrays), values=values))
        pool = Pool(ModelCard.from_json(card) for card in cards)
        predicted_NM = estimator.predict([Request.of("tell me the sum of primes please")], pool)
        heavy = {"sklearn", "scipy", "torch", "transformers"} & set(sys.modules)
        served[folder.name] = {
            "predicted": predicted_NM.tolist(),
            "heavy": sorted(heavy - known),
        }
        known |= heavy
    sys.stdout.write(json.dumps(served))
