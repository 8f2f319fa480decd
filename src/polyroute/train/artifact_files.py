"""The files of an artifact: bytes that were checked, and nothing else.

The one decision here: a file is used only after its bytes were checked, and what is checked is what
is used: every file is read once. Arrays of objects are refused when they are written and when they
are read.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polyroute import __version__
from polyroute.errors import ArtifactError
from polyroute.protocols import State
from polyroute.types import Json, JsonObject

__all__ = [
    # a folder
    "FORMAT", "MANIFEST", "VERSION", "body_of", "contents_of", "replace_folder",
    # its files
    "facts", "json_bytes", "manifest_bytes", "state_files", "state_in", "write",
]  # fmt: skip

FORMAT = "polyroute artifact"
VERSION = 2
"""2 keeps the calibrated questions and the cards that were added; 1, without them, is read too."""
_READ = (1, 2)
MANIFEST = "manifest.json"


def manifest_bytes(body: JsonObject) -> bytes:
    """Return the manifest that says `body`, with its digest."""
    digest = hashlib.sha256(json_bytes(body, of="the manifest")).hexdigest()
    return json_bytes({**body, "digest": digest}, of="the manifest")


def facts(content: bytes) -> JsonObject:
    """Return what a manifest says of a file."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def json_bytes(value: Json, *, of: str) -> bytes:
    """Return `value` in its one spelling.

    Raises
    ------
    ArtifactError
        If JSON does not know a value.
    """
    try:
        return json.dumps(value, indent=1, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{of} holds a value that JSON does not know: {error}") from error


def state_files(name: str, state: State) -> dict[str, bytes]:
    """Return the two files of one state.

    Raises
    ------
    ArtifactError
        If an array holds objects, or a value is none of JSON.
    """
    arrays = {str(k): np.asarray(array) for k, array in enumerate(state.arrays.values())}
    for key, array in zip(state.arrays, arrays.values(), strict=True):
        if array.dtype.hasobject:
            raise ArtifactError(f"{name}: the array {key!r} holds objects; that is not stored")
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    values = {"arrays": list(state.arrays), "values": state.values}
    return {f"{name}.npz": packed.getvalue(), f"{name}.json": json_bytes(values, of=name)}


def state_in(name: str, contents: Mapping[str, bytes]) -> State:
    """Return what `state_files` wrote; arrays are read without pickle."""
    values = json.loads(contents[f"{name}.json"])
    with np.load(io.BytesIO(contents[f"{name}.npz"]), allow_pickle=False) as packed:
        arrays = {key: packed[str(k)] for k, key in enumerate(values["arrays"])}
    return State(arrays=arrays, values=values["values"])


def write(path: Path, content: bytes) -> None:
    """Write a file, and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_folder(
    target: Path, contents: Mapping[str, bytes], check: Callable[[Path], Any]
) -> Any:  # noqa: ANN401 - what `check` returns
    """Write a folder whole or not at all: beside `target`, checked, and put in place by renaming.

    Raises
    ------
    ArtifactError
        If `target` is there and no artifact.
    """
    if target.exists() and not (target / MANIFEST).is_file():
        raise ArtifactError(f"{target} is there already and is no artifact; name another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        written = scratch / "new"
        written.mkdir()
        for name, content in contents.items():
            write(written / name, content)
        found = check(written)
        if target.exists():
            target.rename(scratch / "old")
        written.rename(target)
    finally:
        shutil.rmtree(scratch)
    return found


def contents_of(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the manifest as JSON and the contents of all other files, every byte checked.

    Raises
    ------
    ArtifactError
        If `path` is no artifact, a byte was changed, or a file is missing or too many.
    """
    if not (path / MANIFEST).is_file():
        raise ArtifactError(f"{path} is no artifact: it has no {MANIFEST}")
    body = body_of(path)
    files = body.get("files")
    if not isinstance(files, dict) or not all(isinstance(one, dict) for one in files.values()):
        raise ArtifactError(f"{path}: {MANIFEST!r} has no list of files")
    there = {entry.name for entry in path.iterdir()} - {MANIFEST}
    if extra := sorted(there - set(files)):
        raise ArtifactError(f"{path}: {extra[0]!r} is not part of the artifact; remove it")
    contents = {}
    for name, said in files.items():
        file = path / name
        if name not in there or not file.is_file() or file.is_symlink():
            raise ArtifactError(f"{path}: the file {name!r} is missing; the artifact is damaged")
        content = file.read_bytes()
        if said != facts(content):
            raise ArtifactError(f"{path}: {name!r} was changed: it is not what the manifest says")
        contents[name] = content
    return body, contents


def body_of(path: Path) -> dict[str, Any]:
    """Return the manifest as JSON, after its own digest and its version were checked.

    Raises
    ------
    ArtifactError
        If it is none, was changed, or has a version that is not known here.
    """
    raw = (path / MANIFEST).read_bytes()
    changed = ArtifactError(f"{path}: {MANIFEST!r} was changed: its digest does not fit")
    try:
        body = json.loads(raw)
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            raise ArtifactError(f"{path}: {MANIFEST!r} is not that of a {FORMAT}")
        version = body.get("version")
        if not isinstance(version, int):
            raise changed
        if version not in _READ:
            raise ArtifactError(
                f"{path}: {MANIFEST!r} has version {version}, and this is polyroute "
                f"{__version__}, which reads versions {_READ[0]} to {_READ[-1]}; use the polyroute "
                "that wrote it"
            )
        rest = {key: value for key, value in body.items() if key != "digest"}
        digest = hashlib.sha256(json_bytes(rest, of=MANIFEST)).hexdigest()
        # the digest is that of the content; the bytes must be its one spelling, too
        if body.get("digest") != digest or json_bytes(body, of=MANIFEST) != raw:
            raise changed
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise changed from error
    return body
