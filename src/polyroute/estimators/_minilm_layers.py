"""The layers of all-MiniLM-L6-v2 in torch, so that they can be trained further.

The one decision here: the forward pass is written from the weights, as the exported graph is, and
both go by the checkpoint's names; what was trained can be put straight into the graph. Torch comes
in as an argument, from the one place that may import it.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = ["DEPTH", "Tensors", "embedded", "layer", "mean", "parameters_of"]

Tensors: TypeAlias = Mapping[str, Any]
"""Torch tensors by their names in the checkpoint."""

DEPTH = 6
"""Layers of the model."""

_HEADS, _EPSILON = 12, 1e-12


def parameters_of(layer: int, names: Mapping[str, Any]) -> list[str]:
    """Return the names that belong to layer number `layer`, from 0, in the order they have.

    Examples
    --------
    >>> parameters_of(1, {"encoder.layer.1.a": 0, "encoder.layer.11.a": 0, "pooler.a": 0})
    ['encoder.layer.1.a']
    """
    return [name for name in names if name.startswith(f"encoder.layer.{layer}.")]


def embedded(torch: Any, weights: Tensors, ids_BT: Any) -> Any:  # noqa: ANN401 - an optional package
    """Return what enters the first layer, shape (B, T, 384)."""
    x = weights["embeddings.word_embeddings.weight"][ids_BT]
    x = x + weights["embeddings.position_embeddings.weight"][: ids_BT.shape[1]]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    return _normal(torch, weights, "embeddings.LayerNorm", x)


def layer(torch: Any, weights: Tensors, number: int, x_BTD: Any, mask_BT: Any) -> Any:  # noqa: ANN401
    """Return what leaves layer `number`, from 0; `mask_BT` is true where there is a token."""
    prefix = f"encoder.layer.{number}."

    def dense(name: str, x: Any) -> Any:  # noqa: ANN401 - a tensor
        weight, bias = weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"]
        return torch.nn.functional.linear(x, weight, bias)

    def heads(name: str) -> Any:  # noqa: ANN401 - a tensor
        return dense(f"attention.self.{name}", x_BTD).unflatten(-1, (_HEADS, -1)).transpose(1, 2)

    mixed = torch.nn.functional.scaled_dot_product_attention(
        heads("query"), heads("key"), heads("value"), attn_mask=mask_BT[:, None, None, :]
    )
    said = dense("attention.output.dense", mixed.transpose(1, 2).flatten(2))
    x_BTD = _normal(torch, weights, f"{prefix}attention.output.LayerNorm", x_BTD + said)
    wide = torch.nn.functional.gelu(dense("intermediate.dense", x_BTD))
    narrow = dense("output.dense", wide)
    return _normal(torch, weights, f"{prefix}output.LayerNorm", x_BTD + narrow)


def mean(x_BTD: Any, mask_BT: Any) -> Any:  # noqa: ANN401 - tensors
    """Return the mean over the tokens, shape (B, 384)."""
    kept = mask_BT[:, :, None].to(x_BTD.dtype)
    return (x_BTD * kept).sum(1) / kept.sum(1)


def _normal(torch: Any, weights: Tensors, name: str, x: Any) -> Any:  # noqa: ANN401 - a tensor
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, _EPSILON)
