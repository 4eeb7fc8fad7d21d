"""Parallel text from anywhere, as one type: `ParallelCorpus`.

Generated sentences, two toy tasks, pictures with captions, Multi30k
(`elliott2016`), the English-French pairs of Tatoeba, and files of the
reader's own. Where the data come from is decided by environment variables:

- `S2S_DATA_DIR`: a folder with local copies (`multi30k/train.en.gz`,
  `fra-eng/fra.txt` or `fra-eng/fra-eng.zip`); they are checked as a
  download is. What is missing there is downloaded.
- `S2S_CACHE_DIR`: where downloads are kept; by default the user's cache.
- `S2S_MULTI30K_URL`, `S2S_TATOEBA_URL`: the folder of a mirror.

Nothing is unpacked on disk: compressed files are read in memory.
"""

import codecs
import errno
import gzip
import hashlib
import json
import os
import random
import sys
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import has_magic, iglob
from pathlib import Path

from s2s_lib import captions
from s2s_lib.grammar import BUCKETS, SentencePair, generate
from s2s_lib.vocab import tokenize

BOM = codecs.BOM_UTF8.decode()  # a mark of byte order, which is no text
_GZIP = b"\x1f\x8b"  # what its files begin with
# Ranges of source tokens, both ends included: (1, 10), (11, 20), ...
LENGTH_BUCKETS = BUCKETS

MULTI30K_URL = (
    "https://raw.githubusercontent.com/multi30k/dataset/"
    "a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw"
)
MULTI30K_PAIRS = ("en-fr", "en-de", "en-cs", "fr-en", "de-en", "cs-en")
# The Czech files have no entry: they are pinned by the commit alone, and
# what can be checked is that they unpack, are UTF-8 and match in length.
MULTI30K_SHA256 = {
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a"
    "882c3a8a961923c25a898c90f8bbd56f",
    "train.fr.gz": "622e75069e9f4c577425c4f277116ce6"
    "6e63a2401c0a2312d90073cb12379a3c",
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f"
    "80fae06ffc5d28b6ace5faa883de28a6",
    "val.en.gz": "14f7d25ddd868909a9213e361768460e"
    "dcacdd6ab9d1e77b92560dc10c10dc28",
    "val.fr.gz": "ca3106f1a72390591d25f6c45cb4cd39"
    "dec4cd3f123e099748a3ce5256c160e9",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3"
    "ad3f51657ad873405082ff6863a5e75a",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf"
    "5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.fr.gz": "6d326e188d259fb1d04ac19eae3af956"
    "559b3a0b93d7635e56c90987c40c8b90",
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15"
    "005fc42a07a6e55ca6c52b6ababb8cc8",
}
TATOEBA_URL = "http://d2l-data.s3-accelerate.amazonaws.com"
TATOEBA_HASH = "sha1:94646ad1522d915e7b0f9296181140edcf86a4f5"


class CorpusError(ValueError):
    """A corpus cannot be had or used; the message says what to do."""


@dataclass(frozen=True)
class ParallelCorpus:
    """Sentence pairs of two languages, split in three."""

    name: str
    source_language: str
    target_language: str
    train: list[SentencePair]
    valid: list[SentencePair]
    test: list[SentencePair]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of all tokens, texts, links and splits, in order.

        Names are left out: the same sentences under another path are the
        same corpus. It is computed once: the lists may not change then.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for split in ("train", "valid", "test"):
            for pair in getattr(self, split):
                # JSON marks where a token ends; sets have no order of
                # their own, so they are sorted.
                links = sorted(pair.sure), sorted(pair.possible)
                texts = pair.source_text, pair.target_text
                line = json.dumps(
                    [split, pair.source, pair.target, *links, *texts]
                )
                digest.update(line.encode() + b"\n")
        return digest.hexdigest()


