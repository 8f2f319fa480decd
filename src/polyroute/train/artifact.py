"""The artifact: a trained router as a folder that is read without running code.

``manifest.json`` says what the policy is, what it was trained on and how it did; beside it each
estimator has its arrays (``<parameter>.npz``) and its plain values (``<parameter>.json``). The
manifest has the SHA-256 and the size of every file, and its own digest.

The one decision here: a file is used only after its bytes were checked, and what is checked is what
is used: every file is read once. There is no pickle, arrays of objects are refused, plug-ins are
found by their registered names and by nothing else, and no spec in an artifact can import a
function. Whoever can write the whole folder can still make another artifact of it; the `digest`
that a configuration may pin is against that.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np

from polyroute import __version__
from polyroute.decision import Decision
from polyroute.errors import ArtifactError, ConfigError
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import Estimator, Method, Policy, State
from polyroute.spec import construct
from polyroute.trace import Trace
from polyroute.types import Json, JsonObject

__all__ = [
    # what is kept
    "Fitted", "Manifest", "estimators_of",
    # keeping and reading it
    "Trained", "load", "read_manifest", "save",
]  # fmt: skip

_FORMAT = "polyroute artifact"
_VERSION = 1
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A policy that has learned, and what there is to say of it."""

    policy: Policy
    spec: JsonObject
    """What `policy` was built from: its name and every parameter."""
    pool: Pool
    """The cards it may choose from."""
    training: JsonObject = field(default_factory=dict)
    """What it learned from and how: data, split, hyper-parameters that were tried."""
    evaluation: JsonObject = field(default_factory=dict)
    """How it did on questions it did not see, beside the baselines; empty: nobody has measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What ``manifest.json`` says."""

    policy: JsonObject
    pool: Pool
    training: JsonObject
    evaluation: JsonObject
    created_at: str
    """As the caller of `save` gave it: ISO 8601."""
    polyroute: str
    """Version of this package that wrote it."""
    files: Mapping[str, JsonObject]
    """``sha256`` and ``bytes`` of every other file."""
    digest: str
    """SHA-256 of all the rest: it names the whole artifact."""


class Trained:
    """Decide as the router in an artifact does.

    Parameters
    ----------
    artifact : str
        The folder, ``*.router``.
    digest : str, optional
        The artifact's digest (`polyroute artifact show`). When it is given, no other artifact is
        taken, however well-formed; and a record then says which one decided.

    Raises
    ------
    ArtifactError
        If the folder is no artifact, a byte of it was changed, a file is missing or too many, its
        version is not known here, or it has another digest.
    ConfigError
        If its policy, or an estimator of it, is not installed.

    Examples
    --------
    In a configuration::

        policy: {name: trained, artifact: my.router}
    """

    method: ClassVar[Method] = Method(
        when="pre-generation", what=("query", "model metadata"), how="supervised"
    )

    def __init__(self, artifact: str, *, digest: str | None = None) -> None:
        path = Path(artifact)
        self.manifest, contents = _read(path)
        if digest is not None and digest != self.manifest.digest:
            raise ArtifactError(
                f"{path} is another artifact: its digest is {self.manifest.digest}, and {digest} "
                "is wanted"
            )
        self.policy = _restored(path, self.manifest, contents)

    def check(self, pool: Pool) -> None:
        """Refuse a pool that lacks a card the router may choose.

        Further cards are no obstacle: to the router they are unknown.

        Raises
        ------
        ArtifactError
            With the ids that are missing.
        """
        missing = [card.id for card in self.manifest.pool if card.id not in pool.ids]
        if missing:
            raise ArtifactError(
                f"the pool lacks {', '.join(map(repr, missing))}, which this router was trained to "
                f"choose; the pool has {', '.join(pool.ids)}. Give the cards the ids of the "
                "artifact, or train on this pool"
            )

    async def decide(self, trace: Trace) -> Decision:
        """Return what the trained policy decides."""
        return await self.policy.decide(trace)


