"""A model with all that is needed to use it: built, saved and loaded."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from s2s_lib import bugs, corpora
from s2s_lib.batches import (
    EncodedPair,
    PairList,
    RespelledPairs,
    Updates,
    encode_pairs,
)
from s2s_lib.catalogue import Recipe
from s2s_lib.grammar import SentencePair
from s2s_lib.recurrent import RecurrentConfig, RecurrentModel
from s2s_lib.search import translate
from s2s_lib.storage import (
    CheckpointError,
    check_weights,
    load_tensors,
    save_tensors,
)
from s2s_lib.subwords import AnyVocabulary, SubwordVocabulary
from s2s_lib.training import History
from s2s_lib.transformer import DecoderOnlyModel, TransformerModel
from s2s_lib.vocab import Vocabulary, check_tokens


@dataclass
class Trained:
    """A model with all that is needed to use it."""

    model: nn.Module
    source_vocab: AnyVocabulary
    target_vocab: AnyVocabulary
    history: History
    recipe: Recipe
    # Of the corpus that it was trained on; "" if that is not known.
    corpus_fingerprint: str = ""

    def source(self, tokens: Sequence[str]) -> list[str]:
        """Source tokens in the order in which this model reads them.

        Raises:
            TypeError: if they are a string, and not a list of tokens.
        """
        check_tokens(tokens)
        return list(reversed(tokens) if self.recipe.reverse_source else tokens)

    def pairs(self, pairs: Sequence[SentencePair]) -> list[SentencePair]:
        """Pairs with the sources as `source` gives them; links go along."""
        return read_backwards(pairs) if self.recipe.reverse_source else pairs

    def encode(self, pairs: Sequence[SentencePair]) -> list[EncodedPair]:
        """The ids of pairs, in the order in which this model reads them."""
        pairs = self.pairs(pairs)
        return encode_pairs(pairs, self.source_vocab, self.target_vocab)

    def updates(self, pairs: Sequence[SentencePair]) -> Updates:
        """Pairs as `training.fit` reads them, with the recipe's spelling.

        Raises:
            TypeError: if words are to be spelled anew without subwords.
        """
        if self.recipe.subword_dropout:
            return RespelledPairs(
                self.pairs(pairs),
                self.source_vocab,
                self.target_vocab,
                self.recipe.subword_dropout,
            )
        return PairList(bugs.spoil(self.encode(pairs), self.recipe.bug))

    def translate(
        self, sentences: Sequence[Sequence[str]], **options: Any
    ) -> list[list[str]]:
        """Translate tokenised sentences; options as in `search.n_best`.

        Returns:
            For each sentence the tokens of its translation.

        Raises:
            TypeError: for a sentence that is a string.
            ValueError: for an option that `search.n_best` refuses.
        """
        return translate(
            self.model,
            [self.source(tokens) for tokens in sentences],
            self.source_vocab,
            self.target_vocab,
            **options,
        )


def read_backwards(pairs: Sequence[SentencePair]) -> list[SentencePair]:
    """Reverse every source; links and classes follow their words."""

    def mirror(links, length):
        return frozenset((length - 1 - i, j) for i, j in links)

    return [
        replace(
            pair,
            source=pair.source[::-1],
            source_classes=pair.source_classes[::-1],
            sure=mirror(pair.sure, len(pair.source)),
            possible=mirror(pair.possible, len(pair.source)),
        )
        for pair in pairs
    ]


def training_pairs(
    recipe: Recipe, corpus: corpora.ParallelCorpus
) -> list[SentencePair]:
    """The pairs of the training split that a recipe takes.

    Raises:
        ValueError: if it takes none.
    """
    if not corpus.train:
        raise ValueError(f"{corpus.name!r} has no training pairs")
    most = recipe.max_tokens or math.inf
    pairs = [pair for pair in corpus.train if len(pair.source) <= most]
    if not pairs:
        raise ValueError(
            f"max_tokens={recipe.max_tokens} leaves none of the "
            f"{len(corpus.train)} training pairs of {corpus.name!r}"
        )
    return pairs[: recipe.num_train or None]


def build(
    recipe: Recipe, corpus: corpora.ParallelCorpus, seed: int
) -> Trained:
    """Vocabularies from the training split, and a model with fresh weights.

    `seed` is PyTorch's own from here on.

    Raises:
        ValueError: if the training objective or the bug does not suit the
            model, no pairs are left to train on, or they are too few for
            so many subwords.
    """
    selection = getattr(recipe.model, "selection", "soft")
    if (selection == "hard") == (recipe.training.objective == "likelihood"):
        raise ValueError(
            f"selection={selection!r} and objective="
            f"{recipe.training.objective!r} do not fit: the score of hard "
            'attention learns by an objective of "reinforce", and nothing '
            "else does"
        )
    train = training_pairs(recipe, corpus)
    sides = [(p.source for p in train), (p.target for p in train)]
    if recipe.subwords:
        both = SubwordVocabulary.build(chain(*sides), recipe.subwords)
        vocabs = [both, both]
    else:
        vocabs = [Vocabulary.build(side, recipe.min_count) for side in sides]
    torch.manual_seed(seed)
    model = _model(recipe, len(vocabs[0]), len(vocabs[1]))
    return Trained(model, *vocabs, [], recipe, corpus.fingerprint())


def _model(recipe: Recipe, sources: int, targets: int) -> nn.Module:
    if isinstance(recipe.model, RecurrentConfig):
        kind = RecurrentModel
    elif recipe.model.decoder_only:
        kind = DecoderOnlyModel
    else:
        kind = TransformerModel
    model = kind(sources, targets, recipe.model)
    return model if recipe.bug == "none" else bugs.inject(model, recipe.bug)


def save(path: Path | str, trained: Trained) -> None:
    """Write weights, vocabularies, recipe and history into one file.

    Raises:
        OSError: if it cannot be written; what was there is untouched.
    """
    about = {
        "recipe": asdict(trained.recipe),
        "source_vocab": stored(trained.source_vocab),
        "target_vocab": stored(trained.target_vocab),
        "history": trained.history,
        "corpus_fingerprint": trained.corpus_fingerprint,
    }
    save_tensors(path, dict(trained.model.state_dict()), about)


def stored(vocab: AnyVocabulary) -> list[str] | str:
    """A vocabulary as it stands in a file, for `json.dumps`."""
    words = isinstance(vocab, Vocabulary)
    return vocab.to_list() if words else vocab.to_json()


def _restored(stored: list[str] | str) -> AnyVocabulary:
    if isinstance(stored, str):
        return SubwordVocabulary.from_json(stored)
    return Vocabulary(stored)


def load(path: Path | str, into: Trained | None = None) -> Trained:
    """Read what `save` wrote.

    Args:
        path: the file.
        into: fill this one, after a check that it has the same vocabularies;
            its recipe stays.

    Returns:
        The model, in evaluation mode.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is a folder, or may not be read.
        CheckpointError: if it is damaged, holds no model or the checkpoint of
            a training, or does not fit `into`.
    """
    weights, about = load_tensors(path)
    if "progress" in about:
        raise CheckpointError(
            f"{path} is the checkpoint of a training that has not ended; the "
            "command that wrote it goes on from there, and writes the model"
        )
    try:
        source = _restored(about["source_vocab"])
        target = _restored(about["target_vocab"])
        recipe = Recipe.from_settings(about["recipe"])
        history = about["history"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not hold a model of this library ({error!r}); "
            "give a file that `train` wrote, or delete it to start afresh"
        ) from error
    if into is None:
        model = _model(recipe, len(source), len(target))
        into = Trained(model, source, target, history, recipe)
    elif (into.source_vocab, into.target_vocab) != (source, target):
        raise CheckpointError(
            f"{path} was trained with other vocabularies than these; "
            "delete it to start afresh"
        )
    check_weights(path, into.model, weights)
    into.model.load_state_dict(weights)
    into.model.eval()
    into.history = history
    into.corpus_fingerprint = about.get("corpus_fingerprint", "")
    return into
