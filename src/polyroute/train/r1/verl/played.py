"""One row of verl, played: from a setting and a row to tokens, mask, reward and figures."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from msgspec.structs import replace

from polyroute.backends.transformers import Tokens
from polyroute.backends.transformers.wording import Wording
from polyroute.errors import BackendError
from polyroute.rewards.router_r1 import Terms
from polyroute.train.r1.rollout import Game
from polyroute.train.r1.setting import Setting, read_setting
from polyroute.train.r1.verl.rows import problem_of
from polyroute.train.r1.verl.served import Served, TokenServer
from polyroute.types import JsonObject

__all__ = ["Played", "Scene", "play", "scene"]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What all episodes of a process have in common."""

    setting: Setting
    game: Game


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Played:
    """One finished episode."""

    tokens: Tokens
    terms: Terms

    @property
    def figures(self) -> dict[str, float]:
        """What is logged of the episode: the same names whatever happened."""
        usd = self.terms.usd
        return {
            "outcome": self.terms.outcome,
            "well_formed": float(self.terms.malformed is None),
            "calls": float(self.terms.calls),
            "cost": self.terms.cost,
            "usd": float("nan") if usd is None else float(usd),
            "turns": float(self.tokens.turns),
        }


@lru_cache(maxsize=4)
def scene(setting_file: str) -> Scene:
    """Return the scene of a setting's file, the same object each time.

    Raises
    ------
    ConfigError
        As `polyroute.train.r1.setting.read_setting`.
    """
    setting = read_setting(Path(setting_file))
    return Scene(setting, setting.game())


async def play(
    staged: Scene,
    row: JsonObject,
    server: TokenServer,
    wording: Wording,
    *,
    params: JsonObject,
    sample: str,
) -> Played:
    """Play the episode of a row.

    Parameters
    ----------
    staged : Scene
    row : mapping
        Its ``extra_info``.
    server : TokenServer
        Answers the router model's turns.
    wording : Wording
        Of the router model's tokenizer.
    params : mapping
        How the trainer samples.
    sample : str
        Which of the row's episodes this is; candidates that draw by the request's seed draw
        anew for another.

    Raises
    ------
    ConfigError
        If the row is not of this setting.
    BackendError
        If the router model was never heard: no server, or a prompt that is too long.
    """
    problem = problem_of(staged.setting, row)
    asked = problem.request
    digest = hashlib.sha256(f"{asked.seed}|{sample}".encode()).digest()
    request = replace(asked, id=f"{asked.id}#{sample}", seed=int.from_bytes(digest[:4], "big") >> 1)
    served = Served(
        server,
        wording,
        params,
        prompt_tokens=staged.setting.prompt_tokens,
        reply_tokens=staged.setting.reply_tokens,
    )
    (rollout,) = await staged.game.play(
        [problem], served, requests=[request], training=row["split"] == "train"
    )
    tokens = served.tokens()
    if tokens is None:
        failures = [reply.failure.message for reply in rollout.trace.replies if reply.failure]
        raise BackendError(
            f"the router model said nothing about {asked.id!r}: {'; '.join(failures)[:300]}"
        )
    return Played(tokens=tokens, terms=rollout.terms)
