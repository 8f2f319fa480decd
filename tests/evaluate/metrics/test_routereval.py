import math

import numpy as np
import pytest

from polyroute.evaluate.metrics.routereval import (
    mean_score,
    predicted_entropy,
    value_over_best,
)


def test_entropy_of_softmaxed_predictions_by_hand():
    row = [math.log(1), math.log(1), math.log(2)]  # shares 1/4, 1/4, 1/2: 1.5 bits
    assert predicted_entropy([row]) == pytest.approx(1.5)
    assert predicted_entropy([row, [0, 0, 0]]) == pytest.approx((1.5 + math.log2(3)) / 2)


def test_a_sure_router_has_no_entropy_and_an_unknown_card_no_part_in_it():
    assert predicted_entropy([[1000.0, 0.0]]) == pytest.approx(0)
    assert predicted_entropy([[0.4, 0.4, np.nan]]) == pytest.approx(1)


def test_value_over_best_is_a_ratio_of_means():
    assert mean_score([1, 0, 1, 1]) == 0.75
    assert value_over_best([1, 0, 1, 1], best_single=0.6) == pytest.approx(1.25)
