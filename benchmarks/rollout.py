"""What it costs to sample episodes of several turns from a model in this process.

Three ways to sample the same episodes: the backend `transformers` with its cache kept between
turns, the same without, and ``model.generate`` on the whole batch once a turn, which computes
the transcript again each time and waits for the longest row. Every way runs in a process of its
own, with one compute thread. Turns have fixed lengths, so that all three sample as many tokens.

    python benchmarks/rollout.py --model tiny --episodes 64
    python benchmarks/rollout.py --model smollm2 --dtype bfloat16 --episodes 32 --prompt 120
    python benchmarks/rollout.py --model smollm2 --dtype bfloat16 --episodes 32 --group 8
"""

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from polyroute import Call, ModelCard, Pool, Request, Trace
from polyroute.backends.transformers import Loaded, Transformers
from polyroute.backends.transformers.load import load
from polyroute.tasks.atlas.small import ENTITIES, vocabulary
from polyroute.train.r1.tiny import tiny_model

WAYS = ("cache kept", "cache dropped", "generate")
POOL = Pool([ModelCard(id="router")])


def main() -> None:
    """Run every way in a process of its own and print a table, or one way (``--way``)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="tiny, smollm2, a folder or a hub name")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--group", type=int, default=1, help="episodes that share a prompt")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=60, help="tokens of a prompt, about")
    parser.add_argument("--repeat", type=int, default=1, help="batches of episodes; the first is "
                        "not counted when there are several")  # fmt: skip
    parser.add_argument("--way", choices=WAYS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args)))
        return
    print("| way | sampled tokens | CPU s | tokens a CPU second | computed tokens | cache MB | "
          "peak MB |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for way in WAYS:
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        row = json.loads(out.splitlines()[-1])
        print(
            f"| {way} | {row['sampled']} | {row['cpu_s']:.2f} | {row['sampled'] / row['cpu_s']:.0f}"
            f" | {row['computed']} | {row['cache_mb']:.0f} | {row['peak_mb']:.0f} |",
            flush=True,
        )


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Sample all episodes in one way."""
    loaded = (
        tiny_model(vocabulary()) if args.model == "tiny" else load(args.model, dtype=args.dtype)
    )
    plans = [plan(args, k) for k in range(args.episodes)]
    counted = {"sampled": 0, "computed": 0, "cache_mb": 0.0}
    cpu_s = 0.0
    for batch in range(args.repeat):
        start = time.process_time()
        if args.way == "generate":
            one = by_generate(loaded, plans)
        else:
            one = asyncio.run(by_backend(loaded, plans, reuse=args.way == "cache kept"))
        if batch == 0 and args.repeat > 1:
            continue
        cpu_s += time.process_time() - start
        counted = {
            "sampled": counted["sampled"] + one["sampled"],
            "computed": counted["computed"] + one["computed"],
            "cache_mb": max(counted["cache_mb"], one["cache_mb"]),
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**counted, "cpu_s": cpu_s, "peak_mb": peak}


def plan(args: argparse.Namespace, seed: int) -> dict[str, object]:
    """Return the prompt, the lengths of the turns and the observations of one episode."""
    chance, asked = random.Random(seed), random.Random(seed // args.group)
    words = [
        asked.choice(ENTITIES)
        for _ in range(args.prompt if args.model == "tiny" else args.prompt // 2)
    ]
    lengths = [chance.randint(12, 28) for _ in range(args.turns)]
    observed = f"<information>{chance.choice(ENTITIES)}</information>\n"
    return {"seed": seed, "prompt": " ".join(words), "lengths": lengths, "observed": observed}


async def by_backend(
    loaded: Loaded, plans: list[dict[str, object]], *, reuse: bool
) -> dict[str, float]:
    """Sample with the backend, all episodes at once."""
    backend = Transformers.of(loaded.model, loaded.tokenizer, parallel=len(plans))
    backend.reuse = reuse

    async def episode(plan: dict[str, object]) -> int:
        request = Request(
            id=f"q{plan['seed']}", seed=plan["seed"], messages=Request.of(plan["prompt"]).messages
        )
        prefix, sampled = "", 0
        for length in plan["lengths"]:
            params = {"temperature": 1.0, "max_tokens": length, "ignore_eos": True}
            call = Call("router", prefix=prefix, params=params)
            reply = await backend.complete(call, Trace(request, POOL))
            sampled += reply.usage.output
            prefix += reply.text + plan["observed"]
        return sampled

    sampled = sum(await asyncio.gather(*(episode(each) for each in plans)))
    _, computed = backend.work
    result = {"sampled": sampled, "computed": computed, "cache_mb": backend.cache_bytes / 2**20}
    await backend.close()
    return result


def by_generate(loaded: Loaded, plans: list[dict[str, object]]) -> dict[str, float]:
    """Sample with ``model.generate``: every turn of the whole batch from the start."""
    import torch

    backend = Transformers.of(loaded.model, loaded.tokenizer)
    rows = [backend.prompt_ids(Request.of(each["prompt"]).messages) for each in plans]
    sampled = computed = 0
    torch.manual_seed(0)
    for turn in range(len(plans[0]["lengths"])):
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        longest = max(each["lengths"][turn] for each in plans)
        with torch.inference_mode():
            out = loaded.model.generate(
                input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0,
                max_new_tokens=longest, min_new_tokens=longest,
            )  # fmt: skip
        computed += sum(map(len, rows)) + len(rows) * (longest - 1)
        for k, each in enumerate(plans):
            length = each["lengths"][turn]
            rows[k] = out[k, width - len(rows[k]) : width + length].tolist()
            rows[k] += backend.encode(each["observed"])
            sampled += length
    asyncio.run(backend.close())
    return {"sampled": sampled, "computed": computed, "cache_mb": 0.0}


if __name__ == "__main__":
    main()
