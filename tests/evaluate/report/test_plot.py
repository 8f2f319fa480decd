import re

import numpy as np
import pytest

from polyroute.evaluate.bootstrap import Interval
from polyroute.evaluate.report.plot import cost_quality, differences, shares
from polyroute.evaluate.summary import CurveRow

NAN = float("nan")


def curve(usd, quality, hull=()):
    return CurveRow(
        name="r", turns=True, knob=tuple(range(len(usd))), usd=usd,
        quality=tuple(Interval(q, q - 0.1, q + 0.1) for q in quality), hull=hull,
        shares=({"a": 0.75, "b": 0.25},) * len(usd), aiq=NAN, perf_gain=NAN, cost_save=NAN,
        pareto_dist=NAN, apgr=NAN, cpt50=NAN, cpt80=NAN, cpt95=NAN,
    )  # fmt: skip


def places(svg):
    return [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg)]


def test_dearer_is_further_right_and_better_is_higher_up():
    first, second, third = places(cost_quality([curve((1, 2, 3), (0.2, 0.5, 0.4))], []))
    assert first[0] < second[0] < third[0]
    assert second[1] < third[1] < first[1]
    assert third[0] - second[0] == pytest.approx(second[0] - first[0], abs=0.2)


def test_a_wide_range_of_costs_has_a_logarithmic_axis_on_which_a_mixture_bends():
    wide = curve((0.001, 0.1, 10), (0.2, 0.3, 0.6), hull=((0.001, 0.2), (10, 0.6)))
    svg = cost_quality([wide], [])
    first, second, third = places(svg)
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.2)
    line = [tuple(map(float, p.split(","))) for p in re.search('points="(.*?)"', svg)[1].split()]
    assert line[0] == pytest.approx(first, abs=0.1)
    assert line[-1] == pytest.approx(third, abs=0.1)
    middle = np.interp((line[0][0] + line[-1][0]) / 2, *zip(*line, strict=True))
    assert middle > (line[0][1] + line[-1][1]) / 2 + 20  # far below the chord


def test_the_bars_of_a_knob_are_as_long_as_the_shares():
    svg = shares(curve((1, 2), (0.1, 0.2)), ["a", "b"])
    wide = [float(w) for w in re.findall(r'<rect[^>]* width="([\d.]+)"', svg)]
    assert wide[0] == pytest.approx(3 * wide[1], rel=0.01)
    assert wide[:2] == wide[2:]


def test_without_costs_or_differences_a_sentence_says_so():
    assert "No cost" in cost_quality([curve((NAN,), (0.5,))], [])
    assert "No difference" in differences([])


@pytest.mark.parametrize("usd", [(0.0, 0.0), (0.0, 1.0), (5.0,), (1e-9, 1e3)])
def test_every_range_can_be_drawn(usd):
    svg = cost_quality(
        [curve(usd, (0.5,) * len(usd), hull=((usd[0], 0.5), (usd[-1] + 1, 0.6)))], []
    )
    assert "nan" not in svg
    assert "inf" not in svg
