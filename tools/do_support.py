"""Where negated verbs look: ``results/do-support.json``.

`python -m tools.do_support` feeds the true translations of all validation
sentences with *do* or *does* to the models of the chapter on what attention
looks at, each seed of each, and counts where the rows look that may be linked
to that word. Weights that are not in the cache are trained first.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from s2s_lib import recipes
from s2s_lib.metrics import do_support

NAMES = ("additive", "dot-after")
SEEDS = 3


def measure(names: Sequence[str], seeds: int) -> dict[str, Any]:
    """The content of the file.

    Under `recipes`, for each seed: the `shares` of the places, for each
    word, and the last `valid_loss`, by which the models are known again.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        corpus = recipes.corpus_of(recipes.RECIPES[name])
        pairs = [p for p in corpus.valid if {"do", "does"} & {*p.source}]
        found[name] = []
        for seed in range(seeds):
            trained = recipes.train(name, seed)
            counts: dict[str, Counter[str]] = {}
            grids = recipes.forced_weights(trained, pairs)
            for pair, grid in zip(pairs, grids, strict=True):
                for word, place in do_support(pair, grid):
                    counts.setdefault(word, Counter())[place] += 1
            shares = {
                word: {place: n / of.total() for place, n in of.items()}
                for word, of in sorted(counts.items())
            }
            loss = trained.history[-1]["valid_loss"]
            found[name].append(
                {"seed": seed, "valid_loss": loss, "shares": shares}
            )
    return {
        "command": "python -m tools.do_support",
        "sentences": len(pairs),
        "recipes": recipes.rounded(found),
    }


def main() -> None:
    """Write the file."""
    path = recipes.results_dir() / "do-support.json"
    text = json.dumps(measure(NAMES, SEEDS), indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
