"""Additive scores of many queries with many keys, faster than as written.

`AdditiveScore` has the formula, `v^T tanh(q + k)`. It makes a tensor of
(batch, queries, keys, hidden) numbers and takes the tanh of each. The two
versions here give the same scores, up to rounding, without that tensor:
`factored` for sentences, `grouped` for texts. `for_many` chooses.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# With fewer queries or keys than FEW nothing is saved; from LONG on, `grouped`
# is ahead of `factored`.
FEW, LONG = 4, 128
# Both work on a part at a time, which stays in the processor's cache:
# `factored` on so many numbers, `grouped` on so many pairs. And `grouped`
# takes as many groups at once as there are so many positions in.
BLOCK, TILE, MANY = 1 << 19, 1 << 16, 1 << 14
# So many hidden units are a group.
UNITS = 4
# For |x| below this, exp(2x) and exp(-2x) are normal numbers in float32, and
# stay so when some dozens of them are added.
FINITE = 36.0


def for_many(
    query: Tensor, keys: Tensor
) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """The version for such queries and keys; None if it is the formula.

    Args:
        query, keys: projected, (batch, queries or keys, hidden).

    Returns:
        A function of query, keys and the vector v.
    """
    count = min(query.shape[-2], keys.shape[-2])
    if count < FEW or not query.numel():
        return None
    ends = [end for x in (query, keys) for end in x.detach().aminmax()]
    largest = float(torch.stack(ends).abs().amax())  # NaN if there is one
    if count >= LONG and UNITS * largest < FINITE:
        return grouped
    return factored if largest < FINITE else None


def factored(query: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    """Scores with one exponential per query and key, not per pair."""
    with torch.autocast(query.device.type, enabled=False):
        return _Factored.apply(query, keys, weight)


def grouped(query: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    """Scores by products of matrices, with no exponential per pair."""
    wide = torch.promote_types(query.dtype, torch.float32)
    q, k, v = (x.to(wide) for x in (query, keys, weight))
    if missing := -len(weight) % UNITS:  # a unit of zeros adds nothing
        q, k, v = (functional.pad(x, (0, missing)) for x in (q, k, v))
    q, k, v = (x.unflatten(-1, (-1, UNITS)) for x in (q, k, v))
    q, k = (x.reshape(-1, *x.shape[-3:]).permute(2, 0, 3, 1) for x in (q, k))
    # q, k: (groups, batch, units, positions); v: (groups, units)
    with torch.autocast(query.device.type, enabled=False):
        scores = _Grouped.apply(q, k, v)
    return scores.view(*query.shape[:-1], -1).to(query.dtype)


class _Factored(torch.autograd.Function):
    """`tanh(q + k) = 1 - 2 / (1 + exp(2q) exp(2k))`: the pairs need a product
    and a reciprocal only. They are formed for a block of queries at a time,
    in one buffer that stays in the processor's cache. The backward pass
    forms them again; with u the reciprocal, the derivative of the tanh is
    `4 (u - u^2)`.
    """

    @staticmethod
    def blocks(query: Tensor, keys: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Rows of queries, and their u: (batch, rows, keys, hidden)."""
        wide = torch.promote_types(query.dtype, torch.float32)
        query, keys = (2 * query.to(wide)).exp(), (2 * keys.to(wide)).exp()
        rows = max(1, BLOCK // keys.numel())
        keys, one, buffer = keys[..., None, :, :], query.new_ones(()), None
        blocks = query[..., None, :].split(rows, -3)
        for number, block in enumerate(blocks):
            if buffer is None or buffer.shape[-3] != block.shape[-3]:
                buffer = torch.addcmul(one, block, keys)
            else:
                torch.addcmul(one, block, keys, out=buffer)
            start = number * rows
            yield slice(start, start + rows), buffer.reciprocal_()

    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(query, keys, weight)
        weight = weight.to(torch.promote_types(query.dtype, torch.float32))
        twice = -2 * weight
        scores = [u @ twice for _, u in _Factored.blocks(query, keys)]
        return torch.cat(scores, -2).add_(weight.sum()).to(query.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, keys, weight = ctx.saved_tensors
        with torch.autocast(query.device.type, enabled=False):
            return _Factored.slopes(query, keys, weight, grad)

    @staticmethod
    def slopes(query, keys, weight, grad):
        wide = torch.promote_types(query.dtype, torch.float32)
        grad, scale = grad.to(wide), 4 * weight.to(wide)
        d_query = torch.empty_like(query, dtype=wide)
        d_keys = torch.zeros_like(keys, dtype=wide)
        d_weight = grad.sum() * torch.ones_like(weight, dtype=wide)
        slope = None
        for rows, u in _Factored.blocks(query, keys):
            g = grad[..., rows, :]  # g: (batch, rows, keys)
            d_weight -= 2 * (g.reshape(-1) @ u.flatten(0, -2))
            if slope is None or slope.shape != u.shape:
                slope = torch.empty_like(u)
            torch.addcmul(u, u, u, value=-1, out=slope)
            slope *= g[..., None]
            d_query[..., rows, :] = slope.sum(-2)
            d_keys += slope.sum(-3)
        return (
            (d_query * scale).to(query.dtype),
            (d_keys * scale).to(keys.dtype),
            d_weight.to(weight.dtype),
        )


class _Grouped(torch.autograd.Function):
    """Additive scores by matrix products, a group of hidden units at a time.

    tanh(x) is the mean of a sign that is + with weight exp(x) and - with
    weight exp(-x). So within a group v^T tanh(q + k) is the mean of v^T delta
    over all vectors delta of signs, with weights exp(delta^T q + delta^T k).
    Their sum and the weighted sum are matrix products, in which a query and a
    key have one number for each delta. A pair of them then takes one division
    for a whole group, and no exponential.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # q: (groups, batch, units, queries); k: (groups, batch, units, keys)
        # v: (groups, units)
        ctx.save_for_backward(q, k, v)
        scores = q.new_zeros(q.shape[1], q.shape[3], k.shape[3])
        weights = v @ _signs(v).T  # weights: (groups, signs), v^T delta
        for groups in _Grouped.parts(q, k):
            _Grouped.add(scores, q[groups], k[groups], weights[groups])
        return scores

    @staticmethod
    def parts(q, k):
        """The groups that are taken at once. What one part needs is gone
        before the next one begins."""
        positions = q.shape[1] * (q.shape[3] + k.shape[3])
        return _parts(len(q), max(1, MANY // positions))

    @staticmethod
    def add(scores, q, k, weights):
        """Add what some groups have to say to the scores."""
        a, b, bv = _Grouped.sides(q, k, weights)
        for part, (a_,), (b_, bv_) in _Grouped.tiles(scores, [a], [b, bv]):
            total = torch.zeros_like(part)
            for top, bottom in _Grouped.fractions(a_, b_, bv_):
                total.addcdiv_(top, bottom)
            part += total

    @staticmethod
    def sides(q, k, weights):
        """A number for each delta: of the queries, of the keys, and of the
        keys weighted by v^T delta; (groups, batch, signs, positions)."""
        a, b = _every_sign(q), _every_sign(k)
        return a, b, b * weights[:, None, :, None]

    @staticmethod
    def tiles(pairs, of_queries, of_keys):
        """Some pairs at a time, and what there is of their two sides."""
        batch, queries, keys = pairs.shape
        side = math.isqrt(TILE)
        most = TILE // (min(side, queries) * min(side, keys))
        for some in _parts(batch, most):
            for rows in _parts(queries, side):
                for columns in _parts(keys, side):
                    yield (
                        pairs[some, rows, columns],
                        [x[:, some, :, rows] for x in of_queries],
                        [x[:, some, :, columns] for x in of_keys],
                    )

    @staticmethod
    def fractions(a, b, bv):
        """Group by group: the weighted sums for all pairs; their weights."""
        top, bottom = a.new_empty(2, a.shape[1], a.shape[3], b.shape[3])
        for asked, weights, weighted in zip(a.mT, b, bv, strict=True):
            torch.bmm(asked, weighted, out=top)
            torch.bmm(asked, weights, out=bottom)
            yield top, bottom

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inputs = ctx.saved_tensors
        slopes = [torch.empty_like(x) for x in inputs]
        with torch.autocast(grad.device.type, enabled=False):
            for groups in _Grouped.parts(*inputs[:2]):
                some = _Grouped.slopes(*(x[groups] for x in inputs), grad)
                for slope, part in zip(slopes, some, strict=True):
                    slope[groups] = part
        return tuple(slopes)

    @staticmethod
    def slopes(q, k, v, grad):
        """The gradients of some groups' queries, keys and v."""
        signs = _signs(v)
        weights = v @ signs.T
        a, b, bv = _Grouped.sides(q, k, weights)
        d_a, d_b, d_bv = (torch.zeros_like(x) for x in (a, b, bv))
        for here, (a_, d_a_), (b_, bv_, d_b_, d_bv_) in _Grouped.tiles(
            grad, [a, d_a], [b, bv, d_b, d_bv]
        ):
            here = here.contiguous()
            sums = _Grouped.fractions(a_, b_, bv_)
            sides = a_, b_.mT, bv_.mT, d_a_.mT, d_b_, d_bv_
            for (top, bottom), x, y, yv, d_x, d_y, d_yv in zip(
                sums, *sides, strict=True
            ):
                top /= bottom
                d_top = torch.div(here, bottom, out=bottom)
                d_bottom = top.mul_(d_top)  # its negative
                d_x.baddbmm_(d_top, yv).baddbmm_(d_bottom, y, alpha=-1)
                d_yv.baddbmm_(x, d_top)
                d_y.baddbmm_(x, d_bottom, alpha=-1)
        d_b.addcmul_(d_bv, weights[:, None, :, None])
        d_q = signs.T @ d_a.mul_(a)
        d_k = signs.T @ d_b.mul_(b)
        return d_q, d_k, d_bv.mul_(b).sum((1, 3)) @ signs


def _signs(v: Tensor) -> Tensor:
    """Every delta, in the order of `_every_sign`: (signs, units)."""
    count = v.shape[-1]
    signs = torch.cartesian_prod(*[v.new_tensor([1.0, -1.0])] * count)
    return signs.view(-1, count).flip(1)


def _every_sign(x: Tensor) -> Tensor:
    """exp(delta^T x) for every delta; x and the result go along dim -2."""
    *batch, units, positions = x.shape
    found = x.new_ones(*batch, 2**units, positions)
    for unit, one in enumerate(x.contiguous().exp().split(1, -2)):
        half = found[..., : 2**unit, :]
        torch.div(half, one, out=found[..., 2**unit : 2 ** (unit + 1), :])
        half *= one
    return found


def _parts(count: int, most: int) -> Iterator[slice]:
    """Slices of at most `most` that cover `count`, about equally long."""
    size = math.ceil(count / math.ceil(count / most))
    for start in range(0, count, size):
        yield slice(start, start + size)
