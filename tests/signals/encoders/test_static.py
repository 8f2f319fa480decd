"""Static embeddings: the mean by hand, a table of another kind, and the distillation itself."""

import numpy as np
import pytest

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.signals.encoders import weights
from polyroute.signals.encoders.minilm import MiniLM
from polyroute.signals.encoders.static import Static
from polyroute.signals.encoders.wordpiece import VOCABULARY, pieces

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module", autouse=True)
def vocabulary():
    try:
        weights.locate("tokenizer.json")
    except MissingExtraError as error:
        pytest.skip(str(error))


def write(path, *, seed=0, shape=(VOCABULARY, 4)):
    vectors = np.random.default_rng(seed).normal(size=shape).astype(np.float16)
    np.savez(path, vectors=vectors)
    return vectors.astype(np.float64)


def test_a_row_is_the_mean_of_its_tokens_at_length_one(tmp_path):
    vectors = write(tmp_path / "t.npz")
    text = "Unbelievable: 3 llamas!"
    mean = vectors[pieces(text, most_characters=100)].mean(axis=0)
    row = Static(dimensions=4, table=str(tmp_path / "t.npz")).encode([text])[0]
    np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_a_text_without_tokens_is_a_row_of_zeros(tmp_path):
    write(tmp_path / "t.npz")
    assert not Static(dimensions=4, table=str(tmp_path / "t.npz")).encode(["", " \n"]).any()


def test_the_state_of_another_table_is_refused(tmp_path):
    write(tmp_path / "one.npz")
    write(tmp_path / "two.npz", seed=1)
    one, two = (Static(dimensions=4, table=str(tmp_path / f"{n}.npz")) for n in ("one", "two"))
    assert one.restore(one.state()) is one
    with pytest.raises(ConfigError, match="another table"):
        two.restore(one.state())


def test_the_state_of_other_parameters_is_refused(tmp_path):
    write(tmp_path / "t.npz")
    one, two = (
        Static(dimensions=4, table=str(tmp_path / "t.npz"), most_characters=n) for n in (9, 10)
    )
    with pytest.raises(ConfigError, match="most_characters"):
        two.restore(one.state())


def test_a_table_that_is_none_is_refused(tmp_path):
    write(tmp_path / "short.npz", shape=(10, 4))
    (tmp_path / "text.npz").write_text("no table")
    for name in ("short.npz", "text.npz", "absent.npz"):
        with pytest.raises(ConfigError, match=name):
            Static(dimensions=4, table=str(tmp_path / name)).encode(["a"])


@pytest.mark.parametrize("wrong", [{"dimensions": 1}, {"dimensions": 999}, {"most_characters": 0}])
def test_a_parameter_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError):
        Static(**wrong)


@pytest.mark.slow
def test_the_distilled_table_ranks_texts_much_as_the_model_does():
    for name in ("onnxruntime", "onnx", "safetensors"):
        pytest.importorskip(name)
    texts = [
        "What is the capital of Peru?",
        "Which city is the seat of the Peruvian government?",
        "Sort a list of numbers in Python.",
        "Write a program that orders integers.",
        "Solve x^2 - 5x + 6 = 0.",
        "Find the roots of the quadratic equation.",
        "Who wrote War and Peace?",
        "Name the author of Anna Karenina.",
    ]
    pairs = np.triu_indices(len(texts), 1)
    similar = [(rows @ rows.T)[pairs] for rows in (Static().encode(texts), MiniLM().encode(texts))]
    assert np.corrcoef(*similar)[0, 1] > 0.6
    rows = Static().encode(texts)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert (rows @ rows.T)[0, 1] > (rows @ rows.T)[0, 2]