def estimators_of(policy: Policy) -> dict[str, Estimator]:
    """Return the estimators of `policy` by the name of the parameter that takes them.

    A policy keeps an estimator under the name of its parameter; one that was not given is left
    out.
    """
    names = getattr(type(policy), "__dataclass_fields__", None) or vars(policy)
    found = {name: getattr(policy, name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, Estimator)}


def save(path: str | os.PathLike[str], fitted: Fitted, *, created_at: str) -> Manifest:
    """Write `fitted` as an artifact, whole or not at all.

    The folder is written beside `path`, read back, and put in place by renaming. An artifact that
    is there already is replaced.

    Parameters
    ----------
    path : path
        The folder to write, ``*.router`` by custom.
    fitted : Fitted
        Its policy must have learned.
    created_at : str
        When, ISO 8601. The same training with the same `created_at` gives the same bytes.

    Raises
    ------
    ArtifactError
        If `path` is there and no artifact, or something cannot be stored: an array of objects, a
        value that JSON does not know.
    NotFittedError
        If an estimator has not been fitted.
    """
    target = Path(path)
    if target.exists() and not (target / _MANIFEST).is_file():
        raise ArtifactError(f"{target} is there already and is no artifact; name another folder")
    contents: dict[str, bytes] = {}
    for name, estimator in estimators_of(fitted.policy).items():
        contents |= _state_files(name, estimator.state())
    contents[_MANIFEST] = _manifest_bytes(fitted, contents, created_at)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        written = scratch / "new"
        written.mkdir()
        for name, content in contents.items():
            _write(written / name, content)
        manifest = Trained(str(written)).manifest
        if target.exists():
            target.rename(scratch / "old")
        written.rename(target)
    finally:
        shutil.rmtree(scratch)
    return manifest


def load(path: str | os.PathLike[str], pool: Pool | None = None) -> Trained:
    """Return the router in the artifact `path`.

    Parameters
    ----------
    path : path
        The folder.
    pool : Pool, optional
        The pool it is to serve; it must hold every card that the router may choose.

    Raises
    ------
    ArtifactError
        As in `Trained`, or if the pool does not fit.
    """
    trained = Trained(os.fspath(path))
    if pool is not None:
        trained.check(pool)
    return trained


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Check every byte of the artifact `path` and return its manifest; nothing is built.

    Raises
    ------
    ArtifactError
        As in `Trained`.
    """
    return _read(Path(path))[0]


def _state_files(name: str, state: State) -> dict[str, bytes]:
    """Return the two files of one estimator's state."""
    arrays = {str(k): np.asarray(array) for k, array in enumerate(state.arrays.values())}
    for key, array in zip(state.arrays, arrays.values(), strict=True):
        if array.dtype.hasobject:
            raise ArtifactError(f"{name}: the array {key!r} holds objects; that is not stored")
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    values = {"arrays": list(state.arrays), "values": state.values}
    return {f"{name}.npz": packed.getvalue(), f"{name}.json": _json_bytes(values, of=name)}


def _state(name: str, contents: Mapping[str, bytes]) -> State:
    """Return what `_state_files` wrote; arrays are read without pickle."""
    values = json.loads(contents[f"{name}.json"])
    with np.load(io.BytesIO(contents[f"{name}.npz"]), allow_pickle=False) as packed:
        arrays = {key: packed[str(k)] for k, key in enumerate(values["arrays"])}
    return State(arrays=arrays, values=values["values"])


def _manifest_bytes(fitted: Fitted, contents: Mapping[str, bytes], created_at: str) -> bytes:
    body = {
        "format": _FORMAT,
        "version": _VERSION,
        "polyroute": __version__,
        "created_at": created_at,
        "policy": fitted.spec,
        "pool": {
            "ids": list(fitted.pool.ids),
            "digest": fitted.pool.digest,
            "cards": [card.to_json() for card in fitted.pool],
        },
        "training": fitted.training,
        "evaluation": fitted.evaluation,
        "files": {name: _facts(content) for name, content in contents.items()},
    }
    digest = hashlib.sha256(_json_bytes(body, of="the manifest")).hexdigest()
    return _json_bytes({**body, "digest": digest}, of="the manifest")


