"""Corpora: what comes in, what is refused, and that nothing is left behind.

Downloads are tried against a server on this machine; no test needs the
network. Tests of the real corpora need `S2S_DATA_DIR`.
"""

import builtins
import errno
import gzip
import hashlib
import io
import itertools
import os
import random
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch.core
import pooch.downloaders
import pytest

from s2s_lib import corpora
from s2s_lib.corpora import CorpusError
from s2s_lib.grammar import SentencePair
from s2s_lib.vocab import detokenize

DATA = os.environ.get("S2S_DATA_DIR")
ENGLISH = "A man sleeps.\nTwo dogs run.\nA child eats.\n"
FRENCH = "Un homme dort.\nDeux chiens courent.\nUn enfant mange.\n"
CZECH = "Muž spí.\nDva psi běží.\nDítě jí.\n"
PARTS = "train", "val", "test_2016_flickr"


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """Each test has its own cache, and no corpora at hand."""
    for name in ("S2S_DATA_DIR", "S2S_MULTI30K_URL", "S2S_TATOEBA_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("S2S_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # Port 9 of this machine answers nobody: a test that forgets its server
    # fails at once instead of reaching out.
    for name in ("MULTI30K_URL", "TATOEBA_URL"):
        monkeypatch.setattr(corpora, name, "http://127.0.0.1:9")
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: None)


