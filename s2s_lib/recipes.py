"""The trainings that the book's chapters share, by name.

A recipe says everything that determines a training: corpus, model, training
settings. `train` runs it once and keeps the weights in a cache on disk, so a
later chapter loads what an earlier one trained. `reproduce` runs it to the
end and writes what was measured to a small JSON file in `results/`.
"""

import hashlib
import json
import math
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from s2s_lib import bugs, captions, corpora
from s2s_lib.attention import SCORES
from s2s_lib.batches import collate, encode_pairs
from s2s_lib.grammar import SentencePair
from s2s_lib.losses import CHUNK
from s2s_lib.metrics import (
    accuracy_by_position,
    alignment_by_class,
    alignment_score,
    bleu,
    bleu_by_length,
    links_from_weights,
    perplexity,
    pointing_entropy,
    recall_by_source_position,
    tokenized_bleu,
)
from s2s_lib.modes import evaluation_mode
from s2s_lib.recurrent import RecurrentConfig, RecurrentModel
from s2s_lib.search import translate
from s2s_lib.subwords import AnyVocabulary, SubwordVocabulary
from s2s_lib.training import (
    CheckpointError,
    History,
    TrainingConfig,
    check_weights,
    fit,
    load_tensors,
    save_tensors,
)
from s2s_lib.transformer import (
    POSITIONS,
    DecoderOnlyModel,
    TransformerConfig,
    TransformerModel,
)
from s2s_lib.vocab import Vocabulary, check_tokens, detokenize

# The modules whose code decides what a training ends in.
_DETERMINES = (
    "vocab", "subwords", "lexicon", "grammar", "captions", "corpora",
    "batches", "modes", "losses", "additive", "attention", "embeddings",
    "recurrent", "transformer", "hard", "bugs", "training",
)  # fmt: skip
REAL = ("multi30k", "tatoeba")  # corpora of real sentences
# What else a result may depend on: their versions are kept with it.
_PACKAGES = ("torch", "numpy", "sacrebleu", "tokenizers", "accelerate")
LONG = 20  # "long" sentences have more source tokens than this


@dataclass(frozen=True)
class Recipe:
    """A training, but for its seed.

    Args:
        model: the architecture; vocabulary sizes follow from the corpus.
        training: the training settings.
        corpus, pair: what `corpora.load` is given.
        min_count: a training word that is rarer becomes `<unk>`.
        reverse_source: feed the source from its end (`sutskever2014`).
        num_train: train on the first so many pairs only; 0 takes all.
        max_tokens: train on sources of at most so many tokens; 0 takes all.
        bug: a mistake of `bugs.BUGS` to make on purpose, or "none".
        subwords: ids of one subword vocabulary for both sides, in the place
            of a vocabulary of words for each; 0 for words.
        beam_size, length_penalty: how the test split is translated; see
            `search.n_best`.
    """

    model: RecurrentConfig | TransformerConfig = field(
        default_factory=RecurrentConfig
    )
    training: TrainingConfig = field(default_factory=TrainingConfig)
    corpus: str = "generated"
    pair: str | None = None
    min_count: int = 1
    reverse_source: bool = False
    num_train: int = 0
    max_tokens: int = 0
    bug: str = "none"
    subwords: int = 0
    beam_size: int = 1
    length_penalty: float = 0.0

    def __post_init__(self):
        if self.subwords < 0:
            raise ValueError(
                f"subwords must be 0 (words) or more, not {self.subwords}"
            )
        if self.min_count < 1:
            raise ValueError(
                f"min_count must be 1 (all words) or more, not "
                f"{self.min_count}"
            )
        if self.subwords and self.min_count > 1:
            raise ValueError(
                f"min_count={self.min_count} is for a vocabulary of words; "
                f"with subwords={self.subwords} leave it at 1"
            )
        for name in ("num_train", "max_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{name} must be 0 (all) or more, "
                    f"not {getattr(self, name)}"
                )
        if self.bug not in ("none", *bugs.BUGS):
            raise ValueError(
                f"bug must be none or one of {tuple(bugs.BUGS)}, "
                f"not {self.bug!r}"
            )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Recipe":
        """The recipe that `asdict` made `settings` of.

        A setting that is missing has its default: the file is older.
        """
        settings = dict(settings)
        transformer = "num_heads" in settings["model"]
        config = TransformerConfig if transformer else RecurrentConfig
        settings["model"] = config(**settings["model"])
        settings["training"] = TrainingConfig(**settings["training"])
        return cls(**settings)


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
        """Pairs with their sources in that order; the links go along."""
        return read_backwards(pairs) if self.recipe.reverse_source else pairs

    def translate(
        self, sentences: Sequence[Sequence[str]], **options: Any
    ) -> list[list[str]]:
        """Translate tokenised sentences; options as in `search.n_best`."""
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


