"""Part II: additive and dot-product attention, in time and in memory."""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from benchmarks.peers import import_d2l
from benchmarks.timing import Row, compare
from s2s_lib.attention import AdditiveScore, attend

SIZE = 256  # of queries, keys and hidden units, batch 1
# What additive attention was to reach from 256 positions on, forward and with
# the gradient; its memory was to be a tenth of D2L's.
MARKS = {False: 13.0, True: 7.0}
MEMORY_MARK = 0.1
Parts = tuple[Callable[[], object], Callable[[], object]]


def rows() -> Iterator[tuple[Row, float, float]]:
    """A row, and the peak memory of peer and ours in MB."""
    for length in (64, 256, 1024, 2048):
        for learn in (False, True):
            if length == 2048 and learn:
                continue
            theirs, ours = additive(length, learn)
            yield _measure(
                "additive", "D2L 1.0.3", length, theirs, ours, learn
            )
    for length in (64, 256, 1024, 2048):
        ours, peers = dot(length)
        for peer, theirs in peers.items():
            yield _measure("scaled dot", peer, length, theirs, ours, False)


def _measure(name, peer, length, theirs, ours, learn):
    what = "forward and backward" if learn else "forward"
    row = compare(
        f"{name} attention, {length} by {length}, {what}",
        peer,
        theirs,
        ours,
        "context" + (" and gradients" if learn else ""),
        repeats=2 if length > 256 else 5,
        mark=MARKS[learn] if name == "additive" and length > 64 else None,
    )
    return row, peak(theirs), peak(ours)


def peak(run: Callable[[], object]) -> float:
    """The most memory that tensors made by `run` held at once, in MB."""
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        run()
    held = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most / 1e6


def _inputs(length: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(1, length, SIZE, requires_grad=True) for _ in "qkv"]


def additive(length: int, learn: bool) -> Parts:
    """D2L's and ours with the same weights, checked to agree."""
    inputs = query, keys, values = _inputs(length)
    lengths = torch.tensor([length * 3 // 4])
    mask = torch.arange(length) < lengths[:, None, None]
    ours = AdditiveScore(SIZE, SIZE, SIZE)
    theirs = import_d2l().AdditiveAttention(SIZE, 0.0)
    with torch.no_grad():
        theirs(query[:, :1], keys[:, :1], values[:, :1], None)
    theirs.W_q.load_state_dict(ours.query.state_dict())
    theirs.W_k.load_state_dict(ours.key.state_dict())
    theirs.w_v.load_state_dict(ours.v.state_dict())

    def once(attention):
        with torch.set_grad_enabled(learn):
            context = attention()
        if not learn:
            return [context]
        return [context.detach(), *torch.autograd.grad(context.sum(), inputs)]

    def d2ls():
        return once(lambda: theirs(*inputs, lengths))

    def own():
        return once(
            lambda: attend(query, ours.project_keys(keys), values, mask, ours)[
                0
            ]
        )

    for a, b in zip(d2ls(), own(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    return d2ls, own


def dot(length: int) -> tuple[Callable, dict[str, Callable]]:
    """Ours, and each peer's, forward only, checked to agree."""
    query, keys, values = (x.detach() for x in _inputs(length))
    lengths = torch.tensor([length * 3 // 4])
    mask = torch.arange(length) < lengths[:, None, None]
    d2ls = import_d2l().DotProductAttention(0.0).eval()
    peers = {
        "D2L 1.0.3": lambda: d2ls(query, keys, values, lengths),
        "F.scaled_dot_product_attention": lambda: (
            functional.scaled_dot_product_attention(
                query, keys, values, attn_mask=mask
            )
        ),
    }

    def ours():
        return attend(query, keys, values, mask)[0]

    for peer in peers.values():
        torch.testing.assert_close(peer(), ours(), rtol=1e-4, atol=1e-5)
    return ours, peers
