"""What all measurements of translation work on: the same random sentences.

Their lengths are those of Multi30k, English to French, in words and with
`<eos>`: a source of 14.0 on average (standard deviation 4.0), a target 7 %
longer (of a given source, 14 %). Their words are drawn by Zipf's law. So
everybody measures the same work, with the corpus or without.
"""

from itertools import islice

import torch

from s2s_lib.batches import Batch, EncodedPair, collate, make_batches
from s2s_lib.vocab import EOS

VOCABULARY = 6000  # ids on each side, of which 4 are special
SIZE = 256  # of states and of word vectors


def pairs(
    number: int,
    vocabulary: int = VOCABULARY,
    seed: int = 0,
    pieces: float = 1.0,
) -> list[EncodedPair]:
    """Random pairs; `pieces` is how many ids stand for a word, on average."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(number, 2, generator=generator)
    source = pieces * (2.602 + 0.273 * normal[:, 0]).exp()
    target = source * (0.071 + 0.138 * normal[:, 1]).exp()
    counts = [
        [max(1, round(length) - 1) for length in side.tolist()]
        for side in (source, target)
    ]
    words = 1 / torch.arange(3, vocabulary - 1).float()
    total = sum(map(sum, counts))
    ids = 4 + torch.multinomial(words, total, True, generator=generator)
    rest = iter(ids.tolist())
    return [
        EncodedPair(*([*islice(rest, count), EOS] for count in both))
        for both in zip(*counts, strict=True)
    ]


def batches(
    number: int, batch_size: int, bucket: bool, vocabulary: int = VOCABULARY
) -> list[Batch]:
    """Some batches of one epoch, sorted by length or mixed."""
    generator = torch.Generator().manual_seed(0)
    found = make_batches(
        pairs(40 * batch_size, vocabulary), batch_size, generator, bucket
    )
    return list(found)[:number]


def block(steps: int, batch_size: int, vocabulary: int) -> Batch:
    """A batch of sentences that are all `steps` ids long."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, batch_size, steps - 1)
    ids = torch.randint(4, vocabulary, shape, generator=generator)
    return collate(
        [
            EncodedPair([*source, EOS], [*target, EOS])
            for source, target in zip(*ids.tolist(), strict=True)
        ]
    )
