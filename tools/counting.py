"""What the tools that count a corpus share: heading, file and command."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s2s_lib.corpora import ParallelCorpus
from s2s_lib.recipes import write_results

USUAL = "en-fr"  # the languages that a file's name does not say


def stem_of(corpus: ParallelCorpus) -> str:
    """How the files about a corpus begin.

    With its name, without folders, and its languages where they are not
    `USUAL`.
    """
    pair = f"{corpus.source_language}-{corpus.target_language}"
    name = Path(corpus.name.partition(",")[0]).name  # of files, without folder
    return name if pair == USUAL else f"{name}-{pair}"


def heading(
    tool: str, name: str, pair: str | None, corpus: ParallelCorpus
) -> dict[str, Any]:
    """Which corpus was counted, and the command that counts it again."""
    languages = f" --pair {pair}" if pair else ""
    return {
        "command": f"python -m tools.{tool} {name}{languages}",
        "corpus": corpus.name,
        "source_language": corpus.source_language,
        "target_language": corpus.target_language,
        "corpus_fingerprint": corpus.fingerprint(),
    }


def write(
    count: Callable[[str, str | None], tuple[ParallelCorpus, dict[str, Any]]],
    kind: str,
    about: str | None,
    arguments: list[str] | None,
) -> None:
    """Count the corpus that a command line names, and write the file.

    Args:
        count: gives, of a name and a pair of languages, corpus and counts.
        kind: what the file is called behind the name of the corpus.
        about: the help of the command.
        arguments: by default those of the command line.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("name", help="a name that s2s_lib.corpora.load knows")
    parser.add_argument("--pair", help="languages, such as en-fr")
    options = parser.parse_args(arguments)
    corpus, found = count(options.name, options.pair)
    print(write_results(f"{stem_of(corpus)}-{kind}", found))
