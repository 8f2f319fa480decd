"""What a pass leaves out, and that it comes to the same."""

import pytest

torch = pytest.importorskip("torch")
scoring = pytest.importorskip("polyroute.train.r1._scoring")

from polyroute.train.r1.adapter import with_adapter  # noqa: E402
from polyroute.train.r1.tiny import tiny_model  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def _rows(alike, lengths):
    draw = torch.Generator().manual_seed(0)
    start = torch.randint(3, 23, (alike,), generator=draw)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(3, 23, (length,), generator=draw)
        row[:alike] = start
    ids[1:, alike] = ids[0, alike] % 20 + 3  # the others go on otherwise than the first
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return ids, mask.long()


def _gradient(model, ids, mask, *, shared, counted):
    """Return the gradient of what the tokens that count are worth, and how many went through."""
    seen = []
    handle = model.get_input_embeddings().register_forward_hook(
        lambda module, given, out: seen.append(given[0].numel())
    )
    model.zero_grad()
    context = scoring.shared_start(model) if shared else torch.enable_grad()
    with context:
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    handle.remove()
    scores = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    (scores * counted[:, 1:]).sum().backward()
    grads = [w.grad.flatten() for w in model.parameters() if w.grad is not None]
    return torch.cat(grads), sum(seen)


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_a_start_that_rows_share_goes_through_once_to_the_same_gradient(adapted, masked):
    model = tiny_model([f"w{k}" for k in range(20)], hidden=16, heads=2).model
    model = with_adapter(model, rank=2) if adapted else model
    ids, mask = _rows(80, [95, 130, 110])
    counted = mask.clone()
    given = mask if masked else None
    whole, all_of_them = _gradient(model, ids, given, shared=False, counted=counted)
    shared, some = _gradient(model, ids, given, shared=True, counted=counted)
    torch.testing.assert_close(shared, whole, atol=2e-4, rtol=1e-4)
    assert all_of_them == 3 * 130
    assert some == 80 + 3 * 50


@pytest.mark.parametrize(("alike", "lengths"), [(20, [95, 130]), (80, [95])])
def test_little_in_common_and_a_row_alone_go_through_as_they_are(alike, lengths):
    model = tiny_model([f"w{k}" for k in range(20)], hidden=16, heads=2).model
    ids, mask = _rows(alike, lengths)
    _, seen = _gradient(model, ids, mask, shared=True, counted=mask)
    assert seen == ids.numel()


def test_rows_that_are_padded_in_front_share_nothing():
    ids, mask = _rows(80, [95, 130])
    ids, mask = ids.flip(1), mask.flip(1)
    assert scoring._in_common(ids, mask) == 0
