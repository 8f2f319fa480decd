"""The real verl takes what we tell it; asked only where its environment is named."""

import os
import subprocess
from pathlib import Path

import pytest

_PYTHON = os.environ.get("POLYROUTE_VERL_PYTHON", "")


@pytest.mark.slow
@pytest.mark.skipif(
    not _PYTHON,
    reason="POLYROUTE_VERL_PYTHON names no interpreter; scripts/verl makes an environment",
)
def test_verl_takes_the_settings_and_plays_the_episodes(tmp_path):
    here = Path(__file__)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "1"}
    program, runs = here.with_name("with_verl.py"), here.parents[4] / "runs"
    done = subprocess.run(
        [_PYTHON, str(program), str(tmp_path), str(runs)],
        env=env, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "episodes, every sampled token" in done.stdout
