"""A model of transformers as a GGUF file, the form that llama.cpp serves.

The one decision here: it writes what it can check. Two architectures, byte-level BPE tokenizers
whose splitting llama.cpp has a name for, no stretched rotary positions; everything else is
refused, because a file that loads and answers slightly wrong is worse than none.

References
----------
The format: github.com/ggml-org/ggml, docs/gguf.md; the names of tensors: the package gguf.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError, MissingExtraError

__all__ = ["ARCHITECTURES", "export_gguf", "gguf_extra", "layer_name", "reordered"]

ARCHITECTURES = ("llama", "qwen2")
"""Values of a model's ``model_type`` that can be written."""

_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")

_INNER: Mapping[str, str] = MappingProxyType({
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
})  # fmt: skip

_OUTER: Mapping[str, str] = MappingProxyType({
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
})  # fmt: skip

_NORMAL, _CONTROL, _ADDED, _UNUSED = 1, 3, 4, 5
"""Kinds of tokens in a GGUF."""


def layer_name(name: str) -> str | None:
    """Return what a GGUF calls the tensor `name` of transformers; `None` when it has no name.

    Examples
    --------
    >>> layer_name("model.layers.3.self_attn.q_proj.weight")
    'blk.3.attn_q.weight'
    """
    match = _LAYER.fullmatch(name)
    if match is None:
        return _OUTER.get(name)
    inner = _INNER.get(match[2])
    return None if inner is None else f"blk.{match[1]}.{inner}.{match[3]}"


def reordered(name: str, value: NDArray[Any], config: Any) -> NDArray[Any]:  # noqa: ANN401
    """Return the rows of `value` in llama.cpp's order, for the tensor that a GGUF calls `name`.

    For Llama, transformers keeps the two halves of each head's rotated pairs apart, and llama.cpp
    puts the members of a pair next to each other. Other tensors and architectures are the same.

    Parameters
    ----------
    name : str
        As from `layer_name`.
    value : ndarray of shape (rows, ...)
    config : PretrainedConfig
        Of the model.
    """
    heads = None
    if config.model_type == "llama" and ".attn_q." in name:
        heads = config.num_attention_heads
    if config.model_type == "llama" and ".attn_k." in name:
        heads = config.num_key_value_heads
    if heads is None:
        return value
    halves = value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(value.shape))


def export_gguf(
    model: Any,  # noqa: ANN401 - a model of transformers, which has no annotations
    tokenizer: Any,  # noqa: ANN401
    path: Path,
    *,
    kind: Literal["f32", "f16", "q8_0"] = "q8_0",
) -> None:
    """Write `model` and `tokenizer` into one file.

    Parameters
    ----------
    model : PreTrainedModel
        Without an adapter (`merge_and_unload` one before), of an architecture in `ARCHITECTURES`.
    tokenizer : PreTrainedTokenizerFast
        A byte-level BPE of SmolLM, Qwen2 or Llama 3.
    path : Path
        File to write.
    kind : {"q8_0", "f16", "f32"}
        How matrices are stored: in 8.5, 16 or 32 bits a weight. Vectors are in single precision.

    Raises
    ------
    ConfigError
        If the model or the tokenizer is of a kind that cannot be written.
    MissingExtraError
        If gguf is not installed.
    """
    gguf, config = gguf_extra(), model.config
    if config.model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ConfigError(f"a model of {config.model_type!r} cannot be written, only {known}")
    writer = gguf.GGUFWriter(path, arch=config.model_type)
    _add_shape(writer, config)
    _add_tokenizer(writer, tokenizer, config)
    types = gguf.GGMLQuantizationType
    stored = {"f32": types.F32, "f16": types.F16, "q8_0": types.Q8_0}[kind]
    tied = config.tie_word_embeddings
    for key, tensor in model.state_dict().items():
        if tied and key == "lm_head.weight":
            continue
        name = layer_name(key)
        if name is None:
            raise ConfigError(f"the tensor {key!r} has no name in a GGUF of {config.model_type!r}")
        value = reordered(name, tensor.detach().float().numpy(), config)
        fits = value.ndim == 2 and (kind != "q8_0" or value.shape[1] % _Q8_BLOCK == 0)
        as_type = stored if fits else types.F32
        packed = gguf.quants.quantize(value, as_type)
        writer.add_tensor(name, packed, raw_dtype=as_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


_Q8_BLOCK = 32


def _add_shape(writer: Any, config: Any) -> None:  # noqa: ANN401
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "default":
        raise ConfigError(f"rotary positions of type {rope['rope_type']!r} cannot be written")
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(head)
    writer.add_vocab_size(config.vocab_size)


def _add_tokenizer(writer: Any, tokenizer: Any, config: Any) -> None:  # noqa: ANN401
    wire = json.loads(tokenizer.backend_tokenizer.to_str())
    if wire["model"]["type"] != "BPE":
        raise ConfigError(
            f"llama.cpp has no tokenizer of type {wire['model']['type']!r}; serve this model with "
            "the transformers backend"
        )
    special = {each["content"]: each["special"] for each in wire["added_tokens"]}
    by_id = {token_id: token for token, token_id in tokenizer.get_vocab().items()}
    tokens, kinds = [], []
    for token_id in range(config.vocab_size):
        token = by_id.get(token_id)
        tokens.append(f"[unused {token_id}]" if token is None else token)
        added = _CONTROL if special.get(token) else _ADDED
        kinds.append(_UNUSED if token is None else added if token in special else _NORMAL)
    merges = [m if isinstance(m, str) else " ".join(m) for m in wire["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitting(wire["pre_tokenizer"]))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    for name, token_id in (
        ("bos", tokenizer.bos_token_id), ("eos", tokenizer.eos_token_id),
        ("unk", tokenizer.unk_token_id), ("pad", tokenizer.pad_token_id),
    ):  # fmt: skip
        if token_id is not None:
            getattr(writer, f"add_{name}_token_id")(token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _splitting(wire: Any) -> str:  # noqa: ANN401 - JSON
    """Return llama.cpp's name for how a tokenizer splits text before BPE."""
    steps = wire.get("pretokenizers", [wire]) if wire else []
    patterns = [step["pattern"].get("Regex", "") for step in steps if step["type"] == "Split"]
    if any(r"\p{N}{1,3}" in pattern for pattern in patterns):
        return "llama-bpe"
    if any(r"|\p{N}|" in pattern for pattern in patterns):
        return "qwen2"
    if any(step["type"] == "Digits" and step["individual_digits"] for step in steps):
        return "smollm"
    raise ConfigError(
        "the tokenizer splits text in a way that has no known name in llama.cpp; serve this model "
        "with the transformers backend"
    )


def gguf_extra() -> Any:  # noqa: ANN401 - an optional module without annotations
    """Return the module gguf.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError(
            f"a GGUF is written with gguf; run: pip install 'polyroute[train]' ({error})"
        ) from error
    return gguf
