"""What training data do to a model: ``results/data-quality.json``.

`python -m tools.data_quality` trains one model on many versions of one small
corpus: fewer pairs, wrong pairs, short sentences alone, sentences translated
backwards; and on few pairs with several kinds of regularisation. All else is
equal, and so is the number of updates, but for the conditions called `long`.
The vocabularies are those of the training pairs, so a model has some more
rows where words of one language stand on the side of the other. With numbers
after the command it makes these seeds only and keeps the rest of the file.
Weights that are in the cache are not trained again.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from s2s_lib import evaluation, models, recipes
from s2s_lib.corpora import ParallelCorpus
from s2s_lib.grammar import SentencePair, generate
from s2s_lib.pairs import (
    back_translated,
    mispaired,
    most_plausible,
    turned,
    untranslated,
)

SEEDS = range(4)
SHORT = 7  # tokens of a source that is called short; the longest have 12
FEW = 1000  # pairs, where there are few
EXAMPLES = 6  # back-translations that are quoted
_AFTER = recipes.RECIPES["dot-after"]
RECIPE = replace(_AFTER, training=replace(_AFTER.training, evaluate_every=50))

Pairs = Sequence[SentencePair]


def short_corpus() -> ParallelCorpus:
    """Pairs of 4 to 12 source tokens, all different; split in three."""
    pairs = generate(11_500, seed=16, max_tokens=12)
    splits = pairs[:10_000], pairs[10_000:10_500], pairs[10_500:]
    return ParallelCorpus("short", "en", "fr", *splits)


def change(
    model: dict[str, Any] | None = None, **training: Any
) -> recipes.Recipe:
    """`RECIPE` with other settings."""
    return replace(
        RECIPE,
        model=replace(RECIPE.model, **(model or {})),
        training=replace(RECIPE.training, **training),
    )


def changes(recipe: recipes.Recipe) -> dict[str, Any]:
    """Which settings a recipe has otherwise than `RECIPE`."""
    found = {}
    for part in ("model", "training"):
        ours, theirs = asdict(RECIPE)[part], asdict(recipe)[part]
        found |= {k: theirs[k] for k in ours if theirs[k] != ours[k]}
    return found


def conditions(
    corpus: ParallelCorpus, seed: int
) -> Iterator[tuple[str, Callable[[], Pairs], recipes.Recipe]]:
    """Name, a function that makes the training pairs, recipe; one by one."""
    pairs = corpus.train
    drawn = Random(seed).sample(pairs, len(pairs))
    few, rest = drawn[:FEW], drawn[FEW:]
    for count in (300, FEW, 3000):
        yield f"pairs-{count}", lambda n=count: drawn[:n], RECIPE
    yield f"pairs-{len(pairs)}", lambda: pairs, RECIPE
    for percent in (0, 30, 50):
        recipe = change({"dropout": percent / 100})
        yield f"dropout-{percent}", lambda: few, recipe
    yield "smoothing", lambda: few, change(label_smoothing=0.1)
    small = {"hidden_size": 64, "embedding_size": 32}
    yield "small", lambda: few, change(small)
    for percent in (10, 30, 50):
        recipe = change({"dropout": percent / 100}, steps=1500)
        yield f"long-dropout-{percent}", lambda: few, recipe
    for percent in (0, 30):
        recipe = change({"dropout": percent / 100})
        yield f"all-dropout-{percent}", lambda: pairs, recipe
    for percent in (10, 30, 50):
        for name, spoil in (
            ("mispaired", mispaired),
            ("untranslated", untranslated),
        ):
            yield (
                f"{name}-{percent}",
                lambda f=spoil, p=percent: f(pairs, p / 100, seed),
                RECIPE,
            )
    for name, spoil in (
        ("mispaired", mispaired),
        ("untranslated", untranslated),
    ):
        yield (
            f"long-{name}-50",
            lambda f=spoil: f(pairs, 0.5, seed),
            change(steps=1500),
        )

    wrong = mispaired(pairs, 0.5, seed)
    right = [a for a, b in zip(pairs, wrong, strict=True) if a is b]
    yield "filtered-50", lambda: most_plausible(wrong, 0.5), RECIPE
    yield "right-50", lambda: right, RECIPE
    yield "long-right-50", lambda: right, change(steps=1500)
    short = [pair for pair in drawn if len(pair.source) <= SHORT]
    long = [pair for pair in drawn if len(pair.source) > SHORT]
    yield "narrow", lambda: short[:FEW], RECIPE
    tenth = FEW // 10
    yield "mixed", lambda: short[: FEW - tenth] + long[:tenth], RECIPE

    def backwards() -> models.Trained:
        other = ParallelCorpus(
            "turned", "fr", "en", turned(few), turned(corpus.valid), []
        )
        recipe = change({"dropout": 0.3})
        return recipes.train(recipe, seed, False, corpus=other)

    def forwards() -> models.Trained:
        recipe = change({"dropout": 0.3})
        only = replace(corpus, train=few)
        return recipes.train(recipe, seed, False, corpus=only)

    yield (
        "back-translated",
        lambda: few + back_translated(rest, backwards().translate),
        RECIPE,
    )
    yield (
        "self-trained",
        lambda: (
            few + turned(back_translated(turned(rest), forwards().translate))
        ),
        RECIPE,
    )
    yield "copied", lambda: few + untranslated(turned(rest), 1.0), RECIPE


def _sides(pair: SentencePair) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return pair.source, pair.target


def measure(
    corpus: ParallelCorpus, pairs: Pairs, recipe: recipes.Recipe, seed: int
) -> dict[str, Any]:
    """Train on `pairs`, and score on the splits of `corpus`.

    Returns:
        changes (what the recipe has otherwise than `RECIPE`), pairs (how
        many), train_loss (of 500 of them, drawn, without dropout) and
        valid_loss in nats per token, valid_bleu, valid_aer,
        bleu and exact of the test split, short_bleu and long_bleu of its
        sources of at most and of more than `SHORT` tokens, known_long (the
        share of these longer ones whose words, and those of the reference,
        are all in the training pairs) and known_long_bleu, of them alone
        (None if there are none);
        copies (share of its outputs that are the source), and history, in
        short.
    """
    trained = recipes.train(
        recipe, seed, False, corpus=replace(corpus, train=list(pairs))
    )
    outputs = trained.translate([pair.source for pair in corpus.test])
    scored = list(zip(outputs, corpus.test, strict=True))
    short = [(out, p) for out, p in scored if len(p.source) <= SHORT]
    long = [(out, p) for out, p in scored if len(p.source) > SHORT]
    sources = set(chain.from_iterable(pair.source for pair in pairs))
    targets = set(chain.from_iterable(pair.target for pair in pairs))
    known = [
        (out, p)
        for out, p in long
        if sources.issuperset(p.source) and targets.issuperset(p.target)
    ]
    last = trained.history[-1]
    part = Random(seed).sample(pairs, min(500, len(pairs)))
    names = ("step", "loss", "valid_loss", "valid_bleu")
    return {
        "changes": changes(recipe),
        "pairs": len(pairs),
        "train_loss": evaluation.validate(trained, part)["valid_loss"],
        **{name: last[name] for name in names[2:]},
        "valid_aer": last["valid_aer"],
        "bleu": _bleu(scored),
        "short_bleu": _bleu(short),
        "long_bleu": _bleu(long),
        "known_long": len(known) / len(long),
        "known_long_bleu": _bleu(known) if known else None,
        "exact": fmean(tuple(out) == p.target for out, p in scored),
        "copies": fmean(tuple(out) == p.source for out, p in scored),
        "history": [[row[name] for name in names] for row in trained.history],
    }


def _bleu(scored: Sequence[tuple[list[str], SentencePair]]) -> float:
    outputs, pairs = zip(*scored, strict=True)
    return evaluation.corpus_bleu(outputs, pairs).score


def known_share(pairs: Pairs, corpus: ParallelCorpus) -> float:
    """The share of made pairs that the corpus has, word for word."""
    known = {_sides(pair) for pair in corpus.train}
    return sum(_sides(pair) in known for pair in pairs) / len(pairs)


def examples(pairs: Pairs, corpus: ParallelCorpus) -> list[list[str]]:
    """The first made sources that the corpus has not, for true targets.

    Returns:
        Texts of target, made source and true source.
    """
    known = {_sides(pair) for pair in corpus.train}
    true = {pair.target: pair.source_sentence for pair in corpus.train}
    other = [pair for pair in pairs if _sides(pair) not in known]
    return [
        [p.target_sentence, p.source_sentence, true[p.target]]
        for p in other[:EXAMPLES]
    ]


def _kept(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The seeds that are in the file.

    Raises:
        SystemExit: if they were made with other settings.
    """
    if not path.exists():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    seeds = stored.pop("seeds")
    if stored != about:
        raise SystemExit(
            f"{path} was made with another recipe or corpus: move it away, "
            "and make all seeds again"
        )
    return seeds


def main(seeds: Sequence[int]) -> None:
    """Make these seeds, and write the file after each."""
    corpus = short_corpus()
    about = {
        "command": "python -m tools.data_quality",
        "corpus_fingerprint": corpus.fingerprint(),
        "recipe": asdict(RECIPE),
    }
    path = recipes.results_dir() / "data-quality.json"
    _kept(path, about)  # refused now rather than after a training
    for seed in seeds:
        found = {}
        for name, make, recipe in conditions(corpus, seed):
            pairs = make()
            found[name] = measure(corpus, pairs, recipe, seed)
            if name in ("back-translated", "self-trained"):
                found[name]["same"] = known_share(pairs[FEW:], corpus)
            if name == "back-translated":
                found[name]["examples"] = examples(pairs[FEW:], corpus)
            print(seed, name, f"{found[name]['bleu']:.1f}", flush=True)
        kept = _kept(path, about)
        kept[str(seed)] = found
        kept = {key: kept[key] for key in sorted(kept, key=int)}
        recipes.write_results(path.stem, about | {"seeds": kept})
    print(path)


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or SEEDS)
