"""The tokenizer of the tiny model: text and tokens say the same in both directions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute.backends.transformers.load import load
from polyroute.errors import ConfigError
from polyroute.tasks.atlas.small import vocabulary
from polyroute.train.r1.tiny import tiny_model, word_tokenizer

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("transformers", reason="needs the train extra")

pytestmark = pytest.mark.slow

WORDS = vocabulary()


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer(WORDS)


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_decoded_tokens_are_the_same_tokens_again(tokenizer, data):
    known = st.integers(min_value=3, max_value=len(tokenizer) - 1)
    ids = data.draw(st.lists(known, max_size=30))
    cut = data.draw(st.integers(min_value=0, max_value=len(ids)))
    assert ids_of(tokenizer, tokenizer.decode(ids, skip_special_tokens=True)) == ids
    parts = [tokenizer.decode(part, skip_special_tokens=True) for part in (ids[:cut], ids[cut:])]
    assert ids_of(tokenizer, parts[0]) + ids_of(tokenizer, parts[1]) == ids
    assert ids_of(tokenizer, "\n".join(parts)) == ids


@given(
    words=st.lists(st.sampled_from(WORDS), max_size=20),
    space=st.sampled_from([" ", "  ", "\n", " \n\t"]),
)
@settings(max_examples=200, deadline=None)
def test_white_space_is_in_no_token(tokenizer, words, space):
    expected = tokenizer.convert_tokens_to_ids(words)
    assert ids_of(tokenizer, space.join(words)) == expected


def test_a_turn_as_a_teacher_writes_it_is_one_token_a_word(tokenizer):
    text = "<think>done</think><search>Babek: tree of Cobek</search>\n"
    assert tokenizer.tokenize(text) == [
        "<think>", "done", "</think>", "<search>", "Babek", ":", "tree", "of", "Cobek", "</search>",
    ]  # fmt: skip


def test_what_is_not_in_the_vocabulary_is_the_unknown_token(tokenizer):
    assert set(ids_of(tokenizer, "zebra <foo> 1234")) == {tokenizer.unk_token_id}


def test_a_word_that_would_be_split_is_refused():
    with pytest.raises(ConfigError, match="'two words' is not one token"):
        word_tokenizer(["one", "two words"])
    with pytest.raises(ConfigError, match="twice"):
        word_tokenizer(["one", "one"])


def test_it_is_small_and_repeatable():
    one, other = (tiny_model(WORDS, seed=3).model for _ in range(2))
    size = sum(p.numel() for p in one.parameters())
    assert 200_000 < size < 600_000
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(bool((a == b).all()) for a, b in pairs)


def test_it_is_the_same_after_saving_and_loading(tmp_path, tokenizer):
    made = tiny_model(WORDS, hidden=32, layers=1)
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    text = "<search>Babek: river of Cobek</search>"
    assert ids_of(load(str(tmp_path)).tokenizer, text) == ids_of(tokenizer, text)


@pytest.mark.parametrize(("head", "distance"), [(0, 1), (1, 2), (2, 3)])
def test_three_heads_of_the_first_layer_start_out_looking_back(head, distance):
    torch = pytest.importorskip("torch")
    model = tiny_model(WORDS, seed=2).model
    model.set_attn_implementation("eager")
    ids = torch.randint(3, len(WORDS), (1, 40), generator=torch.Generator().manual_seed(0))
    looked = model(input_ids=ids, output_attentions=True).attentions[0][0, head]
    back = torch.tensor([float(looked[k, k - distance].detach()) for k in range(distance, 40)])
    assert back.median() > 0.85
    assert back.min() > 0.5  # whatever the token and its neighbours
