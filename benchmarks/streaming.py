"""Streaming: pairs that do not fit into memory, in constant memory.

    python -m benchmarks.streaming 100_000 10_000_000

For each number so many pairs are written to shards in a temporary folder and
go once through `s2s_lib.streams.Stream`, from lines to padded batches, as
`training.fit` would read them. Each number is measured in a process of its
own. The pairs are not those of the grammar, which takes longer to make a
sentence than a stream to read it: they are rows of 3 to 21 made-up words from
a list of 8,000, frequent ones first, and the target is the source turned
round, so that it can be checked on the way that nothing is lost.
"""

import gzip
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path

import torch

from s2s_lib.batches import collate, encode_pairs
from s2s_lib.streams import BUFFER, Shards, Stream
from s2s_lib.training import TrainingConfig
from s2s_lib.vocab import Vocabulary

RESULTS = Path(__file__).parent / "results" / "streaming.json"
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


def measure(pairs: int, buffer: int = BUFFER) -> dict[str, float]:
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # bytes, or KB
    return {
        "pairs": pairs,
        "shards_mb": round(size / 1e6, 1),
        "updates": updates,
        "writing_seconds": round(writing, 1),
        "seconds": round(seconds, 1),
        "processor_seconds": round(time.process_time() - busy, 1),
        "pairs_per_second": round(pairs / seconds),
        "peak_mb": round(peak * unit / 1e6, 1),
    }


COLUMNS = (
    "pairs", "shards_mb", "seconds", "processor_seconds",
    "pairs_per_second", "peak_mb",
)  # fmt: skip


def main(sizes: list[int]) -> None:
    """One row for each size, and a file with them all."""
    rows = []
    print("".join(f"{name:>18}" for name in COLUMNS))
    for pairs in sizes:
        command = [sys.executable, "-m", "benchmarks.streaming", "--one"]
        done = subprocess.run(
            [*command, str(pairs)], stdout=subprocess.PIPE, check=True
        )
        row = json.loads(done.stdout)
        rows.append(row)
        print("".join(f"{row[name]:18,}" for name in COLUMNS), flush=True)
    numbers = " ".join(f"{size:_}" for size in sizes)
    about = {
        "command": f"python -m benchmarks.streaming {numbers}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "buffer": BUFFER,
        "rows": rows,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(int(sys.argv[2]))))
    else:
        main([int(size) for size in sys.argv[1:]] or [100_000, 10_000_000])
