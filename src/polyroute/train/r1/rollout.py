"""Episodes to learn from: problems played by a router model, all at once, and what they are worth.

The one decision here: an episode in training is an episode. It goes through `run_episode` with the
policy that will be served, the problem's own candidates and any backend as the router model: one
that samples, a teacher, or the scripted optimum.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from polyroute.backends.by_card import ByCard
from polyroute.backends.transformers import Tokens, Transformers
from polyroute.episode import run_episode
from polyroute.policies.router_r1 import RouterR1
from polyroute.pool import ModelCard, Pool, Price
from polyroute.protocols import Backend
from polyroute.rewards.router_r1 import RouterR1Reward, Terms
from polyroute.tasks.problem import Problem
from polyroute.trace import Trace
from polyroute.train.r1.monitor import Vitals, shares
from polyroute.train.r1.rl import Batch, Sampled
from polyroute.types import Request

__all__ = ["ROUTER", "Game", "Player", "Rollout", "malformed", "vitals"]

ROUTER = ModelCard(id="router", description="The router itself.", price=Price())
"""The card of a router model that runs in this process, where its tokens cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout:
    """One finished episode."""

    problem: Problem
    trace: Trace
    terms: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """What all episodes of a run have in common."""

    policy: RouterR1
    """Its `router` is the id of `card`."""
    reward: RouterR1Reward
    card: ModelCard = ROUTER
    """Of the router model."""

    def pool(self, problem: Problem) -> Pool:
        """Return the candidates of `problem` and the router model."""
        return Pool([*problem.pool, self.card])

    async def play(
        self,
        problems: Sequence[Problem],
        router: Backend,
        *,
        requests: Sequence[Request] | None = None,
        training: bool = False,
    ) -> list[Rollout]:
        """Play all `problems` side by side.

        Parameters
        ----------
        problems : sequence of Problem
        router : Backend
            Carries out the router model's calls.
        requests : sequence of Request, optional
            What is asked in place of the problems' own requests: other ids, seeds, budgets.
        training : bool, default=False
            Let the reward learn from these episodes.
        """
        asked = requests or [problem.request for problem in problems]
        playing = (self._one(p, r, router) for p, r in zip(problems, asked, strict=True))
        traces = await asyncio.gather(*playing)
        rollouts = []
        for problem, trace in zip(problems, traces, strict=True):
            terms = self.reward(trace, problem.golds, metric=problem.metric, training=training)
            rollouts.append(Rollout(problem=problem, trace=trace, terms=terms))
        return rollouts

    async def _one(self, problem: Problem, request: Request, router: Backend) -> Trace:
        backends = dict.fromkeys(problem.pool.ids, problem.backend)
        backend = ByCard({**backends, self.card.id: router})
        return await run_episode(self.policy, backend, request, self.pool(problem))


class Player:
    """Play the batches of a training run; what `polyroute.train.r1.rl.reinforce` calls.

    Parameters
    ----------
    game : Game
        Its policy samples.
    backend : Transformers
        Around the very model that is trained.
    problems : sequence of Problem
        Taken in their order, batch by batch, from the first again after the last.
    group : int
        Episodes per question.
    seed : int
        With the number of the batch and the place in it, what an episode is sampled by.
    """

    def __init__(
        self,
        game: Game,
        backend: Transformers,
        problems: Sequence[Problem],
        *,
        group: int,
        questions: int,
        seed: int,
    ) -> None:
        self.game = game
        self.backend = backend
        self.problems = problems
        self.group = group
        self.questions = questions
        self.seed = seed
        self._runner = asyncio.Runner()

    def __call__(self, model: Any, number: int, which: slice) -> Batch:  # noqa: ANN401
        """Play the episodes `which` of batch `number`; the backend has the model already."""
        del model
        self.backend.refresh()
        problems, requests = [], []
        for place in range(which.start, which.stop):
            first = number * self.questions
            problem = self.problems[(first + place // self.group) % len(self.problems)]
            seed = int(np.random.SeedSequence([self.seed, number, place]).generate_state(1)[0])
            name = f"{problem.request.id}#{number}.{place}"
            problems.append(problem)
            requests.append(replace(problem.request, id=name, seed=seed >> 1))
        playing = self.game.play(problems, self.backend, requests=requests, training=True)
        rollouts = self._runner.run(playing)
        self.game.reward.step()
        episodes = [self._sampled(rollout) for rollout in rollouts]
        usd = [float(each.terms.usd) for each in rollouts if each.terms.usd is not None]
        facts = {"usd": sum(usd) / max(1, len(usd))}
        return Batch(episodes=episodes, vitals=vitals(rollouts, number), facts=facts)

    def close(self) -> None:
        """Close the event loop of the episodes."""
        self._runner.close()

    def _sampled(self, rollout: Rollout) -> Sampled:
        name = rollout.trace.request.id
        tokens: Tokens = self.backend.session(name)
        self.backend.forget(name)
        return Sampled(
            prompt_ids=tokens.prompt_ids,
            ids=tokens.completion_ids,
            own=[int(own) for own in tokens.mask],
            reward=rollout.terms.total,
        )


def malformed(policy: RouterR1) -> Callable[[Trace], str | None]:
    """Return the check of the policy's own grammar, for the format term of the reward."""

    def check(trace: Trace) -> str | None:
        for turn in policy.turns(trace):
            if not turn.well_formed:
                return turn.invalid or turn.faults[0]
        return None

    return check


def vitals(rollouts: Sequence[Rollout], step: int) -> Vitals:
    """Return what a batch says of the policy."""
    count = len(rollouts)
    return Vitals(
        step=step,
        reward=sum(each.terms.total for each in rollouts) / count,
        outcome=sum(each.terms.outcome for each in rollouts) / count,
        format_rate=sum(each.terms.malformed is None for each in rollouts) / count,
        calls=sum(each.terms.calls for each in rollouts) / count,
        share=shares(each.trace for each in rollouts),
    )
