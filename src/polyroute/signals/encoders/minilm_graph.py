"""all-MiniLM-L6-v2 as an ONNX graph, written operator by operator from its weights.

The one decision here: nothing is traced. An export of the usual implementation can fix the length
of its example into the graph and be silently wrong at every other one; written out, the forward
pass has no length in it, and needs neither torch nor transformers. A test compares it with torch
at several lengths.

All sequences of one run have the same length, so that there is no padding and no mask.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import MissingExtraError
from polyroute.signals.encoders.cache import stored
from polyroute.signals.encoders.weights import SHA256, tensors

__all__ = ["DIMENSIONS", "LONGEST", "Precision", "opened", "reference", "run"]

Precision: TypeAlias = Literal["int8", "fp32"]

DIMENSIONS = 384
LONGEST = 512
"""Tokens the model has positions for, its first and last included."""

_LAYERS, _HEADS, _EPSILON = 6, 12, 1e-12
_VERSION = 1
"""Changes with the graph, so that a cached one of another kind is not used."""

_STEPS = 63
"""Largest quantised weight. Seven bits: the products of eight overflow the 16-bit sums of
processors without VNNI, and the same text would have another row there."""


def run(ids_BT: NDArray[np.int64], precision: Precision) -> NDArray[np.float32]:
    """Return the mean of the last hidden states, scaled to length 1, shape (B, 384).

    Parameters
    ----------
    ids_BT : ndarray of shape (B, T)
        Token numbers, B sequences of one length T of at most 512.
    precision : {"int8", "fp32"}
        Whether the matrices are multiplied in whole numbers (each with scales per column, and the
        activations with one scale for the whole run: rows depend on their company, so ask for one
        at a time), or in single precision.

    Raises
    ------
    MissingExtraError
        If onnxruntime, or for the first run ever onnx, safetensors or the weights, are missing.
    """
    mean_BD: NDArray[np.float32] = _session(precision).run(None, {"ids": ids_BT})[0]
    lengths_B1: NDArray[np.float32] = np.linalg.norm(mean_BD, axis=1, keepdims=True)
    return mean_BD / lengths_B1


def opened(weights: Mapping[str, NDArray[Any]]) -> Any:  # noqa: ANN401 - an optional package
    """Return a session, in single precision, of the same graph over other `weights`.

    Its input ``ids`` is of shape (B, T), its only output the mean of the last hidden states, not
    scaled, shape (B, 384).

    Parameters
    ----------
    weights : mapping of str to ndarray
        Every weight, by its name in the checkpoint.

    Raises
    ------
    MissingExtraError
        If onnxruntime or onnx are missing.
    """
    return _loaded(_model(weights, "fp32").SerializeToString())


def reference(precision: Precision) -> dict[str, str | int]:
    """Return what names this model in the state of an encoder."""
    return {
        "model": "all-MiniLM-L6-v2",
        "weights_sha256": SHA256["model.safetensors"],
        "tokenizer_sha256": SHA256["tokenizer.json"],
        "precision": precision,
        "graph": _VERSION,
    }


@cache
def _session(precision: Precision) -> Any:  # noqa: ANN401 - an optional package
    """Load the graph once in a process: it does not change, and every encoder shares it."""
    name = f"minilm-{SHA256['model.safetensors'][:12]}-{_VERSION}-{precision}.onnx"
    return _loaded(stored(name, lambda unfinished: _export(unfinished, precision)))


def _loaded(graph: Path | bytes) -> Any:  # noqa: ANN401 - an optional package
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "onnxruntime is needed; run: pip install 'polyroute[embed]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _export(path: Path, precision: Precision) -> None:
    """Write the graph and its weights to one file."""
    path.write_bytes(_model(tensors(), precision).SerializeToString())


def _model(weights: Mapping[str, NDArray[Any]], precision: Precision) -> Any:  # noqa: ANN401
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(
            "onnx is needed to export MiniLM once; run: pip install 'polyroute[embed]'"
        ) from error
    graph = _Graph(onnx, quantised=precision == "int8")
    graph.write(weights)
    return graph.model()


class _Graph:
    """Operators in order; every method adds some and returns the name of their result."""

    def __init__(self, onnx: Any, *, quantised: bool) -> None:  # noqa: ANN401 - an optional package
        self._onnx = onnx
        self._quantised = quantised
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def write(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Add the whole model: embeddings, layers, mean over the tokens."""
        x = self._embed(weights)
        for layer in range(_LAYERS):
            prefix = f"encoder.layer.{layer}."
            own = {
                name.removeprefix(prefix): value
                for name, value in weights.items()
                if name.startswith(prefix)
            }
            x = self._normalise(
                self._add("Add", x, self._attend(x, own)), own, "attention.output.LayerNorm"
            )
            wide = self._add("Gelu", self._dense(x, *_of(own, "intermediate.dense")))
            narrow = self._dense(wide, *_of(own, "output.dense"))
            x = self._normalise(self._add("Add", x, narrow), own, "output.LayerNorm")
        self._add("ReduceMean", x, self._whole([1]), result="mean", keepdims=0)

    def model(self) -> Any:  # noqa: ANN401 - an optional package
        """Return the finished model."""
        helper, numbers = self._onnx.helper, self._onnx.TensorProto
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info("ids", numbers.INT64, ["B", "T"])],
            [helper.make_tensor_value_info("mean", numbers.FLOAT, ["B", DIMENSIONS])],
            self._constants,
        )
        domains = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=9)

    def _embed(self, weights: Mapping[str, NDArray[Any]]) -> str:
        """Token, position and (always the first) segment embeddings."""
        table_VD = weights["embeddings.word_embeddings.weight"]
        positions_TD = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        if self._quantised:
            scale_V1 = np.abs(table_VD).max(axis=1, keepdims=True) / 127
            rounded_VD = np.round(table_VD / scale_V1).astype(np.int8)
            rows = self._add("Gather", self._constant(rounded_VD), "ids")
            scales = self._add("Gather", self._constant(scale_V1), "ids")
            numbers = self._add("Cast", rows, to=self._onnx.TensorProto.FLOAT)
            tokens = self._add("Mul", numbers, scales)
        else:
            tokens = self._add("Gather", self._constant(table_VD), "ids")
        length = self._add("Shape", "ids", start=1, end=2)
        zero = self._whole([0])
        positions = self._add("Slice", self._constant(positions_TD), zero, length, zero)
        return self._normalise(self._add("Add", tokens, positions), weights, "embeddings.LayerNorm")

    def _attend(self, x: str, own: Mapping[str, NDArray[Any]]) -> str:
        """Attention of every token to all: one product for queries, keys and values."""
        parts = [_of(own, f"attention.self.{part}") for part in ("query", "key", "value")]
        weight, bias = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        joined = self._dense(x, weight, bias)
        split = [f"{joined}_{part}" for part in ("q", "k", "v")]
        self._nodes.append(
            self._onnx.helper.make_node("Split", [joined], split, axis=-1, num_outputs=3)
        )
        mixed = self._add("MultiHeadAttention", *split, num_heads=_HEADS, domain="com.microsoft")
        return self._dense(mixed, *_of(own, "attention.output.dense"))

    def _dense(self, x: str, weight_OI: NDArray[Any], bias_O: NDArray[Any]) -> str:
        """Add a linear layer; the checkpoint keeps its matrix transposed."""
        weight_IO, bias = np.ascontiguousarray(weight_OI.T), self._constant(bias_O)
        if not self._quantised:
            return self._add("Add", self._add("MatMul", x, self._constant(weight_IO)), bias)
        scale_O = np.abs(weight_IO).max(axis=0) / _STEPS
        return self._add(
            "DynamicQuantizeMatMul",
            x,
            self._constant(np.round(weight_IO / scale_O).astype(np.int8)),
            self._constant(scale_O.astype(np.float32)),
            self._constant(np.zeros(len(scale_O), np.int8)),
            bias,
            domain="com.microsoft",
        )

    def _normalise(self, x: str, own: Mapping[str, NDArray[Any]], name: str) -> str:
        weight, bias = (self._constant(array) for array in _of(own, name))
        return self._add("LayerNormalization", x, weight, bias, axis=-1, epsilon=_EPSILON)

    def _whole(self, numbers: list[int]) -> str:
        return self._constant(np.array(numbers, np.int64))

    def _constant(self, array: NDArray[Any]) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def _add(self, operator: str, *inputs: str, result: str = "", **attributes: Any) -> str:  # noqa: ANN401
        result = result or f"n{len(self._nodes)}"
        node = self._onnx.helper.make_node(operator, list(inputs), [result], **attributes)
        self._nodes.append(node)
        return result


def _of(own: Mapping[str, NDArray[Any]], name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weight and bias of a part."""
    return own[f"{name}.weight"], own[f"{name}.bias"]
