"""A memory in front of an encoder."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.errors import ConfigError, NotFittedError
from polyroute.protocols import State
from polyroute.signals.encoders.cached import Cached
from polyroute.signals.encoders.hashed import Hashed
from polyroute.signals.encoders.tfidf import TfIdf


class Lengths:
    """Encodes a text as its length, and counts what it is asked."""

    def __init__(self):
        self.asked = []

    def fit(self, texts):
        return self

    def encode(self, texts):
        self.asked.extend(texts)
        return np.array([[len(text), 1] for text in texts], np.float32).reshape(-1, 2)

    def state(self):
        return State()

    def restore(self, state):
        return self


def test_a_text_is_encoded_once():
    inner = Lengths()
    encoder = Cached(encoder=inner)
    for texts in (["a", "bb", "a"], ["bb", "ccc"], ["a"]):
        np.testing.assert_array_equal(encoder.encode(texts)[:, 0], [len(t) for t in texts])
    assert inner.asked == ["a", "bb", "ccc"]


@given(
    batches=st.lists(st.lists(st.sampled_from(["a", "b c", "", "a b", "d d"]), max_size=6)),
    most_rows=st.integers(1, 4),
)
def test_whatever_it_remembers_the_rows_are_the_encoders(batches, most_rows):
    cached = Cached(encoder=Hashed(bits=8), most_rows=most_rows)
    for texts in batches:
        found, expected = cached.encode(texts), Hashed(bits=8).encode(texts)
        assert found.shape == expected.shape
        for name in ("starts", "columns", "values"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert cached.rows <= most_rows


def test_what_was_not_asked_for_the_longest_is_forgotten_first():
    inner = Lengths()
    encoder = Cached(encoder=inner, most_rows=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        encoder.encode([text])
    assert inner.asked == ["a", "b", "c", "b"]


def test_a_row_that_is_handed_out_can_be_written_to():
    encoder = Cached(encoder=Lengths())
    encoder.encode(["a"])[:] = 9
    assert encoder.encode(["a"])[0, 0] == 1


def test_a_new_fit_forgets():
    encoder = Cached(encoder=TfIdf())
    first = encoder.fit(["red car"]).encode(["red car"])
    second = encoder.fit(["red bus stop"]).encode(["red car"])
    assert first.shape != second.shape
    assert Cached(encoder=TfIdf()).restore(encoder.state()).encode(["red"]).shape == second.shape


def test_a_fit_that_teaches_nothing_forgets_nothing():
    inner = Lengths()
    encoder = Cached(encoder=inner).fit(["a"])
    encoder.encode(["a"])
    encoder.fit(["b"]).restore(encoder.state()).encode(["a"])
    assert inner.asked == ["a"]


def test_an_encoder_that_is_not_fitted_still_says_so():
    with pytest.raises(NotFittedError):
        Cached(encoder=TfIdf()).encode(["a"])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_begins_with_nothing_remembered(duplicate):
    encoder = Cached(encoder=TfIdf(), most_rows=7).fit(["red car"])
    encoder.encode(["red car"])
    other = duplicate(encoder)
    assert (encoder.rows, other.rows) == (1, 0)
    np.testing.assert_array_equal(other.encode(["red"]).values, encoder.encode(["red"]).values)


def test_a_memory_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="most_rows"):
        Cached(encoder=Hashed(), most_rows=0)