def corpus_of(recipe: Recipe) -> corpora.ParallelCorpus:
    """The corpus that a recipe trains and is tested on."""
    paths = map(Path, corpora.paths_of(recipe.corpus))
    files = [path.stat() for path in sorted(paths) if path.is_file()]
    stamps = tuple((file.st_mtime_ns, file.st_size) for file in files)
    return _load_corpus(recipe.corpus, recipe.pair, stamps)


@lru_cache(maxsize=2)
def _load_corpus(
    name: str, pair: str | None, stamps: tuple[tuple[int, int], ...]
) -> corpora.ParallelCorpus:
    """Loaded once, as long as its files, if it has some, stay the same."""
    return corpora.load(name, pair=pair)


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

    Raises:
        ValueError: if the training objective does not suit the model.
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


def cache_dir() -> Path:
    """`S2S_CACHE_DIR`, or the user's cache folder for this library."""
    given = os.environ.get("S2S_CACHE_DIR")
    if given:
        return Path(given)
    import pooch  # here, since it warns in notebooks without ipywidgets

    return Path(pooch.os_cache("s2s_lib"))


def fingerprint(
    recipe: Recipe, seed: int, corpus: corpora.ParallelCorpus | None = None
) -> str:
    """A hash of everything that determines the weights.

    Args:
        corpus: what is trained on, if it is not the recipe's.
    """
    if corpus is None:
        corpus = corpus_of(recipe)
    recipe = replace(recipe, beam_size=1, length_penalty=0.0)
    parts = [json.dumps(asdict(recipe), sort_keys=True), str(seed)]
    parts += [corpus.fingerprint(), torch.__version__]
    folder = Path(__file__).parent
    for name in _DETERMINES:
        path = folder / f"{name}.py"
        parts.append(path.read_text(encoding="utf-8"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def train(
    recipe: Recipe | str,
    seed: int = 0,
    progress: bool = True,
    device: torch.device | str = "cpu",
    corpus: corpora.ParallelCorpus | None = None,
) -> Trained:
    """Train a recipe, or load its weights if it was trained before.

    A training that was stopped goes on from its last checkpoint.

    Args:
        recipe: one of the names in `RECIPES`, or a recipe.
        seed: of the weights, the order of the data and dropout.
        progress: show a bar on standard error.
        device: where to train; the weights of one device serve on another.
        corpus: train and validate on this one, and not on that of the
            recipe. What the recipe says of the pairs, such as `num_train`,
            `max_tokens` and `min_count`, holds for it too. The recipe of
            the result has its name and languages.

    Raises:
        KeyError: if there is no recipe of that name.
        CheckpointError: if the file in the cache is damaged.
        OSError: if the weights could not be kept; nothing is trained then.
        ValueError: if the corpus has no pairs to train on or to validate
            with.
    """
    name, recipe = _named(recipe)
    recipe = replace(recipe, training=replace(recipe.training, seed=seed))
    own = corpus
    # Its lists may have changed: a new object has a fingerprint of its own.
    corpus = corpus_of(recipe) if own is None else replace(own)
    if not corpus.valid:
        raise ValueError(
            f"{corpus.name!r} has no validation pairs, and the model is "
            "scored on them during the training; give it some"
        )
    trained = build(recipe, corpus, seed)
    if own is not None:
        pair = f"{corpus.source_language}-{corpus.target_language}"
        trained.recipe = replace(recipe, corpus=corpus.name, pair=pair)
    trained.model.to(device)
    stem = f"{name}-seed{seed}-{fingerprint(recipe, seed, corpus)}"
    path = cache_dir() / "models" / f"{stem}.safetensors"
    if path.exists():
        return load(path, trained)
    check_writable(
        path.parent,
        f"the cache folder {path.parent}",
        "set S2S_CACHE_DIR to a folder that can",
    )
    pairs = encode_pairs(
        trained.pairs(training_pairs(recipe, corpus)),
        trained.source_vocab,
        trained.target_vocab,
    )
    pairs = bugs.spoil(pairs, recipe.bug)
    checkpoint = path.with_suffix(".checkpoint")
    trained.history = fit(
        trained.model,
        pairs,
        recipe.training,
        lambda _: validate(trained, corpus.valid),
        checkpoint,
        progress=progress,
    )
    save(path, trained)
    # Another process may have finished the same training meanwhile.
    checkpoint.unlink(missing_ok=True)
    return trained


def check_writable(folder: Path, what: str, advice: str) -> None:
    """Find out before a training that its result cannot be kept.

    Args:
        folder: where the result will go; it is made if it is not there.
        what: what the message says cannot be written.
        advice: what the message says to do.

    Raises:
        OSError: if no file can be made there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            f"{what} cannot be written ({error}); {advice}"
        ) from error


def _named(recipe: Recipe | str) -> tuple[str, Recipe]:
    if isinstance(recipe, Recipe):
        return "own", recipe
    if recipe not in RECIPES:
        raise KeyError(
            f"there is no recipe {recipe!r}; there are {', '.join(RECIPES)}"
        )
    return recipe, RECIPES[recipe]


def save(path: Path | str, trained: Trained) -> None:
    """Write weights, vocabularies, recipe and history into one file."""
    about = {
        "recipe": asdict(trained.recipe),
        "source_vocab": _stored(trained.source_vocab),
        "target_vocab": _stored(trained.target_vocab),
        "history": trained.history,
        "corpus_fingerprint": trained.corpus_fingerprint,
    }
    save_tensors(path, dict(trained.model.state_dict()), about)


def _stored(vocab: AnyVocabulary) -> list[str] | str:
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
        into: fill this one, after a check that it has the same vocabularies.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged, or does not fit `into`.
    """
    weights, about = load_tensors(path)
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


def validate(
    trained: Trained, pairs: Sequence[SentencePair]
) -> dict[str, float]:
    """Loss, BLEU and, where there are weights and gold links, alignment
    error rate on the validation split, for the learning curve."""
    outputs = trained.translate([pair.source for pair in pairs])
    score = bleu(
        [detokenize(tokens) for tokens in outputs],
        [pair.target_sentence for pair in pairs],
    )
    forced = _forced(trained, pairs)
    row = {
        "valid_loss": forced.total / forced.tokens,
        "valid_bleu": score.score,
    }
    alignment = evaluate_alignment(trained, pairs, forced)
    if alignment is not None:
        row["valid_aer"] = alignment["error_rate"]
    return row


class Forced(NamedTuple):
    """What a model makes of pairs while their true translations are fed.

    `total` is the negative log-likelihood of all `tokens`, `<eos>` among
    them, in nats. For each pair and position but that of `<eos>`,
    `predictions` are the most probable ids and `weights` those of the
    attention, or None without one.
    """

    total: float
    tokens: int
    predictions: list[Tensor]
    weights: list[Tensor | None]


def forced_predictions(
    trained: Trained, pairs: Sequence[SentencePair], batch_size: int = 128
) -> list[list[str]]:
    """The most probable token at each position, given the true prefix.

    The tokens are those of the model: with subwords they are pieces.
    """
    return _named_ids(trained, _forced(trained, pairs, batch_size))


def _named_ids(trained: Trained, forced: Forced) -> list[list[str]]:
    # A wrong <eos> is a token like any other: it ends nothing here.
    piece = trained.target_vocab.piece
    return [[piece(i) for i in ids.tolist()] for ids in forced.predictions]


def forced_weights(
    trained: Trained, pairs: Sequence[SentencePair], batch_size: int = 128
) -> list[np.ndarray]:
    """The attention's weights while the true translations are fed.

    Returns:
        Per sentence (target words, source tokens): a row for each word of
        the translation, a column for each token as the model reads them,
        `<eos>` last.

    Raises:
        ValueError: if the model has no attention.
    """
    weights = _forced(trained, pairs, batch_size).weights
    if any(grid is None for grid in weights):
        raise ValueError("this model has no attention, and so no weights")
    return [
        _grid(trained, pair, grid)
        for pair, grid in zip(pairs, weights, strict=True)
    ]


def _grid(trained: Trained, pair: SentencePair, weights: Tensor) -> np.ndarray:
    """The weights of one pair, between words."""
    grid = weights.float().cpu().numpy()
    if not trained.recipe.subwords:
        return grid
    (pair,) = trained.pairs([pair])
    return _by_word(
        grid,
        [*map(len, trained.target_vocab.pieces(pair.target))],
        [*map(len, trained.source_vocab.pieces(pair.source)), 1],
    )


def _by_word(
    grid: np.ndarray, targets: Sequence[int], sources: Sequence[int]
) -> np.ndarray:
    """Weights between pieces as weights between words of so many pieces.

    A source word has the sum of its pieces' weights, a target word asks with
    the mean of its pieces' questions.
    """
    grid = np.add.reduceat(grid, np.cumsum([0, *sources[:-1]]), axis=1)
    grid = np.add.reduceat(grid, np.cumsum([0, *targets[:-1]]), axis=0)
    return grid / np.array(targets)[:, None]


def _forced(
    trained: Trained, pairs: Sequence[SentencePair], batch_size: int = 128
) -> Forced:
    """All that is known of pairs after one pass with teacher forcing.

    Sentences of similar length share a batch: there is less padding.
    """
    model = trained.model
    device = next(model.parameters()).device
    encoded = encode_pairs(
        trained.pairs(pairs), trained.source_vocab, trained.target_vocab
    )
    # Of a large vocabulary, the logits of a few positions at a time.
    positions = max(1, CHUNK // len(trained.target_vocab))
    total, found = 0.0, {}
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].target))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = collate([encoded[i] for i in rows]).to(device)
        real, ids = batch.target_mask, []
        with torch.no_grad(), evaluation_mode(model):
            memory = model.encode(batch.source, batch.source_mask)
            hidden, weights = model.hidden(memory, batch.target_in)
            for vectors, true in zip(
                hidden[real].split(positions),
                batch.target_out[real].split(positions),
                strict=True,
            ):
                logits = model.output(vectors).float()
                total += float(cross_entropy(logits, true, reduction="sum"))
                ids.append(logits.argmax(1))
        ids = torch.cat(ids).split(real.sum(1).tolist())
        for row, i in enumerate(rows):
            words, tokens = len(encoded[i].target) - 1, len(encoded[i].source)
            found[i] = (
                ids[row][:words],
                None if weights is None else weights[row, :words, :tokens],
            )
    tokens = sum(len(pair.target) for pair in encoded)
    ordered = [found[i] for i in range(len(pairs))]
    predictions = [ids for ids, _ in ordered]
    return Forced(total, tokens, predictions, [grid for _, grid in ordered])


