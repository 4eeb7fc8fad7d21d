"""What an update costs with each score: ``results/update-costs.json``.

`python -m tools.update_costs` builds the recipes of the score table, without
training them, and times the first updates of each on the same sentences:
forward, loss, backward, clip, Adam, on one thread. The recipes take turns, so
that a busy machine slows all alike; a time is the median over the turns.
Memory is the most that tensors made by one update held at once.
"""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch

from benchmarks.attention import peak
from s2s_lib import models, recipes
from s2s_lib.attention import SCORES
from s2s_lib.batches import PairList, collate, encode_pairs
from s2s_lib.training import updater

NAMES = ("plain", *(f"{score.replace('_', '-')}-after" for score in SCORES))
UPDATES = 10
TURNS = 5


def prepared(name: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """All updates of a turn, and the first one alone."""
    recipe = recipes.RECIPES[name]
    corpus = recipes.corpus_of(recipe)
    trained = models.build(recipe, corpus, 0)
    pairs = encode_pairs(
        trained.pairs(models.training_pairs(recipe, corpus)),
        trained.source_vocab,
        trained.target_vocab,
    )
    rows = PairList(pairs).updates(recipe.training, None)
    batches = [collate(update) for update, _ in islice(rows, UPDATES)]
    update = updater(trained.model.train(), recipe.training)
    return lambda: [update(b) for b in batches], lambda: update(batches[0])


def measure(names: Sequence[str], turns: int = TURNS) -> dict[str, Any]:
    """The content of the file."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    works = {name: prepared(name) for name in names}
    spent: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(turns + 1):
        for name, (work, _) in works.items():
            began = time.process_time()
            work()
            if turn:  # the first turn pays for what is set up once
                spent[name].append(time.process_time() - began)
    found = {
        name: {
            "ms": 1000 * statistics.median(spent[name]) / UPDATES,
            "mb": peak(one),
        }
        for name, (_, one) in works.items()
    }
    torch.set_num_threads(threads)
    return {
        "command": "python -m tools.update_costs",
        "machine": f"{platform.machine()}, 1 thread, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "versions": {"torch": torch.__version__},
        "updates": UPDATES,
        "recipes": found,
    }


def main() -> None:
    """Write the file."""
    print(recipes.write_results("update-costs", measure(NAMES)))


if __name__ == "__main__":
    main()
