"""Layers by oneDNN equal torch's own; small ones are left to torch."""

import math
from inspect import unwrap

import pytest
import torch
from torch import nn
from torch.nn import functional

from s2s_lib import onednn
from s2s_lib.batches import pad
from s2s_lib.onednn import Linear, linear, packed_weights, without_onednn
from s2s_lib.recurrent import GRU, RecurrentConfig, RecurrentModel
from s2s_lib.search import n_best
from s2s_lib.transformer import (
    DecoderOnlyModel,
    TransformerConfig,
    TransformerModel,
)
from s2s_lib.vocab import SOS, Vocabulary

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch without oneDNN"
)


@pytest.fixture
def products(monkeypatch):
    """How many products have been made by oneDNN."""
    made, change = [], torch.Tensor.to_mkldnn

    def watched(self, *args):
        made.append(tuple(self.shape))
        return change(self, *args)

    monkeypatch.setattr(torch.Tensor, "to_mkldnn", watched)
    return made


@pytest.fixture
def every(monkeypatch):
    """Products of all sizes suit oneDNN."""
    monkeypatch.setattr(onednn, "FEW", 1)
    monkeypatch.setattr(onednn, "FEW_PACKED", 1)


needs_packing = pytest.mark.skipif(
    not onednn._can_pack(),
    reason="torch without oneDNN, or without its layouts of weights",
)


@pytest.fixture
def layouts(monkeypatch):
    """The weights that have been put into oneDNN's layout."""
    onednn._can_pack()  # which has tried it once
    made, pack = [], onednn._pack

    def watched(weight):
        made.append(tuple(weight.shape))
        return pack(weight)

    monkeypatch.setattr(onednn, "_pack", watched)
    return made


def assert_same(found, wanted, inputs):
    """Equal values and equal gradients, up to rounding."""
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    weights = torch.randn_like(wanted)
    for own, other in zip(
        torch.autograd.grad(
            (found * weights).sum(), inputs, retain_graph=True
        ),
        torch.autograd.grad(
            (wanted * weights).sum(), inputs, retain_graph=True
        ),
        strict=True,
    ):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 7), (5, 7), (3, 1, 7), (2, 3, 4, 7)])
def test_a_product_equals_torchs(every, products, shape, bias):
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    weight = torch.randn(11, 7, requires_grad=True)
    b = torch.randn(11, requires_grad=True) if bias else None
    inputs = [x, weight] + [b] * bias
    found = linear(x, weight, b)
    assert_same(found, functional.linear(x, weight, b), inputs)
    assert products == [(-(-math.prod(shape[:-1]) // 8) * 8, 7)]
    assert found.shape == (*shape[:-1], 11) and found.is_contiguous()


@needs_onednn
def test_parts_and_turned_tensors(every, products):
    """Rows of a larger matrix, transposed ones, stretched ones, columns."""
    whole = torch.randn(12, 5, requires_grad=True)
    turned = torch.randn(5, 12, requires_grad=True)
    one = torch.randn(1, 5, requires_grad=True)
    b = torch.randn(24, requires_grad=True)
    for x, weight, bias, leaves in (
        (turned.T, whole[3:9], None, [turned, whole]),
        (one.expand(4, 5), whole[::2], None, [one, whole]),
        (whole[:, :4], turned[:, 2:6], None, [whole, turned]),
        (whole, turned.T, b[12:], [whole, turned, b]),
    ):
        assert_same(
            linear(x, weight, bias), functional.linear(x, weight, bias), leaves
        )
    assert len(products) == 4


@needs_onednn
def test_a_bias_that_onednn_would_misread_is_left_to_torch(every, products):
    x, weight = torch.randn(3, 5), torch.randn(4, 5)
    for bias in torch.randn(8)[::2], torch.ones(1).expand(4), torch.ones(1):
        found = linear.__wrapped__(x, weight, bias)
        assert torch.equal(found, functional.linear(x, weight, bias))
    assert products == []


@needs_onednn
def test_there_are_few_numbers_of_rows(every, products):
    weight = torch.randn(2, 3)
    for rows in range(1, 4097):
        linear(torch.empty(rows, 3), weight)
    computed = [rows for rows, _ in products]
    assert len(set(computed)) == 16 + 8 * 5 and max(computed) == 4096
    for rows, found in enumerate(computed, 1):
        assert rows <= found < max(rows + 8, rows * 9 / 8)


@needs_onednn
def test_only_what_asks_for_a_gradient_has_one(every):
    x, weight = torch.randn(3, 5), torch.randn(4, 5, requires_grad=True)
    linear(x, weight).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(4, 5))
    assert x.grad is None
    x.requires_grad_()
    linear(x, weight.detach()).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).detach().expand(3, 5))
    with torch.no_grad():
        assert not linear(x, weight).requires_grad


