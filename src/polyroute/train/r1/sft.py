"""The warm start: a router model imitates teachers, on the turns they wrote and nothing else.

The one decision here: a trace becomes tokens as the sampler would have made them, span by span, so
that what is imitated is what can be sampled. The loss is on own turns only; a turn that a teacher
got wrong on purpose is seen, so that the student learns to mend it, and not imitated.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyroute.backends.transformers import Transformers
from polyroute.decision import Route
from polyroute.errors import ConfigError
from polyroute.policies.router_r1 import prompt_of, transcript
from polyroute.trace import Trace
from polyroute.train.r1.recipe import Imitation
from polyroute.train.r1.rl import extra, halved, lora_config
from polyroute.types import Message

__all__ = ["IGNORED", "Lines", "imitate", "lines_of", "order"]

IGNORED = -100
"""Label of a token without loss, as torch's cross-entropy has it."""


_BETA2 = 0.98

_SORTED = 16
"""Batches that are sorted by length together."""


@dataclass(frozen=True, slots=True)
class Lines:
    """One trace as tokens."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    """The tokens that are imitated, in their places; -100 elsewhere."""


def lines_of(trace: Trace, sampler: Transformers) -> Lines:
    """Return a teacher's trace as tokens.

    Parameters
    ----------
    trace : Trace
        Of a `RouterR1` policy; a turn with ``reply.fields["mistake"]`` is not imitated.
    sampler : Transformers
        Around the student: it knows its chat template and tokenizer.
    """
    ids = list(sampler.prompt_ids([Message("user", prompt_of(trace))]))
    labels = [IGNORED] * len(ids)
    imitated = iter(
        "mistake" not in reply.fields
        for step in trace.steps
        if isinstance(step.decision, Route) and step.decision.own
        for reply in step.replies
        if reply.text
    )
    for span in transcript(trace):
        tokens = sampler.encode(span.text)
        ids += tokens
        wanted = span.own and next(imitated)
        labels += tokens if wanted else [IGNORED] * len(tokens)
    return Lines(tuple(ids), tuple(labels))


def imitate(
    model: Any,  # noqa: ANN401 - a causal language model of transformers
    tokenizer: Any,  # noqa: ANN401
    lines: Iterable[Lines],
    recipe: Imitation,
    *,
    folder: Path,
    say: Callable[[int, float], None],
) -> Any:  # noqa: ANN401
    """Train `model` in place on `lines`, and return it (with its adapter, if it has one).

    Parameters
    ----------
    model, tokenizer
        Of transformers.
    lines : iterable of Lines
    recipe : Imitation
        The numbers.
    folder : Path
        The trainer's own.
    say : callable
        Takes the number of a step and its loss, now and then.
    """
    known = [{"input_ids": list(each.ids), "labels": list(each.labels)} for each in lines]
    rows = [known[k] for k in order([len(row["labels"]) for row in known], recipe)]
    trl = extra("trl")
    cuda = extra("torch").cuda.is_available()
    arguments = trl.SFTConfig(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=recipe.batch // recipe.micro_batch,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type={"cosine": "cosine", "constant": "constant_with_warmup"}[recipe.schedule],
        warmup_steps=recipe.warm_up,
        weight_decay=0.0,
        adam_beta2=_BETA2,
        max_length=None,
        logging_steps=max(1, recipe.steps // 50),
        save_strategy="no",
        train_sampling_strategy="sequential",  # `order` is the order
        report_to=[],
        disable_tqdm=True,
        use_cpu=not cuda,
        bf16=halved(recipe.half),
        gradient_checkpointing=cuda,
        loss_type="nll",
        seed=recipe.seed,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    imitator = extra("polyroute.train.r1._imitator")
    trainer = imitator.Imitator(
        model=model,
        args=arguments,
        train_dataset=extra("datasets").Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=None if recipe.lora is None else lora_config(recipe.lora),
        optimizers=(_optimizer(model, recipe), None),
    )
    trainer.remove_callback(extra("transformers").PrinterCallback)
    trainer.add_callback(imitator.Said(say))
    trainer.train()
    return trainer.accelerator.unwrap_model(trainer.model)


def order(lengths: Sequence[int], recipe: Imitation) -> list[int]:
    """Return which trace comes when, for all steps: in a batch they are of about the same length.

    Else much of what is computed is padding. The batches follow one another at random: from the
    longest to the shortest, as the trainer's own grouping by length has them, the steps of a while
    are all of one kind, and less is learnt (``docs/benchmarks/router_r1.md``).

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each trace.
    recipe : Imitation
        Its steps and the size of a batch.

    Returns
    -------
    list of int
        Places in `lengths`, ``steps * batch`` of them; every trace once, before any comes again.

    Raises
    ------
    ConfigError
        If there is no trace.
    """
    if not lengths:
        raise ConfigError("there are no traces to imitate; let imitation.traces be 1 or more")
    draw = random.Random(recipe.seed)
    found: list[int] = []
    wanted = recipe.steps * recipe.batch
    while len(found) < wanted:
        shuffled = draw.sample(range(len(lengths)), len(lengths))
        gap = -len(found) % recipe.batch  # of the batch that is left open
        found += shuffled[:gap]
        batches: list[Sequence[int]] = []
        for some in _parts(shuffled[gap:], _SORTED * recipe.batch):
            batches += _parts(sorted(some, key=lambda k: lengths[k]), recipe.batch)
        short = [batches.pop()] if batches and len(batches[-1]) < recipe.batch else []
        draw.shuffle(batches)
        found += itertools.chain.from_iterable([*batches, *short])
    return found[:wanted]


def _parts(values: Sequence[int], size: int) -> list[Sequence[int]]:
    return [values[k : k + size] for k in range(0, len(values), size)]


def _optimizer(model: Any, recipe: Imitation) -> Any:  # noqa: ANN401 - of torch; the trainer's own: None
    if recipe.optimizer == "adamw":
        return None
    muon = extra("polyroute.train.r1._muon")
    return muon.Muon(model, rate=recipe.learning_rate, beta2=_BETA2)