def _aligns(trained: Trained) -> bool:
    """Whether there are weights over the words of a source."""
    config = trained.recipe.model
    return config.attends and config.encoder == "text"


def evaluate_alignment(
    trained: Trained,
    pairs: Sequence[SentencePair],
    forced: Forced | None = None,
) -> dict[str, Any] | None:
    """How the attention fits the gold links, the true translation fed.

    Args:
        forced: what the model makes of `pairs`, where that is known.

    Returns:
        error_rate, precision and recall of the largest weights, entropy of
        the weights (nats, mean over target words) and by_class, the same
        three scores for each class of source words. None for a model
        without attention and for pairs without gold links, and for
        pictures: see `evaluate_captions`.
    """
    linked = [i for i, pair in enumerate(pairs) if pair.sure]
    if not _aligns(trained) or not linked:
        return None
    if forced is None:
        grids = forced_weights(trained, [pairs[i] for i in linked])
    else:
        grids = [_grid(trained, pairs[i], forced.weights[i]) for i in linked]
    pairs = [pairs[i] for i in linked]
    read = trained.pairs(pairs)
    links = [
        links_from_weights(grid, len(pair.source))
        for grid, pair in zip(grids, read, strict=True)
    ]
    sure, possible = [p.sure for p in read], [p.possible for p in read]
    result = asdict(alignment_score(links, sure, possible))
    words = sum(len(grid) for grid in grids)
    total = sum(pointing_entropy(grid) * len(grid) for grid in grids)
    result["entropy"] = total / words
    by_class = {}
    if all(pair.source_classes for pair in read):
        classes = [pair.source_classes for pair in read]
        by_class = alignment_by_class(links, sure, possible, classes)
    result["by_class"] = {
        name: asdict(score) for name, score in by_class.items()
    }
    return result


