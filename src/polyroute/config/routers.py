"""Trained routers in a configuration: the model of each joins the pool, and its policy the list.

The one decision here: a router comes with polyroute by name or from a folder by path, and the name
wins. A folder that is missing is an error; a router that this version was built without is left
out of the pool, and whoever asks for it is told so.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from polyroute.config.settings import CardSettings, RouterSettings, Settings

__all__ = ["SHIPPED", "artifact_folder", "left_out", "why_not", "with_routers"]

SHIPPED: Mapping[str, Path] = MappingProxyType({
    "r1": Path(str(files("polyroute"))) / "routers" / "r1.router",
})  # fmt: skip
"""Where the artifacts are that come with polyroute, by name."""


def artifact_folder(artifact: str) -> Path:
    """Return the folder of an artifact: of one that comes with polyroute, or `artifact` itself.

    Examples
    --------
    >>> artifact_folder("r1").name, artifact_folder("./r1").name
    ('r1.router', 'r1')
    """
    return SHIPPED.get(artifact, Path(artifact))


def with_routers(settings: Settings) -> Settings:
    """Return the settings with a card and a policy for every router that is there.

    The card of the router ``NAME`` is ``NAME-router``, of the kind ``router``; its policy is
    called ``NAME``. What the file itself says under one of these names stands.
    """
    cards = {card.id for card in settings.pool}
    joining = [
        CardSettings(
            id=f"{name}-router",
            kind="router",
            description=f"The router model of {router.artifact}.",
            price=router.price,
            backend={"name": "router_model", **_artifact(router)},
        )
        for name, router in _there(settings)
        if f"{name}-router" not in cards
    ]
    policies: dict[str, Any] = {
        name: {"name": "trained", **_artifact(router), "router": f"{name}-router"}
        for name, router in _there(settings)
    }
    if not policies:
        return settings
    update = {"pool": (*settings.pool, *joining), "policies": policies | settings.policies}
    return settings.model_copy(update=update)


def left_out(settings: Settings) -> dict[str, str]:
    """Return why routers of `settings` cannot be asked, by name."""
    there = {name for name, _ in _there(settings)}
    return {
        name: _WITHOUT.format(router.artifact, folder=SHIPPED[router.artifact])
        for name, router in settings.routers.items()
        if name not in there
    }


def why_not(name: str) -> str | None:
    """Return why the policy `name`, which is not configured, cannot be asked.

    `None`: no router of this name comes with polyroute.
    """
    if name not in SHIPPED:
        return None
    if not SHIPPED[name].is_dir():
        return _WITHOUT.format(name, folder=SHIPPED[name])
    return (
        f"the router {name!r} comes with polyroute, but is not in this configuration; add: "
        f"routers: {{{name}: {{artifact: {name}}}}}"
    )


_WITHOUT = (
    "the trained router {0!r} is not part of this installation: there is no folder {folder}; train "
    "one (polyroute train r1 --help), and give its folder as the 'artifact' under 'routers'"
)


def _there(settings: Settings) -> Iterator[tuple[str, RouterSettings]]:
    for name, router in settings.routers.items():
        if router.artifact not in SHIPPED or SHIPPED[router.artifact].is_dir():
            yield name, router


def _artifact(router: RouterSettings) -> dict[str, Any]:
    spec: dict[str, Any] = {"artifact": router.artifact}
    return spec if router.digest is None else {**spec, "digest": router.digest}
