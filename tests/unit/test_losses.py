"""The loss in chunks equals the loss in one piece, gradient included."""

import weakref

import pytest
import torch
from torch import nn

from s2s_lib import losses, onednn
from s2s_lib.batches import EncodedPair, collate
from s2s_lib.losses import batch_loss, linear_cross_entropy
from s2s_lib.recurrent import RecurrentConfig, RecurrentModel
from s2s_lib.transformer import TransformerConfig, TransformerModel

WORDS = 23


def problem(positions, dtype=torch.float64):
    torch.manual_seed(0)
    layer = nn.Linear(6, WORDS, dtype=dtype)
    hidden = torch.randn(positions, 6, dtype=dtype, requires_grad=True)
    return layer, hidden, torch.randint(0, WORDS, (positions,))


def gradients(loss, layer, hidden):
    return torch.autograd.grad(3 * loss, [hidden, *layer.parameters()])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("chunk", [1, WORDS * 2, WORDS * 5 + 3, 10**6])
def test_chunks_give_loss_and_gradient_of_the_whole(
    monkeypatch, chunk, smoothing
):
    monkeypatch.setattr(losses, "CHUNK", chunk)
    layer, hidden, target = problem(11)
    whole = nn.functional.cross_entropy(
        layer(hidden), target, label_smoothing=smoothing
    )
    ours = linear_cross_entropy(hidden, layer, target, smoothing)
    # The sum is kept in float32.
    assert ours.item() == pytest.approx(whole.item(), rel=1e-6)
    for got, wanted in zip(
        gradients(ours, layer, hidden),
        gradients(whole, layer, hidden),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-7)


def test_chunks_are_all_that_is_in_memory(monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", WORDS * 4)
    layer, hidden, target = problem(50, torch.float32)
    shapes, made = [], []
    product = losses.linear

    def watched(*args):
        assert not any(old() is not None for old in made)
        found = product(*args)
        shapes.append(tuple(found.shape))
        made.append(weakref.ref(found.untyped_storage()))
        return found

    monkeypatch.setattr(losses, "linear", watched)
    linear_cross_entropy(hidden, layer, target).backward()
    assert shapes == [(4, WORDS)] * 12 + [(2, WORDS)]


def test_no_gradient_is_computed_where_none_is_wanted(monkeypatch):
    """Of the parameters neither, though these do ask for theirs."""
    hidden, layer = torch.randn(7, 4), torch.nn.Linear(4, 5)
    target = torch.arange(7) % 5
    wanted = linear_cross_entropy(hidden, layer, target)
    monkeypatch.delattr(torch.autograd, "grad")  # makes the gradients
    with pytest.raises(AttributeError):
        linear_cross_entropy(hidden, layer, target)
    with torch.no_grad():
        found = linear_cross_entropy(hidden, layer, target)
    assert torch.equal(found, wanted) and not found.requires_grad


@pytest.mark.parametrize("few", [1, 10**9])
def test_the_loss_is_exact_under_autocast_and_with_onednn(monkeypatch, few):
    monkeypatch.setattr(onednn, "FEW", few)
    monkeypatch.setattr(losses, "CHUNK", WORDS * 5)
    layer, hidden, target = problem(11, torch.float32)
    whole = nn.functional.cross_entropy(layer(hidden), target)
    with torch.autocast("cpu", torch.bfloat16):
        ours = linear_cross_entropy(hidden, layer, target)
    torch.testing.assert_close(ours, whole)
    for got, wanted in zip(
        gradients(ours, layer, hidden),
        gradients(whole, layer, hidden),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_large_logits_neither_overflow_nor_vanish():
    layer, hidden, target = problem(5, torch.float32)
    with torch.no_grad():
        hidden *= 1e4
    ours = linear_cross_entropy(hidden, layer, target)
    whole = nn.functional.cross_entropy(layer(hidden), target)
    torch.testing.assert_close(ours, whole)
    assert all(g.isfinite().all() for g in gradients(ours, layer, hidden))


def test_nan_is_not_hidden():
    layer, hidden, target = problem(5, torch.float32)
    with torch.no_grad():
        hidden[2, 3] = torch.nan
    assert linear_cross_entropy(hidden, layer, target).isnan()


def test_half_precision_vectors():
    layer, hidden, target = problem(8, torch.float32)
    ours = linear_cross_entropy(hidden.bfloat16(), layer, target)
    whole = nn.functional.cross_entropy(layer(hidden), target)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, whole, rtol=2e-2, atol=2e-2)
    for got, wanted in zip(
        gradients(ours, layer, hidden),
        gradients(whole, layer, hidden),
        strict=True,
    ):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, wanted, rtol=0.1, atol=2e-2)


@pytest.mark.parametrize(
    "model",
    [
        RecurrentModel(WORDS, WORDS, RecurrentConfig(hidden_size=8)),
        RecurrentModel(
            WORDS,
            WORDS,
            RecurrentConfig(hidden_size=8, attention="dot", query="after"),
        ),
        TransformerModel(
            WORDS,
            WORDS,
            TransformerConfig(8, 2, 1, 8, shared_embeddings=True),
        ),
    ],
    ids=["plain", "attention", "transformer"],
)
def test_a_batch_in_chunks_is_the_batch(monkeypatch, model):
    pairs = [([5, 6, 2], [7, 2]), ([9, 2], [8, 8, 9, 2]), ([4, 2], [2])]
    batch = collate([EncodedPair(*pair) for pair in pairs])

    def run():
        model.zero_grad()
        loss = batch_loss(model, batch, 0.1)
        loss.backward()
        return [loss.detach(), *(p.grad for p in model.parameters())]

    whole = run()
    assert all(gradient is not None for gradient in whole)
    monkeypatch.setattr(losses, "CHUNK", 2 * WORDS)
    for got, wanted in zip(run(), whole, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_each_position_needs_a_target():
    layer = nn.Linear(8, 5)
    with pytest.raises(ValueError, match="4 targets for 6 positions"):
        linear_cross_entropy.__wrapped__(  # the tests check shapes as well
            torch.randn(6, 8), layer, torch.zeros(4, dtype=torch.long)
        )


@pytest.mark.parametrize("bias", [True, False])
def test_double_precision_and_no_bias(bias, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", 10)
    layer = nn.Linear(8, 5, bias=bias).double()
    hidden = torch.randn(6, 8, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 5, (6,))
    leaves = [hidden, *layer.parameters()]
    found = linear_cross_entropy(hidden, layer, target)
    wanted = torch.nn.functional.cross_entropy(layer(hidden), target)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(
        *(torch.autograd.grad(loss, leaves) for loss in (found, wanted)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-12)
