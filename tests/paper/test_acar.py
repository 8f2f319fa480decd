"""ACAR's claims on real recorded answers; arXiv:2602.21231."""

import asyncio
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DEV = ROOT / "../shared/data/dev"


@pytest.fixture(scope="module")
def benchmark():
    return runpy.run_path(str(ROOT / "benchmarks/acar.py"))


def test_the_benchmark_says_what_it_skips_and_why(benchmark, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["acar.py", "--data", str(tmp_path)])
    benchmark["main"]()
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == [
        "skipped zeroeval_gsm",
        "skipped reasoning_gym",
    ]


def test_the_interval_of_a_mean_equals_the_normal_one_on_many_questions(benchmark):
    values = np.random.default_rng(0).random(1000) < 0.7
    mean, low, high = (
        float(part.strip("[],"))
        for part in benchmark["Bootstrap"](1000, 2000).interval(values.astype(float)).split()
    )
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000) * 100
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.3)


@pytest.mark.slow
@pytest.mark.skipif(not DEV.is_dir(), reason="the shared outcome tables are not here")
@pytest.mark.parametrize("name", ["zeroeval_gsm", "reasoning_gym"])
def test_the_more_the_probes_differ_the_more_often_they_are_wrong(benchmark, name):
    extract, setups, _ = benchmark["TABLES"][name]
    recorded = benchmark["Recorded"](benchmark["read_outcomes"](DEV / name), extract)
    for setup in setups(recorded)[1:]:
        questions = benchmark["questions"](recorded, setup, "train")
        run = asyncio.run(benchmark["acar"](recorded, setup, questions, "probe_majority"))
        probes = benchmark["majority"]("", recorded, setup.probes, questions)
        right = [probes.scores[run.sigmas == sigma].mean() for sigma in (0.0, 0.5, 1.0)]
        assert right == sorted(right, reverse=True)
