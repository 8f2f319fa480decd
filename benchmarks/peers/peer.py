"""Train one peer on one table and decide every question of its val split, with the peer's own code.

It runs in the environment of the peers, which has not this project installed. What the peers fetch
from elsewhere is put in front of them: `get_longformer_embedding` and OpenAI's embeddings give the
stored embedding of the prompt, and a call of a model gives an empty answer, since only the choice
of the model is judged. Everything else is theirs, with the hyper-parameters of the configuration
files in their repository. Result or failure goes to a JSON file; what has used up its CPU seconds
is stopped, and that is its result.

    OMP_NUM_THREADS=1 PEERS/bin/python benchmarks/peers/peer.py build/peers/evouna
"""

import argparse
import importlib
import json
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

HPARAMS: dict[str, dict[str, Any]] = {
    "knnrouter": {"n_neighbors": 5, "weights": "uniform", "algorithm": "auto"},
    "mfrouter": {"latent_dim": 128, "lr": 0.001, "epochs": 5, "noise_alpha": 0.0},
    "graphrouter": {},
    "mlprouter": {
        "hidden_layer_sizes": [128, 64], "activation": "relu", "lr": 0.001, "epochs": 100,
        "batch_size": 32, "alpha": 0.0001,
    },
    "svmrouter": {"kernel": "rbf", "C": 1.0, "gamma": "scale", "probability": True},
    "routerdc": {
        "hidden_state_dim": 768, "similarity_function": "cos", "batch_size": 32,
        "training_steps": 500, "learning_rate": 5e-5, "top_k": 3, "last_k": 3, "temperature": 1.0,
        "sample_loss_weight": 0.0, "cluster_loss_weight": 1.0, "H": 3, "n_clusters": 3,
        "gradient_accumulation": 1, "eval_steps": 50, "device": "cpu",
    },
}  # fmt: skip
CLASSES = {
    "knnrouter": ("KNNRouter", "KNNRouterTrainer"),
    "svmrouter": ("SVMRouter", "SVMRouterTrainer"),
    "mlprouter": ("MLPRouter", "MLPTrainer"),
    "mfrouter": ("MFRouter", "MFRouterTrainer"),
    "graphrouter": ("GraphRouter", "GraphTrainer"),
    "routerdc": ("DCRouter", "DCTrainer"),
}
ORDERED = "-ordered"
"""Ends the name of a peer that reads the models of every question from the best to the worst one.

llmrouter-lib learns the first best model of every question: among equals the order of rows decides.
"""
DEFAULT = [
    *HPARAMS,
    "routellm-mf",
    "routellm-released",
    f"knnrouter{ORDERED}",
    f"mfrouter{ORDERED}",
]
ALONE = {"graphrouter": 5}
"""Questions decided one at a time, where that takes long; elsewhere 50."""


