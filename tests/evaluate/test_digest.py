from dataclasses import dataclass

import numpy as np
import pytest

from polyroute.errors import ConfigError
from polyroute.evaluate.digest import digest
from polyroute.policies.cascade import Cascade
from polyroute.protocols import State


class Learned:
    def __init__(self, weights):
        self.weights = weights


def test_what_was_learned_is_part_of_it():
    one, same, other = (Learned(np.array(w)) for w in ([1.0, 2.0], [1.0, 2.0], [1.0, 2.5]))
    assert digest(one) == digest(same) != digest(other)
    assert digest(np.zeros(4)) != digest(np.zeros((2, 2))) != digest(np.zeros(4, np.float32))
    assert digest(State(arrays={"w": np.zeros(1)})) != digest(State(arrays={"w": np.ones(1)}))


def test_a_function_is_known_by_its_name_and_settings_by_their_values():
    plain = Cascade(order=("a", "b"), accept=bool)
    assert digest(plain) == digest(Cascade(order=("a", "b"), accept=bool))
    assert digest(plain) != digest(Cascade(order=("a", "b"), accept=callable))
    assert digest(plain) != digest(Cascade(order=("b", "a"), accept=bool))


def test_the_order_of_a_mapping_does_not_matter_and_types_do():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert len({digest(x) for x in (1, 1.0, "1", True, [1], None)}) == 6
    assert digest({"x", "y"}) == digest({"y", "x"})


@dataclass
class Ring:
    inner: object = None


def test_what_holds_itself_is_refused():
    ring = Ring()
    ring.inner = ring
    with pytest.raises(ConfigError, match="itself"):
        digest(ring)
