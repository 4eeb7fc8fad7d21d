"""Sentence pairs that do not fit into memory, read as they are needed.

The corpus lies in many text files, its shards. They are read line by line, in
an order that each epoch draws anew, into a buffer of a fixed size; what is in
the buffer is shuffled and put into batches of similar length, as a corpus in
memory is. No more pairs than the buffer holds are in memory, however many
there are, and each comes once per epoch.
"""

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from glob import glob
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import torch

from s2s_lib import corpora
from s2s_lib.batches import EncodedPair, batch_rows, epoch_generator
from s2s_lib.corpora import CorpusError
from s2s_lib.grammar import SentencePair

BUFFER = 2**16  # pairs; with 25 words a side they take some 60 MB
SAMPLE = 100_000  # pairs that a vocabulary is made from
HELD_OUT = 1_000  # pairs to validate on, and no more than a twentieth of
HELD_OUT_PART = 20  # the first shard
TSV = (".tsv", ".tsv.gz")

# Where a pair stands: its shard's number, and the line, counted from 1.
Position = tuple[int, int]


def is_sharded(name: str) -> bool:
    """Whether a corpus is a folder or a pattern, and so to be streamed.

    A folder with the name of a corpus that `corpora.load` knows is not.
    """
    return name not in corpora.NAMES and any(
        os.path.isdir(side)
        or not (os.path.isfile(side) or set(side).isdisjoint("*?["))
        for side in corpora.paths_of(name)
    )