class Questions:
    """What `prepare.py` wrote."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "questions.json").read_text("utf-8"))
        arrays = np.load(folder / "questions.npz")
        self.folder = folder
        self.prompts, self.models = about["prompts"], about["models"]
        self.embedding_ND, self.score_NM = arrays["embedding_ND"], arrays["score_NM"]
        self.train = np.flatnonzero(arrays["train_N"])
        self.val = np.flatnonzero(~arrays["train_N"])
        self.row = {prompt: n for n, prompt in enumerate(self.prompts)}


def llmrouter(name: str, questions: Questions, seed: int, scratch: Path) -> dict[str, Any]:
    """Train a router of llmrouter-lib, and return its choices and times."""
    import torch
    import yaml

    name, _, ordered = name.partition("-")
    torch.manual_seed(seed)
    np.random.seed(seed)
    package = importlib.import_module(f"llmrouter.models.{name}")
    module = importlib.import_module(f"llmrouter.models.{name}.router")
    embedding = {p: torch.tensor(questions.embedding_ND[n]) for p, n in questions.row.items()}
    module.get_longformer_embedding = embedding.__getitem__
    module.call_api = lambda *_args, **_kwargs: {"response": ""}
    torch.save(torch.tensor(questions.embedding_ND), scratch / "embeddings.pt")
    routing = scratch / "routing.jsonl"
    rows = (questions.folder / "routing.jsonl").read_text("utf-8")
    routing.write_text(from_the_best(rows, questions) if ordered else rows, "utf-8")
    saved = str(scratch / ("model.pt" if name == "graphrouter" else "model.pkl"))
    hparam = {**HPARAMS[name]}
    if name == "mfrouter":
        hparam["text_dim"] = questions.embedding_ND.shape[1]
    config = {
        "data_path": {
            "routing_data_train": str(routing), "routing_data_test": str(routing),
            "query_embedding_data": str(scratch / "embeddings.pt"),
        },
        "model_path": {
            "ini_model_path": "", "save_model_path": saved, "load_model_path": saved,
            "backbone_model": "microsoft/mdeberta-v3-base",
        },
        "hparam": hparam, "api_endpoint": "http://127.0.0.1:9",
    }  # fmt: skip
    (scratch / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
    router_class, trainer_class = (
        getattr(package, c, None) or getattr(module, c) for c in CLASSES[name]
    )
    began = time.process_time()
    router = router_class(str(scratch / "config.yaml"))
    trainer_class(router).train()
    train_s = time.process_time() - began
    asked = [{"query": questions.prompts[n]} for n in questions.val]
    routed, batch_us = timed(lambda: router.route_batch(asked), len(asked))
    alone = [
        timed(lambda one=one: router.route_single(one), 1)[1]
        for one in asked[: ALONE.get(name, 50)]
    ]
    return {
        "picks": [questions.models.index(row["model_name"]) for row in routed],
        "train_s": train_s, "one_us": float(np.median(alone)), "batch_us": batch_us,
    }  # fmt: skip


def from_the_best(text: str, questions: Questions) -> str:
    """Return the rows of every question sorted by the mean score of their model on train."""
    mean_M = np.nanmean(questions.score_NM[questions.train], axis=0)
    place = {questions.models[m]: k for k, m in enumerate(np.argsort(-mean_M, kind="stable"))}
    rows = [json.loads(line) for line in text.splitlines()]
    rows.sort(key=lambda row: (row["embedding_id"], place[row["model_name"]]))
    return "\n".join(json.dumps(row) for row in rows)


def released(questions: Questions) -> dict[str, Any]:
    """Decide by the weights that RouteLLM released, on OpenAI's embeddings; two models only."""
    os.environ.setdefault("OPENAI_API_KEY", "not-used")  # its import makes a client
    from routellm.routers.routers import MatrixFactorizationRouter

    strong = strong_of_two(questions)
    router = MatrixFactorizationRouter("routellm/mf_gpt4_augmented")
    return decided(router.calculate_strong_win_rate, strong, questions) | {"train_s": 0.0}


def strong_of_two(questions: Questions) -> int:
    """Return which of two models is better on train."""
    return int(np.nanmean(questions.score_NM[questions.train], axis=0).argmax())


def decided(win_rate: Callable[[str], float], strong: int, questions: Questions) -> dict[str, Any]:
    """Return how likely the strong model wins on every question to judge, and what that takes."""
    wins, took = zip(
        *(timed(lambda n=n: win_rate(questions.prompts[n]), 1) for n in questions.val),
        strict=True,
    )
    return {
        "picks": [strong if win >= 0.5 else 1 - strong for win in wins], "wins": list(wins),
        "one_us": float(np.median(took)), "batch_us": float(np.mean(took)),
    }  # fmt: skip


