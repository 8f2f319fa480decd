"""What every registered encoder must do. A new one is under test by being registered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute.errors import MissingExtraError
from polyroute.protocols import Encoder
from polyroute.registry import names
from polyroute.sparse import Sparse
from polyroute.spec import construct

SPECS = {
    "static": {"dimensions": 8, "table": "tokens.npz"},
    "cached": {"encoder": {"name": "tfidf", "of_characters": [2, 3]}, "most_rows": 5},
}
"""Parameters of the encoders that need some."""

NEEDS_A_SERVER = {"remote"}
"""Tested against a server of their own, in their own file."""

TEXTS = [
    "What is the capital of Peru?",
    "",
    " \n\t",
    "x",
    "print(sum(range(10)))  # what does this print?",
    "Какова столица Перу? 秘鲁的首都是哪里？ ما هي عاصمة بيرو؟ 🦙🇵🇪",
    "half of a pair: \ud83d, a null: \x00, a separator: \u2028",
    "the capital of Peru " * 5_000,
    "a" * 100_000,
]

ENCODERS = [name for name in names("encoders") if name not in NEEDS_A_SERVER]


@pytest.fixture(params=ENCODERS)
def build(request, tmp_path, monkeypatch):
    """How to make a new one of each kind."""
    monkeypatch.chdir(tmp_path)
    if request.param == "static":  # distilling the real table takes a minute
        vectors = np.random.default_rng(0).normal(size=(30_522, 8)).astype(np.float16)
        np.savez("tokens.npz", vectors=vectors)

    def make():
        return construct(
            "encoders", {"name": request.param, **SPECS.get(request.param, {})}, where="encoder"
        )

    try:
        make().fit(TEXTS[:1]).encode(TEXTS[:1])
    except MissingExtraError as error:
        pytest.skip(str(error))
    return make


def dense(features):
    """Rows as an ordinary array."""
    if not isinstance(features, Sparse):
        return features
    out = np.zeros(features.shape, np.float32)
    for row in range(len(features)):
        here = slice(features.starts[row], features.starts[row + 1])
        out[row, features.columns[here]] = features.values[here]
    return out


def test_it_satisfies_the_protocol(build):
    encoder = build()
    assert isinstance(encoder, Encoder)
    assert encoder.fit(TEXTS) is encoder


def test_there_is_one_row_of_single_precision_per_text(build):
    encoder = build().fit(TEXTS)
    width = encoder.encode(TEXTS).shape[1]
    assert width > 0
    for texts in (TEXTS, TEXTS[:1], [], [""], TEXTS * 3):
        features = encoder.encode(texts)
        assert features.shape == (len(texts), width)
        values = features.values if isinstance(features, Sparse) else features
        assert values.dtype == np.float32
        assert np.isfinite(values).all()


def test_columns_of_a_row_ascend_and_are_within_the_width(build):
    features = build().fit(TEXTS).encode(TEXTS)
    if not isinstance(features, Sparse):
        return
    assert features.columns.dtype == features.starts.dtype == np.int64
    for row in range(len(features)):
        columns = features.columns[features.starts[row] : features.starts[row + 1]]
        assert (np.diff(columns) > 0).all()
        assert ((columns >= 0) & (columns < features.width)).all()


def test_a_row_has_length_one_or_nothing_in_it(build):
    rows = dense(build().fit(TEXTS).encode(TEXTS)).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    assert np.all(np.isclose(lengths, 1, atol=1e-5) | (lengths == 0))
    assert lengths[0] > 0


def test_a_text_has_the_same_row_in_any_company(build):
    encoder = build().fit(TEXTS)
    together = dense(encoder.encode(TEXTS))
    alone = np.concatenate([dense(encoder.encode([text])) for text in TEXTS])
    backwards = dense(encoder.encode(TEXTS[::-1]))[::-1]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, backwards)


def test_encoding_teaches_it_nothing(build):
    encoder = build().fit(TEXTS)
    before = dense(encoder.encode(TEXTS[:1]))
    encoder.encode(["words that no text had before", *TEXTS])
    np.testing.assert_array_equal(dense(encoder.encode(TEXTS[:1])), before)


def test_two_fits_to_the_same_texts_agree_and_a_fit_forgets_the_last(build):
    once = build().fit(TEXTS)
    twice = build().fit(["quite another text"]).fit(TEXTS)
    np.testing.assert_array_equal(dense(once.encode(TEXTS)), dense(twice.encode(TEXTS)))


def test_a_restored_encoder_is_bit_for_bit_the_same(build):
    encoder = build().fit(TEXTS)
    state = encoder.state()
    assert all(isinstance(array, np.ndarray) for array in state.arrays.values())
    restored = build().restore(state)
    np.testing.assert_array_equal(dense(restored.encode(TEXTS)), dense(encoder.encode(TEXTS)))


def test_a_state_is_small(build):
    arrays = build().fit(TEXTS).state().arrays
    assert sum(array.nbytes for array in arrays.values()) < 2_000_000


@settings(max_examples=20)
@given(texts=st.lists(st.text(st.characters(), max_size=40), max_size=4))
def test_any_text_can_be_encoded(texts):
    for name in ENCODERS:
        if name in ("hashed", "tfidf"):
            encoder = construct("encoders", name, where="encoder").fit(texts)
            assert encoder.encode([*texts, "new"]).shape[0] == len(texts) + 1
