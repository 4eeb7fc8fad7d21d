"""What a training step costs as one size grows and the others stay.

Every point is one update on one batch, beside both peers; all sentences of
a batch are equally long, so that there is no padding.
"""

from collections.abc import Iterator

from benchmarks import models, workload
from benchmarks.timing import Row, compare
from s2s_lib.batches import Batch

BASE = {"steps": 15, "batch": 64, "vocabulary": 6000, "size": 256}
POINTS = {
    "steps": (8, 15, 30, 60),
    "batch": (16, 64, 256),
    "vocabulary": (1500, 6000, 24_000),
    "size": (64, 128, 256, 512),
}
NAMES = {
    "steps": "ids in a sentence",
    "batch": "pairs in a batch",
    "vocabulary": "ids in a vocabulary",
    "size": "numbers in a state",
}


def rows() -> Iterator[Row]:
    """For each size, from small to large, a row beside each peer."""
    for axis, values in POINTS.items():
        for value in values:
            at = BASE | {axis: value}
            batch = workload.block(at["steps"], at["batch"], at["vocabulary"])
            for pair in models.both(
                vocabulary=at["vocabulary"], size=at["size"]
            ):
                yield _point(f"{value} {NAMES[axis]}", pair, batch)


def _point(what: str, pair: models.Pair, batch: Batch) -> Row:
    pair.check([batch])
    step = pair.our_step()
    return compare(
        what,
        pair.name,
        lambda: pair.their_step(batch),
        lambda: step(batch),
        "loss and all gradients",
        repeats=3,
    )
