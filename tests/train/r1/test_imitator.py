"""The trainer of the warm start beside TRL's own: the same weights, from fewer scored tokens."""

import pytest

from polyroute.train.r1.recipe import Imitation, Lora
from polyroute.train.r1.sft import IGNORED, Lines, imitate
from polyroute.train.r1.tiny import tiny_model

torch = pytest.importorskip("torch")
imitator = pytest.importorskip("polyroute.train.r1._imitator")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

_LINES = [
    Lines(ids=(3, 4, 5, 6, 7), labels=(IGNORED, IGNORED, 5, IGNORED, 7)),
    Lines(ids=(8, 4, 6), labels=(IGNORED, 4, 6)),
    Lines(ids=(5, 5, 3, 9), labels=(IGNORED, IGNORED, IGNORED, 9)),
]

_LEARNT = 5


def _weights(folder, *, lora=None):
    loaded = tiny_model([f"w{k}" for k in range(20)], hidden=16, heads=2, seed=0)
    recipe = Imitation(steps=4, batch=3, micro_batch=3, lora=lora)
    torch.manual_seed(0)  # of the adapter
    model = imitate(
        loaded.model, loaded.tokenizer, _LINES, recipe, folder=folder, say=lambda step, loss: None
    )
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_it_comes_to_the_weights_that_the_trainer_of_trl_comes_to(lora, monkeypatch, tmp_path):
    ours = _weights(tmp_path / "ours", lora=lora)
    monkeypatch.delattr(imitator.Imitator, "compute_loss")
    theirs = _weights(tmp_path / "theirs", lora=lora)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_no_token_but_those_imitated_goes_through_the_head(scored, tmp_path):
    _weights(tmp_path)
    assert scored == [_LEARNT] * 4
