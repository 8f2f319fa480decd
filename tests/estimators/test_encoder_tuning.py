import pickle
import sys

import numpy as np
import pytest

from polyroute.errors import ConfigError
from polyroute.estimators.encoder_tuning import EncoderTuning
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import State
from polyroute.types import Request

POOL = Pool([ModelCard(id="sums"), ModelCard(id="places")])


@pytest.mark.parametrize(
    "parameters",
    [{"layers": 0}, {"layers": 7}, {"most_tokens": 2}, {"epochs": -1}, {"rate": 0.0},
     {"batch": 0}, {"penalty": 0.0}],
)  # fmt: skip
def test_a_parameter_out_of_range_is_refused(parameters):
    with pytest.raises(ConfigError):
        EncoderTuning(**parameters)


def test_a_state_of_other_weights_is_refused():
    state = State(values={"ids": ["a"], "span": [0, 1], "weights_sha256": "other"})
    with pytest.raises(ConfigError, match="other"):
        EncoderTuning().restore(state)


NAMES = ["Ann", "Ben", "Cho", "Dev", "Eva", "Fay", "Gus", "Hal"]


def riddles(count, seed):
    """Questions of the same words: who is right depends on the order of two names."""
    rng = np.random.default_rng(seed)
    requests, target = [], []
    for _ in range(count):
        first, second = rng.choice(len(NAMES), 2, replace=False)
        requests.append(Request.of(f"{NAMES[first]} gave a book to {NAMES[second]}. Who has it?"))
        target.append([float(first < second), float(first > second)])
    return requests, np.array(target)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def tuned(torch):
    requests, target_NM = riddles(400, 0)
    estimator = EncoderTuning(layers=3, epochs=4, rate=2e-4)
    return estimator.fit(requests, target_NM, POOL)


def right(estimator, requests, target_NM):
    picks = np.argmax(estimator.predict(requests, POOL), axis=1)
    return target_NM[np.arange(len(picks)), picks].mean()


@pytest.mark.slow
def test_it_learns_what_no_head_over_the_untouched_embeddings_can(tuned):
    requests, target_NM = riddles(150, 1)
    train, train_NM = riddles(400, 0)
    probe = EncoderTuning(epochs=0).fit(train, train_NM, POOL)
    assert right(tuned, requests, target_NM) > right(probe, requests, target_NM) + 0.1


@pytest.mark.slow
def test_the_served_graph_is_the_model_that_was_trained(torch, tuned):
    transformers = pytest.importorskip("transformers")
    from polyroute.signals.encoders.weights import locate, tensors

    state = tuned.state()
    weights = {k: torch.tensor(v) for k, v in tensors().items() if k != "embeddings.position_ids"}
    for key, array in state.arrays.items():
        if key.startswith("tuned."):
            weights[key.removeprefix("tuned.")] = torch.tensor(array)
    config = transformers.BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    model = transformers.BertModel(config).eval()
    model.load_state_dict(weights)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(locate("tokenizer.json")))
    head = {k.removeprefix("head."): v for k, v in state.arrays.items() if k.startswith("head.")}
    for request in riddles(5, 2)[0]:
        ids = torch.tensor([tokenizer(request.prompt)["input_ids"]])
        with torch.no_grad():
            mean_D = model(ids).last_hidden_state[0].mean(0).double().numpy()
        x_D = (mean_D / np.linalg.norm(mean_D) - head["centre"]) * head["scale"]
        expected = 1 / (1 + np.exp(-(x_D @ head["weight"] + head["bias"])))
        np.testing.assert_allclose(tuned.predict([request], POOL)[0], expected, atol=1e-4)


@pytest.mark.slow
def test_where_text_says_nothing_the_encoder_stays_as_it_is(torch):
    rng = np.random.default_rng(0)
    requests = [Request.of(f"item {rng.integers(10**9)}") for _ in range(120)]
    noise_NM = rng.integers(2, size=(120, 2)).astype(float)
    fitted = EncoderTuning(layers=1, epochs=2, rate=1e-3, seed=1)
    fitted.fit(requests, noise_NM, POOL)
    assert not [key for key in fitted.state().arrays if key.startswith("tuned.")]


@pytest.mark.slow
def test_another_process_can_have_it_and_needs_no_torch(tuned, monkeypatch):
    requests = riddles(3, 3)[0]
    expected_NM = tuned.predict(requests, POOL)
    monkeypatch.setitem(sys.modules, "torch", None)
    again = pickle.loads(pickle.dumps(tuned))
    np.testing.assert_array_equal(again.predict(requests, POOL), expected_NM)
