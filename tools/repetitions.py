"""How often translations repeat themselves: ``results/repetitions.json``.

`python -m tools.repetitions` translates the test split with the models that
the chapter on long sentences compares, each seed of each, greedily. A
sentence counts if it has more copies of a run of four words than the
reference has. Beside it, the words of the reference that the output lacks.
Weights that are not in the cache are trained first.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from s2s_lib import corpora, recipes
from s2s_lib.evaluation import corpus_bleu
from s2s_lib.metrics import repetitions

NAMES = ("additive", "coverage", "additive-long", "additive-low-rate")
SEEDS = 3


def measure(names: Sequence[str], seeds: int) -> dict[str, Any]:
    """The content of the file.

    Under `recipes`, for each seed: `share` of the sentences that repeat
    themselves and of the words that are `lacking`, one number for each length
    bucket of sources, and `bleu` of all translations, by which the models
    are known again.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        corpus = recipes.corpus_of(recipes.RECIPES[name])
        sources = [pair.source for pair in corpus.test]
        found[name] = []
        for seed in range(seeds):
            outputs = recipes.train(name, seed).translate(sources)
            share, lacking = [], []
            for low, high in corpora.LENGTH_BUCKETS:
                group = [
                    (pair.target, tokens)
                    for pair, tokens in zip(corpus.test, outputs, strict=True)
                    if low <= len(pair.source) <= high
                ]
                more = [repetitions(y) > repetitions(x) for x, y in group]
                lost = [(Counter(x) - Counter(y)).total() for x, y in group]
                share.append(fmean(more))
                lacking.append(sum(lost) / sum(len(x) for x, _ in group))
            score = corpus_bleu(outputs, corpus.test).score
            found[name].append(
                {
                    "seed": seed,
                    "share": share,
                    "lacking": lacking,
                    "bleu": score,
                }
            )
    return {
        "command": "python -m tools.repetitions",
        "lengths": [list(bucket) for bucket in corpora.LENGTH_BUCKETS],
        "recipes": found,
    }


def main() -> None:
    """Write the file."""
    print(recipes.write_results("repetitions", measure(NAMES, SEEDS)))


if __name__ == "__main__":
    main()
