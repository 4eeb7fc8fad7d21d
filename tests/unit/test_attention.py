"""Attention: against loops, against D2L, and at its edges."""

import math
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.peers import import_d2l
from s2s_lib import additive, attention
from s2s_lib.attention import (
    SCORES,
    AdditiveScore,
    DotScore,
    GeneralScore,
    LocationScore,
    ScaledDotScore,
    attend,
    dot_score,
    make_score,
    masked_softmax,
    scaled_dot_score,
    select,
)
from s2s_lib.batches import check_source_mask

FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
few = settings(max_examples=25, deadline=None)


def rows_of(mask, shape):
    """The mask as one row per query."""
    return mask.expand(shape).reshape(-1, shape[-1])


def test_a_mask_of_numbers_is_refused():
    """A mask that is added to the scores is another convention. (What is
    wrapped is checked by the tests themselves.)"""
    numbers = torch.ones(2, 3)
    with pytest.raises(TypeError, match=r"boolean.*float32"):
        masked_softmax.__wrapped__(numbers, numbers)
    with pytest.raises(TypeError, match=r"boolean.*float32"):
        check_source_mask.__wrapped__(numbers, numbers)


def test_whole_numbers_are_no_scores():
    """The weights would be whole numbers, too: all of them 0."""
    with pytest.raises(TypeError, match=r"floating-point.*int64"):
        masked_softmax.__wrapped__(torch.tensor([[1, 2, 3]]))


def test_a_mask_belongs_to_its_source():
    source = torch.full((2, 3), 5)
    for mask in (torch.ones(2, 1).bool(), torch.ones(1, 3).bool()):
        with pytest.raises(ValueError, match=r"a mask of shape .* \(2, 3\)"):
            check_source_mask.__wrapped__(source, mask)


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_is_0_on_masked_keys_and_sums_to_1(dtype):
    torch.manual_seed(0)
    scores = (4 * torch.randn(3, 2, 5)).to(dtype)
    mask = torch.arange(5) < torch.tensor([5, 2, 0])[:, None, None]
    weights = masked_softmax(scores, mask)
    assert weights.dtype == dtype
    for row in range(3):
        for query in range(2):
            used = [5, 2, 0][row]
            terms = [math.exp(float(s)) for s in scores[row, query, :used]]
            expected = [term / sum(terms) for term in terms]
            found = weights[row, query].tolist()
            eps = torch.finfo(dtype).eps
            assert found[:used] == pytest.approx(expected, rel=4 * eps)
            assert found[used:] == [0.0] * (5 - used)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [1.0, 6e4])
def test_a_row_with_nothing_to_attend_to(dtype, scale):
    """All weights are 0, and every gradient is a number."""
    torch.manual_seed(0)
    scores = (scale * torch.rand(2, 3, 4)).to(dtype).requires_grad_()
    mask = torch.tensor([[[True] * 4], [[False] * 4]])
    weights = masked_softmax(scores, mask)
    assert not weights[1].any()
    ones = torch.ones(3, dtype=dtype)
    torch.testing.assert_close(weights[0].sum(-1), ones)
    (weights * torch.arange(4)).sum().backward()
    assert bool(scores.grad.isfinite().all())
    assert not scores.grad[1].any()
    if scale == 1.0:
        assert bool(scores.grad[0].any())


def test_huge_scores_and_no_keys():
    huge = torch.tensor([[1e30, -1e30, 1e30], [-3e38, -3e38, 0.0]])
    mask = torch.tensor([True, True, False])
    assert masked_softmax(huge, mask).tolist() == [[1, 0, 0], [0.5, 0.5, 0]]
    assert masked_softmax(torch.zeros(2, 0)).shape == (2, 0)
    context, weights = attend(
        torch.ones(2, 3, 4), torch.ones(2, 0, 4), torch.ones(2, 0, 5)
    )
    assert context.tolist() == torch.zeros(2, 3, 5).tolist()
    assert weights.shape == (2, 3, 0)


