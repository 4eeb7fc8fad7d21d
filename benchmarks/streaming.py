"""Streaming: pairs that do not fit into memory, in constant memory.

``python -m benchmarks streaming`` takes 100,000 pairs and 10 million;
``python -m benchmarks.streaming 200_000`` takes as many as it is told, and
writes no file.

So many pairs are written to shards in a temporary folder and go once through
`s2s_lib.streams.Stream`, from lines to padded batches, as `training.fit`
would read them, each number in a process of its own. The pairs are not those
of the grammar, which takes longer to make a sentence than a stream to read
it: they are rows of 3 to 21 made-up words from a list of 8,000, frequent ones
first, and the target is the source turned round. At the end pairs and tokens
are as many as were written.
"""

import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import torch

from benchmarks.timing import peak_mb
from s2s_lib.batches import collate, encode_pairs
from s2s_lib.streams import BUFFER, Shards, Stream
from s2s_lib.training import TrainingConfig
from s2s_lib.vocab import Vocabulary

SIZES = (100_000, 10_000_000)  # pairs
MARK = 512  # MB, whatever the size
SHARD = 100_000  # pairs in a file
WORDS = [f"w{i}" for i in range(8_000)]
CONFIG = TrainingConfig(batch_tokens=4096)


def write(folder: Path, pairs: int) -> int:
    """Compressed shards with so many pairs; how many bytes they take."""
    draw = random.Random(0)
    # By falling frequency, as words have it: the i-th is 1/i as frequent.
    shares = list(accumulate(1 / i for i in range(1, len(WORDS) + 1)))
    words: list[str] = []
    size = 0
    for start in range(0, pairs, SHARD):
        path = folder / f"{start // SHARD:05d}.tsv.gz"
        with gzip.open(path, "wt", compresslevel=1) as file:
            for number in range(start, min(start + SHARD, pairs)):
                length = 3 + number % 19
                if len(words) < length:
                    words = draw.choices(WORDS, cum_weights=shares, k=2**16)
                row, words = words[-length:], words[:-length]
                file.write(f"{' '.join(row)}\t{' '.join(reversed(row))}\n")
        size += path.stat().st_size
    return size


def measure(pairs: int, buffer: int = BUFFER) -> dict[str, float | str]:
    """Write, stream once, check; what it took of time and of memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begun = time.perf_counter()
        size = write(folder, pairs)
        writing = time.perf_counter() - begun
        shards = Shards(name)
        vocab = Vocabulary(WORDS)
        stream = Stream(
            shards, lambda some: encode_pairs(some, vocab, vocab), buffer
        )
        begun, busy = time.perf_counter(), time.process_time()
        seen = tokens = updates = 0
        for together, _ in stream.updates(CONFIG):
            batch = collate(together)
            assert batch.source_mask.numel() <= CONFIG.batch_tokens
            seen, updates = seen + len(together), updates + 1
            tokens += int(batch.target_mask.sum())
            if seen >= pairs:
                break
        seconds = time.perf_counter() - begun
        assert seen == pairs
        # Each length of 3 to 21 in turn, and an <eos>.
        assert tokens == sum(4 + number % 19 for number in range(pairs))
        busy = time.process_time() - busy
    return {
        "work": f"streaming {pairs:,} pairs once, {size / 1e6:,.0f} MB of "
        f"compressed files: {seconds:,.0f} s, {pairs / seconds:,.0f} pairs "
        "a second",
        "mb": round(peak_mb()),
        "mark_mb": MARK,
        "pairs": pairs,
        "updates": updates,
        "seconds": round(seconds, 1),
        "processor_seconds": round(busy, 1),
        "writing_seconds": round(writing, 1),
        "buffer": buffer,
    }


def rows(sizes: Sequence[int] = SIZES) -> Iterator[dict]:
    """A row for each size, measured in a process of its own."""
    for pairs in sizes:
        command = [sys.executable, "-m", "benchmarks.streaming", "--one"]
        done = subprocess.run(
            [*command, str(pairs)], stdout=subprocess.PIPE, check=True
        )
        yield json.loads(done.stdout)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(int(sys.argv[2]))))
    else:
        for row in rows([int(size) for size in sys.argv[1:]] or SIZES):
            print(json.dumps(row), flush=True)
