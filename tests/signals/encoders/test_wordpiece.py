"""Token numbers, against the tokenizer of the package tokenizers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute.errors import MissingExtraError
from polyroute.signals.encoders import weights, wordpiece
from polyroute.signals.encoders.wordpiece import UNKNOWN, pieces

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module", autouse=True)
def vocabulary():
    try:
        weights.locate("tokenizer.json")
    except MissingExtraError as error:
        pytest.skip(str(error))


def theirs(text):
    return wordpiece._tokenizer().encode(text, add_special_tokens=False).ids


ASCII = st.characters(max_codepoint=127)


@settings(max_examples=300)
@given(
    text=st.text(ASCII, max_size=60)
    | st.text(st.sampled_from("unaffable 19[]#'\t\n\x00\x0b\x1f\x7f"), max_size=40)
)
def test_ascii_is_read_as_by_the_general_tokenizer(text):
    assert pieces(text, most_characters=100) == theirs(text)


@settings(max_examples=300)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.text(st.sampled_from("aé \u0301\u00a0\u200b\u2028\x1c\x85-–'’漢字ßİ"), max_size=40)
)
def test_any_text_is_read_as_by_the_general_tokenizer(text):
    assert pieces(text, most_characters=100) == theirs(text)


@pytest.mark.parametrize(
    "text",
    [
        "Unbelievably, electroencephalographically speaking...",
        "def f(x):\n    return x**2  # O(1)",
        "x" * 100,
        "x" * 101,
        "##ing [SEP] [MASK] [UNK] [CLS] [PAD]",
        "don't 3.14 e.g. www.example.org/a_b?c=d&e",
    ],
)
def test_words_beyond_the_vocabulary_are_spelled_alike(text):
    assert pieces(text, most_characters=1_000) == theirs(text)


def test_a_text_cannot_write_a_special_token():
    assert not set(pieces("a [SEP] b [CLS] [UNK]", most_characters=99)) & {100, 101, 102}
    assert not set(pieces("à [SEP] b [CLS] [UNK]", most_characters=99)) & {100, 101, 102}


def test_a_word_without_end_is_unknown():
    assert pieces("y" * 5_000, most_characters=None) == [UNKNOWN]


def test_of_many_tokens_the_ends_are_kept():
    numbers = pieces("a b c d e f g", most_characters=99)
    assert pieces("a b c d e f g", most_characters=99, most_tokens=5) == numbers[:3] + numbers[-2:]
