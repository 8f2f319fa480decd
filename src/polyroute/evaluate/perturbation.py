"""Whether a router's choice survives a prompt that says the same in another spelling.

The one decision here: what is compared is the first choice, before any reply, because no reply to
a perturbed question was ever recorded.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from polyroute.decision import Route
from polyroute.evaluate.harness import request_of
from polyroute.evaluate.metrics.arena import robustness
from polyroute.outcomes import Question
from polyroute.pool import Pool
from polyroute.protocols import Policy
from polyroute.trace import Trace
from polyroute.types import Budget, Message, Request

__all__ = ["KINDS", "choice_robustness", "perturbed"]


def _typos(text: str, rng: random.Random) -> str:
    """Swap two neighbouring letters in about one word of ten."""
    words = text.split(" ")
    for k, word in enumerate(words):
        if len(word) > 3 and word.isalpha() and rng.random() < 0.1:
            at = rng.randrange(1, len(word) - 1)
            words[k] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def _spacing(text: str, rng: random.Random) -> str:
    """Double about one space of ten, and end with a line end."""
    return "".join("  " if c == " " and rng.random() < 0.1 else c for c in text) + "\n"


def _politeness(text: str, rng: random.Random) -> str:
    """Put words around the question that change nothing."""
    before = rng.choice(["Hello! ", "Please answer this: ", "Quick question. "])
    return before + text + rng.choice(["", " Thanks!", " Thank you in advance."])


def _case(text: str, rng: random.Random) -> str:
    """Write the first letters of the lines small, or all letters of one line large."""
    lines = text.split("\n")
    k = rng.randrange(len(lines))
    lines[k] = lines[k].upper() if rng.random() < 0.5 else lines[k][:1].lower() + lines[k][1:]
    return "\n".join(lines)


KINDS: Mapping[str, Callable[[str, random.Random], str]] = {
    "typos": _typos,
    "spacing": _spacing,
    "politeness": _politeness,
    "case": _case,
}
"""How a prompt may be perturbed, by name."""


def perturbed(prompt: str, *, kind: str, seed: int = 0) -> str:
    """Return the prompt in another spelling; the same arguments give the same text.

    Parameters
    ----------
    prompt : str
    kind : str
        One of `KINDS`.
    seed : int, default=0

    Examples
    --------
    >>> perturbed("Capital of Peru?", kind="politeness", seed=1)
    'Hello! Capital of Peru? Thank you in advance.'
    """
    return KINDS[kind](prompt, random.Random(f"{seed} {kind} {prompt}"))


async def choice_robustness(
    policy: Policy, questions: Sequence[Question], pool: Pool, *, budget: Budget, seed: int = 0
) -> float:
    """Return the share of questions for which the first choice survives a perturbation.

    Question k is perturbed in the k-th way, in turn. A policy that draws by ``request.seed`` gets
    the same seed both times, so that its draw is no flip.

    Parameters
    ----------
    policy : Policy
    questions : sequence of Question
        At least one.
    pool : Pool
    budget : Budget
    seed : int, default=0

    Returns
    -------
    float
        0 to 1; see `polyroute.evaluate.metrics.arena.robustness`.

    Raises
    ------
    ConfigError
        If there is no question.
    """
    kinds = list(KINDS)
    before, after = [], []
    for k, question in enumerate(questions):
        request = request_of(question, budget=budget, seed=seed)
        text = perturbed(question.prompt, kind=kinds[k % len(kinds)], seed=seed)
        other = Request(
            id=request.id, messages=(Message("user", text),), budget=budget, seed=request.seed
        )
        before.append(await _choice(policy, request, pool))
        after.append(await _choice(policy, other, pool))
    return robustness(before, after)


async def _choice(policy: Policy, request: Request, pool: Pool) -> str:
    """Return the models that a policy asks first, in order, or that it asks none."""
    decision = await policy.decide(Trace(request, pool))
    if not isinstance(decision, Route):
        return "no call"
    return " + ".join(call.model for call in decision.calls)
