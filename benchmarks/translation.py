"""Real sizes: training and searching beside D2L, JoeyNMT and torch.nn.

Every row computes the same function as its peer with the same weights, on
the sentences of `workload`, and checks that before and after the clock runs.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks import models, workload
from benchmarks.models import Pair
from benchmarks.peers import import_joeynmt
from benchmarks.timing import Row, compare
from s2s_lib.batches import Batch
from s2s_lib.losses import batch_loss
from s2s_lib.search import beam, greedy
from s2s_lib.vocab import EOS, PAD, SOS

BATCH = 128  # pairs in a training batch
SENTENCES = 64  # searched together
BEAM = 5
# What training was to reach, sorted by length and unsorted.
MARKS = {"D2L 1.0.3": (1.75, 3.0), "JoeyNMT 2.3": (1.25, 1.8)}


def rows() -> Iterator[Row]:
    """Measure one row after the other."""
    for bucket in (True, False):
        for pair in models.both():
            yield _training(pair, bucket, MARKS[pair.name][not bucket])
    without = models.joeynmt(input_feeding=False)
    yield _training(without, True, detail=", no input feeding")
    for bucket in (True, False):
        yield _training(models.transformer(), bucket)
    yield from _searching()


def _training(
    pair: Pair, bucket: bool, mark: float | None = None, detail: str = ""
) -> Row:
    """Updates of the weights: forward, loss, backward, clip, Adam."""
    batches = workload.batches(3, BATCH, bucket)
    pair.check(batches)
    our_step = pair.our_step()
    order = "sorted by length" if bucket else "unsorted"
    row = compare(
        f"training step, {BATCH} pairs {order}{detail}",
        pair.name,
        lambda: [pair.their_step(batch) for batch in batches],
        lambda: [our_step(batch) for batch in batches],
        "loss, all gradients, and the loss after the updates",
        repeats=4 if bucket else 3,
        mark=mark,
        parts=len(batches),
    )
    with torch.no_grad():
        own = batch_loss(pair.ours, batches[0])
        other = pair.their_loss(batches[0])
    torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-3)
    return row


@torch.no_grad()
def count_down(pair: Pair) -> None:
    """Weights with which a translation is as long as Multi30k's are.

    Random weights never end a sentence. So one unit of the states is set by
    hand: it counts up while the source is read and down while the target is
    written, and `<eos>` is certain as soon as it is below 0. All other
    weights stay random; the words are about as surprising as a trained
    model's are.
    """
    ours = pair.ours
    size = ours.config.hidden_size
    _count(ours.encoder.layers[0][0], 0.005, 1.0)
    _count(ours.decoder.loop, 0.0046, -1.0)
    output = ours.decoder.output
    output.weight *= 20
    output.weight[EOS] = 0
    output.weight[EOS, 0] = -1e4
    if hasattr(ours, "bridge"):
        ours.bridge.weight[0], ours.bridge.bias[0] = 0, 0
        ours.bridge.weight[0, 0] = 1
        combine = ours.decoder.combine
        combine.weight[0], combine.bias[0] = 0, 0
        combine.weight[0, 2 * size] = 1000
    else:
        # JoeyNMT never writes these two, and neither do we; D2L might.
        output.bias[[PAD, SOS]] = -1e4
    models.copied(pair.matches)


def _count(loop: torch.nn.GRU, rate: float, goal: float) -> None:
    """Let unit 0 go towards `goal`, by `rate` of the way at each step."""
    size = loop.hidden_size
    for gate, bias in (
        (1, torch.logit(torch.tensor(1 - rate))),
        (2, 20 * goal),
    ):
        row = gate * size
        loop.weight_ih_l0[row], loop.weight_hh_l0[row] = 0, 0
        loop.bias_ih_l0[row], loop.bias_hh_l0[row] = bias, 0


def _sources() -> tuple[Batch, int]:
    """The sentences to translate, and the longest translation allowed."""
    batch = workload.batches(1, SENTENCES, bucket=False)[0]
    # JoeyNMT's rule; one limit for all, since D2L always goes up to it.
    return batch, int(1.5 * batch.source.shape[1])


def _searching() -> Iterator[Row]:
    d2l, joeynmt = models.both()
    for pair, theirs in ((d2l, _d2ls(d2l)), (joeynmt, _joeynmts(joeynmt, 1))):
        yield _search(pair, "greedy search", theirs, 1, mark=4.0)
    theirs = _joeynmts(joeynmt, BEAM)
    yield _search(joeynmt, f"beam search, {BEAM}", theirs, BEAM, mark=2.5)


def _search(pair: Pair, what: str, theirs, width: int, mark: float) -> Row:
    count_down(pair)
    batch, limit = _sources()
    pair.ours.eval(), pair.theirs.eval()

    @torch.no_grad()
    def ours() -> list[tuple[int, ...]]:
        memory = pair.ours.encode(batch.source, batch.source_mask)
        if width == 1:
            return [h.tokens for h in greedy(pair.ours, memory, limit)]
        return [h[0].tokens for h in beam(pair.ours, memory, width, limit)]

    found = ours()
    assert found == [_to_end(row) for row in theirs().tolist()]
    lengths = [len(tokens) + 1 for tokens in found]
    assert max(lengths) < limit and len(set(found)) == len(found)
    assert 10 < sum(lengths) / len(lengths) < 20
    return compare(
        f"{what}, {len(found)} sentences",
        pair.name,
        theirs,
        ours,
        "all tokens up to <eos>",
        repeats=5,
        mark=mark,
    )


def _to_end(row: list[int]) -> tuple[int, ...]:
    return tuple(row[: row.index(EOS)])


def _d2ls(pair: Pair):
    batch, limit = _sources()
    start = torch.full((len(batch.source), 1), SOS)
    inputs = (batch.source, start, batch.source_mask.sum(1), batch.target_out)

    @torch.no_grad()
    def search() -> Tensor:
        device = torch.device("cpu")
        return pair.theirs.predict_step(inputs, device, limit)[0]

    return search


def _joeynmts(pair: Pair, width: int):
    batch, limit = _sources()

    def search() -> Tensor:
        own = models.joeynmt_batch(batch)
        # Read from the longest source to the shortest, and put back.
        back = own.sort_by_src_length()
        found, _, _ = import_joeynmt().search.search(
            pair.theirs,
            own,
            max_output_length=limit,
            beam_size=width,
            beam_alpha=0,
            min_output_length=0,
        )
        return torch.tensor(found)[back]

    return search
