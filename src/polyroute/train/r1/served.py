"""A trained router model out of its artifact: checked, then run in this process.

The one decision here: what runs is what was checked. The model is loaded from the bytes that the
manifest's digests were compared with, by way of a folder of its own, and a prompt that is not the
one of the training is refused.
"""

import hashlib
import shutil
import tempfile
import weakref
from pathlib import Path

from polyroute.backends.local import Local
from polyroute.backends.transformers import Transformers
from polyroute.decision import Call
from polyroute.errors import ArtifactError
from polyroute.policies.router_r1 import RouterR1
from polyroute.policies.router_r1.prompt import instruction
from polyroute.pool import ModelCard, Pool, Price
from polyroute.protocols import Backend, Emit
from polyroute.trace import Reply, Trace
from polyroute.train.artifact import Trained
from polyroute.types import Request

__all__ = ["ADAPTER", "RouterModel", "prompt_digest"]

ADAPTER = "adapter.gguf"
"""The file of an artifact with an adapter that llama.cpp puts on top of its base model."""

_WINDOW = 2048
"""Tokens of an episode under llama.cpp, which takes the memory for all of them at the start."""

_SLOTS = 4
"""Turns that llama.cpp decodes at once: each takes the memory of a window."""


class RouterModel:
    """Run the router model of an artifact.

    Turns that are asked at the same time share the steps of the model, and a turn goes on from
    where the transcript of the same request was. An artifact with an adapter for llama.cpp
    (``polyroute artifact export``) needs the extra ``[local]``, any other ``[train]``.

    Parameters
    ----------
    artifact : str
        The folder, ``*.router``, that ``polyroute train r1`` wrote, or the name of one that comes
        with polyroute (``r1``).
    digest : str, optional
        The artifact's digest; no other artifact is then taken.
    parallel : int, optional
        Turns that are decoded at once; 64, and 4 under llama.cpp.

    Raises
    ------
    ArtifactError
        As `polyroute.train.artifact.Trained`, if there is no model in the artifact, or if this
        version writes another prompt than the one it was trained with.
    ConfigError
        If the base model of an adapter is not there.
    MissingExtraError
        If what runs the model is not installed.

    Examples
    --------
    In a configuration, a card ``mine-router`` and a policy ``mine``::

        routers:
          mine: {artifact: my.router}
    """

    def __init__(
        self, artifact: str, *, digest: str | None = None, parallel: int | None = None
    ) -> None:
        trained = Trained(artifact, digest=digest)
        if not trained.model or not isinstance(trained.policy, RouterR1):
            raise ArtifactError(f"{artifact} has no router model; `polyroute train r1` makes one")
        wanted = trained.manifest.training.get("prompt")
        if wanted != prompt_digest(trained.policy):
            raise ArtifactError(
                f"{artifact} was trained with another prompt than this version writes; use "
                f"polyroute {trained.manifest.polyroute}, or train it again"
            )
        # llama.cpp reads its files at the first call, so the folder stays as long as the backend,
        # which a command that only looks at a configuration never closes
        folder = Path(tempfile.mkdtemp(prefix="polyroute-router-"))
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._model = _model(trained, folder, parallel)

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Sample or decode the router's turn."""
        return await self._model.complete(call, trace, emit)

    async def close(self) -> None:
        """Free the model."""
        await self._model.close()
        self._remove()


def _model(trained: Trained, folder: Path, parallel: int | None) -> Backend:
    """Return what runs the model of an artifact, read from a copy in `folder`."""
    for name, content in trained.model.items():
        (folder / Path(name).name).write_bytes(content)
    base = str(trained.manifest.training.get("base_model"))
    if ADAPTER in trained.model:
        adapter = str(folder / ADAPTER)
        return Local(gguf=base, adapter=adapter, context=_WINDOW, parallel=parallel or _SLOTS)
    turns = parallel or 64
    if "adapter_config.json" in trained.model:
        return Transformers(model=base, adapter=str(folder), parallel=turns)
    return Transformers(model=str(folder), parallel=turns)


def prompt_digest(policy: RouterR1) -> str:
    """Return the SHA-256 of what `policy` writes for one fixed question and pool."""
    geo = ModelCard(id="geo", description="Knows maps.", price=Price.per_million(1, 2))
    written = instruction(
        Request.of("capital of Peru?"),
        Pool([geo]),
        dialect=policy.dialect,
        layout=policy.layout,
        turns=policy.max_turns,
    )
    return hashlib.sha256(written.encode()).hexdigest()
