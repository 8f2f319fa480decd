"""A soak: every fault that an upstream can have, then a kill; `benchmarks/gateway/soak.py` runs it.

``POLYROUTE_SOAK_S`` says for how many seconds: 20 by default, 180 in CI, 1800 before a release;
``POLYROUTE_SOAK_PATIENCE``, by how much longer every time limit is on a machine that is busy.
"""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gateway" / "soak.py"
SECONDS = float(os.environ.get("POLYROUTE_SOAK_S", "20"))
PATIENCE = os.environ.get("POLYROUTE_SOAK_PATIENCE", "1")


@pytest.mark.slow
def test_no_request_is_left_without_an_ending_and_no_bill_is_lost():
    done = subprocess.run(
        [sys.executable, PROGRAM, "--seconds", str(SECONDS), "--patience", PATIENCE],
        stdout=subprocess.PIPE,
        timeout=SECONDS + 1500,
        check=False,
    )
    assert done.stdout, "it said why on its error output"
    said = json.loads(done.stdout)
    assert said["broken"] == []
    assert done.returncode == 0
    steady, killed = said["steady"], said["killed"]
    # what is promised was tried: every fault happened, and something was killed
    assert {"5xx", "hang", "cut", "429", "garbage", "lie", "none"} == set(steady["faults"])
    assert steady["records"] >= steady["endings"]["answer"] > 0
    # every record adds up by itself, or something is broken; what came too late is little
    recorded, billed, given_up = (
        Decimal(steady[f"usd_{name}"])
        for name in ("recorded", "billed", "billed_for_what_was_given_up")
    )
    assert recorded + given_up == billed > 0
    assert 0 <= given_up <= billed / 20
    assert killed["finished_before_the_kill"] == (
        killed["of_them_recorded"] + killed["of_them_named_missing"]
    )
