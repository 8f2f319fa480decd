"""What a step of training costs beside TRL's own loop over several turns, and a turn when serving.

    python benchmarks/router_r1/throughput.py --page docs/benchmarks/router_r1.md RUN
    python benchmarks/router_r1/throughput.py --artifact r1.router --page ... RUN

The same weights (those after imitation), the same questions, the same number of episodes and the
same optimiser in both loops. Ours samples through the episodes that are served; TRL's own loop
(`environment_factory`) takes a search for a call of a tool. Every way runs in a process of its own,
with one compute thread; times are CPU seconds of that process.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import numpy as np
from played import markdown, write_section
from trained import scripted
from worlds import label, problems, world_of

from polyroute import Call, Pool, Trace
from polyroute.backends.by_card import ByCard
from polyroute.backends.transformers import Loaded, Transformers
from polyroute.backends.transformers.load import load
from polyroute.episode import run_episode
from polyroute.policies.router_r1.prompt import instruction, state
from polyroute.protocols import Backend
from polyroute.rewards.outcome import outcome
from polyroute.rewards.router_r1 import RouterR1Reward
from polyroute.tasks.problem import Problem
from polyroute.train.artifact import Trained
from polyroute.train.r1.recipe import Reinforcement
from polyroute.train.r1.rl import reinforce
from polyroute.train.r1.rollout import ROUTER, Game, Player, malformed
from polyroute.train.r1.served import RouterModel

TRAINING = ("ours", "TRL's own loop")
SERVING = ("cache kept", "cache dropped")
WARM = 1
"""First steps that are not counted."""


class Clock:
    """CPU seconds of some of the work, and of everything between two looks."""

    def __init__(self) -> None:
        self.sampling: list[float] = []
        self.steps: list[float] = []
        self.tokens: list[int] = []
        self._last = time.process_time()

    def timed(self, sample: Callable) -> Callable:
        """Return `sample`, its time taken."""

        def run(*args: object, **kwargs: object) -> object:
            start = time.process_time()
            found = sample(*args, **kwargs)
            self.sampling.append(time.process_time() - start)
            return found

        return run

    def step(self) -> None:
        """Note the end of a step."""
        now = time.process_time()
        self.steps.append(now - self._last)
        self._last = now

    def result(self) -> dict[str, float]:
        """Return the means over the steps that count."""
        return {
            "sampling_s": float(np.mean(self.sampling[WARM:])),
            "step_s": float(np.mean(self.steps[WARM:])),
            "tokens": float(np.mean(self.tokens[WARM:])),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def recipe_of(args: argparse.Namespace) -> Reinforcement:
    """Return the numbers of both loops."""
    size = args.questions * args.group
    return Reinforcement(
        steps=args.steps, questions=args.questions, group=args.group, micro_batch=size,
        learning_rate=1e-5, save_every=10_000,
    )  # fmt: skip


def ours(args: argparse.Namespace, loaded: Loaded, asked: Sequence[Problem]) -> dict[str, float]:
    """Train some steps with `polyroute.train.r1`."""
    recipe, clock = recipe_of(args), Clock()
    policy = scripted(max_turns=args.turns, turn_tokens=args.turn_tokens)
    policy = replace(policy, router_params={"temperature": 1.0, "max_tokens": args.turn_tokens})
    game = Game(policy=policy, reward=RouterR1Reward(malformed=malformed(policy)))
    backend = Transformers.of(loaded.model, loaded.tokenizer, max_tokens=args.turn_tokens)
    player = Player(game, backend, asked, group=recipe.group, questions=recipe.questions, seed=0)
    play = clock.timed(player)

    def counted(*what: object) -> object:
        batch = play(*what)
        clock.tokens.append(sum(sum(each.own) for each in batch.episodes))
        return batch

    def curve(_: object) -> bool:
        clock.step()
        return False

    with tempfile.TemporaryDirectory() as folder:
        reinforce(loaded.model, loaded.tokenizer, recipe, counted, folder=Path(folder), curve=curve)
    return clock.result()


# only what follows a call is taken from it: what the model itself wrote stays as it was sampled
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}"
    "{% elif m.role == 'tool' %} <information> {{ m.content }} </information> "
    "{% elif m.tool_calls %}{% for c in m.tool_calls %}<search> {{ c.function.name }}"
    "{% for k, v in c.function.arguments.items() %} {{ k }} {{ v }}{% endfor %} </search>"
    "{% endfor %}"
    "{% else %}{{ m.content }} </answer>{% endif %}{% endfor %}"
)
RESPONSE = {
    "defaults": {"role": "assistant"},
    "start_anchor_pattern": r"(\?|</information>)",
    "fields": {
        "tool_calls": {
            "open_pattern": r"<search>\s*(?P<model>\w+)\s*:\s*",
            "close_pattern": r"\s*</search>\s*",
            "repeats": True,
            "content": "text",
            "transform": {
                "type": "function",
                "function": {
                    "name": "ask",
                    "arguments": {"model": "{model}", "query": "{content}"},
                },
            },
        },
        "content": {"close_pattern": r"</answer>\s*", "content": "text"},
    },
}


def trl_own(args: argparse.Namespace, loaded: Loaded, asked: Sequence[Problem]) -> dict[str, float]:
    """Train as many steps with TRL's trainer alone."""
    import datasets
    import transformers
    import trl

    recipe, clock = recipe_of(args), Clock()
    known = {problem.request.id: problem for problem in asked}
    tokenizer, model = loaded.tokenizer, loaded.model
    tokenizer.chat_template, tokenizer.response_template = TEMPLATE, RESPONSE
    ends = tokenizer.convert_tokens_to_ids(["</search>", "</answer>", tokenizer.eos_token])
    model.generation_config.eos_token_id = ends

    class Candidates:
        """The pool of one question, as a tool."""

        def reset(self, *, id: str, **row: object) -> None:
            self.problem = known[id]
            self.usd, self.asked = 0.0, 0

        def ask(self, model: str, query: str) -> str:
            """Ask a candidate.

            Args:
                model: Its name.
                query: The question.

            Returns:
                What it says.
            """  # noqa: D406, D407 - the form that TRL reads
            self.asked += 1
            budget = self.problem.request.budget
            rounds = min(budget.rounds, args.turns) - self.asked
            left = state(budget, None, rounds, layout="brief")
            if model not in self.problem.pool or rounds < 0:
                return f"Invalid . {left}"
            call, trace = Call(model, query), Trace(self.problem.request, self.problem.pool)
            reply = asyncio.run(self.problem.backend.complete(call, trace))
            self.usd += float(self.problem.pool.card(model).price.cost(reply.usage))
            return f"{model} : {reply.text} {left}"

    def reward(completions: list, environments: list, **_: object) -> list[float]:
        found = []
        for said, env in zip(completions, environments, strict=True):
            last = (said[-1].get("content") or "") if said else ""
            answer = last.rpartition("<answer>")[2].replace("</answer>", "").strip()
            right = outcome(answer, env.problem.golds, env.problem.metric)
            worth = env.problem.request.budget.usd_per_quality
            found.append(right - min(1.0, env.usd / worth))
        return found

    class Watch(transformers.TrainerCallback):
        def on_log(self, config, state, control, **more: object) -> None:  # noqa: ANN001
            if "loss" in more["logs"]:
                length = more["logs"]["completions/mean_length"]
                clock.tokens.append(round(length * recipe.episodes))
                clock.step()

    rows = [
        {"prompt": [{"role": "user", "content": prompt_of(p, args.turns)}], "id": p.request.id}
        for p in asked
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.GRPOTrainer(
            model=model,
            reward_funcs=[reward],
            args=trl.GRPOConfig(
                output_dir=folder, max_steps=recipe.steps,
                per_device_train_batch_size=recipe.episodes, num_generations=recipe.group,
                max_completion_length=args.turns * args.turn_tokens,
                max_tool_calling_iterations=args.turns, learning_rate=recipe.learning_rate,
                lr_scheduler_type="constant", beta=0.0, loss_type="dapo", temperature=1.0,
                shuffle_dataset=False, logging_steps=1, save_strategy="no", report_to=[],
                disable_tqdm=True, use_cpu=True, bf16=False, gradient_checkpointing=False,
                remove_unused_columns=False,
            ),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=tokenizer,
            environment_factory=Candidates,
            callbacks=[Watch()],
        )  # fmt: skip
        trainer._generate = clock.timed(trainer._generate)
        trainer.train()
    return clock.result()


def prompt_of(problem: Problem, turns: int) -> str:
    """Return the prompt that our policy writes."""
    return instruction(
        problem.request, problem.pool, dialect="polyroute", layout="brief", turns=turns
    )


def served(args: argparse.Namespace, way: str) -> dict[str, float]:
    """Ask some questions one after the other, and look at the router model's turns."""
    asked = problems(args.world, "test", args.served)
    if args.artifact is None:
        loaded = load(str(args.runs[-1] / "rl"))
        router: Backend = Transformers.of(loaded.model, loaded.tokenizer)
        router.reuse = way == "cache kept"
        policy = scripted(max_turns=args.turns, turn_tokens=args.turn_tokens)
    else:
        router, policy = RouterModel(str(args.artifact)), Trained(str(args.artifact)).policy
        if way == "cache dropped":
            params = {**policy.router_params, "cache_prompt": False}
            policy = replace(policy, router_params=params)

    async def play() -> tuple[list, float]:
        await one(asked[0])  # loads what is to be loaded
        start = time.process_time()
        traces = [await one(problem) for problem in asked[1:]]
        spent = time.process_time() - start
        await router.close()
        return traces, spent

    async def one(problem: Problem) -> Trace:
        backend = ByCard({**dict.fromkeys(problem.pool.ids, problem.backend), ROUTER.id: router})
        return await run_episode(policy, backend, problem.request, Pool([*problem.pool, ROUTER]))

    traces, spent = asyncio.run(play())
    own = [reply.usage for trace in traces for reply in trace.replies if reply.model == ROUTER.id]
    return {
        "turns": len(own),
        "prompt": float(np.mean([usage.input + usage.cached for usage in own])),
        "computed": float(np.mean([usage.input for usage in own])),
        "written": float(np.mean([usage.output for usage in own])),
        "ms": 1000 * spent / max(1, len(own)),
    }


def main() -> None:
    """Measure every way in a process of its own and write the tables, or one way (``--way``)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--artifact", type=Path, help="a router to serve in place of the RUN's")
    parser.add_argument("--world", help="as --task of `polyroute train r1`; that of the first RUN")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--turn-tokens", type=int, default=48)
    parser.add_argument("--served", type=int, default=41)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--way", choices=(*TRAINING, *SERVING))
    args = parser.parse_args()
    args.world = world_of(args.runs, args.world)
    if args.way in SERVING:
        print(json.dumps(served(args, args.way)))
        return
    if args.way:
        loaded = load(str(args.runs[0] / "sft"))
        asked = problems(args.world, "train", args.questions * args.steps)
        train = ours if args.way == "ours" else trl_own
        print(json.dumps(train(args, loaded, asked)))
        return
    parts = [_serving(args)] if args.artifact else [_training(args), _serving(args)]
    name = "throughput served" if args.artifact else "throughput"
    write_section(args.page, name, "benchmarks/router_r1/throughput.py", "\n\n".join(parts))


def _run(way: str) -> dict[str, float]:
    command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.splitlines()[-1])


def _training(args: argparse.Namespace) -> str:
    found = {way: _run(way) for way in TRAINING}
    rows = [
        [way, f"{f['tokens']:.0f}", f"{f['sampling_s']:.2f}",
         f"{f['tokens'] / f['sampling_s']:.0f}", f"{f['step_s']:.2f}", f"{f['peak_mb']:.0f}"]
        for way, f in found.items()
    ]  # fmt: skip
    a, b = found.values()
    speed = a["tokens"] / a["sampling_s"] / (b["tokens"] / b["sampling_s"])
    per_token = b["step_s"] / b["tokens"] / (a["step_s"] / a["tokens"])
    head = ("loop", "tokens sampled a step", "CPU s sampling", "tokens a CPU second",
            "CPU s a step", "peak MB")  # fmt: skip
    return "\n\n".join(
        [
            f"`{label(args.world)}`, {args.questions * args.group} episodes a step, "
            f"{args.steps - WARM} steps counted; load {os.getloadavg()[0]:.0f} on "
            f"{os.cpu_count()} vCPUs.",
            markdown(head, rows),
            f"Ours samples {speed:.2f} times the tokens in a CPU second; a whole step takes "
            f"{a['step_s'] / b['step_s']:.2f} of the time, {1 / per_token:.2f} for each token that "
            "was sampled.",
        ]
    )


def _serving(args: argparse.Namespace) -> str:
    found = {way: _run(way) for way in SERVING}
    rows = [
        [way, str(f["turns"]), f"{f['prompt']:.0f}", f"{f['computed']:.0f}", f"{f['written']:.0f}",
         f"{f['ms']:.0f}"]
        for way, f in found.items()
    ]  # fmt: skip
    head = ("serving, one question after the other", "turns", "tokens of a turn's prompt",
            "of them computed", "tokens written", "CPU ms a turn")  # fmt: skip
    model = args.artifact.name if args.artifact else "the trained model of the run"
    return f"The turns of {model}, candidates and loop included:\n\n{markdown(head, rows)}"


if __name__ == "__main__":
    main()
