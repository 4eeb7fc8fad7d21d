"""Count the words of a corpus: ``results/NAME-words.json``.

`python -m tools.word_counts multi30k` writes the file that lets a chapter
show how the words of a corpus are distributed, and what a vocabulary of words,
characters or pieces makes of them, where the corpus cannot be shipped. It
needs the corpus: it is read from `S2S_DATA_DIR`, or downloaded, as in
`s2s_lib.corpora`. Vocabularies are built from the training split, and what
they do not know is counted on the validation split; nothing looks at the test
split.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, chain
from statistics import fmean
from typing import Any

from s2s_lib import corpora
from s2s_lib.metrics import bleu
from s2s_lib.subwords import SubwordVocabulary
from s2s_lib.vocab import SPECIALS, UNK, Vocabulary, detokenize
from tools.counting import heading, write

POINTS = 60  # ranks at which counts are kept, evenly on a log scale
MIN_COUNTS = (1, 2, 3, 5, 10)
SIZES = (1000, 2000, 4000, 10_000, 16_000)  # of subword vocabularies
SELDOM = 10  # ids that training shows less often
SHOWN = 12  # words that training does not have, as examples

Sentences = Sequence[Sequence[str]]
Vocab = Vocabulary | SubwordVocabulary


def log_spaced(last: int, points: int = POINTS) -> list[int]:
    """Whole numbers from 1 to `last`, evenly spaced in their logarithm."""
    return sorted({round(last ** (i / (points - 1))) for i in range(points)})


def distribution(train: Sentences, valid: Sentences) -> dict[str, Any]:
    """How often words come, and what the most frequent ones cover.

    Returns:
        tokens and types of `train`; once, the types that come once; counts,
        pairs of a rank and the count of the word at that rank; coverage,
        pairs of a rank and the share of the tokens of `valid` that are words
        of this rank or a lower one.
    """
    counts = Counter(chain.from_iterable(train))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    seen = Counter(chain.from_iterable(valid))
    covered = list(accumulate(seen[word] for word in ranked))
    ranks = log_spaced(len(ranked))
    return {
        "tokens": counts.total(),
        "types": len(counts),
        "once": sum(n == 1 for n in counts.values()),
        "counts": [[r, counts[ranked[r - 1]]] for r in ranks],
        "coverage": [[r, covered[r - 1] / seen.total()] for r in ranks],
    }


def vocabularies(train: Sequence[Sentences]) -> dict[str, list[Vocab]]:
    """One vocabulary of words for each side, or one of pieces for both.

    Returns:
        words-N, the words that come N times or more; characters, and
        subwords-N, pieces with N ids in all.
    """
    both = list(chain(*train))
    letters = set(chain.from_iterable(chain.from_iterable(both)))
    sizes = {f"subwords-{size}": size for size in SIZES}
    # One more for the mark of a word's start.
    sizes = {"characters": len(SPECIALS) + 1 + len(letters)} | sizes
    return {
        f"words-{count}": [Vocabulary.build(side, count) for side in train]
        for count in MIN_COUNTS
    } | {
        name: [SubwordVocabulary.build(both, size)] * len(train)
        for name, size in sizes.items()
    }


def units(
    vocabs: Sequence[Vocab],
    train: Sequence[Sentences],
    valid: Sequence[Sentences],
) -> dict[str, Any]:
    """What a pair of vocabularies makes of the two sides of a corpus.

    Returns:
        ids of all tables together; seldom, the share of these ids, the
        special ones left out, that training shows less than `SELDOM` times;
        and for each side, source and target: length, the mean number of ids
        of a sentence of `valid`; unknown, the share of its words with an
        `<unk>`; sentences, the share of its sentences with one; ceiling, the
        BLEU of its sentences after a way through the ids and back; whole,
        the same if the score takes an `<unk>` for one token.
    """
    tables = {id(vocab): vocab for vocab in vocabs}.values()
    shown = {id(vocab): Counter() for vocab in vocabs}
    for vocab, side in zip(vocabs, train, strict=True):
        for words in side:
            shown[id(vocab)].update(vocab.encode(words))
    rare = total = 0
    for vocab in tables:
        ids = range(len(SPECIALS), len(vocab))
        rare += sum(shown[id(vocab)][i] < SELDOM for i in ids)
        total += len(ids)
    result = {
        "ids": sum(map(len, tables)),
        "seldom": rare / total,
    }
    names = ("source", "target")
    for name, vocab, side in zip(names, vocabs, valid, strict=True):
        words = list(chain.from_iterable(side))
        encoded = [vocab.encode(words) for words in side]
        back = [detokenize(vocab.decode(ids)) for ids in encoded]
        true = [detokenize(words) for words in side]
        whole = [text.replace(SPECIALS[UNK], "unk") for text in back]
        result[name] = {
            "length": fmean(map(len, encoded)),
            "unknown": fmean(UNK in vocab.encode([w]) for w in words),
            "sentences": fmean(UNK in ids for ids in encoded),
            "ceiling": bleu(back, true).score,
            "whole": bleu(whole, true).score,
        }
    return result


def examples(
    vocabs: dict[str, list[Vocab]], train: Sentences, valid: Sentences
) -> list[dict[str, Any]]:
    """Words of `valid` that `train` does not have, with their pieces.

    Every so many of the alphabetical list, so that nobody chose them.
    """
    known = set(chain.from_iterable(train))
    new = sorted(set(chain.from_iterable(valid)) - known)
    return [
        {"word": word}
        | {
            name: pair[0].pieces([word])[0]
            for name, pair in vocabs.items()
            if isinstance(pair[0], SubwordVocabulary)
        }
        for word in new[:: max(len(new) // SHOWN, 1)][:SHOWN]
    ]


def word_counts(
    name: str,
    pair: str | None = None,
    corpus: corpora.ParallelCorpus | None = None,
) -> tuple[corpora.ParallelCorpus, dict[str, Any]]:
    """A corpus, and the content of its file."""
    corpus = corpus or corpora.load(name, pair=pair)
    train, valid = (
        [[p.source for p in split], [p.target for p in split]]
        for split in (corpus.train, corpus.valid)
    )
    vocabs = vocabularies(train)
    return corpus, heading("word_counts", name, pair, corpus) | {
        "source": distribution(train[0], valid[0]),
        "target": distribution(train[1], valid[1]),
        "units": {
            name: units(pair, train, valid) for name, pair in vocabs.items()
        },
        "examples": examples(vocabs, train[0], valid[0]),
    }


def main(arguments: list[str] | None = None) -> None:
    """Write the file of one corpus."""
    write(word_counts, "words", __doc__, arguments)


if __name__ == "__main__":
    main()
