import sys

import numpy as np
import pytest

from polyroute.errors import ConfigError
from polyroute.estimators.graph import Graph
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import State
from polyroute.types import Request

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.slow  # importing torch alone takes seconds

POOL = Pool([ModelCard(id=f"card-{j}") for j in range(3)])


class Rows:
    """An encoder whose texts are row numbers."""

    def __init__(self, rows_NV):
        self.rows_NV = rows_NV.astype(np.float32)

    def fit(self, texts):
        return self

    def encode(self, texts):
        return self.rows_NV[[int(text) for text in texts]]

    def state(self):
        return State()

    def restore(self, state):
        return self


def drawn(count=900, seed=0):
    """Six groups of questions; who is right depends on the group."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((6, 8)) * 2
    group_N = rng.integers(6, size=count)
    rows_NV = centres[group_N] + 0.5 * rng.standard_normal((count, 8))
    chance_NM = rng.uniform(0.05, 0.95, (6, len(POOL)))[group_N]
    target_NM = (rng.random(chance_NM.shape) < chance_NM).astype(float)
    return Rows(rows_NV), [Request.of(str(n)) for n in range(count)], target_NM, chance_NM


def forward(state, rows, above, hold=48):
    """The published formulas for one question, written with torch and loops."""
    known = {k[6:]: torch.tensor(v) for k, v in state.arrays.items() if k.startswith("known.")}
    p = {k[8:]: torch.tensor(v) for k, v in state.arrays.items() if k.startswith("learned.")}
    cosine = torch.nn.functional.cosine_similarity(rows[None], known["rows"])
    near = torch.argsort(-cosine)[:hold]
    heard = torch.zeros(len(p["bias"]), dtype=torch.float64)
    for j in range(len(heard)):
        pairs = [(max(float(cosine[i]), 0.0), float(above[i, j])) for i in near]
        pairs = [(w, y) for w, y in pairs if not np.isnan(y)]
        heard[j] = sum(w * y for w, y in pairs) / (sum(w for w, _ in pairs) + 1)
    cards = [torch.relu(p["card"][j] + known["gradient"][j] @ p["B"]) for j in range(len(heard))]
    message = sum(heard[j] * (cards[j] @ p["C"]) for j in range(len(heard)))
    question = torch.relu(rows @ p["P"] + message)
    logits = [
        p["bias"][j] + question @ (cards[j] @ p["U"]) + p["u"][0] * heard[j]
        for j in range(len(heard))
    ]
    return torch.sigmoid(torch.stack(logits)).numpy()


def test_the_served_forward_pass_is_the_formula_in_torch():
    rows, requests, target_NM, _ = drawn(200)
    target_NM[::7, 1] = np.nan
    fitted = Graph(encoder=rows, epochs=3).fit(requests[:150], target_NM[:150], POOL)
    state = fitted.state()
    new_ND = torch.tensor(fitted._projection(requests[150:155]))
    expected_NM = [forward(state, row, state.arrays["known.above"]) for row in new_ND]
    np.testing.assert_allclose(fitted.predict(requests[150:155], POOL), expected_NM, atol=1e-9)


def test_questions_it_never_saw_are_routed_by_their_group():
    rows, requests, target_NM, chance_NM = drawn()
    fitted = Graph(encoder=rows, epochs=20, rate=0.01).fit(requests[:600], target_NM[:600], POOL)
    assert np.abs(fitted.predict(requests[600:], POOL) - chance_NM[600:]).mean() < 0.1


def test_a_recorded_question_does_not_hear_itself_while_training():
    rng = np.random.default_rng(0)
    rows = Rows(rng.standard_normal((300, 8)))
    requests = [Request.of(str(n)) for n in range(300)]
    noise_NM = rng.integers(2, size=(300, 3)).astype(float)
    fitted = Graph(encoder=rows, neighbours=1, epochs=15, rate=0.01).fit(requests, noise_NM, POOL)
    # had it heard itself, the weight of what is heard would have become large
    assert fitted.state().arrays["learned.u"][0] < 1.5


def test_predicting_needs_no_torch(monkeypatch):
    rows, requests, target_NM, _ = drawn(100)
    fitted = Graph(encoder=rows, epochs=1).fit(requests, target_NM, POOL)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert np.isfinite(fitted.predict(requests[:3], POOL)).all()


@pytest.mark.parametrize(
    "parameters", [{"hidden": 0}, {"neighbours": 0}, {"epochs": 0}, {"rate": 0.0}]
)
def test_a_parameter_out_of_range_is_refused(parameters):
    with pytest.raises(ConfigError):
        Graph(**parameters)