def test_a_mask_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(3,\).*\(2, 1, 4\).*broadcasts"):
        masked_softmax(torch.zeros(2, 1, 4), torch.ones(3, dtype=torch.bool))


@st.composite
def asked(draw, least=0):
    """Queries, keys, values and a mask: lengths from 0, batch from 1."""
    batch = draw(st.integers(1, 3))
    queries = draw(st.integers(least, 4))
    keys = draw(st.integers(least, 5))
    size = draw(st.integers(1, 4))
    dtype = draw(st.sampled_from(FLOATS))
    torch.manual_seed(draw(st.integers(0, 2**20)))
    make = torch.randn
    mask = torch.rand(batch, draw(st.sampled_from([1, queries])), keys) < 0.6
    return (
        make(batch, queries, size).to(dtype),
        make(batch, keys, size).to(dtype),
        make(batch, keys, 3).to(dtype),
        mask if mask.shape[1] else None,
    )


@few
@given(asked())
def test_attend_is_the_loop(drawn):
    query, keys, values, mask = drawn
    context, weights = attend(query, keys, values, mask)
    assert context.dtype == weights.dtype == query.dtype
    tolerance = 40 * max(torch.finfo(query.dtype).eps, 1e-7)
    for b in range(len(query)):
        for i in range(query.shape[1]):
            where = range(keys.shape[1])
            if mask is not None:
                row = mask[b, min(i, mask.shape[1] - 1)]
                where = [j for j in where if row[j]]
            total, mean = 0.0, [0.0] * 3
            share = {}
            for j in where:
                products = query[b, i].double() * keys[b, j].double()
                share[j] = math.exp(
                    float(products.sum()) / math.sqrt(query.shape[2])
                )
                total += share[j]
            for j, part in share.items():
                for d in range(3):
                    mean[d] += part / total * float(values[b, j, d])
            assert context[b, i].tolist() == pytest.approx(
                mean, abs=3 * tolerance
            )
            found = weights[b, i].tolist()
            assert found == pytest.approx(
                [
                    share.get(j, 0.0) / max(total, 1e-300)
                    for j in range(len(found))
                ],
                abs=tolerance,
            )
            assert all(
                found[j] == 0 for j in range(len(found)) if j not in share
            )


@few
@given(asked(), st.sampled_from(SCORES))
def test_every_score_and_its_formula(drawn, name):
    query, keys, _, _ = (None if x is None else x.double() for x in drawn)
    score = make_score(name, query.shape[2], keys.shape[2], 3).double()
    projected = score.project_keys(keys)
    energies = score(query, projected).detach()
    assert energies.shape == (*query.shape[:2], keys.shape[1])
    for b in range(len(query)):
        for i in range(query.shape[1]):
            for j in range(keys.shape[1]):
                expected = formula(score, query[b, i], keys[b, j], j).detach()
                assert float(energies[b, i, j]) == pytest.approx(
                    float(expected), abs=1e-12
                )


def formula(score, q, k, j):
    """One energy, from the vectors q and k and the position j of k."""
    if isinstance(score, AdditiveScore):
        w_q, w_k = score.query.weight, score.key.weight
        return score.v.weight[0] @ torch.tanh(w_q @ q + w_k @ k)
    if isinstance(score, GeneralScore):
        return q @ score.key.weight @ k
    if isinstance(score, LocationScore):
        return score.position.weight[j] @ q
    if not isinstance(score, DotScore):
        raise AssertionError(f"no formula for {type(score).__name__}")
    scaled = isinstance(score, ScaledDotScore)
    return q @ k / (math.sqrt(len(q)) if scaled else 1.0)


@pytest.mark.parametrize("name", ["dot", "scaled_dot"])
def test_the_halves_of_a_key_are_added_up(name):
    torch.manual_seed(0)
    query, states = torch.randn(2, 3, 4), torch.randn(2, 5, 8)
    score = make_score(name, 4, 8, 1)
    folded = states[..., :4] + states[..., 4:]
    plain = {"dot": dot_score, "scaled_dot": scaled_dot_score}[name]
    keys = score.project_keys(states)
    torch.testing.assert_close(keys, folded)
    torch.testing.assert_close(score(query, keys), plain(query, folded))
    assert not torch.equal(
        dot_score(query, keys), scaled_dot_score(query, keys)
    )


