"""One optimiser to the trainer, Muon and Adam to the weights."""

import copy

import pytest

torch = pytest.importorskip("torch")

from polyroute.train.r1._muon import Muon  # noqa: E402 - needs torch


def _model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Embedding(7, 8), torch.nn.Linear(8, 12), torch.nn.LayerNorm(12)
    )


def _with_gradients(model):
    torch.manual_seed(1)
    model.zero_grad()
    model(torch.tensor([1, 2, 3])).square().sum().backward()
    return model


def test_the_first_step_is_muons_for_matrices_and_adams_for_everything_else():
    model = _with_gradients(_model())
    muons, adams = copy.deepcopy(model), copy.deepcopy(model)
    for mine, other in ((muons, model), (adams, model)):
        for copied, weight in zip(mine.parameters(), other.parameters(), strict=True):
            copied.grad = weight.grad.clone()
    Muon(model, rate=0.01, beta2=0.98).step()
    torch.optim.Muon(
        [muons[1].weight], lr=0.01, weight_decay=0, adjust_lr_fn="match_rms_adamw"
    ).step()
    torch.optim.AdamW(adams.parameters(), lr=0.01, betas=(0.9, 0.98), weight_decay=0).step()
    for name, weight in model.named_parameters():
        reference = muons if name == "1.weight" else adams
        assert torch.equal(weight, reference.get_parameter(name)), name
    assert not torch.equal(model[1].weight, adams[1].weight)


def test_a_schedule_reaches_both_and_no_gradient_moves_nothing():
    model = _with_gradients(_model())
    before = copy.deepcopy(model.state_dict())
    optimizer = Muon(model, rate=0.01, beta2=0.98)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    assert isinstance(optimizer, torch.optim.Optimizer)
    optimizer.step()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name
    optimizer.zero_grad()
    assert all(weight.grad is None for weight in model.parameters())


def test_every_weight_that_learns_is_in_one_part():
    model = _model()
    model[0].weight.requires_grad_(False)
    parts = Muon(model, rate=0.01, beta2=0.98).parts
    held = [w for part in parts for group in part.param_groups for w in group["params"]]
    assert {id(w) for w in held} == {id(w) for w in model.parameters() if w.requires_grad}
    assert len(held) == 4
    assert [w.shape for w in parts[0].param_groups[0]["params"]] == [(12, 8)]