def generated(
    num_train: int = 10_000,
    num_valid: int = 500,
    num_test: int = 1_000,
    seed: int = 0,
) -> ParallelCorpus:
    """English-French pairs of `grammar`, with their gold alignment.

    No source sentence is in two splits. Validation and test have equally
    many sentences of each of the `LENGTH_BUCKETS`; they depend on the seed
    and their own sizes, not on `num_train`.

    Raises:
        CorpusError: a size that cannot be had, or splits that overlap.
    """
    _check_sizes(num_train=num_train, num_valid=num_valid, num_test=num_test)
    for name, size in (("num_valid", num_valid), ("num_test", num_test)):
        if size % len(LENGTH_BUCKETS):
            raise CorpusError(
                f"{name} is {size}: give a multiple of "
                f"{len(LENGTH_BUCKETS)}, so that each of the length ranges "
                f"{LENGTH_BUCKETS} gets equally many"
            )
    # Seeds 3s, 3s + 1, 3s + 2: no two seeds s share a stream of sentences.
    try:
        test = generate(num_test, 3 * seed + 2, buckets=LENGTH_BUCKETS)
        taken = {pair.source for pair in test}
        valid = generate(
            num_valid, 3 * seed + 1, buckets=LENGTH_BUCKETS, exclude=taken
        )
        taken |= {pair.source for pair in valid}
        train = generate(num_train, 3 * seed, exclude=taken)
    except ValueError as error:
        raise CorpusError(f"generated corpus: {error}") from error
    splits = train, valid, test
    sources = [pair.source for split in splits for pair in split]
    if len(set(sources)) != len(sources):
        raise CorpusError(
            "generated corpus: a source sentence came twice; this is an "
            "error in s2s_lib.grammar.generate, please report it"
        )
    return ParallelCorpus("generated", "en", "fr", train, valid, test)


TOYS = ("reversal", "sorting")
# What `load` knows by name; all else are files.
NAMES = ("generated", "captions", "multi30k", "tatoeba", *TOYS)
# The pair that is meant where none is given.
PAIRS = {
    "generated": "en-fr",
    "captions": "image-en",
    "multi30k": "en-fr",
    "tatoeba": "en-fr",
    **{task: f"letters-{task}" for task in TOYS},
}
_SYMBOLS = tuple("abcdefghijklmnopqrstuvwxyz")


def toy(
    task: str,
    num_train: int = 10_000,
    num_valid: int = 500,
    num_test: int = 1_000,
    seed: int = 0,
) -> ParallelCorpus:
    """Rows of 4 to 20 letters, to be written backwards or in order.

    The links are known: they say which letter of the source each letter of
    the target is. Where a row to be sorted has a letter twice, the copies
    keep their order.

    Raises:
        CorpusError: if there is no such task, or a size is negative.
    """
    if task not in TOYS:
        raise CorpusError(f"task must be one of {TOYS}, not {task!r}")
    _check_sizes(num_train=num_train, num_valid=num_valid, num_test=num_test)
    source_of, taken, pairs = random.Random(seed), set(), []
    while len(pairs) < num_train + num_valid + num_test:
        length = source_of.randint(4, 20)
        source = tuple(source_of.choices(_SYMBOLS, k=length))
        if source in taken:
            continue
        taken.add(source)
        order = list(range(length))
        if task == "reversal":
            order.reverse()
        else:
            order.sort(key=source.__getitem__)
        links = frozenset((i, j) for j, i in enumerate(order))
        target = tuple([source[i] for i in order])
        pairs.append(SentencePair(source, target, links, links))
    test, pairs = pairs[:num_test], pairs[num_test:]
    valid, train = pairs[:num_valid], pairs[num_valid:]
    return ParallelCorpus(task, "letters", task, train, valid, test)


CAPTION_PAIRS = tuple(f"image-{name}" for name in captions.LANGUAGES)


def captioned(
    pair: str = "image-en",
    num_train: int = 4_000,
    num_valid: int = 300,
    num_test: int = 500,
    seed: int = 0,
) -> ParallelCorpus:
    """Pictures of shapes, as rows of pixels, with captions and gold regions.

    No caption is in two splits, and so no arrangement of shapes either. The
    pictures are the same in both languages. See `captions`.

    Raises:
        CorpusError: unknown pair, a negative size, or splits too large to be
            kept apart.
    """
    _check_pair(pair, CAPTION_PAIRS, "the captions corpus")
    _check_sizes(num_train=num_train, num_valid=num_valid, num_test=num_test)
    language, taken, splits = pair.split("-")[1], set(), []
    sizes = (num_test, 3 * seed + 2), (num_valid, 3 * seed + 1)
    try:
        for size, stream in (*sizes, (num_train, 3 * seed)):
            pairs = captions.generate(size, stream, language, taken)
            taken |= {pair.target for pair in pairs}
            splits.append(pairs)
    except ValueError as error:
        raise CorpusError(f"captions corpus: {error}") from error
    test, valid, train = splits
    return ParallelCorpus("captions", "image", language, train, valid, test)