def example(
    trained: Trained, pairs: Sequence[SentencePair]
) -> dict[str, Any] | None:
    """One short sentence with its weights, to be drawn.

    The first with "not" and 8 to 14 tokens, else the first of all; the
    true translation is fed, and the row of `<eos>` is left out.
    """
    pairs = [pair for pair in pairs if pair.sure]
    if not _aligns(trained) or not pairs:
        return None
    good = [p for p in pairs if "not" in p.source and 8 <= len(p.source) <= 14]
    pair = (good or pairs)[0]
    (grid,) = forced_weights(trained, [pair])
    (read,) = trained.pairs([pair])
    return {
        "source": [*read.source, "<eos>"],
        "target": list(read.target),
        "sure": sorted(read.sure),
        "possible": sorted(read.possible),
        "weights": [[round(float(w), 4) for w in row] for row in grid],
        "output": trained.translate([pair.source])[0],
    }


def evaluate_captions(
    trained: Trained,
    pairs: Sequence[SentencePair],
    outputs: Sequence[Sequence[str]],
    forced: Forced | None = None,
) -> dict[str, Any]:
    """What is measured of captions alone.

    Args:
        outputs: the captions that the model gave to the pictures of `pairs`.
        forced: what the model makes of `pairs`, where that is known.

    Returns:
        examples, the captions of the first picture of 1, 2 ... shapes;
        exact_by_shapes and bleu_by_shapes, for pictures of so many shapes;
        word_accuracy, for each class of words the share that the caption
        has right at its position; loss (nats per token) with the true
        picture and wrong_picture_loss with another one; and for a model
        with attention pointing (see `captions.pointing`), and with another
        picture fed wrong_picture_pointing, against the regions of the
        caption, and shown_picture_pointing, against those of the picture.
    """
    numbers = [captions.num_shapes(pair.target) for pair in pairs]
    counts = range(1, captions.MAX_SHAPES + 1)
    exact: dict[int, list[bool]] = {count: [] for count in counts}
    words: dict[str, list[bool]] = {}
    for output, pair, number in zip(outputs, pairs, numbers, strict=True):
        exact[number].append(tuple(output) == pair.target)
        classes = captions.word_classes(pair.target)
        for i, (word, kind) in enumerate(
            zip(pair.target, classes, strict=True)
        ):
            right = i < len(output) and output[i] == word
            words.setdefault(kind, []).append(right)
    others = captions.with_other_pictures(pairs)
    right = _forced(trained, pairs) if forced is None else forced
    wrong = _forced(trained, others)
    firsts = [numbers.index(count) for count in counts if count in numbers]
    result = {
        "examples": [list(outputs[first]) for first in firsts],
        "exact_by_shapes": [
            sum(exact[count]) / len(exact[count]) if exact[count] else None
            for count in counts
        ],
        "bleu_by_shapes": bleu_by_length(
            [detokenize(output) for output in outputs],
            [pair.target_sentence for pair in pairs],
            numbers,
            [(count, count) for count in counts],
        ),
        "word_accuracy": {
            kind: sum(right) / len(right)
            for kind, right in sorted(words.items())
        },
        "loss": right.total / right.tokens,
        "wrong_picture_loss": wrong.total / wrong.tokens,
    }
    if trained.recipe.model.attends:
        # The same pictures and captions as `others`, with other links.
        shown = captions.with_other_pictures(pairs, "picture")
        for name, rows, weights in (
            ("pointing", pairs, right.weights),
            ("wrong_picture_pointing", others, wrong.weights),
            ("shown_picture_pointing", shown, wrong.weights),
        ):
            grids = [
                _grid(trained, pair, grid)
                for pair, grid in zip(rows, weights, strict=True)
            ]
            result[name] = captions.pointing(grids, rows)
    return result


