"""Which sentence pairs a trained model may be scored on, and which not.

A score on sentences of the training says nothing. So a model is scored on the
test part of its corpus only where that is the corpus that it was trained on,
wherever the files lie today, and not on a file of a stream that still lies
where the model read it. (A copy of such a file is not recognised, nor a
file that the book itself downloads.)
"""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from s2s_lib import corpora, recipes, streams
from s2s_lib.catalogue import Recipe
from s2s_lib.grammar import SentencePair
from s2s_lib.models import Trained

# So begins the fingerprint, in a model, of a corpus that was streamed.
STREAMED = "stream:"


def _real(path: Path | str) -> Path:
    """The file that a link leads to; one that leads nowhere, as it is."""
    return Path(os.path.realpath(path))


def _corpus_key(recipe: Recipe) -> list[Any]:
    """What two recipes on the same corpus share, whatever their pairs."""
    if recipe.corpus in corpora.NAMES:
        return [recipe.corpus]
    sides = corpora.paths_of(recipe.corpus)
    return [_real(side) for side in sides]


def _pair_of(recipe: Recipe) -> str | None:
    return recipe.pair or corpora.PAIRS.get(recipe.corpus)


def _is_own(recipe: Recipe, own: Recipe) -> bool:
    """Whether a recipe has the corpus of a model, be it in another place."""
    if _corpus_key(recipe) == _corpus_key(own):
        return True
    if {recipe.corpus, own.corpus} & set(corpora.NAMES) or _is_here(own):
        return False
    here, gone = (
        [Path(side).name for side in corpora.paths_of(one.corpus)]
        for one in (recipe, own)
    )
    return here == gone


def _is_here(recipe: Recipe) -> bool:
    sides = corpora.paths_of(recipe.corpus)
    return recipe.corpus in corpora.NAMES or all(map(os.path.exists, sides))


def _was_streamed(trained: Trained) -> bool:
    """What the model says; those of older versions may only have the name."""
    known = trained.corpus_fingerprint.startswith(STREAMED)
    name = trained.recipe.corpus
    return known or (not os.path.isabs(name) and streams.is_sharded(name))


def refuse_files_of(corpus: str, name: str, what: str) -> None:
    """Refuse files that are files of a corpus, streamed or not.

    Args:
        corpus: the name of a corpus.
        name: a file, or SOURCE,TARGET.
        what: the end of the message: what is wrong with them, and what to
            give instead.

    Raises:
        ValueError: if one of them belongs to it.
    """
    if corpus in corpora.NAMES:
        return
    own: set[Path] = set()
    for side in corpora.paths_of(corpus):
        with suppress(corpora.CorpusError):  # they are no longer there
            own |= {_real(path) for path in streams.matches(side)}
    if own & {_real(side) for side in corpora.paths_of(name)}:
        raise ValueError(f"{name} belongs to {corpus}, {what}")


def refuse_training(name: str, trained: Trained) -> None:
    """Files that a model was trained on are no test for it.

    Raises:
        ValueError: if one of them, or SOURCE,TARGET, is such a file.
    """
    streamed = _was_streamed(trained)
    what = "stream" if streamed else "corpus"
    own = "" if streamed else ", or leave --test out, to score its test part"
    refuse_files_of(
        trained.recipe.corpus,
        name,
        f"the {what} that this model was trained on, and so holds sentences "
        "of the training; give --test FILE with sentences that the model has "
        f"not seen{own}",
    )


def pairs_to_score(
    trained: Trained,
    split: str,
    corpus: str | None = None,
    languages: str | None = None,
) -> tuple[str, list[SentencePair], str | None]:
    """The pairs of a split, by default of the model's own corpus.

    Args:
        split: "train", "valid" or "test".
        corpus, languages: what the options --corpus and --pair name.

    Returns:
        The name of the corpus, the pairs and, if it is one of real sentences,
        the target language.

    Raises:
        CorpusError: if the corpus cannot be loaded.
        ValueError: if the model may have been trained on these pairs, or its
            corpus is not here.
    """
    recipe = trained.recipe
    if corpus:
        if _was_streamed(trained):
            refuse_training(corpus, trained)
        named = replace(recipe, corpus=corpus)
        own = _is_own(named, recipe)
        recipe = replace(
            named, pair=languages or (recipe.pair if own else None)
        )
    elif _was_streamed(trained):
        raise ValueError(
            f"this model was trained on a stream, {recipe.corpus}, which has "
            "no test part; give --test FILE.tsv"
        )
    elif not _is_here(recipe):
        raise ValueError(
            f"this model was trained on {recipe.corpus}, which is not here; "
            "say where it is with --corpus, or give --test FILE"
        )
    elif languages:
        recipe = replace(recipe, pair=languages)
    own = _is_own(recipe, trained.recipe)
    pair, learned = map(_pair_of, (recipe, trained.recipe))
    if own and recipe.corpus in corpora.NAMES and pair != learned:
        raise ValueError(
            f"this model was trained on {recipe.corpus} with --pair "
            f"{learned}, not {pair}: leave --pair out"
        )
    found = recipes.corpus_of(recipe)
    known = trained.corpus_fingerprint
    if own and known and known != found.fingerprint():
        raise ValueError(
            f"the sentences of {found.name} are not those that this model "
            "was trained on (the file has changed since, or how the library "
            "finds its words): its test part may hold sentences of the "
            "training. Bring the old one back, or give --test FILE with "
            "sentences that the model has not seen"
        )
    language = found.target_language if found.name in recipes.REAL else None
    return found.name, getattr(found, split), language
