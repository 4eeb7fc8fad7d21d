"""From sentence pairs to padded batches and their masks.

Sentences differ in length and a tensor does not, so shorter ones are filled
up with `<pad>`, and a mask remembers which positions are real. Sentences of
similar length share a batch, so that little is computed on padding.
"""

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from s2s_lib.grammar import SentencePair
from s2s_lib.subwords import (
    AnyVocabulary,
    SubwordVocabulary,
    check_dropout,
)
from s2s_lib.vocab import EOS, PAD, SOS

# Batches per pool: a pool of shuffled pairs is sorted by length before it is
# cut, so a batch holds similar lengths and an epoch still differs each time.
POOL = 20


class EncodedPair(NamedTuple):
    """One sentence pair as ids: the source ends in `<eos>`, the target too."""

    source: list[int]
    target: list[int]


class Batch(NamedTuple):
    """Padded ids and their masks; a mask is True on real tokens.

    `target_in` is what the decoder is fed under teacher forcing, `<sos> y_1
    .. y_n`; `target_out` is what it must predict, `y_1 .. y_n <eos>`. Both
    have the same mask.
    """

    source: Int[Tensor, "batch source_steps"]
    source_mask: Bool[Tensor, "batch source_steps"]
    target_in: Int[Tensor, "batch target_steps"]
    target_out: Int[Tensor, "batch target_steps"]
    target_mask: Bool[Tensor, "batch target_steps"]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(*(tensor.to(device) for tensor in self))


def pad(
    sequences: Sequence[Sequence[int]],
) -> tuple[Int[Tensor, "batch steps"], Bool[Tensor, "batch steps"]]:
    """Fill sequences of ids up to the longest one.

    Returns:
        ids: (batch, steps), `<pad>` behind the end of each row.
        mask: (batch, steps), True on the ids that were given.

    Raises:
        ValueError: if there is no sequence at all.
    """
    if not sequences:
        raise ValueError("pad needs at least one sequence, and got none")
    lengths = torch.tensor([len(ids) for ids in sequences])
    steps = int(lengths.max())
    mask = torch.arange(steps) < lengths[:, None]  # mask: (batch, steps)
    ids = torch.full((len(sequences), steps), PAD)  # ids: (batch, steps)
    ids[mask] = torch.tensor([i for row in sequences for i in row]).long()
    return ids, mask


def check_source_mask(
    source: Int[Tensor, "batch steps"], mask: Bool[Tensor, "batch steps"]
) -> None:
    """Refuse sources that no encoder can read.

    Raises:
        TypeError: if `mask` is not boolean: a number would be added to the
            scores, and padding attended to.
        ValueError: if `mask` has another shape than `source`, there is no
            row, or a row of `mask` is empty, or has padding before or
            between its tokens.
    """
    if mask.dtype != torch.bool:
        raise TypeError(
            f"a mask must be boolean, True on tokens, not {mask.dtype}; make "
            "it with source != PAD, or with mask.bool()"
        )
    if mask.shape != source.shape:
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} for a source of shape "
            f"{tuple(source.shape)}; give one entry for each token"
        )
    if not len(mask):
        raise ValueError("a batch without a source; give at least one")
    empty = ~mask.any(1)
    if bool(empty.any()):
        raise ValueError(
            f"row {int(empty.nonzero()[0, 0])} of the source is all padding; "
            "a source needs at least one token, and encode_pairs always "
            "gives it <eos>"
        )
    late = (mask[:, 1:] > mask[:, :-1]).any(1)
    if bool(late.any()):
        raise ValueError(
            f"row {int(late.nonzero()[0, 0])} of the source has a token "
            "after padding; padding must stand behind the sentence, "
            "as batches.pad puts it"
        )


def check_targets(
    target_in: Int[Tensor, "batch steps"], memory_mask: Tensor
) -> None:
    """Refuse targets that are not as many as the sources.

    Raises:
        ValueError: if they are more or fewer.
    """
    if len(target_in) != len(memory_mask):
        raise ValueError(
            f"{len(target_in)} targets for {len(memory_mask)} sources: give a "
            "target for each, in the same order"
        )


def take_rows(tree: Any, rows: Int[Tensor, " kept"] | slice) -> Any:
    """Pick batch rows from every tensor of a memory or state."""
    if isinstance(tree, Tensor):
        if isinstance(rows, slice):
            return tree[rows]
        # It takes a third of the time of tree[rows].
        return tree.index_select(0, rows.to(tree.device))
    if tree is None:
        return None
    picked = (take_rows(part, rows) for part in tree)
    if hasattr(tree, "_fields"):  # a named tuple
        return type(tree)(*picked)
    return type(tree)(picked)