def evaluate(
    trained: Trained,
    pairs: Sequence[SentencePair],
    language: str | None = None,
    **search: Any,
) -> dict[str, Any]:
    """All that the book measures of a model on a split.

    Args:
        language: of the targets, as two letters, if it is a real one.
        search: options of `search.n_best`; greedy search without them.

    Returns:
        bleu, signature, precisions, brevity_penalty, bleu_by_length,
        perplexity, accuracy_by_position (teacher-forced and free-running),
        recall_by_source_position (sentences over 20 tokens with gold links;
        in the order of the sentence, however the model read it), exact, the
        share of sentences that equal their reference, length_ratio, output
        words per word of the reference, alignment (see
        `evaluate_alignment`), example (see `example`) and, for pictures
        alone, captions (see `evaluate_captions`); with a language,
        bleu_tokenized (score and signature of `metrics.tokenized_bleu`)
        and outputs, the translations as text.
        Positions are those of the model's tokens: with subwords, of pieces.
    """
    sources = [pair.source for pair in pairs]
    targets = [pair.target for pair in pairs]
    outputs = trained.translate(sources, **search)
    texts = [detokenize(tokens) for tokens in outputs]
    references = [pair.target_sentence for pair in pairs]
    score = bleu(texts, references)
    forced = _forced(trained, pairs)
    long = [i for i, s in enumerate(sources) if len(s) > LONG]
    if trained.recipe.model.encoder == "image":
        long = []  # a picture has regions, and not one position per word
    long = [i for i in long if pairs[i].sure]
    lengths = [len(s) for s in sources]
    same = [tuple(o) == t for o, t in zip(outputs, targets, strict=True)]
    pieces = [
        [list(chain(*trained.target_vocab.pieces(words))) for words in side]
        for side in (outputs, targets)
    ]
    result = {}
    if language is not None:
        tokenized = tokenized_bleu(texts, references, language)
        result["bleu_tokenized"] = {
            "score": tokenized.score,
            "signature": tokenized.signature,
        }
        result["outputs"] = texts
    return result | {
        "bleu": score.score,
        "signature": score.signature,
        "precisions": list(score.precisions),
        "brevity_penalty": score.brevity_penalty,
        "bleu_by_length": bleu_by_length(
            texts, references, lengths, corpora.LENGTH_BUCKETS
        ),
        "perplexity": perplexity(forced.total, forced.tokens),
        "exact": sum(same) / len(same),
        "length_ratio": sum(map(len, outputs)) / sum(map(len, targets)),
        "alignment": evaluate_alignment(trained, pairs, forced),
        "example": example(trained, pairs),
        "captions": evaluate_captions(trained, pairs, outputs, forced)
        if trained.recipe.model.encoder == "image"
        else None,
        "accuracy_by_position": {
            "teacher_forced": accuracy_by_position(
                _named_ids(trained, forced), pieces[1]
            ),
            "free_running": accuracy_by_position(*pieces),
        },
        "recall_by_source_position": recall_by_source_position(
            [outputs[i] for i in long],
            [targets[i] for i in long],
            [pairs[i].sure for i in long],
            [lengths[i] for i in long],
        )
        if long
        else None,
    }


# Searches that are compared on the validation split of real sentences: beam
# size and length penalty.
SEARCHES = ((1, 0.0), (2, 1.0), (5, 0.0), (5, 0.5), (5, 1.0), (10, 1.0))