def multi30k(pair: str = "en-fr", lowercase: bool = True) -> ParallelCorpus:
    """Image captions, `elliott2016`: task 1, test set of 2016.

    29,000 pairs to train, 1,014 to validate and 1,000 to test, pinned to a
    commit of the authors' repository. English, French and German files are
    checked by SHA-256. For the Czech ones no hash is known to this project:
    the commit pins them, and they must unpack, be UTF-8 and have as many
    lines as the English ones.

    Raises:
        CorpusError: unknown pair, no network, or files not as expected.
    """
    _check_pair(pair, MULTI30K_PAIRS, "Multi30k")
    url = os.environ.get("S2S_MULTI30K_URL") or MULTI30K_URL
    splits = []
    for part in ("train", "val", "test_2016_flickr"):
        sides = []
        for language in pair.split("-"):
            name = f"{part}.{language}.gz"
            sha256 = MULTI30K_SHA256.get(name)
            sides.append(_fetch("multi30k", name, url, sha256))
        splits.append(_pairs(_read_two_files(*sides), lowercase))
    return ParallelCorpus("multi30k", *pair.split("-"), *splits)


def tatoeba(
    pair: str = "en-fr",
    lowercase: bool = True,
    max_pairs: int | None = None,
    valid_fraction: float = 0.05,
    test_fraction: float = 0.05,
    seed: int = 0,
) -> ParallelCorpus:
    """English-French pairs of Tatoeba, as ManyThings.org distributes them.

    The zip that `zhang2023d2l` uses, checked by its SHA-1; or a plain
    `fra-eng/fra.txt` in `S2S_DATA_DIR`, which may be cut and is therefore
    only checked for its form. The file goes from short to long sentences:
    `max_pairs` keeps the first, so the shortest. For splits see `from_tsv`.

    Raises:
        CorpusError: unknown pair, no network, or a file not as expected.
    """
    _check_pair(pair, ("en-fr", "fr-en"), "Tatoeba")
    if max_pairs is not None and max_pairs < 1:
        raise CorpusError(f"max_pairs is {max_pairs}: give 1 or more")
    local = os.environ.get("S2S_DATA_DIR")
    path = Path(local or "", "fra-eng", "fra.txt")
    if local and path.exists():
        lines = _read_lines(path)
    else:
        url = os.environ.get("S2S_TATOEBA_URL") or TATOEBA_URL
        archive = _fetch("fra-eng", "fra-eng.zip", url, TATOEBA_HASH)
        with zipfile.ZipFile(archive) as unzipped:
            content = unzipped.read("fra-eng/fra.txt")
        path = archive / "fra-eng" / "fra.txt"
        lines = _decode(content, path)
    columns = (0, 1) if pair == "en-fr" else (1, 0)
    pairs = _pairs(_columns(lines[:max_pairs], columns, path), lowercase)
    splits = _split(pairs, valid_fraction, test_fraction, seed, path)
    return ParallelCorpus("tatoeba", *pair.split("-"), *splits)


def from_tsv(
    path: str | Path,
    pair: str = "source-target",
    columns: tuple[int, int] = (0, 1),
    lowercase: bool = True,
    valid_fraction: float = 0.05,
    test_fraction: float = 0.05,
    seed: int = 0,
) -> ParallelCorpus:
    """One pair per line, columns separated by tabs, UTF-8, plain or .gz.

    Pairs with the same source sentence stay in one split, so no test
    sentence was seen in training. A split has at least its fraction of the
    pairs; within a split the order is that of the file.

    Args:
        pair: names of the two languages, as in "en-fr".
        columns: which columns hold source and target, counted from 0.

    Raises:
        CorpusError: unreadable, empty, malformed, or too small to split.
    """
    path = Path(path)
    pairs = _pairs(_columns(_read_lines(path), columns, path), lowercase)
    splits = _split(pairs, valid_fraction, test_fraction, seed, path)
    return ParallelCorpus(str(path), *_languages(pair), *splits)


