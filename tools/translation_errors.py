"""Errors of the benchmark's translations: ``results/multi30k-errors.json``.

`python -m tools.translation_errors` reads the translations of the test split
in the results files of the benchmark, and the test split itself, which the
book cannot ship. It counts kinds of errors, scores the same translations in
right and wrong ways, and quotes a few sentences.
"""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from s2s_lib import corpora, errors, recipes
from s2s_lib.grammar import SentencePair
from s2s_lib.metrics import bleu_counts, bleu_of_counts, bootstrap, moses
from s2s_lib.vocab import tokenize

DRAWN = 30  # sentences quoted by chance
EXAMPLES = 2  # and so many of each kind of error


def quoted(kinds: Sequence[str]) -> tuple[list[int], dict[str, list[int]]]:
    """Which sentences to quote: some by chance, and the first of each kind.

    Returns:
        drawn, by rising number; and kind -> sentences of that kind.
    """
    drawn = sorted(random.Random(0).sample(range(len(kinds)), DRAWN))
    rest = [i for i in range(len(kinds)) if i not in drawn]
    examples = {
        kind: [i for i in rest if kinds[i] == kind][:EXAMPLES]
        for kind in errors.KINDS
    }
    return drawn, examples


def interval(scores: np.ndarray) -> list[float]:
    """The middle 95 % of numbers."""
    return [float(edge) for edge in np.percentile(scores, [2.5, 97.5])]


def by_length(
    counts: np.ndarray, lengths: Sequence[int]
) -> list[dict[str, Any]]:
    """BLEU of each length bucket, with its sentences and its interval.

    `fall` is the interval of how far it is below the bucket before; two
    buckets have no sentence in common, so each is drawn by itself.
    """
    rows: list[dict[str, Any]] = []
    before = None
    for seed, (low, high) in enumerate(corpora.LENGTH_BUCKETS):
        inside = counts[[low <= length <= high for length in lengths]]
        if not len(inside):
            continue
        scores = bootstrap(inside, seed=seed)
        rows.append(
            {
                "lengths": [low, high],
                "sentences": len(inside),
                "bleu": bleu_of_counts(inside.sum(0)),
                "interval": interval(scores),
            }
        )
        if before is not None:
            rows[-1]["fall"] = interval(before - scores)
        before = scores
    return rows


def measure(
    runs: dict[str, list[str]],
    pairs: Sequence[SentencePair],
    references: Sequence[str],
    known: set[str],
    language: str,
) -> dict[str, Any]:
    """What the file has of one pair of languages.

    Args:
        runs: name -> the translations of `pairs`, lower-cased; the errors
            of the first are quoted. `behind` has, for each of the rows
            before, the interval of how far it is ahead on the same
            sentences.
        references: with their capitals.
        known: the words of the target side of training.
        language: of the target.

    With two rows or more, `best_of` has what choosing among mixtures of the
    first two gains.
    """
    lower = [text.lower() for text in references]
    lengths = [len(pair.source) for pair in pairs]
    truth = moses(lower, language)
    models, kinds_of, scores, counts_of = {}, {}, {}, []
    for name, texts in runs.items():
        words = [tokenize(text) for text in texts]
        unknown = sorted({*chain(*words)} - known)
        kinds_of[name] = [
            errors.kind_of(pair.source, output, pair.target, language, unknown)
            for pair, output in zip(pairs, words, strict=True)
        ]
        counts = bleu_counts(moses(texts, language), truth)
        drawn_scores = bootstrap(counts)
        seen = Counter(kinds_of[name])
        models[name] = {
            "unknown": unknown,
            "kinds": {kind: seen[kind] for kind in errors.KINDS},
            "scores": errors.scores(texts, references, language),
            "interval": interval(drawn_scores),
            "behind": {
                other: interval(theirs - drawn_scores)
                for other, theirs in scores.items()
            },
            "by_length": by_length(counts, lengths),
        }
        scores[name] = drawn_scores
        counts_of.append(counts)
    drawn, examples = quoted(next(iter(kinds_of.values())))
    numbers = sorted({*drawn, *chain(*examples.values())})
    found: dict[str, Any] = {"models": models}
    if len(counts_of) > 1:
        found["best_of"] = dict(
            zip(
                ("chosen", "fresh"),
                errors.best_of(*counts_of[:2]),
                strict=True,
            )
        )
    return found | {
        "drawn": drawn,
        "examples": examples,
        "sentences": {
            str(i): {
                "source": pairs[i].source_text,
                "reference": references[i],
            }
            for i in numbers
        },
    }


def main() -> None:
    """Write the file, of all results files of the benchmark."""
    found: dict[str, Any] = {
        "command": "python -m tools.translation_errors",
        "pairs": {},
    }
    for pair in ("en-fr", "en-de"):
        rows = [
            name
            for name, recipe in recipes.RECIPES.items()
            if name.startswith("benchmark-") and recipe.pair == pair
        ]
        # The first seeds come first: of these the file quotes and compares.
        found_runs = [run for name in rows for run in _results(name)]
        found_runs.sort(key=lambda run: run["seed"])
        runs = {
            f"{run['name']}-seed{run['seed']}": run["metrics"]["outputs"]
            for run in found_runs
        }
        if not runs:
            continue
        corpus = corpora.multi30k(pair)
        cased = corpora.multi30k(pair, lowercase=False)
        found["pairs"][pair] = {
            "corpus_fingerprint": corpus.fingerprint()
        } | measure(
            runs,
            corpus.test,
            [pair.target_sentence for pair in cased.test],
            set(chain.from_iterable(pair.target for pair in corpus.train)),
            corpus.target_language,
        )
    print(recipes.write_results("multi30k-errors", found))


def _results(name: str) -> list[dict[str, Any]]:
    try:
        return recipes.load_results(name)
    except FileNotFoundError:
        return []


if __name__ == "__main__":
    main()
