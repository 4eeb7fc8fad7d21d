"""What may be done to training pairs before a training.

Wrong pairs are made on purpose; a table of word translations (Model 1) tells
them from right ones; and new pairs are made by translating backwards. Every
function gives a new list and leaves the pairs that it was given as they are.
"""

import math
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from s2s_lib.grammar import SentencePair
from s2s_lib.vocab import Vocabulary

UNSEEN = 1e-6  # the probability of words that never shared a pair
Translate = Callable[[list[tuple[str, ...]]], list[list[str]]]


def _drawn(pairs: Sequence[SentencePair], share: float, seed: int) -> list:
    return Random(seed).sample(range(len(pairs)), _part(pairs, share))


def _part(pairs: Sequence[SentencePair], share: float) -> int:
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, not {share}")
    return round(share * len(pairs))


def mispaired(
    pairs: Sequence[SentencePair], share: float, seed: int = 0
) -> list[SentencePair]:
    """Some sources with the target of another pair.

    All targets stay in the list: those of the drawn pairs go round. With two
    equal ones among them, a pair may still be right. Links and classes of
    the drawn pairs are left out.

    Args:
        share: of the pairs, from 0 to 1, rounded to whole pairs; they are
            drawn by chance.
        seed: of the draw.

    Raises:
        ValueError: if the share is out of range, or is one pair alone.
    """
    changed = list(pairs)
    drawn = _drawn(pairs, share, seed)
    if len(drawn) == 1:
        raise ValueError(
            f"share={share} of {len(pairs)} pairs is one pair, and a target "
            "can go to another pair only; give a larger share or more pairs"
        )
    for i, j in zip(drawn, drawn[1:] + drawn[:1], strict=True):
        changed[i] = SentencePair(
            pairs[i].source,
            pairs[j].target,
            source_text=pairs[i].source_text,
            target_text=pairs[j].target_text,
        )
    return changed


def untranslated(
    pairs: Sequence[SentencePair], share: float, seed: int = 0
) -> list[SentencePair]:
    """Some sources with themselves as targets (`khayrallah2018`).

    Links and classes of the drawn pairs are left out.

    Args:
        share: of the pairs, from 0 to 1, rounded to whole pairs; they are
            drawn by chance.
        seed: of the draw.

    Raises:
        ValueError: if the share is out of range.
    """
    changed = list(pairs)
    for i in _drawn(pairs, share, seed):
        source, text = pairs[i].source, pairs[i].source_text
        changed[i] = SentencePair(
            source, source, source_text=text, target_text=text
        )
    return changed


def turned(pairs: Sequence[SentencePair]) -> list[SentencePair]:
    """The pairs of the other direction, with their links.

    The classes of the source words are left out: there are none of the
    target's.
    """

    def mirror(links):
        return frozenset((j, i) for i, j in links)

    return [
        SentencePair(
            pair.target,
            pair.source,
            mirror(pair.sure),
            mirror(pair.possible),
            pair.target_text,
            pair.source_text,
        )
        for pair in pairs
    ]


def back_translated(
    pairs: Sequence[SentencePair], translate: Translate
) -> list[SentencePair]:
    """True targets with sources that a model made (`sennrich2016`).

    There are no links or classes. A model may make an empty source.

    Args:
        pairs: only their targets are read.
        translate: from the language of the targets, such as
            `Trained.translate` of a model that was trained on `turned`
            pairs.
    """
    sources = translate([pair.target for pair in pairs])
    return [
        SentencePair(tuple(source), pair.target, target_text=pair.target_text)
        for source, pair in zip(sources, pairs, strict=True)
    ]


def combinations(
    pairs: Sequence[SentencePair],
    source_vocab: Vocabulary,
    target_vocab: Vocabulary,
) -> tuple[Int[Tensor, " combinations"], Int[Tensor, " combinations"]]:
    """Every combination of a source and a target word inside each pair.

    Returns:
        cells: which cell of a table (source words, target words) each
            combination uses, if the table is one long row.
        owners: which target word of the text it belongs to, from 0.
    """
    cells, owners, seen = [], [], 0
    for p in pairs:
        e = torch.tensor(source_vocab.encode(p.source))  # e: (T,)
        f = torch.tensor(target_vocab.encode(p.target))  # f: (T',)
        cell = e * len(target_vocab) + f[:, None]  # cell: (T', T)
        owner = torch.arange(seen, seen + len(f))[:, None]  # owner: (T', 1)
        cells.append(cell.flatten())
        owners.append(owner.expand_as(cell).flatten())
        seen += len(f)
    return torch.cat(cells), torch.cat(owners)


