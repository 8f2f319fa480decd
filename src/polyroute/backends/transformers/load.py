"""Find a model and its tokenizer: by hub name, in a folder, in the embedded weights, adapted.

The one decision here: the embedded GGUF is made into an ordinary folder once, because reading it
takes twenty times as long and its packed weights cannot be trained.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyroute.backends.local.weights import EMBEDDED, model_file
from polyroute.backends.transformers.extra import torch, transformers
from polyroute.errors import ConfigError, MissingExtraError

__all__ = ["Loaded", "dequantised", "load"]


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model and its tokenizer."""

    model: Any
    tokenizer: Any


def load(model: str, *, adapter: str | None = None, dtype: str = "float32") -> Loaded:
    """Load a causal model.

    Parameters
    ----------
    model : str
        A folder, a name on the Hugging Face hub, or the name of embedded weights (``smollm2``).
    adapter : str, optional
        Folder of a PEFT adapter to put on top.
    dtype : {"float32", "bfloat16", "float16"}
        Of the weights.

    Raises
    ------
    ConfigError
        If there is no such model, or it is not one that reads every earlier token.
    MissingExtraError
        If torch, transformers or (for an adapter) peft is not installed.
    """
    if dtype not in _DTYPES:
        raise ConfigError(f"transformers: dtype must be one of {_DTYPES}, got {dtype!r}")
    lib = transformers()
    source = str(dequantised(model)) if model in EMBEDDED else model
    try:
        with _silent(lib):
            tokenizer = lib.AutoTokenizer.from_pretrained(source)
            loaded = lib.AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch(), dtype))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"transformers cannot load {model!r} ({error}); give a folder that save_pretrained "
            f"wrote, a name on the hub, or embedded weights ({', '.join(EMBEDDED)})"
        ) from error
    if adapter is not None:
        loaded = _adapted(loaded, adapter)
    return Loaded(loaded.eval(), tokenizer)


def dequantised(name: str) -> Path:
    """Return the folder with the embedded weights called `name`, in single precision.

    It is made at the first use, which takes about twenty seconds and half a gigabyte, in
    ``$POLYROUTE_HOME``, or the user's cache folder.

    Raises
    ------
    ConfigError
        If the weights are not installed.
    MissingExtraError
        If transformers or gguf is not installed.
    """
    gguf = model_file(name)
    folder = _cache() / f"{name}-{EMBEDDED[name].sha256[:12]}-{_FORM}"
    if (folder / "config.json").is_file():
        return folder
    lib = transformers()
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    config = lib.GgufConfig(dequantize=True)
    with _silent(lib):
        model = lib.AutoModelForCausalLM.from_pretrained(
            **where, dtype=torch().float32, quantization_config=config
        )
        tokenizer = lib.AutoTokenizer.from_pretrained(**where)
    _split_digits(tokenizer)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # whole or not at all: another process may be looking
    making = Path(tempfile.mkdtemp(dir=folder.parent))
    model.save_pretrained(making)
    tokenizer.save_pretrained(making)
    try:
        making.rename(folder)
    except OSError:
        shutil.rmtree(making)
    return folder


_FORM = 1
"""Goes up when what is written to the cache changes."""

_DTYPES = ("float32", "bfloat16", "float16")


@contextmanager
def _silent(lib: Any) -> Iterator[None]:  # noqa: ANN401
    """Keep progress bars away: the terminal is the user's."""
    shown = lib.utils.logging.is_progress_bar_enabled()
    lib.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            lib.utils.logging.enable_progress_bar()


def _split_digits(tokenizer: Any) -> None:  # noqa: ANN401
    """Make every digit a token, as the model was trained (``tokenizer.ggml.pre = smollm``).

    transformers does not read that entry of a GGUF.
    """
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )


def _cache() -> Path:
    home = os.environ.get("POLYROUTE_HOME")
    if home:
        return Path(home).expanduser() / "models"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "polyroute" / "models"


def _adapted(model: Any, adapter: str) -> Any:  # noqa: ANN401
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(
            f"an adapter needs peft; run: pip install 'polyroute[train]' ({error})"
        ) from error
    try:
        return peft.PeftModel.from_pretrained(model, adapter)
    except (OSError, ValueError) as error:
        raise ConfigError(f"peft cannot load the adapter {adapter!r}: {error}") from error
