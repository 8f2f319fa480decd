"""Hashed n-grams, against a plain count in a dictionary."""

import math
import re
import zlib
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute.errors import ConfigError
from polyroute.signals.encoders.grams import CHARACTERS, words
from polyroute.signals.encoders.hashed import Hashed

MASK = 2**64 - 1


def by_hand(terms, bits):
    """Bucket -> value of a list of terms, with whole numbers of any size."""
    row = Counter()
    for term, count in Counter(terms).items():
        value = zlib.crc32(term.encode()) * 0x9E3779B97F4A7C15 & MASK
        row[value >> (64 - bits)] += (1 + math.log(count)) * (-1 if value >> 32 & 1 else 1)
    length = math.sqrt(sum(v * v for v in row.values()))
    return {bucket: v / length for bucket, v in row.items()}


@pytest.mark.parametrize("bits", [8, 12, 24])
def test_words_and_pairs_are_counted_as_by_hand(bits):
    words = ["to", "be", "or", "not", "to", "be", "to", "be"]
    expected = by_hand([*words, *map(" ".join, pairwise(words))], bits)
    found = Hashed(bits=bits).encode(["To be, or not to be! To be."])
    assert found.columns.tolist() == sorted(expected)
    np.testing.assert_allclose(found.values, [expected[k] for k in sorted(expected)], rtol=1e-6)


def test_runs_of_two_and_three_words_are_counted_as_by_hand():
    words = ["one", "rüde", "cat", "one", "rüde", "cat"]
    pairs, triples = (list(zip(*(words[k:] for k in range(n)), strict=False)) for n in (2, 3))
    expected = by_hand([" ".join(run) for run in [*pairs, *triples]], 16)
    found = Hashed(bits=16, of_words=(2, 3)).encode(["One rüde cat, one RÜDE cat"])
    assert found.columns.tolist() == sorted(expected)
    np.testing.assert_allclose(found.values, [expected[k] for k in sorted(expected)], rtol=1e-6)


@pytest.mark.parametrize("bits", [8, 18])
def test_a_row_is_the_same_alone_and_in_company(bits):
    texts = ["red car " * 9, "", "?", "a long way to Tipperary", "red bus"]
    together = Hashed(bits=bits).encode(texts)
    for n, text in enumerate(texts):
        alone, row = Hashed(bits=bits).encode([text]), together.rows(np.array([n]))
        assert alone.columns.tolist() == row.columns.tolist()
        assert alone.values.tolist() == row.values.tolist()


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(max_codepoint=200)))
def test_words_are_two_or_more_word_characters_in_ascii_as_elsewhere(text):
    assert words(text) == re.findall(r"\b\w\w+\b", text.lower())


def test_characters_are_counted_as_by_hand():
    expected = by_hand([CHARACTERS + piece for piece in (" añ", "añ ", " b ")], 24)
    found = Hashed(bits=24, of_words=None, of_characters=(3, 3)).encode(["Añ \n b"])
    assert found.columns.tolist() == sorted(expected)
    np.testing.assert_allclose(found.values, [expected[k] for k in sorted(expected)], rtol=1e-6)


def test_the_buckets_of_many_words_are_spread_evenly_and_so_are_their_signs():
    texts = [f"word{k}" for k in range(20_000)]
    features = Hashed(bits=8, of_words=(1, 1)).encode(texts)
    counts = np.bincount(features.columns, minlength=256)
    expected = len(texts) / 256
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 255 + 5 * math.sqrt(2 * 255)
    assert abs(np.sign(features.values).sum()) < 5 * math.sqrt(len(texts))


def test_a_pair_is_not_its_words_the_other_way_round():
    rows = Hashed(bits=24, of_words=(2, 2)).encode(["red car", "car red"])
    assert rows.columns[0] != rows.columns[1]


def test_similar_texts_are_closer_than_others():
    rows = Hashed().encode(
        ["the capital of Peru is Lima", "what is the capital of Peru", "sort a list in Python"]
    )
    near, far = (
        len(np.intersect1d(rows.rows([0]).columns, rows.rows([k]).columns)) for k in (1, 2)
    )
    assert near > far


@pytest.mark.parametrize(
    "wrong",
    [
        {"bits": 4},
        {"bits": 30},
        {"of_words": None},
        {"of_words": (3, 2)},
        {"of_characters": (0, 1)},
    ],
)
def test_a_parameter_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError):
        Hashed(**wrong)
