"""What the book measures of a trained model.

One pass with the true translations fed tells loss, predictions and the
attention's weights; one search gives the outputs, and from them BLEU and the
rest. `validate` is for learning curves, `evaluate` for results files.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from s2s_lib import captions, corpora
from s2s_lib.batches import collate
from s2s_lib.grammar import SentencePair
from s2s_lib.losses import CHUNK
from s2s_lib.metrics import (
    BleuScore,
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
from s2s_lib.models import Trained
from s2s_lib.modes import evaluation_mode
from s2s_lib.vocab import detokenize

LONG = 20  # "long" sentences have more source tokens than this


class Forced(NamedTuple):
    """What a model makes of pairs while their true translations are fed.

    `total` is the negative log-likelihood of all `tokens`, `<eos>` among
    them, in nats. For each pair and position but that of `<eos>`,
    `predictions` are the most probable ids and `weights` those of the
    attention, (target tokens, source tokens), or None without one.
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
        Per sentence (target words, source words): a row for each word of
        the translation, a column for each word of the source, in the order
        in which the model reads them and `<eos>` last, or for each region
        of a picture. The weights of a word's pieces are added up.

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
    sources = [*map(len, trained.source_vocab.pieces(pair.source)), 1]
    if trained.recipe.model.encoder == "image":
        sources = [1] * grid.shape[1]  # regions are not made of pieces
    targets = [*map(len, trained.target_vocab.pieces(pair.target))]
    return _by_word(grid, targets, sources)


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
    encoded = trained.encode(pairs)
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
    trained: Trained, pairs: Sequence[SentencePair], **search: Any
) -> dict[str, Any] | None:
    """One short sentence with its weights, to be drawn, and its translation.

    The first with "not" and 8 to 14 tokens, else the first of all. For the
    weights the true translation is fed; the row of `<eos>` is left out.

    Args:
        search: options of `search.n_best`, for the translation.
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
        "output": trained.translate([pair.source], **search)[0],
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


def corpus_bleu(
    outputs: Sequence[Sequence[str]], pairs: Sequence[SentencePair]
) -> BleuScore:
    """`metrics.bleu` of tokens that were written for the sources of pairs.

    Raises:
        ValueError: if there is no pair, or not one output for each.
    """
    return bleu(
        [detokenize(tokens) for tokens in outputs],
        [pair.target_sentence for pair in pairs],
    )


def validate(
    trained: Trained, pairs: Sequence[SentencePair]
) -> dict[str, float]:
    """Score pairs for a row of the learning curve.

    Returns:
        valid_loss (nats per token), valid_bleu of greedy search and, where
        there are weights and gold links, valid_aer, the alignment error
        rate.
    """
    outputs = trained.translate([pair.source for pair in pairs])
    forced = _forced(trained, pairs)
    row = {
        "valid_loss": forced.total / forced.tokens,
        "valid_bleu": corpus_bleu(outputs, pairs).score,
    }
    alignment = evaluate_alignment(trained, pairs, forced)
    if alignment is not None:
        row["valid_aer"] = alignment["error_rate"]
    return row


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
        Perplexity and accuracy_by_position are those of the model's tokens:
        with subwords, of pieces.
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
        "example": example(trained, pairs, **search),
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