class Server:
    """A web server in a thread; `faults` says what it gets wrong."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.lstrip("/")
                outer.requests.append(name)
                content = outer.files.get(name)
                faults = outer.faults.get(name, [])
                fault = faults.pop(0) if faults else ""
                if content is None:
                    self.send_error(404)
                    return
                length = len(content)
                if fault == "truncated":
                    content = content[: length // 2]
                    length = len(content)
                elif fault == "corrupted":
                    middle = length // 2
                    flipped = bytes([content[middle] ^ 255])
                    content = (
                        content[:middle] + flipped + content[middle + 1 :]
                    )
                elif fault == "dropped":
                    content = content[: length // 2]
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch):
    """A mirror of a tiny Multi30k, with its checksums put in place."""
    server = Server()
    for part in PARTS:
        for language, text in (
            ("en", ENGLISH),
            ("fr", FRENCH),
            ("cs", CZECH),
        ):
            content = gzip.compress(text.encode(), mtime=0)
            name = f"{part}.{language}.gz"
            server.files[name] = content
            if language != "cs":
                monkeypatch.setitem(
                    corpora.MULTI30K_SHA256,
                    name,
                    hashlib.sha256(content).hexdigest(),
                )
    monkeypatch.setenv("S2S_MULTI30K_URL", server.url)
    monkeypatch.setenv("S2S_TATOEBA_URL", server.url + "/")
    yield server
    server.close()


def kept(tmp_path: Path) -> list[str]:
    """Every file in the cache, temporary ones included."""
    files = (tmp_path / "cache").rglob("*")
    return sorted(path.name for path in files if path.is_file())


def write_tsv(path: Path, num_sources: int = 40, copies: int = 3) -> Path:
    lines = [
        f"Sentence {i}.\tPhrase {i} version {j}.\tlicence"
        for i in range(num_sources)
        for j in range(copies)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# Generated


def test_generated_splits_are_disjoint_and_stratified():
    corpus = corpora.generated(300, 50, 100)
    sizes = [len(s) for s in (corpus.train, corpus.valid, corpus.test)]
    assert sizes == [300, 50, 100]
    everything = corpus.train + corpus.valid + corpus.test
    assert len({pair.source for pair in everything}) == 450
    for split, each in ((corpus.valid, 10), (corpus.test, 20)):
        for low, high in corpora.LENGTH_BUCKETS:
            lengths = [len(pair.source) for pair in split]
            assert sum(low <= n <= high for n in lengths) == each


@pytest.mark.parametrize("task", corpora.TOYS)
def test_toy_tasks_and_their_links(task):
    corpus = corpora.load(task, num_train=60, num_valid=20, num_test=30)
    sizes = [len(s) for s in (corpus.train, corpus.valid, corpus.test)]
    assert sizes == [60, 20, 30]
    pairs = corpus.train + corpus.valid + corpus.test
    assert len({pair.source for pair in pairs}) == len(pairs)
    assert {len(pair.source) for pair in pairs} == set(range(4, 21))
    for pair in pairs:
        expected = {"reversal": pair.source[::-1]}.get(
            task, tuple(sorted(pair.source))
        )
        assert pair.target == expected
        places = dict(sorted((j, i) for i, j in pair.sure))
        assert list(places) == list(range(len(pair.target)))
        assert sorted(places.values()) == list(range(len(pair.source)))
        for j, i in places.items():
            assert pair.target[j] == pair.source[i]
        assert pair.possible == pair.sure
    again = corpora.load(task, num_train=60, num_valid=20, num_test=30)
    assert again == corpus
    other = corpora.toy(task, 60, 20, 30, seed=1)
    assert other.train != corpus.train


@pytest.mark.parametrize("make", ["generated", "captions", *corpora.TOYS])
@pytest.mark.parametrize("size", ["num_train", "num_valid", "num_test"])
def test_a_negative_size_is_named(make, size):
    sizes = {"num_train": 20, "num_valid": 5, "num_test": 5}
    with pytest.raises(ValueError, match=f"^{size} is -5: give 0 or more"):
        corpora.load(make, **sizes | {size: -5})


def test_equal_letters_keep_their_order_when_sorted():
    for pair in corpora.toy("sorting", 60, 5, 5).train:
        places = [i for j, i in sorted((j, i) for i, j in pair.sure)]
        for first, second, a, b in zip(
            places, places[1:], pair.target, pair.target[1:], strict=False
        ):
            assert a < b or first < second


def test_an_unknown_toy_and_its_pair():
    with pytest.raises(corpora.CorpusError, match="not 'copying'"):
        corpora.toy("copying")
    with pytest.raises(corpora.CorpusError, match="letters-sorting"):
        corpora.load("sorting", pair="en-fr")


def test_generated_test_set_does_not_depend_on_training_size():
    small, large = corpora.generated(50, 5, 10), corpora.generated(80, 5, 10)
    assert small.test == large.test and small.valid == large.valid
    assert corpora.generated(50, 5, 10, seed=1).test != small.test


def test_generated_splits_are_disjoint_where_sentences_are_few(monkeypatch):
    def few(num_pairs, seed, *, buckets=None, exclude=frozenset()):
        """A grammar of 90 sentences."""
        pool = [SentencePair((f"s{i}",), (f"t{i}",)) for i in range(90)]
        random.Random(seed).shuffle(pool)
        return [pair for pair in pool if pair.source not in exclude][
            :num_pairs
        ]

    monkeypatch.setattr(corpora, "generate", few)
    corpus = corpora.generated(30, 30, 30)
    splits = corpus.train, corpus.valid, corpus.test
    assert [len(split) for split in splits] == [30, 30, 30]
    assert len({pair.source for split in splits for pair in split}) == 90


def test_generated_overlap_is_noticed(monkeypatch):
    real = corpora.generate

    def forgetful(*args, exclude=(), **options):
        return real(10, 0, **options)

    monkeypatch.setattr(corpora, "generate", forgetful)
    with pytest.raises(CorpusError, match="a source sentence came twice"):
        corpora.generated(10, 10, 10)


def test_generated_refuses_sizes_that_cannot_be_stratified():
    with pytest.raises(CorpusError, match=r"num_test is 12.*multiple of 5"):
        corpora.generated(10, 5, 12)
    with pytest.raises(CorpusError, match="num_train is -1"):
        corpora.generated(-1, 5, 5)


# Fingerprint


def test_fingerprint_sees_every_part():
    corpus = corpora.generated(10, 5, 5)
    first = corpus.train[0]
    changed = [
        replace(first, source=("x", *first.source[1:])),
        replace(first, target=("x", *first.target[1:])),
        replace(first, sure=frozenset()),
        replace(first, possible=first.possible | {(59, 59)}),
        replace(first, source_text="x"),
        replace(first, target_text="x"),
    ]
    prints = {corpus.fingerprint()}
    for pair in changed:
        other = replace(corpus, train=[pair, *corpus.train[1:]])
        prints.add(other.fingerprint())
    swapped = replace(corpus, valid=corpus.test, test=corpus.valid)
    reordered = replace(corpus, train=corpus.train[::-1])
    moved = replace(
        corpus,
        train=corpus.train[:-1],
        valid=[corpus.train[-1], *corpus.valid],
    )
    for other in (swapped, reordered, moved):
        prints.add(other.fingerprint())
    assert len(prints) == 10
    assert replace(corpus, name="x").fingerprint() in prints


def test_fingerprint_tells_where_a_token_ends():
    def corpus(*source):
        pair = SentencePair(source, ("x",))
        return corpora.ParallelCorpus("", "", "", [pair], [], [])

    assert corpus("a b").fingerprint() != corpus("a", "b").fingerprint()
    assert corpus('a", "b').fingerprint() != corpus("a", "b").fingerprint()


def test_fingerprint_does_not_depend_on_the_order_of_a_set():
    grid = [(i, j) for i in range(5) for j in range(5)]
    # two links that fall into the same place, so that the first comes first
    forward, backward = next(
        (frozenset((a, b)), frozenset((b, a)))
        for a, b in itertools.combinations(grid, 2)
        if list(frozenset((a, b))) != list(frozenset((b, a)))
    )
    assert forward == backward
    prints = set()
    for possible in (forward, backward):
        pair = SentencePair(("x",), ("x",), possible, possible)
        corpus = corpora.ParallelCorpus("", "", "", [pair], [], [])
        prints.add(corpus.fingerprint())
    assert len(prints) == 1


def test_fingerprint_does_not_depend_on_the_hash_seed():
    code = (
        "from s2s_lib import corpora;"
        "print(corpora.generated(20, 5, 5).fingerprint())"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(corpora.__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1", "12345")
    }
    assert prints == {corpora.generated(20, 5, 5).fingerprint()}


# Download


def test_download_then_cache(server, tmp_path):
    corpus = corpora.multi30k("en-fr")
    assert (corpus.source_language, corpus.target_language) == ("en", "fr")
    assert [p.target_text for p in corpus.test] == FRENCH.lower().split("\n")[
        :-1
    ]
    assert corpus.train[0].source == ("a", "man", "sleeps", ".")
    assert len(kept(tmp_path)) == len(server.requests) == 6
    assert (
        corpora.multi30k("fr-en", lowercase=False).train[0].source[0] == "Un"
    )
    assert len(server.requests) == 6


def test_download_repairs_a_damaged_cache(server, tmp_path):
    expected = corpora.multi30k()
    (tmp_path / "cache" / "multi30k" / "val.en.gz").write_bytes(b"damaged")
    assert corpora.multi30k() == expected
    assert server.requests.count("val.en.gz") == 2


@pytest.mark.parametrize("fault", ["corrupted", "truncated", "dropped"])
@pytest.mark.parametrize("name", ["val.en.gz", "val.cs.gz"])
def test_download_is_tried_again(server, tmp_path, fault, name):
    server.faults[name] = [fault, fault]
    assert len(corpora.multi30k("en-cs").valid) == 3
    assert server.requests.count(name) == 3
    assert len(kept(tmp_path)) == 6


@pytest.mark.parametrize(
    ("fault", "name", "message"),
    [
        ("corrupted", "train.en.gz", "SHA256 hash .* does not match"),
        ("truncated", "train.en.gz", "SHA256 hash .* does not match"),
        ("corrupted", "train.cs.gz", "truncated or not gzip"),
        ("truncated", "train.cs.gz", "truncated or not gzip"),
        ("dropped", "train.en.gz", "download failed, check the network"),
        ("dropped", "train.cs.gz", "download failed, check the network"),
    ],
)
def test_bad_download_leaves_nothing(server, tmp_path, fault, name, message):
    server.faults[name] = [fault] * 3
    with pytest.raises(CorpusError, match=message) as caught:
        corpora.multi30k("en-cs" if name == "train.en.gz" else "cs-en")
    assert f"{server.url}/{name}" in str(caught.value)
    assert "nothing was kept" in str(caught.value)
    assert "S2S_DATA_DIR/multi30k" in str(caught.value)
    assert caught.value.__cause__ is not None
    assert server.requests == [name] * 3
    assert kept(tmp_path) == []


def test_file_not_on_the_server(server, tmp_path):
    del server.files["train.en.gz"]
    with pytest.raises(CorpusError, match=r"train\.en\.gz.*404"):
        corpora.multi30k()
    assert kept(tmp_path) == []


def test_no_network(tmp_path):
    with pytest.raises(CorpusError, match="check the network"):
        corpora.multi30k()
    with pytest.raises(CorpusError, match="check the network"):
        corpora.tatoeba()
    assert kept(tmp_path) == []


def test_disk_full(server, tmp_path, monkeypatch):
    class Full(io.FileIO):
        """A file on a disk that has room for 20 bytes."""

        def write(self, content):
            super().write(content[:20])
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(path, mode):
        assert mode == "w+b"
        return Full(path, "w+")

    monkeypatch.setattr(pooch.downloaders, "open", full, raising=False)
    with pytest.raises(CorpusError, match="the disk is full in") as caught:
        corpora.multi30k()
    assert "S2S_CACHE_DIR" in str(caught.value)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert server.requests == ["train.en.gz"]
    assert kept(tmp_path) == []
    monkeypatch.setattr(pooch.downloaders, "open", builtins.open)
    assert len(corpora.multi30k().train) == 3


def test_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.core, "hash_matches", interrupt)
    with pytest.raises(KeyboardInterrupt):
        corpora.multi30k()
    assert kept(tmp_path) == []


def test_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(CorpusError, match=r"cannot write in .*S2S_CACHE_DIR"):
        corpora.multi30k()


def test_line_counts_that_differ(server):
    short = gzip.compress("Muž spí.\n".encode())
    server.files["train.cs.gz"] = short
    with pytest.raises(CorpusError, match=r"has 3 lines but .*cs\.gz has 1:"):
        corpora.multi30k("en-cs")


def test_every_truncation_of_a_gzip_is_noticed(tmp_path):
    content = gzip.compress(FRENCH.encode())
    path = tmp_path / "text.gz"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CorpusError, match=r"text\.gz: (trunc|empty)"):
            corpora._read_lines(path)
    path.write_bytes(content)
    assert corpora._read_lines(path) == FRENCH.split("\n")[:-1]


# Local copies


def test_local_copies_come_first_and_the_rest_is_downloaded(
    server, tmp_path, monkeypatch
):
    folder = tmp_path / "data" / "multi30k"
    folder.mkdir(parents=True)
    (folder / "val.en.gz").write_bytes(server.files["val.en.gz"])
    monkeypatch.setenv("S2S_DATA_DIR", str(tmp_path / "data"))
    assert len(corpora.multi30k().valid) == 3
    assert len(server.requests) == 5
    assert "val.en.gz" not in server.requests


def test_local_copy_is_checked(server, tmp_path, monkeypatch):
    folder = tmp_path / "data" / "multi30k"
    folder.mkdir(parents=True)
    # a good gzip with other sentences in it
    (folder / "train.en.gz").write_bytes(gzip.compress(b"hello\n"))
    monkeypatch.setenv("S2S_DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(CorpusError, match=r"train\.en\.gz: wrong checksum"):
        corpora.multi30k()
    assert server.requests == []


# Tatoeba


def zipped(monkeypatch, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fra-eng/_about.txt", "about")
        archive.writestr("fra-eng/fra.txt", text)
    content = buffer.getvalue()
    digest = "sha1:" + hashlib.sha1(content).hexdigest()
    monkeypatch.setattr(corpora, "TATOEBA_HASH", digest)
    return content


def test_tatoeba_zip_and_text_agree(server, tmp_path, monkeypatch):
    path = write_tsv(tmp_path / "fra.txt")
    text = path.read_text(encoding="utf-8")
    server.files["fra-eng.zip"] = zipped(monkeypatch, text)
    downloaded = corpora.tatoeba()
    assert server.requests == ["fra-eng.zip"]
    assert kept(tmp_path) == ["fra-eng.zip"]
    folder = tmp_path / "data" / "fra-eng"
    folder.mkdir(parents=True)
    monkeypatch.setenv("S2S_DATA_DIR", str(tmp_path / "data"))
    (folder / "fra-eng.zip").write_bytes(server.files["fra-eng.zip"])
    assert corpora.tatoeba() == downloaded
    (folder / "fra-eng.zip").unlink()
    (folder / "fra.txt").write_text(text, encoding="utf-8")
    assert corpora.tatoeba() == downloaded
    assert server.requests == ["fra-eng.zip"]


def test_tatoeba_wrong_zip_leaves_nothing(server, tmp_path, monkeypatch):
    server.files["fra-eng.zip"] = zipped(monkeypatch, "Go.\tVa !\n")
    server.faults["fra-eng.zip"] = ["corrupted"] * 3
    with pytest.raises(CorpusError, match="SHA1 hash"):
        corpora.tatoeba()
    assert kept(tmp_path) == []


def test_tatoeba_options(tmp_path, monkeypatch):
    (tmp_path / "fra-eng").mkdir()
    write_tsv(tmp_path / "fra-eng" / "fra.txt")
    monkeypatch.setenv("S2S_DATA_DIR", str(tmp_path))
    corpus = corpora.tatoeba("fr-en", max_pairs=60)
    everything = corpus.train + corpus.valid + corpus.test
    assert len(everything) == 60
    assert {pair.source[0] for pair in everything} == {"phrase"}
    with pytest.raises(CorpusError, match="max_pairs is 0"):
        corpora.tatoeba(max_pairs=0)
    with pytest.raises(CorpusError, match=r"no pair 'en-de'.*en-fr, fr-en"):
        corpora.tatoeba("en-de")


# Files of the reader's own


@pytest.mark.parametrize("seed", range(5))
def test_splits_share_no_source_sentence(tmp_path, seed):
    draw = random.Random(seed)
    lines = [
        f"sentence {draw.randrange(60)} .\tphrase {i}" for i in range(200)
    ]
    path = tmp_path / "own.tsv"
    path.write_text("\n".join(lines), encoding="utf-8")
    corpus = corpora.from_tsv(
        path, "en-fr", valid_fraction=0.1, test_fraction=0.2, seed=seed
    )
    splits = corpus.train, corpus.valid, corpus.test
    sources = [{pair.source for pair in split} for split in splits]
    assert sum(map(len, sources)) == len(set.union(*sources))
    # nothing lost, nothing twice
    targets = Counter(pair.target for split in splits for pair in split)
    assert targets == {("phrase", str(i)): 1 for i in range(200)}
    assert 40 <= len(corpus.test) < 50 and 20 <= len(corpus.valid) < 30
    again = corpora.from_tsv(
        path, "en-fr", valid_fraction=0.1, test_fraction=0.2, seed=seed
    )
    other = corpora.from_tsv(path, "en-fr", seed=seed + 1)
    assert again == corpus
    assert other.test != corpora.from_tsv(path, "en-fr", seed=seed).test


def test_from_tsv_columns(tmp_path):
    path = write_tsv(tmp_path / "own.tsv")
    corpus = corpora.from_tsv(path, "fr-en", columns=(1, 0))
    assert corpus.train[0].source[0] == "phrase"
    assert (corpus.source_language, corpus.target_language) == ("fr", "en")
    with pytest.raises(
        CorpusError, match=r"own\.tsv, line 1: 3 column.*at least 4"
    ):
        corpora.from_tsv(path, columns=(0, 3))


def test_from_files_plain_and_compressed(tmp_path):
    english, french = tmp_path / "a.en", tmp_path / "a.fr.gz"
    english.write_bytes(ENGLISH.replace("\n", "\r\n").encode("utf-8-sig"))
    french.write_bytes(gzip.compress(FRENCH.encode()))
    corpus = corpora.from_files(
        english, french, "en-fr", valid_fraction=0.3, test_fraction=0.3
    )
    pairs = corpus.train + corpus.valid + corpus.test
    assert {(p.source_text, p.target_text) for p in pairs} == set(
        zip(
            ENGLISH.lower().split("\n"),
            FRENCH.lower().split("\n"),
            strict=True,
        )
    ) - {("", "")}


def test_text_is_normalised(tmp_path):
    # e + combining accent; no-break spaces; U+2028 ends no line
    path = tmp_path / "own.tsv"
    path.write_text(
        "Cafe\u0301\u00a0!\tÇa\u202fva\u2009?\nB  c\u2028d \tÉtÉ\n",
        encoding="utf-8",
    )
    options = {"valid_fraction": 0.0, "test_fraction": 0.0}
    first, second = corpora.from_tsv(path, **options).train
    assert (first.source_text, first.target_text) == ("café !", "ça va ?")
    assert first.source == ("café", "!")
    assert (second.source_text, second.target_text) == ("b c d", "été")
    assert first.source_sentence == "café !"
    raw = corpora.from_tsv(path, lowercase=False, **options).train
    assert raw[1].target == ("ÉtÉ",) and raw[1].target_text == "ÉtÉ"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"own\.tsv: empty"),
        (b"\n\n", r"own\.tsv: empty"),
        (
            b"a\tb\nc\n",
            r"own\.tsv, line 2: 1 column\(s\), expected at least 2",
        ),
        (b"a\tb\n\nc\td\n", r"own\.tsv, line 2: 1 column"),
        (b"a\tb\n\tc\n", r"own\.tsv, line 2: the source sentence is empty"),
        (b"a\tb\nc\t \xc2\xa0\n", r"line 2: the target sentence is empty"),
        (b"a\tb\nc\tcaf\xe9\n", r"line 2: not UTF-8 at byte 6 .*\(0xe9\)"),
        (b"a\xff\tb\n", r"line 1: not UTF-8 at byte 2 .*\(0xff\)"),
        (b"a\xff\tb\n", r"\(0xff\); convert it, .*-f ISO-8859-1"),
        ("a\tb\n".encode("utf-16"), r"line 1: not UTF-8 .*-f UTF-16"),
        (b"a\tb\n", r"own\.tsv: too small to split: 1 pairs"),
        (b"a\tb\na\tc\na\td\na\te\n", r"4 pairs with 1 different source"),
    ],
)
def test_bad_tsv(tmp_path, content, message):
    path = tmp_path / "own.tsv"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        corpora.from_tsv(path)


def test_bad_files(tmp_path):
    a, b = tmp_path / "a.txt", tmp_path / "b.txt"
    a.write_text("one\ntwo\n", encoding="utf-8")
    b.write_text("un\ndeux\ntrois\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"a\.txt has 2 .*b\.txt has 3"):
        corpora.from_files(a, b)
    b.write_text("un\n\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"b\.txt, line 2: the target"):
        corpora.from_files(a, b)
    with pytest.raises(CorpusError, match=r"none\.txt: no such file") as info:
        corpora.from_files(a, tmp_path / "none.txt")
    assert isinstance(info.value.__cause__, FileNotFoundError)
    with pytest.raises(CorpusError, match="cannot be read"):
        corpora.from_files(a, tmp_path)
    fake = tmp_path / "b.gz"
    fake.write_bytes(b"un\ndeux\n")
    with pytest.raises(CorpusError, match=r"b\.gz: truncated or not gzip"):
        corpora.from_files(a, fake)


@pytest.mark.parametrize("fractions", [(-0.1, 0.1), (0.5, 0.5), (0.1, 1.0)])
def test_bad_fractions(tmp_path, fractions):
    path = write_tsv(tmp_path / "own.tsv")
    valid, test = fractions
    with pytest.raises(CorpusError, match="together below 1"):
        corpora.from_tsv(path, valid_fraction=valid, test_fraction=test)


# By name


def test_load(server, tmp_path, monkeypatch):
    path = write_tsv(tmp_path / "own.tsv")
    options = {"num_train": 20, "num_valid": 5, "num_test": 5}
    assert corpora.load("generated", **options) == corpora.generated(**options)
    assert corpora.load("multi30k", pair="en-cs") == corpora.multi30k("en-cs")
    assert corpora.load(str(path), pair="en-fr") == corpora.from_tsv(
        path, "en-fr"
    )
    a, b = tmp_path / "a.txt", tmp_path / "b.txt"
    a.write_text("\n".join(f"word {i}" for i in range(40)), encoding="utf-8")
    b.write_text("\n".join(f"mot {i}" for i in range(40)), encoding="utf-8")
    assert corpora.load(f"{a},{b}", seed=3) == corpora.from_files(a, b, seed=3)
    text = path.read_text(encoding="utf-8")
    server.files["fra-eng.zip"] = zipped(monkeypatch, text)
    assert corpora.load("tatoeba", pair="fr-en") == corpora.tatoeba("fr-en")


def test_a_comma_in_a_path(tmp_path):
    """One file, if there is a file of that name, and else two."""
    path = write_tsv(tmp_path / "a,b.tsv")
    assert corpora.load(str(path)) == corpora.from_tsv(path)
    sides = [tmp_path / name for name in ("c,d.en", "c,d.fr")]
    for side in sides:
        text = "\n".join(f"word {i}" for i in range(40))
        side.write_text(text, encoding="utf-8")
    name = ",".join(map(str, sides))
    assert corpora.load(name) == corpora.from_files(*sides)
    assert corpora.paths_of("x.en,x.fr") == ["x.en", "x.fr"]


@pytest.mark.parametrize(
    ("name", "pair", "message"),
    [
        ("multi31k", None, "unknown corpus 'multi31k'.*'multi30k'"),
        ("a,b,c", None, "unknown corpus 'a,b,c'"),
        ("generated", "en-de", "no pair 'en-de': choose one of en-fr"),
        ("multi30k", "fr-de", "no pair 'fr-de': choose one of en-fr, en-de"),
        ("own.tsv", None, r"own\.tsv: no such file"),
    ],
)
def test_load_refuses(name, pair, message):
    with pytest.raises(CorpusError, match=message):
        corpora.load(name, pair=pair)


def test_pair_of_own_files_must_name_two_languages(tmp_path):
    path = write_tsv(tmp_path / "own.tsv")
    for pair in ("en", "en-", "en-fr-de"):
        with pytest.raises(CorpusError, match=f"cannot read the pair '{pair}"):
            corpora.load(str(path), pair=pair)


# The real corpora


def need(monkeypatch, name: str) -> None:
    if not DATA or not Path(DATA, name).exists():
        pytest.skip(f"needs {name} in the folder that S2S_DATA_DIR names")
    monkeypatch.setenv("S2S_DATA_DIR", DATA)


def round_trip(pairs: list[SentencePair], side: str) -> float:
    """Share of sentences that tokenising and joining leaves as they were."""
    same = [
        detokenize(getattr(pair, side)) == getattr(pair, f"{side}_text")
        for pair in pairs
    ]
    return sum(same) / len(same)


@pytest.mark.data
@pytest.mark.parametrize("pair", ["en-fr", "en-de", "en-cs", "fr-en"])
def test_multi30k(monkeypatch, record_property, pair):
    for language in pair.split("-"):
        need(monkeypatch, f"multi30k/train.{language}.gz")
    corpus = corpora.multi30k(pair)
    splits = corpus.train, corpus.valid, corpus.test
    assert [len(split) for split in splits] == [29_000, 1_014, 1_000]
    for side in ("source", "target"):
        share = round_trip(corpus.train, side)
        record_property(f"round trip, {pair}, {side}", share)
        assert share > 0.98


def test_pooch_is_imported_only_where_it_is_used():
    # Its import of tqdm.auto writes a warning into a notebook without
    # ipywidgets, and so into the stored outputs of every chapter.
    code = "import sys, s2s_lib.corpora; sys.exit('pooch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.data
def test_tatoeba(monkeypatch, record_property):
    need(monkeypatch, "fra-eng/fra.txt")
    corpus = corpora.tatoeba()
    everything = corpus.train + corpus.valid + corpus.test
    assert len(everything) >= 10_000
    sources = [
        {pair.source for pair in split}
        for split in (corpus.train, corpus.valid, corpus.test)
    ]
    assert sum(map(len, sources)) == len(set.union(*sources))
    share = round_trip(everything, "source")
    record_property("round trip, tatoeba, source", share)
    assert share > 0.99


# What files of all kinds share


def test_default_cache_is_the_users(monkeypatch):
    monkeypatch.delenv("S2S_CACHE_DIR")
    assert corpora.cache_dir().name == "s2s_lib"
    assert corpora.cache_dir().is_absolute()


def test_a_line_of_a_file():
    mark = "\ufeff".encode()
    assert corpora.decode_line(mark + b"a", "f", 1) == "a"
    assert corpora.decode_line(mark + b"a", "f", 2) == "\ufeffa"
    for line, note, message in (
        (b"ab\xe9", "", "f, line 7: not UTF-8 at byte 3 of the line (0xe9); "
         "convert it, for example with iconv -f ISO-8859-1 -t UTF-8"),
        (b"\xff\xfea", "so it is", "f, line 7: not UTF-8 at byte 1 of the "
         "line (0xff); so it is; convert it, for example with iconv -f UTF-16 "
         "-t UTF-8"),
    ):  # fmt: skip
        with pytest.raises(CorpusError) as caught:
            corpora.decode_line(line, "f", 7, note)
        assert str(caught.value) == message


def test_two_columns_of_a_line():
    path, place = Path("f"), "f, line 3"
    line = "a\tb\tc"
    assert corpora.columns_of(line, path, 3) == ("a", "b", place, place)
    assert corpora.columns_of(line, path, 3, (2, 0)) == (
        "c", "a", place, place
    )  # fmt: skip
    with pytest.raises(CorpusError, match=r"f, line 3: 3 column\(s\), exp"):
        corpora.columns_of(line, path, 3, (0, 3))