def test_scores_that_cannot_be_are_refused():
    for sizes in ((4, 6), (4, 2)):
        with pytest.raises(ValueError, match=rf"{sizes[0]}.*not {sizes[1]}"):
            DotScore(*sizes)
    with pytest.raises(ValueError, match=r"one of .*additive.* not 'mlp'"):
        make_score("mlp", 4, 4, 4)
    score = LocationScore(4, max_positions=3)
    assert score(torch.ones(1, 2, 4), torch.ones(1, 3, 9)).shape == (1, 2, 3)
    with pytest.raises(ValueError, match=r"4 positions .* the 3"):
        score(torch.ones(1, 2, 4), torch.ones(1, 4, 9))


def take(monkeypatch, version: str, part: int = 1) -> None:
    """Which version of the additive score; of how many numbers a part is."""
    few, long = {
        "formula": (1 << 40, 1 << 40),
        "factored": (1, 1 << 40),
        "grouped": (1, 1),
    }[version]
    sizes = dict.fromkeys(("BLOCK", "TILE", "MANY"), part)
    for name, value in {"FEW": few, "LONG": long, **sizes}.items():
        monkeypatch.setattr(additive, name, value)


VERSIONS = ["factored", "grouped"]


@pytest.mark.parametrize(
    ("version", "part"),
    [("formula", 1), *product(VERSIONS, [1, 20, 60, 1 << 20])],
)
def test_additive_attention_is_d2ls(monkeypatch, version, part):
    """Context, weights and all gradients, with their weights for ours."""
    d2l = import_d2l()
    take(monkeypatch, version, part)
    torch.manual_seed(0)
    own, peer = AdditiveScore(5, 6, 7), d2l.AdditiveAttention(7, 0.0)
    lengths = torch.tensor([4, 1, 3])
    mask = torch.arange(4) < lengths[:, None, None]
    inputs = [torch.randn(3, 2, 5), torch.randn(3, 4, 6), torch.randn(3, 4, 2)]
    peer(*inputs, lengths)  # makes its layers
    pairs = [(own.query, peer.W_q), (own.key, peer.W_k), (own.v, peer.w_v)]
    for mine, theirs in pairs:
        mine.load_state_dict(theirs.state_dict())
    results = []
    for side in (0, 1):
        q, k, v = leaves = [x.clone().requires_grad_() for x in inputs]
        if side:
            context = peer(q, k, v, lengths)
            weights = peer.attention_weights
        else:
            context, weights = attend(q, own.project_keys(k), v, mask, own)
        (context * torch.arange(12).view(3, 2, 2)).sum().backward()
        grads = [pair[side].weight.grad for pair in pairs]
        results.append([context, weights, *grads, *(x.grad for x in leaves)])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_scaled_dot_attention_is_d2ls_and_torchs():
    d2l = import_d2l()
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 5), torch.randn(3, 4, 5), torch.randn(3, 4, 2)
    lengths = torch.tensor([4, 1, 3])
    mask = torch.arange(4) < lengths[:, None, None]
    peer = d2l.DotProductAttention(0.0)
    context, weights = attend(q, k, v, mask)
    torch.testing.assert_close(context, peer(q, k, v, lengths))
    torch.testing.assert_close(weights, peer.attention_weights)
    torchs = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask
    )
    torch.testing.assert_close(context, torchs)


def test_scaled_dot_products_fit_into_float16():
    query = torch.full((1, 1, 64), 40.0, dtype=torch.float16)
    keys = torch.cat([query, query - 1], 1)
    energies = attention.scaled_dot_score(query, keys)
    assert energies.tolist() == [[[12800.0, 12480.0]]]
    _, weights = attend(query, keys, keys)
    assert weights.tolist() == [[[1.0, 0.0]]]