def from_files(
    source_path: str | Path,
    target_path: str | Path,
    pair: str = "source-target",
    lowercase: bool = True,
    valid_fraction: float = 0.05,
    test_fraction: float = 0.05,
    seed: int = 0,
) -> ParallelCorpus:
    """Two files, plain or .gz: line i of one translates line i of the other.

    Arguments, splits and errors are those of `from_tsv`.
    """
    name = f"{source_path},{target_path}"
    rows = _read_two_files(Path(source_path), Path(target_path))
    pairs = _pairs(rows, lowercase)
    splits = _split(pairs, valid_fraction, test_fraction, seed, name)
    return ParallelCorpus(name, *_languages(pair), *splits)


def paths_of(name: str) -> list[str]:
    """The paths in the name of a corpus: one, or those of SOURCE,TARGET.

    A comma may also stand in a path; what is there on the disk decides.
    """
    if _is_there(name):
        return [name]
    parts = name.split(",")
    for i in range(1, len(parts)):
        both = [",".join(parts[:i]), ",".join(parts[i:])]
        if all(map(_is_there, both)):
            return both
    return parts


def _is_there(side: str) -> bool:
    """Whether a path exists, or a pattern stands for one that does."""
    if os.path.exists(side):
        return True
    return has_magic(side) and any(True for _ in iglob(side, recursive=True))


def load(name: str, pair: str | None = None, **options) -> ParallelCorpus:
    """A corpus by the name that the command line takes.

    Args:
        name: "generated", "captions", "multi30k", "tatoeba", a task of
            `TOYS`, the path of a .tsv (or .tsv.gz, .txt) file, or two paths
            with a comma between: "SOURCE_FILE,TARGET_FILE".
        pair: languages and direction, "en-fr"; None for the default.
        options: passed on to the function of that corpus.

    Raises:
        CorpusError: unknown name or pair, or what that function raises.
    """
    if name in ("generated", *TOYS):
        where = "the generated corpus" if name == "generated" else name
        _check_pair(pair or PAIRS[name], (PAIRS[name],), where)
        return toy(name, **options) if name in TOYS else generated(**options)
    if pair is not None or name in PAIRS:
        options["pair"] = PAIRS[name] if pair is None else pair
    functions = {"captions": captioned, "multi30k": multi30k}
    functions["tatoeba"] = tatoeba
    if name in functions:
        return functions[name](**options)
    files = paths_of(name)
    if len(files) == 1 and name.endswith((".tsv", ".tsv.gz", ".txt")):
        return from_tsv(name, **options)
    if len(files) == 2:
        return from_files(*files, **options)
    raise CorpusError(
        f"unknown corpus {name!r}: give {', '.join(map(repr, NAMES))}, the "
        "path of a .tsv file, or two paths as SOURCE_FILE,TARGET_FILE"
    )


def _check_pair(pair: str, known: Iterable[str], where: str) -> None:
    if pair not in known:
        raise CorpusError(
            f"{where} has no pair {pair!r}: choose one of {', '.join(known)}"
        )


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 0:
            raise CorpusError(f"{name} is {size}: give 0 or more")


def _languages(pair: str) -> list[str]:
    languages = pair.split("-")
    if len(languages) != 2 or not all(languages):
        raise CorpusError(
            f"cannot read the pair {pair!r}: give two names with a hyphen "
            "between, source first, as in 'en-fr'"
        )
    return languages


def cache_dir() -> Path:
    """`S2S_CACHE_DIR`, or the user's cache folder for this library."""
    given = os.environ.get("S2S_CACHE_DIR")
    if given:
        return Path(given)
    import pooch  # here: in a notebook it may warn about missing widgets

    return Path(pooch.os_cache("s2s_lib"))


