"""An estimator that says what it is told, for the policies that decide by estimates."""

import math
from typing import ClassVar, Self

import numpy as np
import pytest

from polyroute.protocols import Method, State


class Told:
    """Predicts the number it was told for each card, whatever the request; NaN for the others."""

    method: ClassVar[Method] = Method(when="pre-generation", what=(), how="supervised")

    def __init__(self, numbers):
        self.numbers = numbers

    def fit(self, requests, target_NM, pool) -> Self:
        return self

    def predict(self, requests, pool):
        row = [self.numbers.get(card.id, math.nan) for card in pool]
        return np.array([row] * len(requests))

    def state(self) -> State:
        return State(values=self.numbers)

    def restore(self, state) -> Self:
        self.numbers = state.values
        return self


@pytest.fixture
def told():
    """Return a function that makes such an estimator: ``told(small=0.4, large=0.9)``."""
    return lambda **numbers: Told(numbers)
