"""Real sizes: training and searching beside D2L, JoeyNMT and torch.nn.

Every row computes the same function as its peer with the same weights, on
the sentences of `workload`, and checks that before and after the clock runs.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks import models, workload
from benchmarks.models import Pair
from benchmarks.peers import import_joeynmt
from benchmarks.timing import Row, compare
from s2s_lib.batches import Batch
from s2s_lib.losses import batch_loss
from s2s_lib.onednn import packed_weights
from s2s_lib.search import beam, greedy
from s2s_lib.vocab import EOS, PAD, SOS

Search = Callable[[Batch], Tensor]

BATCH = 128  # pairs in a training batch
SENTENCES = 64  # searched together
BEAM = 5
TURNS = 12  # of training, after one to begin with
# Steps that a search may take; D2L's always takes them all. The longest
# French sentence of Multi30k has so many words.
LIMIT = 51
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
    """Updates of the weights: forward, loss, backward, clip, Adam.

    Each is of a new batch, and nearly all are of a shape of their own: for
    one that is new to it, oneDNN has to write code first.
    """
    batches = workload.batches(TURNS + 4, BATCH, bucket)
    pair.check(batches[:3])
    batches = batches[3:]
    our_step = pair.our_step()
    order = "sorted by length" if bucket else "unsorted"
    theirs, ours = iter(batches), iter(batches)
    row = compare(
        f"training step, {BATCH} pairs {order}{detail}",
        pair.name,
        lambda: pair.their_step(next(theirs)),
        lambda: our_step(next(ours)),
        "loss, all gradients, and the loss after the updates",
        repeats=TURNS,
        mark=mark,
        once=True,
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


def _searching() -> Iterator[Row]:
    d2l, joeynmt = models.both()
    for pair, theirs in ((d2l, _d2ls(d2l)), (joeynmt, _joeynmts(joeynmt, 1))):
        yield _search(pair, "greedy search", theirs, 1, mark=4.0)
    theirs = _joeynmts(joeynmt, BEAM)
    yield _search(joeynmt, f"beam search ({BEAM})", theirs, BEAM, mark=2.5)


def _search(pair: Pair, what: str, theirs, width: int, mark: float) -> Row:
    count_down(pair)
    batches = workload.batches(3, SENTENCES, bucket=False)
    model = pair.ours.eval()
    pair.theirs.eval()

    @torch.no_grad()
    def ours(batch: Batch) -> list[tuple[int, ...]]:
        memory = model.encode(batch.source, batch.source_mask)
        if width == 1:
            return [h.tokens for h in greedy(model, memory, LIMIT)]
        return [h[0].tokens for h in beam(model, memory, width, LIMIT)]

    @packed_weights()  # once for all batches, as `search.n_best` has it
    def all_of_ours(batches):
        return [ours(batch) for batch in batches]

    for batch, found in zip(batches, all_of_ours(batches), strict=True):
        others = [row[: row.index(EOS)] for row in theirs(batch).tolist()]
        assert found == list(map(tuple, others))
    return compare(
        f"{what}, {SENTENCES} sentences",
        pair.name,
        lambda: [theirs(batch) for batch in batches],
        lambda: all_of_ours(batches),
        "all tokens",
        repeats=4,
        mark=mark,
        parts=len(batches),
    )


def _d2ls(pair: Pair) -> Search:
    @torch.no_grad()
    def search(batch: Batch) -> Tensor:
        start = torch.full((len(batch.source), 1), SOS)
        lengths = batch.source_mask.sum(1)
        inputs = batch.source, start, lengths, batch.target_out
        return pair.theirs.predict_step(inputs, torch.device("cpu"), LIMIT)[0]

    return search


def _joeynmts(pair: Pair, width: int) -> Search:
    def search(batch: Batch) -> Tensor:
        own = models.joeynmt_batch(batch)
        # Read from the longest source to the shortest, and put back.
        back = own.sort_by_src_length()
        found, _, _ = import_joeynmt().search.search(
            pair.theirs,
            own,
            max_output_length=LIMIT,
            beam_size=width,
            beam_alpha=0,
            min_output_length=0,
        )
        return torch.tensor(found)[back]

    return search