def _facts(content: bytes) -> JsonObject:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _json_bytes(value: Json, *, of: str) -> bytes:
    try:
        return json.dumps(value, indent=1, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{of} holds a value that JSON does not know: {error}") from error


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    """Return the manifest and the contents of all other files, every byte checked."""
    if not (path / _MANIFEST).is_file():
        raise ArtifactError(f"{path} is no artifact: it has no {_MANIFEST}")
    body = _manifest_body(path)
    files = body.get("files")
    if not isinstance(files, dict) or not all(isinstance(one, dict) for one in files.values()):
        raise ArtifactError(f"{path}: {_MANIFEST!r} has no list of files")
    there = {entry.name for entry in path.iterdir()} - {_MANIFEST}
    if extra := sorted(there - set(files)):
        raise ArtifactError(f"{path}: {extra[0]!r} is not part of the artifact; remove it")
    contents = {}
    for name, facts in files.items():
        file = path / name
        if name not in there or not file.is_file() or file.is_symlink():
            raise ArtifactError(f"{path}: the file {name!r} is missing; the artifact is damaged")
        content = file.read_bytes()
        if facts != _facts(content):
            raise ArtifactError(f"{path}: {name!r} was changed: it is not what the manifest says")
        contents[name] = content
    return _manifest(path, body), contents


def _manifest_body(path: Path) -> dict[str, Any]:
    """Return the manifest as JSON, after its own digest and its version were checked."""
    raw = (path / _MANIFEST).read_bytes()
    changed = ArtifactError(f"{path}: {_MANIFEST!r} was changed: its digest does not fit")
    try:
        body = json.loads(raw)
        if not isinstance(body, dict) or body.get("format") != _FORMAT:
            raise ArtifactError(f"{path}: {_MANIFEST!r} is not that of a {_FORMAT}")
        if body.get("version") != _VERSION:
            raise ArtifactError(
                f"{path} has version {body.get('version')!r}, and this is polyroute {__version__}, "
                f"which reads version {_VERSION}; use the polyroute that wrote it"
            )
        rest = {key: value for key, value in body.items() if key != "digest"}
        digest = hashlib.sha256(_json_bytes(rest, of=_MANIFEST)).hexdigest()
        # the digest is that of the content; the bytes must be its one spelling, too
        if body.get("digest") != digest or _json_bytes(body, of=_MANIFEST) != raw:
            raise changed
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise changed from error
    return body


def _manifest(path: Path, body: Mapping[str, Any]) -> Manifest:
    try:
        pool = Pool(ModelCard.from_json(card) for card in body["pool"]["cards"])
        manifest = Manifest(
            policy=body["policy"],
            pool=pool,
            training=body["training"],
            evaluation=body["evaluation"],
            created_at=body["created_at"],
            polyroute=body["polyroute"],
            files=body["files"],
            digest=body["digest"],
        )
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ArtifactError(f"{path}: {_MANIFEST!r} lacks something: {error!r}") from error
    if list(pool.ids) != body["pool"].get("ids") or pool.digest != body["pool"].get("digest"):
        raise ArtifactError(f"{path}: the cards in {_MANIFEST!r} are not those of its pool digest")
    return manifest


def _restored(path: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Policy:
    """Build the policy by the registered names, and give its estimators what they learned."""
    policy: Policy = construct("policies", manifest.policy, where=f"{path}: policy", imports=False)
    estimators = estimators_of(policy)
    if not estimators:
        raise ArtifactError(f"{path}: {manifest.policy['name']!r} is no policy that learns")
    wanted = {f"{name}.{kind}" for name in estimators for kind in ("npz", "json")}
    if wanted != set(contents):
        raise ArtifactError(
            f"{path} has {', '.join(sorted(contents))}, and its policy wants "
            f"{', '.join(sorted(wanted))}"
        )
    for name, estimator in estimators.items():
        try:
            estimator.restore(_state(name, contents))
        except (KeyError, IndexError, TypeError, ValueError, BadZipFile, EOFError) as error:
            raise ArtifactError(
                f"{path}: what {name!r} learned cannot be read: {error!r}; it was written by "
                f"polyroute {manifest.polyroute}, this is {__version__}"
            ) from error
    return policy
