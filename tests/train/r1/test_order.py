"""In which order traces are imitated."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.errors import ConfigError
from polyroute.train.r1.recipe import Imitation
from polyroute.train.r1.sft import order


@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=100),
    steps=st.integers(1, 20),
    batch=st.integers(1, 16),
)
def test_every_trace_comes_once_before_any_comes_again(lengths, steps, batch):
    found = order(lengths, Imitation(steps=steps, batch=batch))
    assert len(found) == steps * batch
    for begin in range(0, len(found), len(lengths)):
        part = Counter(found[begin : begin + len(lengths)])
        assert max(part.values()) == 1


@pytest.mark.parametrize("traces", [3_200, 1_001])
def test_batches_are_of_one_length_and_follow_one_another_at_random(traces):
    draw = random.Random(0)
    lengths = [draw.randint(60, 160) for _ in range(traces)]
    found = order(lengths, Imitation(steps=100, batch=32))
    batches = [[lengths[k] for k in found[b : b + 32]] for b in range(0, 3_200, 32)]
    padded = sum(32 * max(batch) for batch in batches)
    assert padded < 1.06 * sum(map(sum, batches))  # unsorted: 1.44 times
    longest = [max(batch) for batch in batches]
    falls = sum(b < a for a, b in itertools.pairwise(longest))
    assert 35 < falls < 65  # of 99; sorted by length it would be nearly all or none


def test_nothing_to_imitate_is_an_error():
    with pytest.raises(ConfigError, match="no traces to imitate"):
        order([], Imitation())