def _fetch(folder: str, name: str, url: str, known_hash: str | None) -> Path:
    """The local copy of a file, or a checked download of it."""
    if local := os.environ.get("S2S_DATA_DIR"):
        path = Path(local, folder, name)
        if path.exists():
            _check_hash(path, known_hash)
            return path
    import pooch  # here: in a notebook it may warn about missing widgets

    cache = cache_dir()
    http = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=2**16
    )

    def download(url: str, output_file: str, downloader: pooch.Pooch) -> None:
        http(url, output_file, downloader)
        # Pooch compares the hash next. A file without a known hash is
        # unpacked once here, so that a broken one never enters the cache.
        if known_hash is None:
            _unpack(Path(output_file), name)

    # Pooch writes to a temporary file in the same folder, and renames it
    # only when it is whole and checked.
    pooch.get_logger().setLevel("WARNING")
    source = pooch.create(
        path=cache / folder,
        base_url=url.rstrip("/") + "/",
        registry={name: known_hash},
        retry_if_failed=2,
    )
    place = f"{url.rstrip('/')}/{name}"
    advice = f"try again, or put a copy in $S2S_DATA_DIR/{folder}/{name}"
    try:
        return Path(source.fetch(name, downloader=download))
    except ValueError as error:
        if isinstance(error, OSError):  # of requests: no address at all
            raise CorpusError(
                f"{place}: not an address to download from ({error}); set "
                "S2S_MULTI30K_URL or S2S_TATOEBA_URL to one that begins with "
                f"https://, or put a copy in $S2S_DATA_DIR/{folder}/{name}"
            ) from error
        raise CorpusError(
            f"{place}: not the file expected, nothing was kept ({error}); "
            f"{advice}"
        ) from error
    except OSError as error:
        if error.errno is None:  # those of the network carry no number
            problem = "download failed, check the network"
        elif error.errno == errno.ENOSPC:
            problem = f"the disk is full in {cache / folder}"
            advice = "make room there, or set S2S_CACHE_DIR to another folder"
        else:
            problem = f"cannot write in {cache / folder}"
            advice = "set S2S_CACHE_DIR to a folder that you may write to"
        raise CorpusError(
            f"{place}: {problem}, nothing was kept ({error}); {advice}"
        ) from error


def _check_hash(path: Path, known_hash: str | None) -> None:
    if known_hash is None:
        return
    import pooch

    algorithm, _, digest = known_hash.rpartition(":")
    found = pooch.file_hash(path, alg=algorithm or "sha256")
    if found != digest:
        raise CorpusError(
            f"{path}: wrong checksum, expected {digest}, found {found}: "
            "replace the file, or remove it and it will be downloaded"
        )


