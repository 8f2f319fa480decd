"""A language model of a third of a million parameters, from scratch, over a closed vocabulary.

Two decisions here. A token is a word, a punctuation mark or a whole tag, and white space is not
part of any: decoding puts one space between two tokens, and tokenising that text gives the same
tokens again, so text and tokens say the same in both directions. And three heads of the first layer
start out looking at the token before, at the one before that, and at the third: to look a name up
by what stands beside it (a card is a name, its price, a skill and how often it is right), a
transformer needs such heads first and the lookup on top of them, and from random weights so small a
one does not find the first within the steps of a run here (``docs/benchmarks/router_r1.md``). They
are a start, not a constraint: training may change them.

References
----------
One token per entity and per tag is what lets so small a model copy names; with pieces of words it
does not learn to within many times the training. Heads that look back, and what is built on them:
Olsson et al., In-context Learning and Induction Heads, arXiv:2209.11895.
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
    hidden: int = 96,
    layers: int = 3,
    heads: int = 4,
    window: int = 1024,
    seed: int = 0,
) -> Loaded:
    """Return a Llama with random weights, three heads apart, and its tokenizer.

    The default has 0.3 million parameters with a vocabulary of 150.

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
        num_key_value_heads=heads,
        max_position_embeddings=window,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        attention_dropout=0.0,
        attention_bias=True,
        # the usual 0.02 is for wide models: here attention would start out flat, and copying a
        # word from the context is found after twice as many steps
        initializer_range=hidden**-0.5,
    )
    with torch().random.fork_rng(devices=[]):
        torch().manual_seed(seed)
        model = lib.LlamaForCausalLM(config)
    _look_back(model, hidden // heads, distances=range(1, min(heads, 4)))
    return Loaded(model.eval(), tokenizer)


def _look_back(model: Any, width: int, distances: Sequence[int]) -> None:  # noqa: ANN401
    """Let the first heads of the first layer look at the tokens `distances` before.

    With constant queries and keys, rotary positions make the score of a token ``d`` before
    ``sharpness / n * sum_i cos(f_i * (d - distance))`` over the ``n`` frequencies ``f_i``, which is
    highest at the distance wanted. The constants are the biases; the weights of these heads are
    made small beside them.
    """
    attention = model.model.layers[0].self_attn
    angles = model.model.rotary_emb.inv_freq
    size = (_SHARPNESS * width**0.5 / len(angles)) ** 0.5
    with torch().no_grad():
        for head, distance in enumerate(distances):
            rows = slice(head * width, (head + 1) * width)
            attention.q_proj.weight[rows] *= _QUIET
            attention.k_proj.weight[rows] *= _QUIET
            turned = (distance * angles).cos(), -(distance * angles).sin()
            attention.q_proj.bias[rows] = size * torch().cat(turned)
            straight = torch().ones_like(angles), torch().zeros_like(angles)
            attention.k_proj.bias[rows] = size * torch().cat(straight)


_SHARPNESS = 60.0
"""Of the heads that look back: nine tenths of the attention go where they look."""

_QUIET = 0.1


def _tokenizers() -> Any:  # noqa: ANN401 - an optional module without annotations
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError(
            f"a model from scratch needs tokenizers; run: pip install 'polyroute[train]' ({error})"
        ) from error
    return tokenizers
