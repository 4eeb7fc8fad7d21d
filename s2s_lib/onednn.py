"""Layers of torch whose large products are made by the library oneDNN.

On a CPU torch leaves products of matrices to MKL. On the AMD processor where
it was measured, MKL takes twice as long as oneDNN, which torch has for
convolutions, and for tensors in oneDNN's own layout. So the input is put
into that layout, and the product taken out of it. Results are the same up to
rounding. In training a layer then keeps input and output once more. A search
multiplies by the same weights step after step; for it they are put into
oneDNN's layout once, see `packed_weights`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# Products of fewer multiplications are left to torch: the change of layout
# costs more than it saves. The second holds in `packed_weights`.
FEW, FEW_PACKED = 2**23, 2**21
# Inside `packed_weights`: the weights in oneDNN's layout, by where they lie.
_packed: ContextVar[dict | None] = ContextVar("packed", default=None)


def linear(
    x: Float[Tensor, "*batch input"],
    weight: Float[Tensor, "output input"],
    bias: Float[Tensor, " output"] | None = None,
) -> Float[Tensor, "*batch output"]:
    """`x @ weight.T + bias`, as `torch.nn.functional.linear` has it.

    By oneDNN if the product is large (in `packed_weights` a smaller one is
    large), in float32, on a CPU and not in `without_onednn`. What oneDNN made
    cannot be differentiated twice, and anomaly detection and `torch.func` do
    not know it.
    """
    fit = x.shape[-1] == weight.shape[1] and x.dtype == weight.dtype
    if bias is not None:  # oneDNN takes a contiguous one for granted
        fit &= bias.shape == weight.shape[:1] and bias.dtype == x.dtype
        fit &= bias.is_contiguous()
    if not (fit and suits(x, x.numel() * len(weight))):
        return functional.linear(x, weight, bias)
    flat = x.flatten(0, -2)
    rows = len(flat)
    if missing := -rows % _step(rows):
        flat = functional.pad(flat, (0, 0, 0, missing))
    if _packing():
        product = _by_packed(flat, weight, bias)
    else:
        product = functional.linear(flat.to_mkldnn(), weight, bias).to_dense()
    return product[:rows].unflatten(0, x.shape[:-1])


@contextmanager
def packed_weights() -> Iterator[None]:
    """For many products with the same weights, as a search has them.

    Each weight is put into oneDNN's layout at its first product, which
    copies it; the copies are gone afterwards. The weights must not change
    meanwhile. Inside another one it goes on with that one's copies; where
    gradients are wanted it does nothing.
    """
    if _packed.get() is not None or not _can_pack():
        yield
        return
    token = _packed.set({})
    try:
        yield
    finally:
        _packed.reset(token)


def _packing() -> bool:
    return _packed.get() is not None and not torch.is_grad_enabled()


def _by_packed(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    layouts = _packed.get()
    place = weight.data_ptr(), weight.shape, weight.stride()
    if place not in layouts:
        # Its memory is kept: another weight might come to lie there.
        layouts[place] = _pack(weight.contiguous()), weight.detach()
    return _multiply(x.contiguous(), layouts[place][0], bias)


# Operations that torch has for its compiler and promises to nobody else.


def _pack(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight)


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


@cache
def _can_pack() -> bool:
    one = torch.ones(1, 1)
    try:
        return bool(_multiply(one, _pack(one), None) == one)
    except (AttributeError, RuntimeError, TypeError):
        return False  # another torch, or one without oneDNN


def _step(rows: int) -> int:
    """Of what the number of rows is to be a multiple.

    oneDNN writes code for each number of rows that it meets, and keeps it:
    that takes a millisecond or so, and up to a megabyte. So the last rows
    may be zeros: less than 8, or than one in eight.
    """
    return 1 << max(3, rows.bit_length() - 4)


def suits(x: Tensor, multiplications: int) -> bool:
    """Whether a product of `x` with weights is one for oneDNN."""
    return (
        multiplications >= (FEW_PACKED if _packing() else FEW)
        and x.dim() > 1
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
    )


@contextmanager
def without_onednn() -> Iterator[None]:
    """All products by torch's usual library for a while.

    For what knows its operations only, such as a counter of them, and for
    what `linear` says. It sets `torch.backends.mkldnn.enabled`, for all
    threads.
    """
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


class Linear(nn.Linear):
    """`torch.nn.Linear`, computed by `linear`."""

    def forward(
        self, x: Float[Tensor, "*batch input"]
    ) -> Float[Tensor, "*batch output"]:
        return linear(x, self.weight, self.bias)
