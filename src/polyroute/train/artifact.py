"""The artifact: a trained router as a folder that is read without running code.

``manifest.json`` says what the policy is, what it was trained on and how it did; beside it each
estimator has its arrays (``<parameter>.npz``) and its plain values (``<parameter>.json``). The
manifest has the SHA-256 and the size of every file, and its own digest. ``item_bank.npz`` and
``item_bank.json`` are the questions by which a new card can be measured; the cards that were added
so are in the manifest.

The one decision here: reading runs no code. There is no pickle, plug-ins are found by their
registered names and by nothing else, and no spec in an artifact can import a function. Whoever can
write the whole folder can still make another artifact of it; the `digest` that a configuration may
pin is against that.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

from polyroute import __version__
from polyroute.config import artifact_folder
from polyroute.decision import Decision
from polyroute.errors import ArtifactError, ConfigError
from polyroute.pool import CardId, ModelCard, Pool
from polyroute.protocols import Estimator, Method, Policy
from polyroute.spec import construct
from polyroute.trace import Trace
from polyroute.train.added import Added, grown
from polyroute.train.artifact_files import (
    FORMAT,
    MANIFEST,
    VERSION,
    contents_of,
    facts,
    manifest_bytes,
    replace_folder,
    state_files,
    state_in,
)
from polyroute.train.items import Items
from polyroute.types import JsonObject

__all__ = [
    # what is kept
    "Fitted", "Manifest", "estimators_of",
    # keeping and reading it
    "Trained", "load", "read_items", "read_manifest", "save",
    # a card that comes later
    "extend",
]  # fmt: skip

_ITEMS = "item_bank"
_MODEL = "model-"
"""What the names of a model's files begin with."""
_UNREADABLE = (KeyError, IndexError, TypeError, ValueError, ConfigError, BadZipFile, EOFError)


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
    items: Items | None = None
    """The questions by which a new card can be measured; `None`: there are too few cards."""
    model: Mapping[str, bytes] = field(default_factory=dict)
    """Files of the model that the policy drives, by name: weights or an adapter, and a tokenizer.
    `polyroute.train.r1.served.RouterModel` runs it."""


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
    added: tuple[Added, ...] = ()
    """Cards that joined after training."""

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Every card that the router may choose: those it was trained on, then the added ones."""
        return (*self.pool, *(one.card for one in self.added))


class Trained:
    """Decide as the router in an artifact does.

    Parameters
    ----------
    artifact : str
        The folder, ``*.router``, or the name of one that comes with polyroute (``r1``).
    digest : str, optional
        The artifact's digest (`polyroute artifact show`). When it is given, no other artifact is
        taken, however well-formed; and a record then says which one decided.
    router : str, optional
        Id of the card that runs the artifact's own router model, where the pool calls it something
        else than the training did.

    Raises
    ------
    ArtifactError
        If the folder is no artifact, a byte of it was changed, a file is missing or too many, its
        version is not known here, or it has another digest.
    ConfigError
        If its policy, or an estimator of it, is not installed; or `router` is given and the policy
        has no router model.

    Examples
    --------
    In a configuration::

        policy: {name: trained, artifact: my.router}
    """

    method: ClassVar[Method] = Method(
        when="pre-generation", what=("query", "model metadata"), how="supervised"
    )

    def __init__(
        self, artifact: str, *, digest: str | None = None, router: CardId | None = None
    ) -> None:
        path = artifact_folder(artifact)
        body, contents = contents_of(path)
        self.manifest = _manifest(path, body)
        if digest is not None and digest != self.manifest.digest:
            raise ArtifactError(
                f"{path} is another artifact: its digest is {self.manifest.digest}, and {digest} "
                "is wanted"
            )
        self.model = {
            name.removeprefix(_MODEL): content
            for name, content in contents.items()
            if name.startswith(_MODEL)
        }
        """Files of the model that the policy drives, checked; none when it drives none."""
        rest = {name: part for name, part in contents.items() if not name.startswith(_MODEL)}
        self.policy = _restored(path, self.manifest, rest, drives=bool(self.model))
        self._router = router
        if router is not None:
            self.policy = _driving(self.policy, router, where=artifact)

    def check(self, pool: Pool) -> None:
        """Refuse a pool that lacks a card the router may choose.

        Further cards are no obstacle: to the router they are unknown.

        Raises
        ------
        ArtifactError
            With the ids that are missing.
        """
        trained = self.manifest.policy.get("router")
        wanted = [
            self._router if self._router is not None and card.id == trained else card.id
            for card in self.manifest.cards
        ]
        missing = [id for id in wanted if id not in pool.ids]
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
    contents: dict[str, bytes] = {}
    for name, estimator in estimators_of(fitted.policy).items():
        contents |= state_files(name, estimator.state())
    if fitted.items is not None:
        contents |= state_files(_ITEMS, fitted.items.state())
    contents |= {f"{_MODEL}{name}": content for name, content in fitted.model.items()}
    body: JsonObject = {
        "format": FORMAT,
        "version": VERSION,
        "polyroute": __version__,
        "created_at": created_at,
        "policy": fitted.spec,
        "pool": {
            "ids": list(fitted.pool.ids),
            "digest": fitted.pool.digest,
            "cards": [card.to_json() for card in fitted.pool],
        },
        "added": [],
        "training": fitted.training,
        "evaluation": fitted.evaluation,
        "files": {name: facts(content) for name, content in contents.items()},
    }
    return _written(Path(path), contents, body)


def extend(
    path: str | os.PathLike[str], added: Sequence[Added], output: str | os.PathLike[str]
) -> Manifest:
    """Write the artifact `path` with further cards as `output`, which may be `path` itself.

    What was learned stays as it is. A card that was added before is replaced.

    Raises
    ------
    ArtifactError
        If the artifact keeps no questions to measure a card by, or `output` is no artifact.
    ConfigError
        If the router was trained on one of the cards, two have the same name, or its policy takes
        no further cards.
    """
    source = Path(path)
    read_items(source)
    body, contents = contents_of(source)
    manifest = _manifest(source, body)
    for one in added:
        if one.card.id in manifest.pool.ids:
            raise ConfigError(f"{path} was trained on {one.card.id!r}; there is nothing to add")
    new = {one.card.id: one for one in (*manifest.added, *added)}
    Pool([*manifest.pool, *(one.card for one in new.values())])  # every name is one card
    body = {
        **{key: value for key, value in body.items() if key != "digest"},
        "version": VERSION,
        "added": [one.to_json() for one in new.values()],
    }
    return _written(Path(output), contents, body)


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
    folder = artifact_folder(os.fspath(path))
    return _manifest(folder, contents_of(folder)[0])


def read_items(path: str | os.PathLike[str]) -> Items:
    """Return the questions by which a new card can be measured, every byte checked.

    Raises
    ------
    ArtifactError
        As in `Trained`, or if there are none.
    """
    items = _items(Path(path), contents_of(Path(path))[1])
    if items is None:
        raise ArtifactError(
            f"{path} keeps no questions to measure a new card by: it was written by an older "
            "polyroute, or learned from fewer than three cards; train again on more"
        )
    return items


def _written(target: Path, contents: Mapping[str, bytes], body: JsonObject) -> Manifest:
    whole = {**contents, MANIFEST: manifest_bytes(body)}
    manifest: Manifest = replace_folder(target, whole, lambda new: Trained(str(new)).manifest)
    return manifest


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
            added=tuple(map(Added.from_json, body.get("added", ()))),
        )
        Pool(manifest.cards)  # every name is one card
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise ArtifactError(f"{path}: {MANIFEST!r} lacks something: {error!r}") from error
    if list(pool.ids) != body["pool"].get("ids") or pool.digest != body["pool"].get("digest"):
        raise ArtifactError(f"{path}: the cards in {MANIFEST!r} are not those of its pool digest")
    return manifest


def _restored(
    path: Path, manifest: Manifest, contents: Mapping[str, bytes], *, drives: bool
) -> Policy:
    """Build the policy by the registered names, and give its estimators what they learned."""
    policy: Policy = construct("policies", manifest.policy, where=f"{path}: policy", imports=False)
    estimators = estimators_of(policy)
    if not estimators and not drives:  # what drives a model needs no estimator
        raise ArtifactError(f"{path}: {manifest.policy['name']!r} is no policy that learns")
    wanted = {f"{name}.{kind}" for name in estimators for kind in ("npz", "json")}
    kept = {f"{_ITEMS}.{kind}" for kind in ("npz", "json")}
    if set(contents) not in (wanted, wanted | kept):
        raise ArtifactError(
            f"{path} has {', '.join(sorted(contents))}, and its policy wants "
            f"{', '.join(sorted(wanted))}"
        )
    for name, estimator in estimators.items():
        try:
            estimator.restore(state_in(name, contents))
        except _UNREADABLE as error:
            raise _unreadable(path, f"what {name!r} learned", error, manifest.polyroute) from error
    if not manifest.added:
        return policy
    items = _items(path, contents)
    if items is None or not set(items.ids) <= set(manifest.pool.ids):
        raise ArtifactError(f"{path} has added cards, and not the questions they were measured by")
    return grown(policy, manifest.pool, items, manifest.added)


def _driving(policy: Policy, router: str, *, where: str) -> Policy:
    """Return the policy with another card as its router model."""
    if not is_dataclass(policy) or isinstance(policy, type) or not hasattr(policy, "router"):
        raise ConfigError(f"router: the policy of {where!r} asks no router model; drop the key")
    renamed: Policy = replace(policy, router=router)
    return renamed


def _items(path: Path, contents: Mapping[str, bytes]) -> Items | None:
    if f"{_ITEMS}.json" not in contents:
        return None
    try:
        return Items.restored(state_in(_ITEMS, contents))
    except _UNREADABLE as error:
        raise _unreadable(path, "its item bank", error, "another version") from error


def _unreadable(path: Path, what: str, error: Exception, version: str) -> ArtifactError:
    return ArtifactError(
        f"{path}: {what} cannot be read: {error!r}; it was written by polyroute {version}, this is "
        f"{__version__}"
    )