def model_1(
    pairs: Sequence[SentencePair],
    source_vocab: Vocabulary,
    target_vocab: Vocabulary,
    rounds: int = 10,
) -> tuple[Float[Tensor, "source target"], list[float]]:
    """Learn which words translate which, from pairs alone (`brown1993`).

    Model 1 without its empty word: each target word comes from one source
    word, and every position is equally probable. Expectation maximisation
    starts from equal probabilities. Three tables of 8 bytes for each
    combination of two words of the vocabularies have to fit into memory.

    Args:
        rounds: of expectation and maximisation.

    Returns:
        table: p(target word | source word); the row of a source word that
            never came sums to 0, every other one to 1.
        history: the mean log-probability of a target word before each
            round, in nats; it never falls.

    Raises:
        ValueError: if a sentence is empty, there are no pairs, or there are
            fewer rounds than 1.
    """
    if not pairs:
        raise ValueError("there are no pairs to learn a table of words from")
    if rounds < 1:
        raise ValueError(f"rounds must be 1 or more, not {rounds}")
    for i, pair in enumerate(pairs):
        if not pair.source or not pair.target:
            raise ValueError(f"pair {i} has an empty sentence; leave it out")
    shape = len(source_vocab), len(target_vocab)
    cells, owners = combinations(pairs, source_vocab, target_vocab)
    T = torch.bincount(owners)  # T: (target words,)
    table = torch.full(shape, 1 / shape[1], dtype=torch.float64)
    history = []
    for _ in range(rounds):
        p = table.flatten()[cells]  # p: (combinations,)
        total = torch.bincount(owners, p)  # total: (target words,)
        alpha = p / total[owners]  # alpha: (combinations,)
        credit = torch.bincount(cells, alpha, minlength=table.numel())
        credit = credit.view(shape)  # credit: (source, target)
        table = credit / credit.sum(1, keepdim=True).clamp(min=1e-300)
        history.append((total / T).log().mean().item())
    return table, history


def plausibility(
    pairs: Sequence[SentencePair],
    table: Float[Tensor, "source target"],
    source_vocab: Vocabulary,
    target_vocab: Vocabulary,
) -> np.ndarray:
    """How well the words of each source explain those of its target.

    The log-probability of the target under `model_1`, in nats per target
    word, without that of its length. A target word that no word of the
    source translates counts as `UNSEEN`; so does a pair with an empty
    sentence.

    Returns:
        One number for each pair: higher is more plausible.
    """
    scores = np.full(len(pairs), math.log(UNSEEN))
    for i, pair in enumerate(pairs):
        if pair.source and pair.target:
            e = torch.tensor(source_vocab.encode(pair.source))
            f = torch.tensor(target_vocab.encode(pair.target))
            p = table[e[:, None], f].mean(0)  # p: (T',)
            scores[i] = p.clamp(min=UNSEEN).log().mean()
    return scores


def most_plausible(
    pairs: Sequence[SentencePair],
    share: float,
    rounds: int = 10,
    min_count: int = 1,
) -> list[SentencePair]:
    """The pairs whose targets their sources explain best, in their order.

    `model_1` learns from all of them, the wrong ones too, and judges each.

    Args:
        share: of the pairs to keep, from 0 to 1, rounded to whole pairs.
        rounds: of `model_1`.
        min_count: words that come less often share one row or column of the
            table; it saves memory where there are very many words.

    Raises:
        ValueError: if the share is out of range, or as `model_1`.
    """
    count = _part(pairs, share)
    vocabs = (
        Vocabulary.build((pair.source for pair in pairs), min_count),
        Vocabulary.build((pair.target for pair in pairs), min_count),
    )
    table, _ = model_1(pairs, *vocabs, rounds)
    best = np.argsort(-plausibility(pairs, table, *vocabs), kind="stable")
    return [pairs[i] for i in sorted(best[:count])]
