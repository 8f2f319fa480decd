"""What a weight on the cost does: the percentile normaliser of Router-R1's code, and a plain share.

A policy chooses for each of many kinds of questions whether to answer itself, to ask a small model
or a large one, and climbs the exact gradient of its expected reward. Mean prices and exact-match
rates are those that the paper's table 4 implies. Costs are log-normal about their means, and kinds
differ in how hard they are: those two are assumptions. Run:

    OMP_NUM_THREADS=1 python benchmarks/cost_knob.py
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyroute.rewards.cost import Reference

NAMES = ("answer itself", "8B", "70B")
MICRO_USD = np.array([5.4, 30.0, 145.0])
"""Mean completion price of an episode."""
RIGHT = np.array([0.215, 0.286, 0.370])
"""Mean exact match."""

_SPREAD = 0.5
"""Standard deviation of the logarithm of an episode's price."""
_STEPS, _RATE, _BATCH = 400, 40.0, 64

Floats = NDArray[np.float64]
Gain = Callable[[Floats], Floats]
"""From the probabilities of choices, shape (K, 3), to the expected reward of each, (K, 3)."""

STARTS = {"large": (0.10, 0.20, 0.70), "even": (1 / 3, 1 / 3, 1 / 3), "small": (0.2, 0.7, 0.1)}


@dataclass(frozen=True)
class End:
    """Where a policy ended: the mix of its choices, and what an episode costs and gets right."""

    mix: Floats
    micro_usd: float
    right: float


def break_even(mix: tuple[float, float, float], dear: int, cheap: int) -> float:
    """Return the weight above which `cheap` beats `dear` in the reference's reward.

    The window holds episodes of the given mix. Infinite where no weight below 1 does it.
    """
    draw = np.random.default_rng(0)
    window = Reference()
    _fill(window, np.array(mix), 1000, draw)
    worth = RIGHT * _cost_rewards(window, draw)
    gap, saved = RIGHT[dear] - RIGHT[cheap], worth[cheap] - worth[dear]
    weight = gap / (gap + saved) if gap + saved > 0 else np.inf
    return float(weight) if weight < 1 else float("inf")


def reference_end(weight: float, start: str, *, kinds: int = 1) -> End:
    """Train with the reference's reward: gated by success, ranked among the last 1,000."""
    draw = np.random.default_rng(0)
    right_KA = _kinds(kinds)
    window = Reference()

    def gain(chance_KA: Floats) -> Floats:
        _fill(window, chance_KA.mean(axis=0), _BATCH, draw)
        return right_KA * ((1 - weight) + weight * _cost_rewards(window, draw))

    return _climb(gain, start, right_KA)


def share_end(worth_micro_usd: float, start: str, *, kinds: int = 1) -> End:
    """Train with ours: right less ``min(1, C / W)``."""
    draw = np.random.default_rng(0)
    right_KA = _kinds(kinds)
    shares = np.minimum(1.0, _prices(draw, 4096) / worth_micro_usd).mean(axis=0)
    return _climb(lambda chance_KA: right_KA - shares, start, right_KA)


def _kinds(kinds: int) -> Floats:
    """Return how often each choice is right on each kind of questions, shape (K, 3)."""
    if kinds == 1:
        return RIGHT[None]
    draw = np.random.default_rng(1)
    hard = draw.normal(0, 1.5, size=(kinds, 1)) + draw.normal(0, 0.7, size=(kinds, 3))
    offset = np.zeros(3)
    for _ in range(200):
        right_KA = 1 / (1 + np.exp(hard - offset))
        offset += 2 * (RIGHT - right_KA.mean(axis=0))
    return np.asarray(right_KA)


def _climb(gain: Gain, start: str, right_KA: Floats) -> End:
    logits_KA = np.tile(np.log(STARTS[start]), (len(right_KA), 1))
    for _ in range(_STEPS):
        chance_KA = _softmax(logits_KA)
        gain_KA = gain(chance_KA)
        mean_K1 = (chance_KA * gain_KA).sum(axis=1, keepdims=True)
        logits_KA += _RATE * chance_KA * (gain_KA - mean_K1)
        logits_KA = np.clip(logits_KA - logits_KA.max(axis=1, keepdims=True), -6, 0)
    chance_KA = _softmax(logits_KA)
    mix = chance_KA.mean(axis=0)
    return End(mix, float(mix @ MICRO_USD), float((chance_KA * right_KA).sum(axis=1).mean()))


def _softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _prices(draw: np.random.Generator, n: int) -> Floats:
    noise = np.exp(draw.normal(-(_SPREAD**2) / 2, _SPREAD, size=(n, 3)))
    return np.asarray(MICRO_USD * noise)


def _fill(window: Reference, mix: Floats, n: int, draw: np.random.Generator) -> None:
    """Put `n` episodes of a mix of choices into the window."""
    choices = draw.choice(3, size=n, p=mix)
    for price in _prices(draw, n)[np.arange(n), choices]:
        window.add(float(price))


def _cost_rewards(window: Reference, draw: np.random.Generator) -> Floats:
    """Return the mean cost reward of each choice: one less `Reference.share`, over many prices."""
    low, high = np.percentile(window.state().arrays["roots"], (5, 95))
    if high - low < 1e-8:
        return np.full(3, 0.5)
    places = (np.sqrt(_prices(draw, 200)) - low) / (high - low)
    return np.asarray(1 - np.clip(places, 0, 1).mean(axis=0))


def main() -> None:
    """Print the tables of `docs/benchmarks/cost_knob.md`."""
    print("| the window holds | 70B to 8B | 8B to answering itself |\n| --- | ---: | ---: |")
    for name, mix in WINDOWS.items():
        print(f"| {name} | {break_even(mix, 2, 1):.2f} | {break_even(mix, 1, 0):.2f} |")
    for kinds in (1, 60):
        print(f"\nkinds of questions: {kinds}")
        for weight in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
            print(_row(f"{weight:.1f}", [reference_end(weight, s, kinds=kinds) for s in STARTS]))
        for worth in (50, 200, 300, 400, 1000, 1250, 1500, 2500, 10_000):
            print(_row(f"{worth:,}", [share_end(worth, s, kinds=kinds) for s in STARTS]))


WINDOWS = {
    "70B only": (0.0, 0.0, 1.0),
    "70 % 70B, 20 % 8B": STARTS["large"],
    "a third each": STARTS["even"],
    "90 % 8B, 10 % itself": (0.1, 0.9, 0.0),
    "8B only": (0.0, 1.0, 0.0),
}


def _row(knob: str, ends: list[End]) -> str:
    cells = [f"{end.micro_usd:.0f} / {end.right:.3f}" for end in ends]
    return f"| {knob} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
