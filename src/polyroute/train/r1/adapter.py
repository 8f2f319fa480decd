"""A low-rank adapter, trained here, as a file of a few megabytes that llama.cpp reads.

The one decision here: the adapter is written for the weights as llama.cpp has them, whose rows of
queries and keys stand in another order within each head than those of transformers; so it goes on
top of a quantised GGUF without touching it.

References
----------
Hu et al., LoRA, arXiv:2106.09685, section 4.1: W + alpha / r * B A.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyroute.backends.transformers.extra import torch
from polyroute.errors import ConfigError, MissingExtraError
from polyroute.train.r1.gguf_file import ARCHITECTURES, gguf_extra, layer_name, reordered

__all__ = ["export_adapter", "with_adapter"]

_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

_PART = re.compile(r"(?P<weight>.+)\.lora_(?P<part>[AB])\.weight")


def with_adapter(model: Any, *, rank: int = 8, alpha: float = 16.0, seed: int = 0) -> Any:  # noqa: ANN401
    """Return `model` with a fresh adapter on every linear layer; only the adapter is trained.

    Parameters
    ----------
    model : PreTrainedModel
        A causal model. It is changed: its linear layers are wrapped.
    rank : int, default=8
        r; SmolLM2-135M has 305,280 parameters per rank, so 8 are 4.9 MB in half precision.
    alpha : float, default=16
        The adapter counts ``alpha / rank``.
    seed : int
        Of the random half of the adapter; the other half is zero.

    Raises
    ------
    ConfigError
        If `rank` is below 1.
    MissingExtraError
        If peft is not installed.
    """
    if rank < 1:
        raise ConfigError(f"an adapter's rank is 1 or more, got {rank!r}")
    peft = _peft()
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=_TARGETS, lora_dropout=0.0, task_type="CAUSAL_LM"
    )
    with torch().random.fork_rng(devices=[]):
        torch().manual_seed(seed)
        return peft.get_peft_model(model, config)


def export_adapter(model: Any, path: Path, *, half: bool = True) -> None:  # noqa: ANN401
    """Write the adapter of `model` as a GGUF that llama.cpp puts on top of the same model.

    Parameters
    ----------
    model : PeftModel
        With one plain LoRA adapter, of an architecture in
        `polyroute.train.r1.gguf_file.ARCHITECTURES`.
    path : Path
        File to write.
    half : bool, default=True
        Half precision; else single.

    Raises
    ------
    ConfigError
        If the architecture or the adapter is of a kind that the file cannot express.
    MissingExtraError
        If peft or gguf is not installed.
    """
    peft, gguf = _peft(), gguf_extra()
    own, config = model.peft_config["default"], model.config
    if config.model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ConfigError(f"an adapter of {config.model_type!r} cannot be written, only of {known}")
    if (
        own.use_dora
        or own.use_rslora
        or own.alpha_pattern
        or own.rank_pattern
        or own.bias != "none"
    ):
        raise ConfigError("only a plain LoRA adapter can be written: one rank, one alpha, no bias")
    writer = gguf.GGUFWriter(path, arch=config.model_type)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(own.lora_alpha))
    for name, value in _tensors(peft.get_peft_model_state_dict(model), config).items():
        writer.add_tensor(name, value.astype(np.float16 if half else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(state: Mapping[str, Any], config: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401
    """Return the adapter's matrices by their names in a GGUF."""
    named: dict[str, NDArray[Any]] = {}
    for key, tensor in state.items():
        match = _PART.fullmatch(key)
        weight = match["weight"].removeprefix("base_model.model.") if match else key
        name = layer_name(f"{weight}.weight")
        if match is None or name is None:
            raise ConfigError(f"the adapter's tensor {key!r} has no place in a GGUF adapter")
        value: NDArray[Any] = tensor.detach().float().numpy()
        if match["part"] == "B":  # its rows are the rows of the weight
            value = reordered(name, value, config)
        named[f"{name}.lora_{match['part'].lower()}"] = value
    return named


def _peft() -> Any:  # noqa: ANN401 - an optional module without annotations
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(
            f"an adapter needs peft; run: pip install 'polyroute[train]' ({error})"
        ) from error
    return peft