@needs_onednn
def test_large_products_are_made_by_onednn_and_small_ones_are_not(products):
    rows = onednn.FEW // 2**18
    layer = Linear(512, 512, bias=False)
    layer(torch.randn(rows, 512))
    assert products == [(rows, 512)]
    layer(torch.randn(rows - 1, 512))
    layer(torch.randn(0, 512))
    assert len(products) == 1


@needs_onednn
def test_where_onednn_does_not_serve_torch_does(every, products):
    x, weight = torch.randn(3, 5), torch.randn(4, 5)
    wanted = functional.linear(x, weight)
    for kind in (torch.float64, torch.bfloat16):
        found = linear(x.to(kind), weight.to(kind))
        assert found.dtype == kind
        torch.testing.assert_close(found.float(), wanted, rtol=0.05, atol=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16
    assert linear(x[0], weight).shape == (4,)
    assert linear(x.to("meta"), weight.to("meta")).shape == (3, 4)
    for other in (x.double(), weight), (x, weight.double()):
        with pytest.raises(RuntimeError, match="same dtype"):
            linear(*other)
    with without_onednn():
        assert torch.equal(linear(x, weight), wanted)
    assert products == []


@needs_onednn
def test_second_derivatives_without_onednn(every):
    x = torch.randn(3, 5, requires_grad=True)
    layer = Linear(5, 4)

    def slope():
        (found,) = torch.autograd.grad(
            layer(x).square().sum(), x, create_graph=True
        )
        return torch.autograd.grad(found.sum(), x)[0]

    with pytest.raises(RuntimeError):
        slope()
    assert torch.backends.mkldnn.enabled
    with without_onednn():
        weight = layer.weight.detach()
        wanted = (2 * weight.T @ weight).sum(0).expand(3, 5)
        torch.testing.assert_close(slope(), wanted)
    assert torch.backends.mkldnn.enabled
    with pytest.raises(KeyError), without_onednn():
        raise KeyError
    assert torch.backends.mkldnn.enabled


@needs_onednn
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("begun", [True, False])
def test_our_steps_of_a_gru_equal_torchs(
    every, products, layers, steps, begun
):
    torch.manual_seed(0)
    ours = GRU(5, 6, layers, batch_first=True)
    theirs = nn.GRU(5, 6, layers, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, steps, 5, requires_grad=True)
    state = torch.randn(layers, 3, 6, requires_grad=True) if begun else None
    found, last = ours(x, state)
    assert len(products) == layers * (1 + steps)
    wanted, final = theirs(x, state)
    inputs = [x] + [state] * begun
    assert_same(found, wanted, inputs)
    assert_same(last, final, inputs)
    for (name, own), other in zip(
        ours.named_parameters(), theirs.parameters(), strict=True
    ):
        (own,) = torch.autograd.grad(found.sum(), own, retain_graph=True)
        (other,) = torch.autograd.grad(wanted.sum(), other, retain_graph=True)
        torch.testing.assert_close(own, other, msg=name)


@needs_onednn
def test_dropout_between_the_layers_of_a_gru(every):
    torch.manual_seed(0)
    gru = GRU(5, 6, 2, batch_first=True, dropout=0.5)
    x = torch.randn(3, 4, 5)
    first, second = gru(x)[0], gru(x)[0]
    assert not torch.allclose(first, second)
    gru.eval()
    assert torch.equal(gru(x)[0], gru(x)[0])
    plain = nn.GRU(5, 6, 2, batch_first=True)
    plain.load_state_dict(gru.state_dict())
    torch.testing.assert_close(gru(x)[0], plain(x)[0])
    gru.train().dropout = 1.0  # the second layer hears nothing of the first
    states, final = gru(x)
    assert torch.equal(states, gru(torch.randn(3, 4, 5))[0])
    torch.testing.assert_close(final[0], plain(x)[1][0])


@needs_onednn
def test_what_does_not_fit_a_gru_is_refused(every):
    gru = GRU(5, 6, batch_first=True)
    x = torch.randn(3, 4, 5)
    forward = unwrap(GRU.forward)  # as it is without the tests' own checks
    for state in torch.randn(1, 1, 6), torch.randn(2, 3, 6):
        with pytest.raises(RuntimeError, match="Expected hidden size"):
            forward(gru, x, state)
    with pytest.raises(RuntimeError, match="Expected 5, got 4"):
        forward(gru, x[..., :4])


@needs_onednn
@pytest.mark.parametrize(
    "options",
    [{"batch_first": False}, {"bias": False}, {"bidirectional": True}],
)
def test_grus_of_other_kinds_are_torchs(every, products, options):
    options = {"batch_first": True} | options
    ours, theirs = GRU(5, 6, **options), nn.GRU(5, 6, **options)
    theirs.load_state_dict(ours.state_dict())
    x, forward = torch.randn(4, 4, 5), unwrap(GRU.forward)
    assert torch.equal(forward(ours, x)[0], theirs(x)[0])
    assert torch.equal(forward(ours, x[0])[0], theirs(x[0])[0])
    with pytest.raises(RuntimeError, match="larger than 0"):
        forward(GRU(5, 6, batch_first=True), x[:, :0])
    assert products == []


def test_a_small_gru_is_torchs(products):
    torch.manual_seed(0)
    ours = GRU(5, 6, batch_first=True)
    theirs = nn.GRU(5, 6, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 4, 5)
    assert torch.equal(ours(x)[0], theirs(x)[0])
    assert products == []


# Weights that are put into oneDNN's layout once


@needs_packing
@pytest.mark.parametrize("quiet", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 7), (5, 7), (3, 1, 7), (2, 3, 4, 7)])
def test_packed_products_equal_torchs(
    every, products, layouts, shape, bias, quiet
):
    torch.manual_seed(0)
    layer = Linear(7, 11, bias=bias)
    with packed_weights(), quiet():
        for _ in range(3):
            x = torch.randn(shape)
            found = layer(x)
            wanted = functional.linear(x, layer.weight, layer.bias)
            torch.testing.assert_close(found, wanted)
            assert found.shape == (*shape[:-1], 11)
    assert layouts == [(11, 7)] and products == []
    with quiet():
        torch.testing.assert_close(layer(x), wanted)
    assert len(layouts) == len(products) == 1


