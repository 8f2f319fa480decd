"""verl's agent loop: one row in, one episode of ours out.

Importing this imports verl; verl's workers do it, by the name in the agent loop's settings.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import (
    AgentLoopBase,
    AgentLoopMetrics,
    AgentLoopOutput,
    register,
)

from polyroute.backends.transformers.wording import Wording
from polyroute.errors import ConfigError
from polyroute.train.r1.verl.played import play, scene
from polyroute.train.r1.verl.rows import AGENT
from polyroute.train.r1.verl.served import Generated
from polyroute.types import JsonObject

__all__ = ["RouteAgentLoop"]


class _Server:
    """verl's servers, as one that takes tokens; one name per episode keeps it on one of them."""

    def __init__(self, servers: Any) -> None:  # noqa: ANN401 - verl's client
        self._servers = servers
        self._name = uuid4().hex
        self.steps: dict[str, Any] = {}
        """Between which versions of the weights the turns were sampled."""

    async def generate(self, ids: Sequence[int], params: JsonObject) -> Generated:
        got = await self._servers.generate(
            request_id=self._name, prompt_ids=list(ids), sampling_params=dict(params)
        )
        said = got.extra_fields
        self.steps.setdefault("min_global_steps", said.get("min_global_steps"))
        self.steps["max_global_steps"] = said.get("max_global_steps")
        return Generated(
            ids=got.token_ids, logprobs=got.log_probs, aborted=got.stop_reason == "aborted"
        )


@register(AGENT)
class RouteAgentLoop(AgentLoopBase):  # type: ignore[misc]
    """Play rows as episodes of a setting.

    Parameters
    ----------
    setting : str
        File of the setting.
    given : mapping
        What verl gives every agent loop.
    """

    def __init__(self, *, setting: str, **given: Any) -> None:  # noqa: ANN401
        super().__init__(**given)
        if not Path(setting).is_file():
            raise ConfigError(f"no setting {setting!r} on this machine; share the run's folder")
        self.scene = scene(setting)

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:  # noqa: ANN401
        """Play the episode of a row; see verl's class above."""
        server = _Server(self.server_manager)
        sample = f"{row.get('uid', uuid4().hex)}.{row.get('session_id', 0)}"
        played = await play(
            self.scene,
            row["extra_info"],
            server,
            Wording(self.tokenizer),
            params=sampling_params,
            sample=sample,
        )
        tokens = played.tokens
        with_logprobs = bool(sampling_params.get("logprobs"))
        return AgentLoopOutput(
            prompt_ids=list(tokens.prompt_ids),
            response_ids=list(tokens.completion_ids),
            response_mask=[int(own) for own in tokens.mask],
            response_logprobs=list(tokens.logprobs) if with_logprobs else None,
            reward_score=played.terms.total,
            num_turns=2 * tokens.turns,
            metrics=AgentLoopMetrics(),
            extra_fields={
                "reward_extra_info": played.figures,
                "turn_scores": [],
                "tool_rewards": [],
                **server.steps,
            },
        )