def _unpack(path: Path, name: str | Path) -> bytes:
    """Content of a file in memory, decompressed if `name` ends in .gz."""
    try:
        content = path.read_bytes()
        if str(name).endswith(".gz"):
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise CorpusError(
            f"{name}: no such file; check the path (the working folder is "
            f"{Path.cwd()})"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(
            f"{name}: truncated or not gzip ({error}); remove it and get it "
            "again"
        ) from error
    except OSError as error:
        raise CorpusError(f"{name}: cannot be read ({error})") from error
    return content


def _read_lines(path: Path) -> list[str]:
    return _decode(_unpack(path, path), path)


def decode_line(
    line: bytes, file: Path | str, number: int, note: str = ""
) -> str:
    """The text of line `number` of a file, counted from 1.

    A mark of byte order is removed from the first. `note` is a clause that
    the error has besides.

    Raises:
        CorpusError: if it is not UTF-8, or what gzip writes.
    """
    try:
        return line.decode("utf-8").removeprefix(BOM if number == 1 else "")
    except UnicodeDecodeError as error:
        if number == 1 and line.startswith(_GZIP):
            raise CorpusError(
                f"{file} is compressed by gzip; unpack it, for example with "
                "gzip -dc, or give a file a name that ends in .gz"
            ) from error
        utf16 = line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        raise CorpusError(
            f"{file}, line {number}: not UTF-8 at byte {error.start + 1} of "
            f"the line (0x{line[error.start]:02x}); "
            f"{note and note + '; '}convert it, for "
            f"example with iconv -f {'UTF-16' if utf16 else 'ISO-8859-1'} "
            "-t UTF-8"
        ) from error


def check_line_ends(content: bytes, path: Path) -> None:
    """Refuse a text whose lines end as on an old Mac: it looks like one line.

    Raises:
        CorpusError: if it has carriage returns, but for one at the end, and
            no line feed.
    """
    if content.startswith(_GZIP):  # which is said when it is decoded
        return
    if b"\r" in content.rstrip() and b"\n" not in content:
        raise CorpusError(
            f"{path}: its lines end with carriage returns alone, as on an old "
            "Mac; convert it, for example with tr '\\r' '\\n'"
        )


def _decode(content: bytes, path: Path) -> list[str]:
    """Lines of UTF-8 text; a carriage return is cleaned off later."""
    check_line_ends(content, path)
    # Not splitlines(): it would also split at U+2028 and the like, which
    # do stand inside sentences.
    lines = [
        decode_line(line, path, number)
        for number, line in enumerate(content.split(b"\n"), 1)
    ]
    if not any(map(str.strip, lines)):
        raise CorpusError(f"{path}: empty; expected one sentence per line")
    return lines if lines[-1] else lines[:-1]


# A row: source text, target text, and where each came from.
Row = tuple[str, str, str, str]


def _read_two_files(source_path: Path, target_path: Path) -> list[Row]:
    source, target = _read_lines(source_path), _read_lines(target_path)
    if len(source) != len(target):
        raise CorpusError(
            f"{source_path} has {len(source)} lines but {target_path} has "
            f"{len(target)}: line i of one must translate line i of the "
            "other. If one of them was cut off, remove it and get it again"
        )
    return [
        (s, t, f"{source_path}, line {i}", f"{target_path}, line {i}")
        for i, (s, t) in enumerate(zip(source, target, strict=True), 1)
    ]


def columns_of(
    line: str, path: Path, number: int, columns: tuple[int, int] = (0, 1)
) -> Row:
    """Two columns of line `number` of a file, counted from 1.

    Raises:
        CorpusError: if it has fewer columns.
    """
    cells = line.split("\t")
    place = f"{path}, line {number}"
    if len(cells) <= max(columns):
        raise CorpusError(
            f"{place}: {len(cells)} column(s), expected at least "
            f"{max(columns) + 1}, separated by tabs"
        )
    source, target = (cells[column] for column in columns)
    return source, target, place, place


def _columns(
    lines: Sequence[str], columns: tuple[int, int], path: Path
) -> list[Row]:
    return [
        columns_of(row, path, i, columns) for i, row in enumerate(lines, 1)
    ]


def _clean(text: str, lowercase: bool) -> str:
    """NFC; any white space (no-break ones too) becomes one plain space."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return text.lower() if lowercase else text


def _pairs(rows: Iterable[Row], lowercase: bool) -> list[SentencePair]:
    pairs = []
    for *texts, source_place, target_place in rows:
        source_text, target_text = (_clean(t, lowercase) for t in texts)
        source, target = (
            tuple(tokenize(t, lowercase)) for t in (source_text, target_text)
        )
        for side, tokens, place in (
            ("source", source, source_place),
            ("target", target, target_place),
        ):
            if not tokens:
                raise CorpusError(
                    f"{place}: the {side} sentence is empty; remove the line "
                    "on both sides, or fill it in"
                )
        pairs.append(
            SentencePair(
                source,
                target,
                source_text=source_text,
                target_text=target_text,
            )
        )
    return pairs


def _split(
    pairs: list[SentencePair],
    valid_fraction: float,
    test_fraction: float,
    seed: int,
    name: str | Path,
) -> list[list[SentencePair]]:
    """Train, valid and test; equal source sentences stay together."""
    fractions = valid_fraction, test_fraction
    if min(fractions) < 0 or sum(fractions) >= 1:
        raise CorpusError(
            f"valid_fraction and test_fraction are {fractions}: both must be "
            "0 or more, and together below 1"
        )
    sources = list(dict.fromkeys(pair.source for pair in pairs))
    random.Random(seed).shuffle(sources)
    counts = Counter(pair.source for pair in pairs)
    split_of = {}
    for split, fraction in (
        ("test", test_fraction),
        ("valid", valid_fraction),
    ):
        missing = fraction * len(pairs)
        while missing > 0 and sources:
            split_of[source := sources.pop()] = split
            missing -= counts[source]
    splits = {"train": [], "valid": [], "test": []}
    for pair in pairs:
        splits[split_of.get(pair.source, "train")].append(pair)
    wanted = {"train": 1, "valid": valid_fraction, "test": test_fraction}
    for split, fraction in wanted.items():
        if fraction and not splits[split]:
            raise CorpusError(
                f"{name}: too small to split: {len(pairs)} pairs with "
                f"{len(counts)} different source sentences leave none for "
                f"{split}; give more, or a fraction of 0"
            )
    return list(splits.values())
