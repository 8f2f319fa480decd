"""The models that turn texts into vectors, served beside the candidates.

The one decision here: they are a pool of their own. A policy that could choose one for an answer
would choose it, for it is cheap; and the vectors of two of them cannot be compared.
"""

from dataclasses import replace

from polyroute.backends.by_card import ByCard
from polyroute.config import Settings, Setup
from polyroute.gateway.asked import Reader
from polyroute.gateway.catalogue import Catalogue
from polyroute.gateway.endpoint import Gateway
from polyroute.types import JsonObject

__all__ = ["Embedders"]


class Embedders:
    """The embedding models of one server.

    Parameters
    ----------
    setup : Setup
        What is configured.
    """

    def __init__(self, setup: Setup) -> None:
        self._backend = ByCard(setup.embedders)
        self._setup: Setup | None = None
        self._catalogue: Catalogue | None = None
        if setup.embeddings is not None:
            self._setup = replace(
                setup,
                settings=_of_their_own(setup.settings),
                pool=setup.embeddings,
                backends=setup.embedders,
                specs={},
                built={},
            )
            self._catalogue = Catalogue(self._setup)

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return self._setup is not None

    def gateway(self, like: Gateway) -> Gateway:
        """Return what carries their calls out: as `like` does, with its gate and its watchers."""
        if self._setup is None or self._catalogue is None:
            return like
        return replace(
            like,
            reader=Reader(self._setup, self._catalogue),
            backend=self._backend,
            fallback=None,
            memory=None,
        )

    def model(self, name: str) -> JsonObject | None:
        """Return one entry, by id; `None` when there is none."""
        return next((entry for entry in self.models() if entry["id"] == name), None)

    def models(self) -> list[JsonObject]:
        """Return their entries in ``GET /v1/models``."""
        if self._catalogue is None:
            return []
        return [
            {**entry, "polyroute": {**entry["polyroute"], "kind": "embedding"}}
            for entry in self._catalogue.cards()
        ]

    async def close(self) -> None:
        """Close their backends."""
        await self._backend.close()


def _of_their_own(settings: Settings) -> Settings:
    """Return `settings` as those of a server whose pool the embedding models are."""
    cards = settings.embeddings
    names = {name for card in cards for name in (card.id, *card.aliases)}
    declared = {name: one for name, one in settings.fallbacks.items() if name in names}
    return settings.model_copy(update={"pool": cards, "embeddings": (), "fallbacks": declared})
