"""Count the sentence lengths of a corpus: ``results/NAME-lengths.json``.

`python -m tools.corpus_lengths multi30k` writes the file that lets a chapter
draw the lengths of a corpus that it cannot ship. It needs the corpus: it is
read from `S2S_DATA_DIR`, or downloaded, as in `s2s_lib.corpora`.
"""

from collections import Counter
from collections.abc import Sequence

from s2s_lib import corpora
from s2s_lib.grammar import SentencePair
from tools.counting import heading, write

LONG = 30  # a long sentence has more source tokens than this


def count(pairs: Sequence[SentencePair]) -> dict[str, object]:
    """Sentences, long ones; how many have each number of tokens."""
    counts = Counter(len(pair.source) for pair in pairs)
    return {
        "sentences": len(pairs),
        f"over_{LONG}": sum(
            n for length, n in counts.items() if length > LONG
        ),
        "source_lengths": {str(k): counts[k] for k in sorted(counts)},
    }


def lengths(
    name: str, pair: str | None = None
) -> tuple[corpora.ParallelCorpus, dict[str, object]]:
    """A corpus, and the content of its file: the three splits, counted."""
    corpus = corpora.load(name, pair=pair)
    splits = {
        split: count(getattr(corpus, split))
        for split in ("train", "valid", "test")
    }
    about = heading("corpus_lengths", name, pair, corpus)
    return corpus, about | {"splits": splits}


def main(arguments: list[str] | None = None) -> None:
    """Write the file of one corpus."""
    write(lengths, "lengths", __doc__, arguments)


if __name__ == "__main__":
    main()