def compare_searches(
    trained: Trained, pairs: Sequence[SentencePair], language: str
) -> list[dict[str, float | int]]:
    """How the search changes the score, with the same weights.

    Args:
        pairs: of the validation split; the test split is for one search.
        language: of the targets, as two letters.

    Returns:
        For each of `SEARCHES` beam_size, length_penalty, bleu_tokenized,
        length_ratio (output words per word of the reference) and
        sentences_per_second.
    """
    sources = [pair.source for pair in pairs]
    references = [pair.target_sentence for pair in pairs]
    words = sum(len(pair.target) for pair in pairs)
    rows = []
    for size, penalty in SEARCHES:
        began = time.perf_counter()
        outputs = trained.translate(
            sources, beam_size=size, length_penalty=penalty
        )
        seconds = time.perf_counter() - began
        texts = [detokenize(tokens) for tokens in outputs]
        score = tokenized_bleu(texts, references, language)
        rows.append(
            {
                "beam_size": size,
                "length_penalty": penalty,
                "bleu_tokenized": score.score,
                "length_ratio": sum(map(len, outputs)) / words,
                "sentences_per_second": len(pairs) / seconds,
            }
        )
    return rows


def results_dir() -> Path:
    """The folder of the results files: in a checkout, or as installed."""
    here = Path(__file__).parent
    checkout = here.parent / "results"
    return checkout if checkout.is_dir() else here / "results"


