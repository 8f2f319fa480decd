"""A language model of half a million parameters, from scratch, over a closed vocabulary.

The one decision here: a token is a word, a punctuation mark or a whole tag, and white space is
not part of any. Decoding puts one space between two tokens, and tokenising that text gives the
same tokens again, so text and tokens say the same in both directions.

References
----------
One token per entity and per tag is what lets so small a model copy names; with pieces of words it
does not learn to within many times the training.
"""

import re
from collections.abc import Sequence
from typing import Any

from polyroute.backends.transformers.extra import torch, transformers
from polyroute.backends.transformers.load import Loaded
from polyroute.errors import ConfigError, MissingExtraError

__all__ = ["tiny_model", "word_tokenizer"]

_END = "<|end|>"
_PAD = "<|pad|>"
_UNKNOWN = "<|unknown|>"

_TOKEN = r"<\|\w+\|>|</?\w+>|\w+(?:[-.']\w+)*|[^\w\s]"
"""Special token, tag, word (``qwen2.5-7b``, ``don't``), or one mark."""


def word_tokenizer(words: Sequence[str]) -> Any:  # noqa: ANN401 - a class of transformers
    """Return a tokenizer (`PreTrainedTokenizerFast`) that knows `words` and nothing else.

    Parameters
    ----------
    words : sequence of str
        Words, marks and tags, each one token; the ids follow their order, after the three of its
        own (padding, end, unknown).

    Raises
    ------
    ConfigError
        If a word would be split, or is there twice.
    MissingExtraError
        If transformers is not installed.
    """
    broken = [word for word in words if not re.fullmatch(_TOKEN, word)]
    if broken or len(set(words)) != len(words):
        why = f"{broken[0]!r} is not one token" if broken else "some are there twice"
        raise ConfigError(f"a vocabulary has words, marks and tags, each once; here {why}")
    lib, pieces = transformers(), _tokenizers()
    ids = {word: k for k, word in enumerate((_PAD, _END, _UNKNOWN, *words))}
    tokenizer = pieces.Tokenizer(pieces.models.WordLevel(ids, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pieces.pre_tokenizers.Split(
        pieces.Regex(_TOKEN), behavior="removed", invert=True
    )
    return lib.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        eos_token=_END,
        unk_token=_UNKNOWN,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def tiny_model(
    words: Sequence[str],
    *,
    hidden: int = 128,
    layers: int = 3,
    heads: int = 4,
    window: int = 1024,
    seed: int = 0,
) -> Loaded:
    """Return a Llama with random weights, and its tokenizer.

    The default has half a million parameters with a vocabulary of 150; ``hidden=96, layers=2``
    a fifth of a million.

    Parameters
    ----------
    words : sequence of str
        As in `word_tokenizer`.
    hidden : int
        Length of a token's vector; a multiple of twice `heads`.
    layers : int
        Number of layers.
    heads : int
        Attention heads.
    window : int
        Most tokens of an episode.
    seed : int
        Of the random weights.

    Raises
    ------
    ConfigError
        As in `word_tokenizer`, and if `hidden` does not fit `heads`.
    """
    if hidden % (2 * heads):
        raise ConfigError(f"hidden must be a multiple of {2 * heads}, got {hidden!r}")
    lib = transformers()
    tokenizer = word_tokenizer(words)
    config = lib.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=window,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        attention_dropout=0.0,
        # the usual 0.02 is for wide models: here attention would start out flat, and copying a
        # word from the context is found after twice as many steps
        initializer_range=hidden**-0.5,
    )
    with torch().random.fork_rng(devices=[]):
        torch().manual_seed(seed)
        model = lib.LlamaForCausalLM(config)
    return Loaded(model.eval(), tokenizer)


def _tokenizers() -> Any:  # noqa: ANN401 - an optional module without annotations
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError(
            f"a model from scratch needs tokenizers; run: pip install 'polyroute[train]' ({error})"
        ) from error
    return tokenizers
