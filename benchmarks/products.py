"""Layers with large products of matrices: torch's own, and ours."""

from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.timing import Row, compare
from s2s_lib.onednn import Linear, packed_weights
from s2s_lib.recurrent import GRU

# Rows, inputs, outputs: one step of a search, and the states of a batch.
LINEAR = (
    (64, 512, 256),
    (64, 256, 6000),
    (320, 256, 6000),
    (2048, 128, 256),
    (2048, 256, 256),
)
# Sentences, steps, size: in training, and one step of a search.
LOOPS = ((128, 14, 256), (320, 1, 256))


def rows() -> Iterator[Row]:
    """Measure one row after the other; each checks that both agree."""
    for count, size, outputs in LINEAR:
        yield from _both_ways(
            f"linear layer, {count:,} rows, {size} to {outputs:,}",
            nn.Linear(size, outputs),
            Linear(size, outputs),
            torch.randn(count, size, requires_grad=True),
        )
    for batch, steps, size in LOOPS:
        kept = {"batch_first": True}
        yield from _both_ways(
            f"GRU, {batch} sentences, {steps} step{'s' * (steps > 1)}, {size}",
            _States(nn.GRU(size, size, **kept)),
            _States(GRU(size, size, **kept)),
            torch.randn(batch, steps, size, requires_grad=True),
        )


class _States(nn.Module):
    """The states of a loop, without the last ones once more."""

    def __init__(self, loop: nn.Module):
        super().__init__()
        self.loop = loop

    def forward(self, x):
        return self.loop(x)[0]


def _both_ways(
    work: str, theirs: nn.Module, ours: nn.Module, x: torch.Tensor
) -> Iterator[Row]:
    ours.load_state_dict(theirs.state_dict())
    weights = torch.randn_like(theirs(x))

    def learn(layer):
        return torch.autograd.grad(layer(x), [x, *layer.parameters()], weights)

    for own, other in zip(
        (ours(x), *learn(ours)), (theirs(x), *learn(theirs)), strict=True
    ):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-3)

    @torch.no_grad()
    def read(layer):
        return layer(x)

    with packed_weights():
        torch.testing.assert_close(
            read(ours), read(theirs), rtol=1e-3, atol=1e-3
        )

    for what, run in (("forward", read), ("forward and backward", learn)):
        yield compare(
            f"{work}, {what}",
            "torch.nn",
            lambda run=run: run(theirs),
            lambda run=run: run(ours),
            "outputs and all gradients",
        )
    with packed_weights():
        row = compare(
            f"{work}, forward, weights packed",
            "torch.nn",
            lambda: read(theirs),
            lambda: read(ours),
            "outputs",
        )
    yield row
