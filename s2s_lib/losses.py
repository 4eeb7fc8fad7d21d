"""What training makes small: the negative log-likelihood of the targets.

The output layer is the widest of a model: it makes a number for each word of
the vocabulary at each position. Where that is much, loss and gradient are
computed for some positions at a time, so that the numbers stay in the
processor's cache and all of them are never in memory together. torch 2.13 has
a function of this kind; the oldest torch that is admitted here has not, and
with its default options it took as long as the loss in one piece.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from s2s_lib.batches import Batch
from s2s_lib.onednn import linear

# Logits that are computed together, in numbers: 4 MB of float32, with
# oneDNN for a moment twice.
CHUNK = 2**20


def masked_cross_entropy(
    logits: Float[Tensor, "batch steps vocabulary"],
    target: Int[Tensor, "batch steps"],
    mask: Bool[Tensor, "batch steps"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood per real token, in nats.

    Padding does not count, neither in the sum nor in the number of tokens.
    With `label_smoothing` e the target is `1 - e` on the true token and `e`
    spread evenly over the vocabulary (`szegedy2016`).
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    return nn.functional.cross_entropy(
        logits[mask].to(wide), target[mask], label_smoothing=label_smoothing
    )


def linear_cross_entropy(
    hidden: Float[Tensor, "positions hidden"],
    layer: nn.Linear,
    target: Int[Tensor, " positions"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of `layer(hidden)`, `CHUNK` logits at a time.

    The value and the gradient are those of `cross_entropy(layer(hidden))` up
    to rounding. The gradient is computed on the way forward, while the
    logits are at hand; it cannot be differentiated again.

    Raises:
        ValueError: if there is not one target for each position.
    """
    if len(hidden) != len(target):
        raise ValueError(
            f"{len(target)} targets for {len(hidden)} positions; give one each"
        )
    weight, bias = layer.weight, layer.bias
    if bias is None:
        bias = weight.new_zeros(len(weight))
    # Mixed precision gives vectors of fewer bits than the weights have.
    weight, bias = (p.to(hidden.dtype) for p in (weight, bias))
    if not torch.is_grad_enabled():
        # The function below is asked for gradients of parameters even here.
        weight, bias = weight.detach(), bias.detach()
    return _LinearCrossEntropy.apply(
        hidden, weight, bias, target, label_smoothing
    )


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, target, smoothing):
        positions, vocabulary = len(hidden), len(weight)
        wanted = any(ctx.needs_input_grad)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total = hidden.new_zeros((), dtype=wide)
        if wanted:
            of_hidden = torch.empty_like(hidden)
            of_weight = torch.zeros_like(weight, dtype=wide)
            of_bias = torch.zeros_like(bias, dtype=wide)
        bias, weight = bias.detach(), weight.detach().requires_grad_(wanted)
        rows = max(1, min(CHUNK // vocabulary, positions))
        for start in range(0, positions, rows):
            part = slice(start, start + rows)
            with torch.autocast(hidden.device.type, enabled=False):
                loss, slopes = _summed(
                    hidden[part], weight, bias, target[part, None], smoothing
                )
            total += loss
            if wanted:
                of_hidden[part] = slopes[0]
                of_weight += slopes[1]
                of_bias += slopes[2]
        if wanted:
            ctx.save_for_backward(
                of_hidden, of_weight.to(weight.dtype), of_bias.to(bias.dtype)
            )
        ctx.positions = positions
        return total / positions

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        scale = gradient / ctx.positions
        parts = (part * scale.to(part.dtype) for part in ctx.saved_tensors)
        return *parts, None, None


def _summed(
    x: Tensor, weight: Tensor, bias: Tensor, true: Tensor, smoothing: float
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The summed loss of some positions; its gradient, if `weight` asks."""
    wanted, vocabulary = weight.requires_grad, len(weight)
    with torch.set_grad_enabled(wanted):
        x = x.detach().requires_grad_(wanted)
        product = linear(x, weight, bias)
    # The gradient of a product needs no logits: they are overwritten.
    wide = torch.promote_types(x.dtype, torch.float32)
    logits = product.detach().to(wide)  # logits: (rows, vocabulary)
    logits -= logits.amax(1, keepdim=True)
    loss = -(1 - smoothing) * logits.gather(1, true).sum()
    if smoothing:
        loss -= smoothing / vocabulary * logits.sum()
    sums = logits.exp_().sum(1, keepdim=True)
    loss += sums.log().sum()
    if not wanted:
        return loss, ()
    # The derivative by each logit: probability minus target.
    change = logits.div_(sums)
    if smoothing:
        change -= smoothing / vocabulary
    change.scatter_add_(1, true, torch.full_like(sums, smoothing - 1))
    of_bias = change.sum(0)
    of_both = torch.autograd.grad(
        product, (x, weight), change.to(product.dtype)
    )
    return loss, (*of_both, of_bias)


def batch_loss(
    model: Any, batch: Batch, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Teacher-forced loss of a batch: mean per real token, in nats."""
    memory = model.encode(batch.source, batch.source_mask)
    hidden, _ = model.hidden(memory, batch.target_in)
    target, mask = batch.target_out, batch.target_mask
    if mask.numel() * model.output.out_features <= CHUNK:
        logits = model.output(hidden)
        return masked_cross_entropy(logits, target, mask, label_smoothing)
    return linear_cross_entropy(
        hidden[mask], model.output, target[mask], label_smoothing
    )