class Shards:
    """Text files of sentence pairs, plain or .gz, in the order of their names.

    Args:
        name: a folder with `.tsv` and `.tsv.gz` files; a pattern such as
            "shards/*.tsv.gz"; or two patterns with a comma between,
            "shards/*.en,shards/*.fr", where line i of a file on the left is
            translated by line i of the file on the right for which `*` stands
            for the same.
        held_out: lines at the start of the first file that do not belong to
            the training; see `split`.

    Raises:
        CorpusError: if there are no such files, or on one side others.
    """

    def __init__(self, name: str, held_out: int = 0):
        self.name, self.held_out = name, held_out
        sides = [matches(side) for side in corpora.paths_of(name)]
        if len(sides) > 2 or len({len(side) for side in sides}) > 1:
            raise CorpusError(
                f"{name}: {' and '.join(str(len(side)) for side in sides)} "
                "files; give one pattern of .tsv files, or two patterns, "
                "SOURCE,TARGET, that match equally many files"
            )
        self.files = list(zip(*sides, strict=True))
        if len(sides) == 2:
            _check_partners(name, self.files)

    @classmethod
    def split(cls, name: str) -> tuple["Shards", list[SentencePair]]:
        """Shards for training, and what they hold out to validate on.

        The first twentieth of the lines of the first file, but no more than
        `HELD_OUT`. Their sentences may well come again in other lines.

        Raises:
            CorpusError: as above; or if the first file is too short.
        """
        shards = cls(name)
        most = islice(shards.pairs([0]), HELD_OUT * HELD_OUT_PART)
        count = sum(1 for _ in most) // HELD_OUT_PART
        if not count:
            raise CorpusError(
                f"{shards.files[0][0]}: fewer than {HELD_OUT_PART} lines, too "
                "short to hold some out; name a file to validate on"
            )
        pairs = [pair for _, pair in islice(shards.pairs([0]), count)]
        return cls(name, count), pairs

    def pairs(
        self, order: Sequence[int], shard: int = 0, line: int = 0
    ) -> Iterator[tuple[Position, SentencePair]]:
        """The pairs of shards in an order, one after another.

        Args:
            order: numbers of shards.
            shard, line: begin behind this line of the so-many-th of these.

        Returns:
            Where a pair stands, as (place in `order`, line), and the pair.

        Raises:
            CorpusError: if a line cannot be read; it is named.
        """
        for place in range(shard, len(order)):
            skip = self.held_out if order[place] == 0 else 0
            skip = max(skip, line if place == shard else 0)
            for row, number in _rows(self.files[order[place]], skip):
                (pair,) = corpora._pairs([row], lowercase=True)
                yield (place, number), pair

    def sample(self, count: int = SAMPLE) -> list[SentencePair]:
        """At most so many pairs, as many of each shard, from its start.

        Raises:
            CorpusError: if a line cannot be read, or there is none.
            ValueError: if `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"count must be 1 or more, not {count}")
        each = -(-count // len(self.files))
        words: dict[str, str] = {}  # one copy of each

        def small(tokens: Sequence[str]) -> tuple[str, ...]:
            return tuple([words.setdefault(t, t) for t in tokens])

        found = [
            SentencePair(small(pair.source), small(pair.target))
            for number in range(len(self.files))
            for _, pair in islice(self.pairs([number]), each)
        ]
        if not found:
            raise _no_pairs(self)
        return found[:count]


class Stream:
    """The pairs of some shards as `batches.Updates`.

    Args:
        shards: the files.
        encode: turns pairs into ids, such as `batches.encode_pairs` with its
            vocabularies.
        buffer: pairs that are in memory together.
        about: what the ids mean, such as the vocabularies in JSON; a
            checkpoint goes on with the same only.

    Raises:
        ValueError: if `buffer` is below 1.
    """

    def __init__(
        self,
        shards: Shards,
        encode: Callable[[list[SentencePair]], list[EncodedPair]],
        buffer: int = BUFFER,
        about: str = "",
    ):
        if buffer < 1:
            raise ValueError(f"buffer must be 1 or more, not {buffer}")
        self.shards, self.encode, self.buffer = shards, encode, buffer
        self.about = about

    def identity(self) -> str:
        """Names and sizes of the files, the first pairs as ids, and `about`.

        What else is in the files is not read for it.
        """
        files = [
            [(path.name, path.stat().st_size) for path in sides]
            for sides in self.shards.files
        ]
        start = [pair for _, pair in islice(self.shards.pairs([0]), 100)]
        ids = self.encode(start)
        about = [files, self.shards.held_out, self.buffer, ids]
        return json.dumps(about + [self.about] * bool(self.about))

    def updates(
        self, config: Any, place: Sequence[int] | None = None
    ) -> Iterator[tuple[list[EncodedPair], list[int]]]:
        """See `batches.Updates`.

        A place is: the epoch; the shard and the line that were read last
        before the buffer was filled; and how many updates the buffer has
        given. To go on, no more is read again than one shard up to there.

        Raises:
            CorpusError: if a line cannot be read, or there is none.
        """
        size = self.buffer
        if not config.batch_tokens:  # only an epoch's last batch is smaller
            size = max(1, size // config.batch_size) * config.batch_size
        epoch, shard, line, skip = place or (0, 0, 0, 0)
        while True:
            shuffle = epoch_generator(config.seed, epoch)
            order = torch.randperm(len(self.shards.files), generator=shuffle)
            order = order.tolist()
            reader = self.shards.pairs(order, shard, line)
            begins = shard == line == 0
            while True:
                behind, pairs = (shard, line), []
                for position, pair in islice(reader, size):
                    pairs += self.encode([pair])
                    behind = position
                if not pairs:
                    break
                begins = False
                batches = batch_rows(
                    pairs,
                    config.batch_size,
                    _buffer_generator(config.seed, epoch, shard, line),
                    config.bucket,
                    config.batch_tokens,
                )
                for done in range(skip, len(batches)):
                    at = [epoch, shard, line, done + 1]
                    if done + 1 == len(batches):
                        at = [epoch, *behind, 0]
                    yield [pairs[row] for row in batches[done]], at
                (shard, line), skip = behind, 0
            if begins:
                raise _no_pairs(self.shards)
            epoch, shard, line = epoch + 1, 0, 0


def _no_pairs(shards: Shards) -> CorpusError:
    return CorpusError(
        f"{shards.name}: there are no sentence pairs to train on in its "
        f"{len(shards.files):,} file(s); give files with one pair per line"
    )


def _buffer_generator(
    seed: int, epoch: int, shard: int, line: int
) -> torch.Generator:
    text = f"seed {seed}, epoch {epoch}, after line {line} of shard {shard}"
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))


def matches(side: str) -> list[Path]:
    """The files of a folder or a pattern, in the order of their names.

    Hidden ones, such as `._a.tsv`, are left out of a folder, as a pattern
    leaves them out.

    Raises:
        CorpusError: if there is none.
    """
    if Path(side).is_dir():
        found = [
            path
            for path in Path(side).iterdir()
            if path.name.endswith(TSV) and not path.name.startswith(".")
        ]
    elif Path(side).is_file():  # whatever its name looks like
        found = [Path(side)]
    else:
        found = [Path(name) for name in glob(side, recursive=True)]
    files = sorted(path for path in found if path.is_file())
    if not files:
        raise CorpusError(
            f"{side}: no such files; give a folder with .tsv or .tsv.gz "
            "files, or a pattern in quotation marks, 'shards/*.tsv.gz'"
        )
    return files


def _check_partners(name: str, files: Sequence[Sequence[Path]]) -> None:
    """Refuse files that stand beside each other by their number alone."""
    patterns = corpora.paths_of(name)
    for pair in files:
        first, second = map(_stood_for, patterns, pair)
        if first != second:
            raise CorpusError(
                f"{pair[0]} and {pair[1]} would be read side by side, but "
                f"the pattern stands for {first!r} in one and {second!r} in "
                "the other: is a file missing? Give patterns, SOURCE,TARGET, "
                "that stand for the same, such as 'en/*.en,fr/*.fr'"
            )


_WILD = re.compile(r"(\*\*/|\*+|\?|\[!?\]?[^]]*\])")


def _stood_for(pattern: str, path: Path) -> list[str]:
    """What each wildcard of a pattern, or a folder, stands for in a path."""
    if Path(pattern).is_dir():
        return [path.name]
    if Path(pattern).is_file():
        return []
    rules = {"**/": "((?:.*/)?)", "**": "(.*)", "*": "([^/]*)"}
    parts = _WILD.split(str(Path(pattern)))  # without "./", as the path is
    for i, part in enumerate(parts):  # every other one is a wildcard
        parts[i] = rules.get(part, "([^/])") if i % 2 else re.escape(part)
    found = re.fullmatch("".join(parts), str(path))
    return list(found.groups()) if found else [str(path)]


def _rows(
    sides: Sequence[Path], skip: int
) -> Iterator[tuple[corpora.Row, int]]:
    """The rows of a shard behind some lines, each with its number."""
    if len(sides) == 1:
        for line, number in _lines(sides[0], skip):
            yield corpora.columns_of(line, sides[0], number), number
        return
    both = zip_longest(*(_lines(path, skip) for path in sides))
    for pair in both:
        if None in pair:
            short, long = sides if pair[0] is None else sides[::-1]
            number = next(number for _, number in filter(None, pair))
            raise CorpusError(
                f"{short} ends before line {number}, and {long} does not: "
                "line i of one must translate line i of the other"
            )
        (source, number), (target, _) = pair
        places = [f"{path}, line {number}" for path in sides]
        yield (source, target, *places), number


def _lines(path: Path, skip: int) -> Iterator[tuple[str, int]]:
    """Lines of UTF-8 text behind the first so many, with their numbers."""
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    corpora.check_line_ends(line, path)
                if number <= skip:
                    continue
                text = corpora.decode_line(line, path, number)
                yield text.rstrip("\n"), number
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(
            f"{path}, after line {number}: truncated or not gzip ({error}); "
            "remove it and get it again"
        ) from error
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error})") from error