@needs_packing
def test_packed_parts_and_turned_tensors(every, layouts):
    whole, turned = torch.randn(12, 5), torch.randn(5, 12)
    one, b = torch.randn(1, 5), torch.randn(24)
    with torch.no_grad(), packed_weights():
        for _ in range(2):
            for x, weight, bias in (
                (turned.T, whole[3:9], None),
                (turned.T, whole[4:10], None),
                (one.expand(4, 5), whole[::2], None),
                (whole[:, :4], turned[:, 2:6], None),
                (whole, turned.T, b[12:]),
            ):
                wanted = functional.linear(x, weight, bias)
                torch.testing.assert_close(linear(x, weight, bias), wanted)
    assert len(layouts) == 5


@needs_packing
def test_nothing_is_kept_for_the_next_search(every, layouts):
    layer, x = Linear(7, 11), torch.randn(4, 7)
    for _ in range(3):
        with packed_weights(), torch.no_grad():
            wanted = functional.linear(x, layer.weight, layer.bias)
            torch.testing.assert_close(layer(x), wanted)
        layer.weight.data.mul_(2)  # which raises no version
    assert len(layouts) == 3


@needs_packing
def test_a_weight_in_the_place_of_another(every):
    """What was freed may come back at the same address."""
    x, layer = torch.randn(4, 64), Linear(64, 64)
    with packed_weights(), torch.no_grad():
        for _ in range(50):
            weight = torch.randn(64, 64)
            torch.testing.assert_close(
                linear(x, weight), functional.linear(x, weight)
            )
            layer.weight.data = weight
            del weight
            wanted = functional.linear(x, layer.weight, layer.bias)
            torch.testing.assert_close(layer(x), wanted)
            layer.weight.data = torch.empty(0)


