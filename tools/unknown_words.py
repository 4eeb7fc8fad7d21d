"""What unknown words cost trained models: ``results/NAME-unknown.json``.

`python -m tools.unknown_words RECIPE...` translates the validation split of
the recipes' corpus with each of them, trained or from the cache, and scores
apart the sentences with a source word that training does not have, and those
without one. The recipes must have one corpus.
"""

import argparse
from collections.abc import Collection, Sequence
from itertools import chain
from statistics import fmean
from typing import Any

from s2s_lib import recipes
from s2s_lib.evaluation import corpus_bleu
from s2s_lib.grammar import SentencePair
from s2s_lib.models import Trained
from s2s_lib.vocab import SPECIALS, UNK
from tools.counting import stem_of

UNKNOWN = SPECIALS[UNK]


def by_unknown(
    outputs: Sequence[Sequence[str]],
    pairs: Sequence[SentencePair],
    known: Collection[str],
) -> dict[str, Any]:
    """Scores with and without source words that are not in `known`.

    Returns:
        sentences and bleu, each with the keys with and without (a BLEU of no
        sentence is None); words, the
        share of the output words that hold an `<unk>`; holes, the share of
        the outputs that do.
    """
    new = [any(word not in known for word in pair.source) for pair in pairs]
    rows = {
        name: [i for i, found in enumerate(new) if found == wanted]
        for name, wanted in (("with", True), ("without", False))
    }
    return {
        "sentences": {name: len(group) for name, group in rows.items()},
        "bleu": {
            name: corpus_bleu(
                [outputs[i] for i in group], [pairs[i] for i in group]
            ).score
            if group
            else None
            for name, group in rows.items()
        },
        "words": fmean(UNKNOWN in word for words in outputs for word in words),
        "holes": fmean(
            any(UNKNOWN in word for word in words) for words in outputs
        ),
    }


def measure(trained: Trained) -> dict[str, Any]:
    """`by_unknown` of a model on the validation split of its corpus."""
    corpus = recipes.corpus_of(trained.recipe)
    known = set(chain.from_iterable(pair.source for pair in corpus.train))
    outputs = trained.translate([pair.source for pair in corpus.valid])
    return by_unknown(outputs, corpus.valid, known)


def write(models: dict[str, Trained]) -> None:
    """Write the file of these models, by the names of their recipes.

    Raises:
        ValueError: if they have not one corpus.
    """
    corpora = {(m.recipe.corpus, m.recipe.pair): m for m in models.values()}
    if len(corpora) != 1:
        raise ValueError(
            f"the recipes must have one corpus, not {list(corpora)}"
        )
    corpus = recipes.corpus_of(next(iter(models.values())).recipe)
    found = {
        "command": f"python -m tools.unknown_words {' '.join(models)}",
        "corpus": corpus.name,
        "corpus_fingerprint": corpus.fingerprint(),
        "seed": 0,
        "models": {name: measure(model) for name, model in models.items()},
    }
    print(recipes.write_results(f"{stem_of(corpus)}-unknown", found))


def main(arguments: list[str] | None = None) -> None:
    """Write the file of these recipes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="+", help="a name in RECIPES")
    names = parser.parse_args(arguments).recipe
    write({name: recipes.train(name, seed=0) for name in names})


if __name__ == "__main__":
    main()
