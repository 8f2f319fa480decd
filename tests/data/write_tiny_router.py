"""Writes `tiny_router`: a greedy policy over means, for the pool of the contract tests.

.venv/bin/python tests/data/write_tiny_router.py
"""

from pathlib import Path

import numpy as np

from polyroute import ModelCard, Pool, Request
from polyroute.spec import construct
from polyroute.train.artifact import Fitted, save
from polyroute.train.fit import in_full

SPEC = in_full("policies", {"name": "greedy", "quality": "mean"})
POOL = Pool([ModelCard(id="small"), ModelCard(id="large")])

if __name__ == "__main__":
    policy = construct("policies", SPEC, where="policy")
    policy.quality.fit([Request.of("a"), Request.of("b")], np.array([[0.4, 1], [0.6, 0.5]]), POOL)
    fitted = Fitted(policy=policy, spec=SPEC, pool=POOL)
    save(Path(__file__).with_name("tiny_router"), fitted, created_at="2026-11-22T00:00:00+00:00")