def reproduce(name: str, seed: int = 0, progress: bool = True) -> Path:
    """Train a recipe, score it once on the test split, write the results.

    `training_seconds` in the file are those of all updates and validations,
    however often the training was stopped; `seconds` are those of this call.

    Returns:
        The file, `results/NAME-seedN.json`.
    """
    name, recipe = _named(name)
    check_writable(
        results_dir(),
        f"the folder of results {results_dir()}",
        "run it in a checkout of the book, where that folder can",
    )
    began, commit = time.perf_counter(), _commit()
    trained = train(name, seed, progress)
    corpus = corpus_of(trained.recipe)
    parameters = sum(p.numel() for p in trained.model.parameters())
    language = corpus.target_language if recipe.corpus in REAL else None
    searches = None
    if recipe.beam_size > 1 and language is not None:
        searches = compare_searches(trained, corpus.valid, language)
    result = {
        "name": name,
        "seed": seed,
        "command": f"python -m s2s_lib reproduce {name} --seed {seed}",
        "recipe": asdict(recipe),
        "corpus_fingerprint": corpus.fingerprint(),
        "commit": commit,
        "versions": {
            "python": platform.python_version(),
            **{p: version(p) for p in _PACKAGES},
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} thread(s), "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "training_seconds": trained.history[-1]["seconds"],
        "seconds": time.perf_counter() - began,
        "parameters": parameters,
        "history": trained.history,
        "searches": searches,
        "metrics": evaluate(
            trained,
            corpus.test,
            language,
            beam_size=recipe.beam_size,
            length_penalty=recipe.length_penalty,
        ),
    }
    path = results_dir() / f"{name}-seed{seed}.json"
    text = json.dumps(rounded(result), indent=1, ensure_ascii=False)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def rounded(value: Any) -> Any:
    """Six significant digits: what is beyond differs between machines."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def _commit() -> str:
    """The commit of the checkout, with + if it has changes; or unknown."""
    here = Path(__file__)

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *command],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        # An installed copy may lie in a checkout of something else.
        git("ls-files", "--error-unmatch", here.name)
        dirty = git("status", "--short", ".")
        return git("rev-parse", "HEAD")[:12] + ("+" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def load_results(name: str) -> list[dict[str, Any]]:
    """The results files of a recipe, one per seed, by rising seed.

    Raises:
        FileNotFoundError: if there is none, with the command to make one.
    """
    paths = results_dir().glob(f"{name}-seed*.json")
    results = [json.loads(p.read_text(encoding="utf-8")) for p in paths]
    if not results:
        raise FileNotFoundError(
            f"there is no results file of {name!r} in {results_dir()}; "
            f"make one with: python -m s2s_lib reproduce {name} --seed 0"
        )
    return sorted(results, key=lambda result: result["seed"])


def _change(recipe: Recipe, model: dict, training: dict, **rest) -> Recipe:
    return replace(
        recipe,
        model=replace(recipe.model, **model),
        training=replace(recipe.training, **training),
        **rest,
    )


# Without attention, on the generated corpus: C enters at every step.
PLAIN = Recipe(
    RecurrentConfig(context="every_step", dropout=0.1),
    TrainingConfig(steps=1000, learning_rate=8e-3, schedule="linear"),
)


# With attention, on the same corpus at the same size.
ADDITIVE = replace(
    PLAIN,
    model=RecurrentConfig(attention="additive", dropout=0.1),
    training=replace(PLAIN.training, steps=500, evaluate_every=50),
)
AFTER = replace(
    ADDITIVE,
    model=RecurrentConfig(attention="dot", query="after", dropout=0.1),
    training=replace(ADDITIVE.training, evaluate_every=100),
)


TRANSFORMER = Recipe(
    TransformerConfig(dropout=0.1),
    replace(AFTER.training, learning_rate=4e-3, warmup=50),
)


UNSORTED = replace(AFTER, training=replace(AFTER.training, bucket=False))
MULTI30K = Recipe(
    RecurrentConfig(
        embedding_size=128,
        hidden_size=256,
        context="every_step",
        dropout=0.3,
    ),
    TrainingConfig(
        steps=1000,
        batch_size=128,
        learning_rate=4e-3,
        schedule="linear",
    ),
    corpus="multi30k",
    pair="en-fr",
    min_count=3,
)


UNITS = replace(
    TRANSFORMER,
    training=replace(TRANSFORMER.training, steps=900, evaluate_every=300),
    corpus="multi30k",
    pair="en-fr",
)
# The benchmark: subwords, and the Transformer of the literature's size.
TINY = Recipe(
    TransformerConfig(num_layers=4, dropout=0.3, shared_embeddings=True),
    TrainingConfig(
        steps=4000,
        batch_tokens=4096,
        learning_rate=4e-3,
        schedule="linear",
        warmup=400,
        label_smoothing=0.1,
        average=10,
        evaluate_every=100,
    ),
    corpus="multi30k",
    subwords=10_000,
    beam_size=5,
    length_penalty=1.0,
)
# Recurrent models of about the same size. By trials on the validation split:
# with half the positions in an update, less dropout and half the rate they
# learn more from as many sentences.
_GRU = _change(
    replace(
        TINY,
        model=RecurrentConfig(
            embedding_size=128,
            hidden_size=256,
            dropout=0.2,
            shared_embeddings=True,
        ),
    ),
    {},
    {
        "steps": 8000,
        "batch_tokens": 2048,
        "learning_rate": 2e-3,
        "warmup": 800,
        "evaluate_every": 200,
    },
)
BENCHMARK = {
    "": TINY,
    "attention-": _change(_GRU, {"attention": "dot", "query": "after"}, {}),
    "plain-": _change(_GRU, {"context": "every_step"}, {}),
}


RECIPES: dict[str, Recipe] = {
    "plain": PLAIN,
    # Three times the budget: what is slow learning, and what is not?
    "plain-long": _change(PLAIN, {}, {"steps": 3000}),
    # And three times that, and again: where does it stop to help?
    "plain-longer": _change(PLAIN, {}, {"steps": 9000, "evaluate_every": 600}),
    "plain-longest": _change(
        PLAIN, {}, {"steps": 27000, "evaluate_every": 900}
    ),
    # C squeezed to so many numbers by one more layer; plain has 256 and no
    # such layer, so 256 is here too.
    **{
        f"context-{size}": _change(PLAIN, {"context_size": size}, {})
        for size in (4, 16, 64, 256)
    },
    "context-64-long": _change(PLAIN, {"context_size": 64}, {"steps": 3000}),
    # One reader, from the start to the end, and the same backwards.
    "one-way": _change(PLAIN, {"bidirectional": False}, {}),
    "one-way-reversed": _change(
        PLAIN, {"bidirectional": False}, {}, reverse_source=True
    ),
    # Scheduled sampling: the share of true tokens at the last step.
    **{
        f"scheduled-{percent}": _change(
            PLAIN, {}, {"teacher_forcing": percent / 100}
        )
        for percent in (50, 0)
    },
    # Attention of Bahdanau's form, at the size of PLAIN: half the steps are
    # about the same time, and all of them the same number of sentences.
    "additive": ADDITIVE,
    "additive-long": _change(ADDITIVE, {}, {"steps": 1000}),
    "additive-longer": _change(
        ADDITIVE, {}, {"steps": 3000, "evaluate_every": 200}
    ),
    "additive-longest": _change(
        ADDITIVE, {}, {"steps": 9000, "evaluate_every": 300}
    ),
    # The same at about a third of the rate.
    "additive-low-rate": _change(
        ADDITIVE,
        {},
        {"steps": 9000, "evaluate_every": 300, "learning_rate": 3e-3},
    ),
    "coverage": _change(ADDITIVE, {"coverage": True}, {}),
    # Luong's form, and every score on the same terms.
    **{
        f"{score.replace('_', '-')}-after": _change(
            AFTER, {"attention": score}, {}
        )
        for score in SCORES
    },
    "input-feeding": _change(AFTER, {"input_feeding": True}, {}),
    # Batches of mixed lengths, with as much padding as words.
    "unsorted": UNSORTED,
    # The mistakes of Chapter 9, one each, on the terms of dot-after, but for
    # two that need another model or other batches.
    **{
        f"bug-{bug.replace('_', '-')}": replace(
            {
                "no_tanh": _change(AFTER, {"attention": "additive"}, {}),
                "reads_padding": UNSORTED,
            }.get(bug, AFTER),
            bug=bug,
        )
        for bug in bugs.BUGS
    },
    "bug-little-data": replace(AFTER, num_train=300),
    # Hard attention: drawn positions, on the terms of dot-after.
    "hard-reinforce": _change(
        AFTER, {"selection": "hard"}, {"objective": "reinforce"}
    ),
    "hard-mean": _change(
        AFTER, {"selection": "hard"}, {"objective": "reinforce_mean"}
    ),
    "hard-none": _change(
        AFTER, {"selection": "hard"}, {"objective": "reinforce_none"}
    ),
    "straight-through": _change(AFTER, {"selection": "straight_through"}, {}),
    # The Transformer, at as many numbers per position as the recurrent
    # models have in a state, and on the terms of those with attention.
    "transformer": TRANSFORMER,
    "transformer-long": _change(TRANSFORMER, {}, {"steps": 1000}),
    "transformer-post": _change(TRANSFORMER, {"norm": "post"}, {}),
    "transformer-cold": _change(TRANSFORMER, {}, {"warmup": 0}),
    "transformer-post-cold": _change(
        TRANSFORMER, {"norm": "post"}, {"warmup": 0}
    ),
    "decoder-only": _change(TRANSFORMER, {"decoder_only": True}, {}),
    # Trained on sources of at most 30 tokens, to be tested on longer ones.
    **{
        f"short-{positions}": replace(
            _change(TRANSFORMER, {"positions": positions}, {}), max_tokens=30
        )
        for positions in POSITIONS
    },
    "short-dot": replace(AFTER, max_tokens=30),
    # Pictures and captions: the encoder is another, and nothing else.
    **{
        f"captions-{name}": replace(
            _change(
                recipe,
                {"encoder": "image"},
                {
                    "steps": 600,
                    "evaluate_every": 100,
                    "warmup": 20,
                    "learning_rate": rate,
                },
            ),
            corpus="captions",
            pair="image-en",
        )
        for name, recipe, rate in (
            ("plain", PLAIN, 1e-2),
            ("attention", AFTER, 1e-2),
            # The same score and size, the context in the cell.
            ("before", _change(AFTER, {"query": "before"}, {}), 1e-2),
            ("transformer", TRANSFORMER, 4e-3),
        )
    },
    # Toy tasks whose right alignment is known.
    **{
        f"{task}-{name}": replace(
            _change(recipe, {}, {"steps": 500, "evaluate_every": 100}),
            corpus=task,
        )
        for task in corpora.TOYS
        for name, recipe in (
            ("plain", PLAIN),
            ("once", _change(PLAIN, {"context": "initial"}, {})),
            ("attention", AFTER),
        )
    },
    # Real sentences: about four times through Multi30k; with attention twice,
    # and four times.
    "multi30k-plain": MULTI30K,
    **{
        f"multi30k-additive{suffix}": _change(
            MULTI30K,
            {"context": "initial", "attention": "additive"},
            {"steps": steps},
        )
        for suffix, steps in {"": 500, "-long": 1000}.items()
    },
    # What a vocabulary of words, of characters or of pieces is worth, on real
    # sentences and twice through them.
    **{
        f"subwords-{size}": replace(UNITS, subwords=size)
        for size in (76, 1000, 4000, 10_000)
    },
    **{f"words-{count}": replace(UNITS, min_count=count) for count in (1, 3)},
    # The benchmark: three models, two pairs of languages.
    **{
        f"benchmark-{name}{pair}": replace(recipe, pair=pair)
        for name, recipe in BENCHMARK.items()
        for pair in ("en-fr", "en-de")
    },
    # The Transformer once more, with twice the updates.
    **{
        f"benchmark-long-{pair}": _change(
            TINY, {}, {"steps": 8000, "evaluate_every": 200}, pair=pair
        )
        for pair in ("en-fr", "en-de")
    },
    # And in updates of half the size, as the recurrent models have them: half
    # the positions, twice the updates, three quarters of the rate.
    **{
        f"benchmark-small-batch-{length}{pair}": _change(
            TINY,
            {},
            {
                "steps": steps,
                "batch_tokens": 2048,
                "learning_rate": 3e-3,
                "warmup": 800,
                "evaluate_every": steps // 40,
            },
            pair=pair,
        )
        for length, steps in {"": 8000, "long-": 16_000}.items()
        for pair in ("en-fr", "en-de")
    },
    # The same made small, on the short sentences of the generated corpus: a
    # minute at most. That is too short to need dropout, and the mean of the
    # weights would take more evaluations than there is time for.
    "benchmark-minute": replace(
        _change(
            TINY,
            {"num_layers": 2, "dropout": 0.0},
            {
                "steps": 350,
                "batch_tokens": 512,
                "learning_rate": 3e-3,
                "warmup": 40,
                "average": 0,
                "evaluate_every": 350,
            },
        ),
        corpus="generated",
        subwords=400,
        max_tokens=12,
    ),
    # One of its parts left out at a time, in half the updates.
    **{
        f"ablation-{name}": _change(
            TINY, model, {"steps": 2000} | training, pair="en-fr"
        )
        for name, model, training in (
            ("none", {}, {}),
            ("smoothing", {}, {"label_smoothing": 0.0}),
            ("dropout", {"dropout": 0.0}, {}),
            ("warmup", {}, {"warmup": 0}),
        )
    },
}
