"""A trained router model out of its artifact: checked, then run in this process.

The one decision here: what runs is what was checked. The model is loaded from the bytes that the
manifest's digests were compared with, by way of a folder of its own, and a prompt that is not the
one of the training is refused.
"""

import hashlib
import tempfile
from pathlib import Path

from polyroute.backends.transformers import Transformers
from polyroute.decision import Call
from polyroute.errors import ArtifactError
from polyroute.policies.router_r1 import RouterR1
from polyroute.policies.router_r1.prompt import instruction
from polyroute.pool import ModelCard, Pool, Price
from polyroute.protocols import Emit
from polyroute.trace import Reply, Trace
from polyroute.train.artifact import Trained
from polyroute.types import Request

__all__ = ["RouterModel", "prompt_digest"]


class RouterModel:
    """Run the router model of an artifact.

    Parameters
    ----------
    artifact : str
        The folder, ``*.router``, that ``polyroute train r1`` wrote.
    digest : str, optional
        The artifact's digest; no other artifact is then taken.
    parallel : int, default=64
        Turns that are decoded at once.

    Raises
    ------
    ArtifactError
        As `polyroute.train.artifact.Trained`, if there is no model in the artifact, or if this
        version writes another prompt than the one it was trained with.
    MissingExtraError
        If torch or transformers is not installed.

    Examples
    --------
    In a configuration, beside the candidates::

        pool:
          - id: router
            backend: {name: router_model, artifact: my.router}
        policy: {name: trained, artifact: my.router}
    """

    def __init__(self, artifact: str, *, digest: str | None = None, parallel: int = 64) -> None:
        trained = Trained(artifact, digest=digest)
        if not trained.model or not isinstance(trained.policy, RouterR1):
            raise ArtifactError(f"{artifact} has no router model; `polyroute train r1` makes one")
        wanted = trained.manifest.training.get("prompt")
        if wanted != prompt_digest(trained.policy):
            raise ArtifactError(
                f"{artifact} was trained with another prompt than this version writes; use "
                f"polyroute {trained.manifest.polyroute}, or train it again"
            )
        with tempfile.TemporaryDirectory() as folder:
            for name, content in trained.model.items():
                (Path(folder) / Path(name).name).write_bytes(content)
            base = trained.manifest.training.get("base_model")
            self._model = (
                Transformers(model=str(base), adapter=folder, parallel=parallel)
                if "adapter_config.json" in trained.model
                else Transformers(model=folder, parallel=parallel)
            )

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Sample or decode the router's turn."""
        return await self._model.complete(call, trace, emit)

    async def close(self) -> None:
        """Free the model."""
        await self._model.close()


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