@needs_packing
def test_nothing_is_packed_where_gradients_are_wanted(
    every, layouts, products
):
    layer, x = Linear(7, 11), torch.randn(4, 7, requires_grad=True)
    with packed_weights():
        found = layer(x)
        wanted = functional.linear(x, layer.weight, layer.bias)
        assert_same(found, wanted, [x, layer.weight, layer.bias])
    assert layouts == [] and len(products) == 1


@needs_packing
def test_packing_ends_with_the_outermost(every, layouts):
    layer, x = Linear(7, 11), torch.randn(4, 7)

    @packed_weights()
    def twice():
        return layer(x) + layer(x)

    with torch.no_grad():
        with packed_weights():
            layer(x)
            twice()
            layer(x)
        assert len(layouts) == 1
        twice(), twice()
        assert len(layouts) == 3
        with pytest.raises(KeyError), packed_weights():
            raise KeyError
        layer(x)
    assert len(layouts) == 3 and onednn._packed.get() is None


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
def test_a_torch_that_cannot_pack(every, products, monkeypatch, error):
    def fails(weight):
        raise error

    monkeypatch.setattr(onednn, "_pack", fails)
    onednn._can_pack.cache_clear()
    layer, x = Linear(7, 11), torch.randn(4, 7)
    with packed_weights(), torch.no_grad():
        wanted = functional.linear(x, layer.weight, layer.bias)
        torch.testing.assert_close(layer(x), wanted)
    onednn._can_pack.cache_clear()
    made = [(8, 7)] if torch.backends.mkldnn.is_available() else []
    assert products == made


@needs_packing
def test_smaller_products_are_packed_and_small_ones_are_not(layouts):
    rows, layer = onednn.FEW_PACKED // 2**18, Linear(512, 512, bias=False)
    assert 1 < rows < onednn.FEW // 2**18
    with packed_weights(), torch.no_grad():
        layer(torch.randn(rows - 1, 512))
        assert layouts == []
        layer(torch.randn(rows, 512))
    assert layouts == [(512, 512)]


STACK = TransformerConfig(8, 2, 2, 16)
SEARCHED = {
    "recurrent": lambda n: RecurrentModel(
        n,
        n,
        RecurrentConfig(embedding_size=5, hidden_size=6, attention="additive"),
    ),
    "transformer": lambda n: TransformerModel(n, n, STACK),
    "decoder alone": lambda n: DecoderOnlyModel(n, n, STACK),
}


@needs_packing
@pytest.mark.parametrize("kind", SEARCHED)
@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_search_finds_the_same_with_packed_weights(
    every, layouts, kind, beam_size
):
    torch.manual_seed(0)
    vocab = Vocabulary(["a", "b", "c"])
    model = SEARCHED[kind](len(vocab))
    sentences = [["a", "b"], ["c"], ["b", "b", "c"], ["a"]]

    def search():
        found = n_best(
            model, sentences, vocab, beam_size, max_steps=9, batch_size=1
        )
        return [[h.tokens for h in one] for one in found]

    for _ in range(2):
        before = len(layouts)
        found = search()
        # Four batches of many steps: each matrix once, or each of its parts.
        count = len(layouts) - before
        assert 0 < count <= 3 * sum(p.dim() == 2 for p in model.parameters())
        with without_onednn():
            assert found == search()
        assert len(layouts) == before + count
        torch.nn.init.normal_(model.output.weight)  # as training changes it


@pytest.mark.parametrize("kind", SEARCHED)
def test_a_model_learns_by_steps_after_a_search(every, kind):
    vocab = Vocabulary(["a", "b", "c"])
    model = SEARCHED[kind](len(vocab))
    n_best(model, [["a", "b"], ["c"]], vocab, 2, max_steps=5)
    n_best(model, [["a", "b"], ["c"]], vocab, max_steps=5)
    source, mask = pad([[4, 5], [6]])
    with without_onednn():
        memory = model.encode(source, mask)
        token, state, total = torch.full((2,), SOS), None, 0
        for _ in range(3):
            logits, state, _ = model.step(memory, token, state)
            total = total + logits.logsumexp(1).sum()
        total.backward()
    assert model.output.weight.grad.abs().sum() > 0
