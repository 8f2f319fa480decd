"""A trained router for machines without torch: its adapter as llama.cpp reads it.

The one decision here: the policy, the judgements and the training of the artifact stay what they
were; only the files of the model are others, so the digest is another one too.
"""

import tempfile
from pathlib import Path

from polyroute.backends.local.weights import EMBEDDED
from polyroute.backends.transformers.load import load
from polyroute.errors import ConfigError
from polyroute.pool import Pool
from polyroute.train.artifact import Fitted, Trained
from polyroute.train.r1.adapter import export_adapter
from polyroute.train.r1.served import ADAPTER

__all__ = ["exported"]


def exported(artifact: str, *, fallback: str | None = None) -> Fitted:
    """Return the router in `artifact` with its adapter as a GGUF, for `artifact.save`.

    Parameters
    ----------
    artifact : str
        What ``polyroute train r1`` wrote for a model with embedded weights (``smollm2``).
    fallback : str, optional
        Id of the card that is asked the whole question when the router gives no valid answer.

    Raises
    ------
    ArtifactError
        As `polyroute.train.artifact.Trained`.
    ConfigError
        If its model is no adapter on top of embedded weights.
    MissingExtraError
        If torch, transformers, peft or gguf is not installed.
    """
    trained = Trained(artifact)
    base = str(trained.manifest.training.get("base_model"))
    if "adapter_config.json" not in trained.model or base not in EMBEDDED:
        raise ConfigError(
            f"{artifact} has no adapter for llama.cpp to put on top of embedded weights "
            f"({', '.join(EMBEDDED)}): its model is {base!r}; train with --model smollm2"
        )
    with tempfile.TemporaryDirectory() as folder:
        for name, content in trained.model.items():
            (Path(folder) / Path(name).name).write_bytes(content)
        model = load(base, adapter=folder).model
        export_adapter(model, Path(folder) / ADAPTER)
        adapter = (Path(folder) / ADAPTER).read_bytes()
    spec = dict(trained.manifest.policy)
    if fallback is not None:
        spec["fallback"] = fallback
    return Fitted(
        policy=trained.policy,
        spec=spec,
        pool=Pool(trained.manifest.pool),
        training=trained.manifest.training,
        evaluation=trained.manifest.evaluation,
        model={ADAPTER: adapter},
    )