def spread_rows(tree: Any, rows: int, to: int) -> Any:
    """Each of the `rows` of every tensor several times, side by side.

    Args:
        tree: a memory, or a part of one.
        rows: how many it has.
        to: how many it shall have, a multiple of `rows`.
    """
    if rows == to:
        return tree
    return take_rows(tree, torch.arange(rows).repeat_interleave(to // rows))


def encode_pairs(
    pairs: Sequence[SentencePair],
    source_vocab: AnyVocabulary,
    target_vocab: AnyVocabulary,
) -> list[EncodedPair]:
    """Turn tokens into ids and end both sides with `<eos>`."""
    return [
        EncodedPair(
            [*source_vocab.encode(pair.source), EOS],
            [*target_vocab.encode(pair.target), EOS],
        )
        for pair in pairs
    ]


def collate(pairs: Sequence[EncodedPair]) -> Batch:
    """Pad some encoded pairs into one `Batch`."""
    source, source_mask = pad([pair.source for pair in pairs])
    target_out, target_mask = pad([pair.target for pair in pairs])
    target_in, _ = pad([[SOS, *pair.target[:-1]] for pair in pairs])
    return Batch(source, source_mask, target_in, target_out, target_mask)


def make_batches(
    pairs: Sequence[EncodedPair],
    batch_size: int,
    generator: torch.Generator | None = None,
    bucket: bool = True,
    batch_tokens: int = 0,
) -> Iterator[Batch]:
    """Go once through all pairs in batches; arguments as in `batch_rows`."""
    for rows in batch_rows(pairs, batch_size, generator, bucket, batch_tokens):
        yield collate([pairs[row] for row in rows])


def batch_rows(
    pairs: Sequence[EncodedPair],
    batch_size: int,
    generator: torch.Generator | None = None,
    bucket: bool = True,
    batch_tokens: int = 0,
) -> list[list[int]]:
    """Which pairs go into each batch of one epoch.

    Args:
        pairs: what `encode_pairs` returned.
        batch_size: pairs in a batch; the last one may be smaller.
        generator: the source of the shuffle. Without one, the pairs come in
            their own order, which is what an evaluation wants.
        bucket: when shuffling, put pairs of similar length together.
        batch_tokens: if not 0, it takes the place of `batch_size`: as many
            pairs as have at most so many positions, padding included, on
            either side. A pair that is longer is a batch by itself.

    Raises:
        ValueError: if `batch_size` is below 1 or `batch_tokens` below 0.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
    if batch_tokens < 0:
        raise ValueError(
            f"batch_tokens must be 0 (off) or more, not {batch_tokens}"
        )
    if batch_tokens:
        longest = [max(map(len, pair)) for pair in pairs]
        mean = max(1, sum(longest) // max(1, len(longest)))
        batch_size = max(1, batch_tokens // mean)  # about so many
    order = list(range(len(pairs)))
    if generator is not None:
        order = torch.randperm(len(pairs), generator=generator).tolist()
        if bucket:
            order = _sort_in_pools(order, pairs, POOL * batch_size)
    if batch_tokens:
        batches = cut(order, longest, batch_tokens)
    else:
        starts = range(0, len(order), batch_size)
        batches = [order[start : start + batch_size] for start in starts]
    if generator is not None:
        # Shuffle the batches, or each pool would run from short to long.
        shuffle = torch.randperm(len(batches), generator=generator)
        batches = [batches[i] for i in shuffle.tolist()]
    return batches


@runtime_checkable
class Updates(Protocol):
    """Training pairs, update by update: what `training.fit` reads."""

    def identity(self) -> str:
        """A text that other pairs do not have, for checkpoints."""

    def updates(
        self, config: Any, place: Any
    ) -> Iterator[tuple[list[EncodedPair], Any]]:
        """The pairs of each update, epoch after epoch, without end.

        Args:
            config: a `training.TrainingConfig`: its batch_size,
                batch_tokens, bucket and seed decide.
            place: where to go on: what came with the last update that was
                made, or None to begin.

        Returns:
            The pairs of an update, and the place behind it, which JSON can
            write.
        """


class PairList:
    """Pairs in memory, as `Updates`.

    A place is the number of epochs that are over, and that of the updates
    since; or, as it once was, the number of all updates.
    """

    def __init__(self, pairs: Sequence[EncodedPair]):
        self.pairs = pairs

    def identity(self) -> str:
        """See `Updates`."""
        return json.dumps(self.pairs)

    def of_epoch(self, seed: int, epoch: int) -> Sequence[EncodedPair]:
        """The pairs, in the ids that they have in one epoch."""
        return self.pairs

    def updates(
        self, config: Any, place: Sequence[int] | int | None = None
    ) -> Iterator[tuple[list[EncodedPair], list[int]]]:
        """See `Updates`; each epoch has a shuffle of its own."""
        if place is None or isinstance(place, int):
            place = 0, place or 0
        epoch, done = place
        while True:
            pairs = self.of_epoch(config.seed, epoch)
            batches = batch_rows(
                pairs,
                config.batch_size,
                epoch_generator(config.seed, epoch),
                config.bucket,
                config.batch_tokens,
            )
            for number, rows in enumerate(batches[done:], done + 1):
                yield [pairs[row] for row in rows], [epoch, number]
            epoch, done = epoch + 1, max(0, done - len(batches))


class RespelledPairs(PairList):
    """Pairs whose words are spelled anew in each epoch, by BPE-dropout.

    See `SubwordVocabulary.encode_anew`. What is drawn depends on the seed
    of the training and the number of the epoch, and on nothing else. An epoch
    of 30,000 short pairs begins with some five seconds of spelling.

    Args:
        pairs: sentence pairs, as tokens.
        source_vocab, target_vocab: of subwords.
        dropout: the share of merges that are left out.

    Raises:
        TypeError: if a vocabulary is one of words.
        ValueError: if `dropout` is not from 0 to 1.
    """

    def __init__(
        self,
        pairs: Sequence[SentencePair],
        source_vocab: AnyVocabulary,
        target_vocab: AnyVocabulary,
        dropout: float,
    ):
        super().__init__(encode_pairs(pairs, source_vocab, target_vocab))
        check_dropout(dropout)
        for vocab in (source_vocab, target_vocab):
            if not isinstance(vocab, SubwordVocabulary):
                raise TypeError(
                    "words can be spelled anew with a SubwordVocabulary, and "
                    f"not with a {type(vocab).__name__}"
                )
        self._sentences = [(pair.source, pair.target) for pair in pairs]
        self._vocabs = source_vocab, target_vocab
        self._dropout = float(dropout)

    def identity(self) -> str:
        """See `Updates`."""
        return f"{self._dropout} {super().identity()}"

    def of_epoch(self, seed: int, epoch: int) -> Sequence[EncodedPair]:
        """The pairs as they are spelled in one epoch."""
        random = Random(f"seed {seed}, epoch {epoch}")
        return [
            EncodedPair(
                *(
                    [*vocab.encode_anew(side, self._dropout, random), EOS]
                    for vocab, side in zip(self._vocabs, pair, strict=True)
                )
            )
            for pair in self._sentences
        ]


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Where the shuffles of one epoch come from."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def shares(
    pairs: Sequence[EncodedPair],
    processes: int = 1,
    process: int = 0,
    accumulate: int = 1,
) -> list[tuple[Sequence[EncodedPair], float]]:
    """What one of several processes computes of an update.

    The pairs of the update are dealt out like cards to `processes` times
    `accumulate` parts, so that each has short and long ones.

    Returns:
        The parts of this process, each with its share of the target's
        tokens: its weight in the loss, which is a mean over tokens. One part
        at least: where there is no pair left for it, a pair of weight 0.
    """
    tokens = sum(len(pair.target) for pair in pairs)
    number = processes * accumulate
    first = process * accumulate
    parts = [pairs[i::number] for i in range(first, first + accumulate)]
    own = [
        (part, sum(len(pair.target) for pair in part) / tokens)
        for part in parts
        if part
    ]
    return own or [(pairs[:1], 0.0)]


def cut(
    order: Sequence[int],
    lengths: Sequence[int],
    batch_tokens: int,
    batch_size: int | None = None,
) -> list[list[int]]:
    """Cut rows into batches of neighbours, by their padded size.

    Args:
        order: rows, in the order in which they are taken.
        lengths: of every row, in tokens.
        batch_tokens: at most so many positions in a batch, padding
            included; a longer row is a batch by itself.
        batch_size: at most so many rows; None for any number.

    Raises:
        ValueError: if the number of rows is below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
    most = len(order) if batch_size is None else batch_size
    batches: list[list[int]] = []
    width = 0
    for row in order:
        width = max(width, lengths[row])
        rows = len(batches[-1]) + 1 if batches else most + 1
        if rows <= most and rows * width <= batch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
            width = lengths[row]
    return batches


def _sort_in_pools(
    order: list[int], pairs: Sequence[EncodedPair], pool: int
) -> list[int]:
    def length(row: int) -> tuple[int, int]:
        return len(pairs[row].target), len(pairs[row].source)

    return [
        row
        for start in range(0, len(order), pool)
        for row in sorted(order[start : start + pool], key=length)
    ]
