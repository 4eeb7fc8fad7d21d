"""Count the sentence lengths of a corpus: ``results/NAME-lengths.json``.

`python -m tools.corpus_lengths multi30k` writes the file that lets a chapter
draw the lengths of a corpus that it cannot ship. It needs the corpus: it is
read from `S2S_DATA_DIR`, or downloaded, as in `s2s_lib.corpora`.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence

from s2s_lib import corpora
from s2s_lib.grammar import SentencePair
from s2s_lib.recipes import results_dir

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


def lengths(name: str, pair: str | None = None) -> dict[str, object]:
    """The content of the file: the three splits of a corpus, counted."""
    corpus = corpora.load(name, pair=pair)
    return {
        "command": f"python -m tools.corpus_lengths {name}"
        + (f" --pair {pair}" if pair else ""),
        "corpus": corpus.name,
        "source_language": corpus.source_language,
        "target_language": corpus.target_language,
        "corpus_fingerprint": corpus.fingerprint(),
        "splits": {
            split: count(getattr(corpus, split))
            for split in ("train", "valid", "test")
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Write the file of one corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a name that s2s_lib.corpora.load knows")
    parser.add_argument("--pair", help="languages, such as en-fr")
    options = parser.parse_args(arguments)
    found = lengths(options.name, options.pair)
    path = results_dir() / f"{found['corpus']}-lengths.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
