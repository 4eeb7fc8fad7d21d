"""How much memory a training of the benchmark takes, process and all.

The peak is one of the whole life of a process, so it is measured in a
process of its own: ``python -m benchmarks.memory``.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

import torch

from benchmarks import workload
from benchmarks.timing import peak_mb
from s2s_lib.catalogue import RECIPES
from s2s_lib.training import fit
from s2s_lib.transformer import TransformerModel

NAME = "benchmark-en-fr"
PAIRS = 29_000  # as many as Multi30k has
PIECES = 1.1  # pieces of the recipe's vocabulary in a word, about
UPDATES = 300
MARK = 2048  # MB


def rows() -> Iterator[dict]:
    """One row, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True
    )
    yield json.loads(done.stdout)


def _measure() -> dict:
    recipe = RECIPES[NAME]
    size, config = recipe.subwords, recipe.training
    pairs = workload.pairs(PAIRS, size, pieces=PIECES)
    model = TransformerModel(size, size, recipe.model)
    fit(model, pairs, config, progress=False, stop_after=UPDATES)
    return {
        "work": f"training {NAME}, {config.batch_tokens} positions a batch, "
        f"{UPDATES} updates",
        "mb": round(peak_mb()),
        "mark_mb": MARK,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(_measure()))