def everything(score, query, states):
    score.zero_grad()
    leaves = [x.clone().requires_grad_() for x in (query, states)]
    energies = score(leaves[0], score.project_keys(leaves[1]))
    energies.square().sum().backward()
    grads = [p.grad.clone() for p in score.parameters()]
    with torch.no_grad():
        again = score(query, score.project_keys(states))
    return [energies.detach(), again, *grads, *(x.grad for x in leaves)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (0,)])
@pytest.mark.parametrize("shape", [(5, 3), (1, 1), (7, 1)])
@pytest.mark.parametrize("hidden", [3, 4, 9])
def test_faster_versions_are_the_formula(
    version, batch, shape, hidden, monkeypatch
):
    torch.manual_seed(0)
    queries, keys = shape
    query, states = (
        torch.randn(*batch, queries, 4),
        torch.randn(*batch, keys, 6),
    )
    score = AdditiveScore(4, 6, hidden)
    take(monkeypatch, "formula")
    plain = everything(score, query, states)
    for part in (1, 18, 70, 130, 1 << 20):
        take(monkeypatch, version, part)
        mine = everything(score, query, states)
        for one, other in zip(mine, plain, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("queries", "keys", "expected"),
    [
        (1, 500, None),
        (3, 500, None),
        (500, 3, None),
        (4, 500, additive.factored),
        (127, 500, additive.factored),
        (500, 127, additive.factored),
        (128, 128, additive.grouped),
    ],
)
def test_the_number_of_positions_chooses_the_version(queries, keys, expected):
    query, keys = torch.ones(2, queries, 8), torch.ones(2, keys, 8)
    assert additive.for_many(query, keys) is expected
    assert additive.for_many(query[:0], keys[:0]) is None
    large = 9 * query
    if expected is additive.grouped:
        assert additive.for_many(large, keys) is additive.factored
    elif expected:
        assert additive.for_many(large, keys) is expected
    for beyond in (36.0, -500.0, math.inf, math.nan):
        assert additive.for_many(query, beyond * keys) is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("far", [3.0, 8.9, 9.1, 35.9, 36.1, 500.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_projections_saturate_and_never_overflow(
    version, far, dtype, monkeypatch
):
    """Opposite ones cancel: the tanh of q + k is exact, however large."""
    take(monkeypatch, version, 10)
    score = AdditiveScore(1, 1, 4).to(dtype)
    with torch.no_grad():
        for layer in (score.query, score.key):
            layer.weight.fill_(1.0)
        score.v.weight.fill_(0.25)
    near = torch.tensor([-1.0, -0.25, 0.0, 0.5])
    query = torch.full((1, 4, 1), far, dtype=dtype, requires_grad=True)
    states = (near - far).to(dtype)[None, :, None]
    exact = torch.tanh(query.detach().double() + states.double().mT)
    scores = score(query, score.project_keys(states))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(scores.double(), exact, rtol=0, atol=tolerance)
    scores.sum().backward()
    slopes = (1 - exact.square()).sum(-1, keepdim=True)
    torch.testing.assert_close(
        query.grad.double(), slopes, rtol=4 * tolerance, atol=tolerance
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("far", [8.9, 35.9])
def test_projections_of_one_sign_saturate(version, far, sign, monkeypatch):
    """The largest exponentials that there can be."""
    take(monkeypatch, version, 10)
    score = AdditiveScore(1, 1, 4)
    with torch.no_grad():
        for layer in (score.query, score.key):
            layer.weight.fill_(1.0)
        score.v.weight.copy_(torch.tensor([100.0, -300.0, 50.0, 1000.0]))
    query = torch.full((1, 2, 1), sign * far, requires_grad=True)
    scores = score(query, score.project_keys(query))
    assert torch.allclose(scores, torch.full((1, 2, 2), sign * 850.0))
    scores.sum().backward()
    assert torch.allclose(query.grad, torch.zeros(1, 2, 1), atol=0.01)


@pytest.mark.parametrize("version", VERSIONS)
def test_faster_versions_are_exact_under_autocast(version, monkeypatch):
    """Exponentials in bfloat16 would be wrong by a percent."""
    found = []

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function._schema.name in ("aten::bmm", "aten::mv", "aten::mm"):
                found.append({x.dtype for x in args})
            return function(*args, **(kwargs or {}))

    take(monkeypatch, version, 10)
    score = AdditiveScore(4, 4, 8)
    query = torch.randn(2, 5, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        keys = score.project_keys(torch.randn(2, 3, 4))
        projected = score.query(query)
        with Products():
            scores = additive.for_many(projected, keys)(
                projected, keys, score.v.weight[0]
            )
            torch.autograd.grad(scores.sum(), projected)
    assert scores.dtype == projected.dtype == torch.bfloat16
    assert len(found) > 4
    assert all(types == {torch.float32} for types in found)


@pytest.mark.parametrize("version", VERSIONS)
def test_exponentials_are_taken_of_queries_and_keys_not_of_pairs(
    version, monkeypatch
):
    class Exponentials(TorchDispatchMode):
        taken = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function._schema.name in ("aten::exp", "aten::sigmoid_"):
                self.taken += args[0].numel()
            return function(*args, **(kwargs or {}))

    score = AdditiveScore(8, 8, 16)
    query, states = torch.randn(2, 50, 8), torch.randn(2, 70, 8)
    take(monkeypatch, version, 1 << 10)
    with Exponentials() as seen, torch.no_grad():
        score(query, score.project_keys(states))
    assert seen.taken == 2 * (50 + 70) * 16
    take(monkeypatch, "formula")
    with Exponentials() as seen, torch.no_grad():
        score(query[:, :1], score.project_keys(states))
    assert seen.taken == 2 * 1 * 70 * 16


HELD = """
import torch
from benchmarks.attention import peak
from s2s_lib.attention import AdditiveScore, attend

score = AdditiveScore(256, 256, 256)
for length in (64, 256, 1024, 2048):
    query, states, values = torch.randn(3, 1, length, 256)
    mask = torch.arange(length) < length * 3 // 4

    def run():
        attend(query, score.project_keys(states), values, mask, score)

    with torch.no_grad():
        print(length, peak(run))
"""


def test_additive_attention_holds_little_at_once():
    """In a process of its own: the checks of shapes keep what they check."""
    command = [sys.executable, "-c", HELD]
    root = Path(__file__).parents[2]
    run = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=root
    )
    lines = (line.split() for line in run.stdout.splitlines())
    held = {int(length): float(size) for length, size in lines}
    most = {64: 3, 256: 4, 1024: 12, 2048: 37}  # MB
    assert held.keys() == most.keys()
    for length, size in held.items():
        scores = 4e-6 * length**2
        assert scores < size < most[length]


@pytest.mark.parametrize("version", ["formula", *VERSIONS])
@pytest.mark.parametrize(
    ("asking", "asked"),
    [((1,), (3,)), ((3,), (1,)), ((3,), ()), ((), (3,)), ((2, 1), (3,))],
)
def test_queries_or_keys_serve_for_several(
    asking, asked, version, monkeypatch
):
    take(monkeypatch, version, 20)
    torch.manual_seed(0)
    score = AdditiveScore(5, 5, 4)
    query = torch.randn(*asking, 6, 5, requires_grad=True)
    states = torch.randn(*asked, 7, 5, requires_grad=True)
    scores = score(query, score.project_keys(states))
    pairs = (
        score.query(query)[..., None, :] + score.key(states)[..., None, :, :]
    )
    wanted = pairs.tanh() @ score.v.weight[0]
    torch.testing.assert_close(scores, wanted, rtol=1e-4, atol=1e-5)
    weighs = torch.randn_like(wanted)
    for mine, theirs in zip(
        *(
            torch.autograd.grad((x * weighs).sum(), (query, states))
            for x in (scores, wanted)
        ),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_second_derivative_is_refused_rather_than_wrong(
    version, monkeypatch
):
    take(monkeypatch, version)
    score = AdditiveScore(4, 4, 4)
    query = torch.randn(1, 5, 4, requires_grad=True)
    scores = score(query, score.project_keys(torch.randn(1, 5, 4)))
    (slope,) = torch.autograd.grad(
        scores.square().sum(), query, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


class Largest(TorchDispatchMode):
    """The most numbers that one tensor held, backward pass included."""

    most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else [found]:
            if isinstance(one, torch.Tensor):
                held = one.untyped_storage().nbytes() // one.element_size()
                self.most = max(self.most, held)
        return found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_tensor_of_all_pairs_never_exists(version, monkeypatch):
    take(monkeypatch, version, 4000)
    score = AdditiveScore(8, 8, 8)
    query = torch.randn(1, 100, 8, requires_grad=True)
    states = torch.randn(1, 100, 8, requires_grad=True)
    kept = 0

    def keep(tensor):
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with Largest() as seen:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            energies = score(query, score.project_keys(states))
        energies.sum().backward()
    # Of 100 * 100 * 8 numbers: a tile at a time, and the energies.
    assert 4000 <= seen.most <= 100 * 100
    assert kept <= 20_000


@pytest.mark.parametrize(
    ("name", "version"),
    [("additive", "factored"), *((name, "grouped") for name in SCORES)],
)
def test_gradients_are_those_of_the_numbers(name, version, monkeypatch):
    take(monkeypatch, version, 30 if version == "factored" else 4)
    torch.manual_seed(0)
    score = make_score(name, 3, 6, 4).double()
    leaves = [
        torch.randn(2, rows, size, dtype=torch.float64, requires_grad=True)
        for rows, size in ((3, 3), (4, 6))
    ]

    def run(query, states):
        return score(query, score.project_keys(states))

    assert torch.autograd.gradcheck(run, leaves)


WEIGHTS = torch.tensor([[[0.2, 0.0, 0.5, 0.3], [0.0, 0.0, 0.0, 0.0]]])


def test_an_unknown_selection_is_refused():
    with pytest.raises(ValueError, match=r"one of .*'Hard'"):
        select(WEIGHTS, "Hard", False)


def test_soft_selection_leaves_the_weights():
    for training in (False, True):
        assert select(WEIGHTS, "soft", training) is WEIGHTS


@pytest.mark.parametrize("selection", ["hard", "straight_through"])
def test_one_position_is_taken(selection):
    best = select(WEIGHTS, selection, False)
    assert best.tolist() == [[[0, 0, 1, 0], [0, 0, 0, 0]]]
    torch.manual_seed(0)
    many = WEIGHTS.expand(4000, 2, 4)
    drawn = select(many, selection, True)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert (drawn[:, 0].sum(-1) == 1).all()
    assert not drawn[:, 1].any()
    # Four standard deviations of 4000 draws are 0.032 at most.
    share = drawn[:, 0].mean(0)
    torch.testing.assert_close(share, WEIGHTS[0, 0], rtol=0, atol=0.032)
    assert share[1] == 0


@pytest.mark.parametrize("training", [False, True])
def test_gradient_flows_through_the_straight_one_only(training):
    scores = torch.tensor([[[0.3, 2.0, -1.0]]], requires_grad=True)
    values = torch.tensor([1.0, 10.0, 100.0])
    assert not select(scores.softmax(-1), "hard", training).requires_grad
    used = select(scores.softmax(-1), "straight_through", training)
    (used * values).sum().backward()
    assert (scores.grad != 0).all()
    if not training:  # the gradient of the soft weights
        (expected,) = torch.autograd.grad(
            (scores.softmax(-1) * values).sum(), scores
        )
        torch.testing.assert_close(scores.grad, expected)


@pytest.mark.parametrize("dtype", FLOATS[:3])
def test_selection_in_every_type(dtype):
    torch.manual_seed(0)
    scores = torch.randn(50, 2, 6).to(dtype)
    mask = torch.arange(6) < 4
    for selection in ("hard", "straight_through"):
        for training in (False, True):
            weights = masked_softmax(scores, mask)
            used = select(weights, selection, training)
            assert used.dtype == dtype
            assert used.sum(-1).tolist() == [[1.0, 1.0]] * 50
            assert not used[..., 4:].any()