def routellm(questions: Questions, seed: int, scratch: Path) -> dict[str, Any]:
    """Train RouteLLM's matrix factorisation by its own loop; two models only."""
    os.environ.setdefault("OPENAI_API_KEY", "not-used")  # its import makes a client
    import torch
    from routellm.routers.matrix_factorization import model as served
    from routellm.routers.matrix_factorization import train_matrix_factorization as trained

    strong = strong_of_two(questions)
    torch.manual_seed(seed)
    names = ["mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"]
    known = dict(enumerate(names if strong == 1 else names[::-1]))
    lead_N = questions.score_NM[:, 0] - questions.score_NM[:, 1]
    pairs = [
        {
            "model_a": known[0],
            "model_b": known[1],
            "idx": int(n),
            "winner": "model_a" if lead_N[n] > 0 else "model_b",
        }
        for n in questions.train
        if lead_N[n] != 0
    ]
    np.save(scratch / "embeddings.npy", questions.embedding_ND)
    width = questions.embedding_ND.shape[1]
    began = time.process_time()
    net = trained.MFModel_Train(
        dim=128, num_models=len(served.MODEL_IDS), num_prompts=len(questions.prompts),
        text_dim=width, npy_path=str(scratch / "embeddings.npy"),
    )  # fmt: skip
    cut = int(0.95 * len(pairs))
    order = np.random.default_rng(seed).permutation(len(pairs))
    parts = [
        trained.PairwiseDataset([pairs[k] for k in part]) for part in (order[:cut], order[cut:])
    ]
    trained.train_loops(
        net, parts[0].get_dataloaders(64), parts[1].get_dataloaders(1024, shuffle=False),
        lr=3e-4, weight_decay=1e-5, alpha=0.1, num_epochs=100, device="cpu",
    )  # fmt: skip
    train_s = time.process_time() - began
    router = served.MFModel(128, len(served.MODEL_IDS), width, 1, True)
    state = {k: v for k, v in net.state_dict().items() if k != "Q.weight"}
    renamed = {"text_proj.weight": "text_proj.0.weight", "classifier.weight": "classifier.0.weight"}
    router.load_state_dict({renamed.get(k, k): v for k, v in state.items()})

    def create(*, input: list[str], model: str) -> SimpleNamespace:
        row = questions.embedding_ND[questions.row[input[0]]]
        return SimpleNamespace(data=[SimpleNamespace(embedding=row.tolist())])

    served.OPENAI_CLIENT = SimpleNamespace(embeddings=SimpleNamespace(create=create))
    ids = [served.MODEL_IDS[known[strong]], served.MODEL_IDS[known[1 - strong]]]
    return decided(lambda prompt: router.pred_win_rate(*ids, prompt), strong, questions) | {
        "train_s": train_s
    }


def timed(work: Callable[[], Any], count: int) -> tuple[Any, float]:
    """Return what `work` returns, and its CPU microseconds for each of `count`.

    There is one thread, and its clock is the fine one: under a limit on CPU seconds the clock of a
    process goes in steps of milliseconds.
    """
    began = time.thread_time()
    done = work()
    return done, 1e6 * (time.thread_time() - began) / count


def run(peer: str, questions: Questions, out: Path, seed: int, cap_s: int) -> None:
    """Run one peer once, and write what came of it."""
    scratch = out.with_suffix(".files").absolute()
    scratch.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any]

    def stop(*_: object) -> None:
        """Write that the time was over; no `except` of the peer's can get in the way."""
        failure = f"stopped after {time.process_time() - began:.0f} s of CPU"
        write({"failure": failure}, out)
        os._exit(1)

    began = time.process_time()
    signal.signal(signal.SIGXCPU, stop)
    resource.setrlimit(resource.RLIMIT_CPU, (round(began) + cap_s, round(began) + cap_s + 60))
    try:
        if peer == "routellm-released":
            result = released(questions)
        elif peer == "routellm-mf":
            result = routellm(questions, seed, scratch)
        else:
            result = llmrouter(peer, questions, seed, scratch)
    except Exception as error:  # noqa: BLE001 - a failure of a peer is a result
        traceback.print_exc()
        result = {"failure": f"{type(error).__name__}: {error}"[:400]}
    write(result, out)


def write(result: dict[str, Any], out: Path) -> None:
    """Write a result, with the memory that this process held at most."""
    result["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    out.write_text(json.dumps(result), "utf-8")


def main() -> None:
    """Run every peer that has no result yet, each in a process forked after the imports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="tables that prepare.py wrote")
    parser.add_argument("--peers", nargs="+", default=DEFAULT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cap", type=int, default=480, help="CPU seconds that a peer may use")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # else it waits for an answer, again and again
    os.environ |= {
        "TOKENIZERS_PARALLELISM": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    importlib.import_module("llmrouter.models")
    for folder in options.folders:
        questions = Questions(folder)
        for peer in options.peers:
            out = folder / f"{peer}.json"
            two_only = peer.startswith("routellm")
            if out.is_file() or (two_only and len(questions.models) != 2):
                continue
            child = os.fork()
            if child == 0:
                run(peer, questions, out, options.seed, options.cap)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if not out.is_file():  # killed: the hard limit, or the machine's memory was short
                failure = f"killed by signal {os.WTERMSIG(status)}"
                write({"failure": failure}, out)
            print(f"{folder.name} {peer}: {out.read_text('utf-8')[:100]}", flush=True)


if __name__ == "__main__":
    main()
