"""MiniLM sentence embeddings on the CPU, from weights that come as a package.

The one decision here: one text at a time. Texts run together would have to be padded and would
share the scales of their activations, and then a row would depend on its company; what batching
saves, and only on short texts, is not worth a decision that cannot be replayed.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.protocols import State
from polyroute.signals.encoders.minilm_graph import DIMENSIONS, LONGEST, Precision, reference, run
from polyroute.signals.encoders.wordpiece import CLS, SEP, pieces

__all__ = ["MiniLM"]

_CHARACTERS_PER_TOKEN = 16
"""Read at most so many characters for each token that is kept; words average five."""


class MiniLM:
    """Embeddings of 384 dimensions by all-MiniLM-L6-v2: mean over the tokens, length 1.

    Parameters
    ----------
    precision : {"int8", "fp32"}, default="int8"
        Whole-number matrices: twice as fast, a quarter of the memory.
    most_tokens : int, default=128
        Read the beginning and end of a longer text; 3 to 512, the first and last token of every
        sequence included.

    Raises
    ------
    ConfigError
        If a parameter is out of range.
    MissingExtraError
        When it is used: if onnxruntime, tokenizers or the weights are not installed.

    Notes
    -----
    The first use ever writes the graph to the cache folder (`polyroute.signals.encoders.cache`).
    Cost: docs/benchmarks/encoders.md.

    References
    ----------
    Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of
    Pre-Trained Transformers", arXiv:2002.10957; Reimers and Gurevych, "Sentence-BERT",
    arXiv:1908.10084, section 3 (mean pooling).
    """

    def __init__(self, *, precision: Precision = "int8", most_tokens: int = 128) -> None:
        if not 3 <= most_tokens <= LONGEST:
            raise ConfigError(f"most_tokens must be from 3 to {LONGEST}, got {most_tokens!r}")
        if precision not in ("int8", "fp32"):
            raise ConfigError(f"precision must be 'int8' or 'fp32', got {precision!r}")
        self._precision = precision
        self._most_tokens = most_tokens

    def fit(self, texts: Sequence[str]) -> Self:
        """Return self: there is nothing to learn."""
        del texts
        return self

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of `texts`, shape (N, 384).

        Raises
        ------
        MissingExtraError
            If a package or the weights are not installed; the message has the command.
        """
        out_ND = np.empty((len(texts), DIMENSIONS), np.float32)
        for row, text in enumerate(texts):
            inner = pieces(
                text,
                most_characters=self._most_tokens * _CHARACTERS_PER_TOKEN,
                most_tokens=self._most_tokens - 2,
            )
            out_ND[row] = run(np.array([[CLS, *inner, SEP]], np.int64), self._precision)[0]
        return out_ND

    def state(self) -> State:
        """Return which model this is, not the model."""
        return State(values={**reference(self._precision), "most_tokens": self._most_tokens})

    def restore(self, state: State) -> Self:
        """Check that `state` was returned by the same model, and return self.

        Raises
        ------
        ConfigError
            If it is of another model, precision or length.
        """
        own = self.state().values
        for key, value in own.items():
            if state.values.get(key) != value:
                raise ConfigError(
                    f"the state was made with {key} {state.values.get(key)!r}, this encoder has "
                    f"{value!r}; fit again, or use the same package and parameters as then"
                )
        return self
