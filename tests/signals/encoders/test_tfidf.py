"""TF-IDF, against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.errors import ConfigError, NotFittedError
from polyroute.protocols import State
from polyroute.signals.encoders.grams import CHARACTERS
from polyroute.signals.encoders.tfidf import TfIdf

TEXTS = [
    "What is the capital of Peru, and what is its population?",
    "The CAPITAL of   France is Paris; the capital of Spain is Madrid.",
    "If a train leaves Lima at 9:30 and travels 120 km, when does it arrive?",
    "def add(a, b):\n    return a + b  # what does add(1, 2) return?",
    "Какова столица Перу? naïve café — été",
    "is is is it it",
    "",
]


def theirs(texts, fitted, **settings):
    vectorizer = pytest.importorskip("sklearn.feature_extraction.text").TfidfVectorizer(**settings)
    vectorizer.fit(fitted)
    return vectorizer, vectorizer.transform(texts).toarray()


@pytest.mark.parametrize(
    ("ours", "settings"),
    [
        ({"of_words": (1, 2)}, {"ngram_range": (1, 2)}),
        ({"of_words": (1, 1), "min_df": 2}, {"ngram_range": (1, 1), "min_df": 2}),
        ({"of_words": (1, 3), "sublinear": True}, {"ngram_range": (1, 3), "sublinear_tf": True}),
        (
            {"of_words": None, "of_characters": (3, 5)},
            {"ngram_range": (3, 5), "analyzer": "char_wb"},
        ),
    ],
)
def test_it_agrees_with_scikit_learn(ours, settings):
    encoder = TfIdf(**ours).fit(TEXTS)
    unseen = [*TEXTS, "the capital of the capital of what", "zzz"]
    vectorizer, expected_ND = theirs(unseen, TEXTS, **settings)
    plain = [term.removeprefix(CHARACTERS) for term in encoder.terms]
    assert plain == vectorizer.get_feature_names_out().tolist()
    found_ND = encoder.encode(unseen) @ np.eye(len(plain))
    np.testing.assert_allclose(found_ND, expected_ND, atol=1e-6)


def test_it_keeps_the_terms_that_occur_most_often_as_scikit_learn_does():
    texts = ["a1 a1 a1 b2 b2 c3 c3", "c3 c3 d4", "b2 d4 d4 e5"]
    encoder = TfIdf(of_words=(1, 1), max_features=3).fit(texts)
    vectorizer, _ = theirs(texts, texts, max_features=2)
    assert encoder.terms == ("a1", "b2", "c3")  # 3, 3 and 4 times; d4 also 3, but later
    assert vectorizer.get_feature_names_out()[-1] == "c3"


@given(texts=st.lists(st.text(st.sampled_from("ab cd'.É\n"), max_size=30), min_size=1, max_size=6))
def test_it_agrees_with_scikit_learn_on_any_texts(texts):
    encoder = TfIdf(of_words=None, of_characters=(2, 3)).fit(texts)
    if not encoder.terms:
        return
    _, expected_ND = theirs(texts, texts, ngram_range=(2, 3), analyzer="char_wb")
    found_ND = encoder.encode(texts) @ np.eye(len(encoder.terms))
    np.testing.assert_allclose(found_ND, expected_ND, atol=1e-6)


def test_words_and_pieces_of_words_are_counted_side_by_side():
    encoder = TfIdf(of_words=(1, 1), of_characters=(2, 2)).fit(["an"])
    assert encoder.terms == (f"{CHARACTERS} a", f"{CHARACTERS}an", f"{CHARACTERS}n ", "an")


def test_without_any_term_there_is_one_column_of_zeros():
    features = TfIdf().fit(["", "?"]).encode(["a b", "word"])
    assert features.shape == (2, 1)
    assert not len(features.values)


def test_of_a_long_text_it_reads_both_ends():
    encoder = TfIdf(of_words=(1, 1), most_characters=20).fit(["beginning middle ending"])
    found = encoder.encode(["beginning " + "middle " * 50 + " ending"])
    assert {encoder.terms[k] for k in found.columns} == {"beginning", "ending"}


def test_before_fit_it_says_what_to_do():
    with pytest.raises(NotFittedError, match="call fit"):
        TfIdf().encode(["a"])
    with pytest.raises(NotFittedError):
        TfIdf().state()


@pytest.mark.parametrize(
    "wrong",
    [
        {"of_words": (2, 1)},
        {"of_words": (0, 1)},
        {"of_words": None},
        {"min_df": 0},
        {"max_features": 0},
        {"of_characters": (0, 2)},
    ],
)
def test_a_parameter_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError):
        TfIdf(**wrong)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"terms": np.frombuffer(b"one\ntwo", np.uint8), "idf": np.ones(3)},
        {"terms": np.array([255], np.uint8), "idf": np.ones(1)},
    ],
)
def test_a_state_of_something_else_is_refused(arrays):
    with pytest.raises(ConfigError):
        TfIdf().restore(State(arrays=arrays))
