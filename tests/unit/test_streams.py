"""Streams: each pair once per epoch, no more in memory than the buffer."""

import gc
import gzip
import shutil
import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from s2s_lib import cli, corpora, evaluation, models, recipes, streams
from s2s_lib.batches import (
    EncodedPair,
    PairList,
    Updates,
    encode_pairs,
    shares,
)
from s2s_lib.corpora import NAMES, CorpusError
from s2s_lib.recurrent import RecurrentConfig, RecurrentModel
from s2s_lib.storage import CheckpointError
from s2s_lib.streams import Shards, Stream, is_sharded
from s2s_lib.training import TrainingConfig, fit
from s2s_lib.vocab import EOS, Vocabulary

CONFIG = TrainingConfig(batch_size=4, steps=30, evaluate_every=30)
SIZES = (17, 30, 1, 9)  # pairs of each shard: 57


def line(number):
    """The pair of a number; lengths differ."""
    return f"{number} {'a ' * (number % 7)}\t{'b ' * (number % 5)}{number}\n"


def write_shards(folder, sizes=SIZES, start=4):
    """Shards in which each number stands once; plain and compressed."""
    folder.mkdir(exist_ok=True)
    for i, size in enumerate(sizes):
        text = "".join(line(start + n) for n in range(size))
        start += size
        opened = gzip.open if i % 2 else open
        name = f"{i}.tsv.gz" if i % 2 else f"{i}.tsv"
        with opened(folder / name, "wt", encoding="utf-8") as file:
            file.write(text)
    return folder


def encode(pairs):
    """A number is its own id."""

    def ids(tokens):
        return [int(t) if t.isdigit() else 1 for t in tokens] + [EOS]

    return [EncodedPair(ids(p.source), ids(p.target)) for p in pairs]


@pytest.fixture
def shards(tmp_path):
    return Shards(str(write_shards(tmp_path / "shards")))


def numbers(pairs):
    return [pair.source[0] for pair in pairs]


def epoch_of(stream, config=CONFIG, epoch=0):
    """The updates of an epoch, as numbers."""
    found, before = [], 0
    for pairs, place in stream.updates(config):
        if before == epoch:
            found.append(numbers(pairs))
        # A place behind the last update still belongs to the epoch.
        before = place[0]
        done = sum(map(len, found))
        if before > epoch or (done and done >= 57):
            return found
    return found


ALL = list(range(4, 4 + sum(SIZES)))


@pytest.mark.parametrize("buffer", [3, 10, 16, 1000])
@pytest.mark.parametrize("tokens", [0, 30])
def test_every_pair_once_per_epoch(buffer, tokens, shards):
    config = replace(CONFIG, batch_tokens=tokens)
    updates = Stream(shards, encode, buffer).updates(config)
    seen = []
    for _ in range(3):
        epoch = []
        while len(epoch) < len(ALL):
            epoch += numbers(next(updates)[0])
        assert sorted(epoch) == ALL
        seen.append(epoch)
    different = len(set(map(tuple, seen)))
    assert different == 3 if buffer > 3 else different > 1


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_what_is_streamed(processes, shards):
    """Each with a stream of its own; together they see each pair once."""
    seen = Counter()
    for process in range(processes):
        stream = Stream(shards, encode, 12)
        for pairs, _ in islice(stream.updates(CONFIG), 15):
            for part, weight in shares(pairs, processes, process, 2):
                seen.update(numbers(part) if weight else [])
    assert seen == Counter(ALL)  # 57 pairs in 15 updates


def test_updates_are_full_but_for_the_last(shards):
    sizes = [len(update) for update in epoch_of(Stream(shards, encode, 10))]
    assert sorted(sizes) == [1] + [4] * 14


def test_pairs_of_similar_length_are_together(shards):
    def padding(bucket):
        config = replace(CONFIG, bucket=bucket)
        updates = Stream(shards, encode, 60).updates(config)
        lengths = [
            [len(pair.target) for pair in pairs]
            for pairs, _ in islice(updates, 15)
        ]
        return sum(max(row) * len(row) - sum(row) for row in lengths)

    assert padding(True) < padding(False) / 2


def test_the_shuffle_reaches_across_shards_and_into_them(shards):
    stream = Stream(shards, encode, 1000)
    order = [n for update in epoch_of(stream) for n in update]
    first = set(ALL[: SIZES[0]])
    places = [i for i, n in enumerate(order) if n in first]
    assert max(places) - min(places) > 40  # of 57
    starts = set()
    for seed in range(8):  # a small buffer: the order of the shards
        config = replace(CONFIG, seed=seed)
        (pairs, _), *_ = islice(Stream(shards, encode, 4).updates(config), 1)
        (shard,) = {
            sum(n >= 4 + x for x in (17, 47, 48))
            for n in [max(numbers(pairs))]
        }
        starts.add(shard)
    assert len(starts) > 2


def test_the_seed_alone_decides(shards):
    first = epoch_of(Stream(shards, encode, 16))
    torch.manual_seed(99)
    assert epoch_of(Stream(shards, encode, 16)) == first
    assert epoch_of(Stream(shards, encode, 16), replace(CONFIG, seed=1)) != (
        first
    )


@pytest.mark.parametrize("tokens", [0, 30])
def test_it_goes_on_at_any_place(tokens, shards):
    config = replace(CONFIG, batch_tokens=tokens)
    stream = Stream(shards, encode, 12)
    whole = list(islice(stream.updates(config), 50))  # three epochs
    for step in range(47):
        rest = stream.updates(config, whole[step][1])
        assert list(islice(rest, 3)) == whole[step + 1 : step + 4], step


def test_to_go_on_does_not_encode_what_was_before(shards):
    asked = []

    def watched(pairs):
        asked.extend(pairs)
        return encode(pairs)

    stream = Stream(shards, watched, 8)
    place = list(islice(stream.updates(CONFIG), 40))[-1][1]
    asked.clear()
    next(stream.updates(CONFIG, place))
    assert len(asked) <= 8


def model():
    torch.manual_seed(0)
    return RecurrentModel(
        70, 70, RecurrentConfig(embedding_size=4, hidden_size=4, dropout=0.2)
    )


def test_a_training_resumes(shards, tmp_path):
    stream, path = Stream(shards, encode, 12), tmp_path / "c"
    whole = model()
    rows = fit(whole, stream, CONFIG, progress=False)
    for stop in (3, 14, 15, 22):
        fit(
            model(), stream, CONFIG, checkpoint=path, progress=False,
            stop_after=stop,
        )  # fmt: skip
    resumed = model()
    again = fit(resumed, stream, CONFIG, checkpoint=path, progress=False)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert again[-1]["loss"] == rows[-1]["loss"]
    # Other files, another buffer or other ids are another training.
    for other in (
        Stream(shards, encode, 13),
        Stream(shards, lambda p: [EncodedPair([5], [5]) for _ in p], 12),
        Stream(Shards(str(write_shards(tmp_path / "x", (9, 9)))), encode, 12),
        Stream(shards, encode, 12, about="ids of other words"),
    ):
        with pytest.raises(CheckpointError, match="other sentence pairs"):
            fit(model(), other, CONFIG, checkpoint=path, progress=False)


# Memory


class Counted(EncodedPair):
    """A pair that is counted as long as it lives."""

    alive = most = 0

    def __new__(cls, *sides):
        cls.alive += 1
        cls.most = max(cls.most, cls.alive)
        return super().__new__(cls, *sides)

    def __del__(self):
        type(self).alive -= 1


def test_no_more_pairs_live_than_the_buffer_holds(tmp_path, monkeypatch):
    folder = write_shards(tmp_path / "many", (300, 300))
    monkeypatch.setattr(Counted, "alive", 0)
    monkeypatch.setattr(Counted, "most", 0)

    def counted(pairs):
        return [Counted(*pair) for pair in encode(pairs)]

    stream = Stream(Shards(str(folder)), counted, buffer=40)
    for pairs, place in stream.updates(CONFIG):
        del pairs
        if place[0] == 1:
            break
    # A buffer, and the update that was given last from the one before.
    assert 40 <= Counted.most <= 40 + CONFIG.batch_size


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    def peak(folder):
        stream = Stream(Shards(str(folder)), encode, buffer=50)
        gc.collect()
        tracemalloc.start()
        for _, place in stream.updates(CONFIG):
            if place[0] == 1:
                break
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small = write_shards(tmp_path / "small", (100, 100))
    large = write_shards(tmp_path / "large", (500, 500))
    peak(small)  # what is set up once
    # 800 pairs more are some 300 kB.
    assert peak(large) < peak(small) + 100_000


# Files


def test_shards_by_folder_and_by_pattern(tmp_path):
    folder = write_shards(tmp_path / "s")
    (folder / "notes.md").write_text("no pairs")
    (folder / "._0.tsv").write_text("no pairs")  # as some systems leave it
    (folder / "9.tsv").mkdir()
    assert len(Shards(str(folder)).files) == 4
    assert len(Shards(f"{folder}/*.gz").files) == 2
    (left,) = next(iter(Shards(f"{folder}/*.tsv").files))
    assert left == folder / "0.tsv"


def test_what_is_streamed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a[1].tsv").write_text("")
    assert is_sharded(str(tmp_path)) and is_sharded("x/*.tsv")
    assert is_sharded("a/*.en,a/*.fr") and is_sharded("a?.tsv")
    for name in ("generated", "multi30k", "a.tsv", "a.en,a.fr", "a[1].tsv"):
        assert not is_sharded(name)
    for side in ("b[2].en", "b[2].fr"):
        (tmp_path / side).write_text("")
    assert not is_sharded("b[2].en,b[2].fr")
    for name in (*NAMES, "own", "c,d"):
        (tmp_path / name).mkdir()
    assert not any(map(is_sharded, NAMES))  # the corpora of these names
    assert is_sharded("own") and is_sharded("c,d") and is_sharded("./captions")
    assert not is_sharded("")


def test_two_files_line_by_line(tmp_path):
    for i in range(2):
        (tmp_path / f"{i}.en").write_text(f"{i} one\n{i} two\n")
        (tmp_path / f"{i}.fr").write_text(f"{i} un\n{i} deux\n")
    found = Shards(f"{tmp_path}/*.en,{tmp_path}/*.fr")
    pairs = [(p.source, p.target) for _, p in found.pairs([1, 0])]
    assert pairs[0] == (("1", "one"), ("1", "un"))
    assert pairs[3] == (("0", "two"), ("0", "deux"))
    ((place, last),) = found.pairs([1, 0], 1, 1)
    assert place == (1, 2) and last.target == ("0", "deux")


@pytest.mark.parametrize(
    ("sides", "names"),
    [
        ("*.en,*.fr", ["a.en", "b.en", "a.fr", "b.fr"]),
        ("./en/*,fr/*", ["en/a", "fr/a", "en/b", "fr/b"]),
        ("en-?.x,fr-[ab].x", ["en-a.x", "fr-a.x", "en-b.x", "fr-b.x"]),
        ("**/*.en,**/*.fr", ["1/a.en", "2/a.en", "1/a.fr", "2/a.fr"]),
        (
            "d/*/en/*,d/*/fr/*",
            ["d/1/en/a", "d/1/fr/a", "d/2/en/a", "d/2/fr/a"],
        ),
        (
            "*-en-*.x,*-fr-*.x",
            ["1-en-a.x", "1-fr-a.x", "1-en-b.x", "1-fr-b.x"],
        ),
    ],
)
def test_partners_have_what_the_pattern_stands_for(
    sides, names, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("one\n")
    assert len(Shards(sides).files) == 2
    last = Path(max(name for name in names if "en" in name))
    new = Path(str(last).replace("b", "c").replace("2", "3"))
    new.parent.mkdir(parents=True, exist_ok=True)
    last.rename(new)
    with pytest.raises(CorpusError, match=r"be read side by side, but the"):
        Shards(sides.replace("[ab]", "[abc]"))


def test_what_is_held_out_is_not_trained_on(tmp_path):
    folder = write_shards(tmp_path / "s", (100, 50))
    shards, valid = Shards.split(str(folder))
    assert numbers(encode(valid)) == list(range(4, 9))  # a twentieth
    updates = Stream(shards, encode, 40).updates(CONFIG)
    seen = []
    while len(seen) < 145:
        seen += numbers(next(updates)[0])
    assert sorted(seen) == list(range(9, 154))
    sample = numbers(encode(shards.sample(20)))
    assert sample == [*range(9, 19), *range(104, 114)]
    short = write_shards(tmp_path / "short", (19, 100))
    with pytest.raises(CorpusError, match="too short to hold some out"):
        Shards.split(str(short))


BAD = {
    "column": (b"one line without a tab\n", "line 2: 1 column(s), expected"),
    "empty": (b"one\t \n", "line 2: the target sentence is empty"),
    "blank": (b"\n", "line 2: 1 column"),
    "latin": ("un\té\n".encode("latin-1"), "line 2: not UTF-8 at byte 4"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_line_is_named(bad, tmp_path):
    content, message = BAD[bad]
    write_shards(tmp_path / "s", (3, 3, 3))
    path = tmp_path / "s/2.tsv"
    path.write_bytes(b"one\tun\n" + content + b"two\tdeux\n")
    stream = Stream(
        Shards(str(tmp_path / "s")),
        lambda p: [EncodedPair([EOS], [EOS]) for _ in p],
        4,
    )
    with pytest.raises(CorpusError) as caught:
        for _ in islice(stream.updates(CONFIG), 10):
            pass
    assert str(caught.value).startswith(f"{path}, {message}")


def test_bad_files(tmp_path):
    folder = write_shards(tmp_path / "s")
    whole = (folder / "1.tsv.gz").read_bytes()
    (folder / "1.tsv.gz").write_bytes(whole[:-9])
    with pytest.raises(CorpusError, match=r"1.tsv.gz, after line 30: trunc"):
        list(Shards(str(folder)).pairs([1]))
    (folder / "1.tsv.gz").write_bytes(b"not gzip")
    with pytest.raises(CorpusError, match=r"after line 0: truncated or not"):
        list(Shards(str(folder)).pairs([1]))
    with pytest.raises(CorpusError, match="no such files"):
        Shards(str(tmp_path / "*.tsv"))
    (tmp_path / "a.en").write_text("one\ntwo\n")
    (tmp_path / "a.fr").write_text("un\n")
    sides = f"{tmp_path}/*.en,{tmp_path}/*.fr"
    with pytest.raises(
        CorpusError, match=r"a.fr ends before line 2, and .*en"
    ):
        list(Shards(sides).pairs([0]))
    (tmp_path / "b.en").write_text("one\n")
    with pytest.raises(CorpusError, match="2 and 1 files"):
        Shards(sides)


def test_no_pairs_and_no_buffer(tmp_path):
    (tmp_path / "a.tsv").write_text("")
    stream = Stream(Shards(str(tmp_path)), encode)
    with pytest.raises(CorpusError, match="no sentence pairs"):
        next(stream.updates(CONFIG))
    with pytest.raises(CorpusError, match=r"no sentence pairs .* 1 file"):
        stream.shards.sample()
    with pytest.raises(ValueError, match="count must be 1"):
        stream.shards.sample(0)
    with pytest.raises(ValueError, match="buffer must be 1"):
        Stream(Shards(str(tmp_path)), encode, 0)


def test_lists_and_streams_are_the_same_to_fit(shards):
    assert isinstance(Stream(shards, encode), Updates)
    assert isinstance(PairList([]), Updates)
    assert not isinstance([], Updates)


def test_a_sample_shares_its_words(shards):
    sample = shards.sample()
    assert len(sample) == sum(SIZES)
    words = {id(t) for p in sample for t in (*p.source, *p.target)}
    assert len(words) == sum(SIZES) + 2
    vocab = Vocabulary.build(pair.source for pair in sample)
    assert encode_pairs(sample, vocab, vocab)


def test_the_benchmark_checks_what_it_streams(monkeypatch):
    from benchmarks import streaming

    monkeypatch.setattr(streaming, "SHARD", 100)
    found = streaming.measure(250, buffer=64)
    assert found["pairs"] == 250 and found["buffer"] == 64
    assert found["updates"] >= 250 // 64 + 1 and found["mb"] > 50
    assert found["work"].startswith("streaming 250 pairs once, 0 MB of comp")
    # A pair that is left out would be noticed.
    monkeypatch.setattr(
        streaming,
        "write",
        lambda folder, pairs: (write_shards(folder, (249,)), 1)[1],
    )
    with pytest.raises(AssertionError):
        streaming.measure(250, buffer=64)


# The command line


def test_train_on_a_stream(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(streams, "BUFFER", 16)
    folder = write_shards(tmp_path / "s", (60, 60, 60))
    valid = tmp_path / "valid.tsv"
    valid.write_text("".join(line(n) for n in range(200, 212)))
    command = [
        "train", "--steps", "6", "--evaluate-every", "6", "--embedding-size",
        "4", "--hidden-size", "4", "--quiet", "--device", "cpu",
        "--batch-size", "8",
    ]  # fmt: skip
    asked = []
    validate = evaluation.validate

    def watched(trained, pairs):
        asked.append(len(pairs))
        return validate(trained, pairs)

    monkeypatch.setattr(evaluation, "validate", watched)
    out = tmp_path / "m"
    for corpus, more, words, held in (
        (str(folder), [], 182, 3),
        (f"{folder}/*.tsv", ["--valid", str(valid)], 125, 12),
    ):
        status = cli.main(
            [*command, "--corpus", corpus, "--out", str(out), *more]
        )
        errors = capsys.readouterr().err
        assert status == 0, errors
        files = 3 if not more else 2
        assert f"a stream of {files} files, vocabularies of " in errors
        # Numbers of the lines that are left, special tokens, and a or b.
        assert f"vocabularies of {words} and {words}, " in errors
        assert asked.pop() == held
    assert cli.main(["translate", "--model", str(out), "7 a a"]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", "--model", str(out)]) == 2
    assert "has no test part; give --test FILE.tsv" in capsys.readouterr().err
    assert cli.main(
        ["evaluate", "--model", str(out), "--corpus", str(valid)]
    ) == 0  # fmt: skip
    shard = str(folder / "0.tsv")
    evaluate = ["evaluate", "--model", str(out), "--corpus"]
    assert cli.main([*evaluate, shard]) == 2
    errors = capsys.readouterr().err
    assert f"{shard} belongs to {folder}/*.tsv, the stream that" in errors
    (folder / "more.tsv").write_text(line(3))
    assert cli.main([*evaluate, shard]) == 2
    # Nor is it a test where it is given as one, or what may be validated on.
    assert cli.main(["evaluate", "--model", str(out), "--test", shard]) == 2
    assert "the stream that this model" in capsys.readouterr().err
    more = ["--out", str(tmp_path / "other"), "--valid", shard]
    assert cli.main([*command, "--corpus", str(folder), *more]) == 2
    assert "is trained on; give --valid FILE" in capsys.readouterr().err
    # A copy is not recognised.
    kept = Path(shutil.copy(shard, tmp_path)).rename(tmp_path / "kept.tsv")
    assert cli.main([*evaluate, str(kept)]) == 0
    # The model knows, whatever is on the disk today.
    shutil.rmtree(folder)
    capsys.readouterr()
    trained = models.load(out)
    assert trained.recipe.corpus == f"{folder}/*.tsv"
    trained.recipe = replace(trained.recipe, corpus="x.tsv")
    models.save(out, trained)
    assert cli.main(["evaluate", "--model", str(out)]) == 2
    assert "was trained on a stream, x.tsv, which" in capsys.readouterr().err


def test_the_vocabulary_belongs_to_a_stream(tmp_path, capsys, monkeypatch):
    """A name that is corrected, in a file as large, moves other ids."""
    folder = write_shards(tmp_path / "s", (60, 60, 60))
    out = tmp_path / "m"
    command = ["train", "--corpus", str(folder), "--out", str(out), "--steps",
               "4", "--checkpoint-every", "1", "--hidden-size", "4",
               "--quiet", "--device", "cpu"]  # fmt: skip

    def stops(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "validate", stops)
        assert cli.main(command) == 130
    shard = folder / "2.tsv"
    text = shard.read_text()
    # 132 to 139 move by one id, and no word of the first shard does.
    changed = text.replace("131", "13x")
    assert len(changed) == len(text) and changed != text
    shard.write_text(changed)
    capsys.readouterr()
    assert cli.main(command) == 2
    assert "other sentence pairs" in capsys.readouterr().err


def test_a_shard_is_known_in_any_folder(tmp_path, capsys, monkeypatch):
    """Also in one whose name looks like a pattern, or like two files."""
    folder = tmp_path / "ü b,c [x]"
    folder.mkdir()
    write_shards(folder / "s", (60, 60, 60))
    monkeypatch.chdir(folder)
    train = ["train", "--corpus", "s/*.tsv", "--steps", "1", "--hidden-size",
             "4", "--quiet", "--device", "cpu", "--out", "m"]  # fmt: skip
    assert cli.main(train) == 0
    capsys.readouterr()
    for shard in ("s/0.tsv", str(folder / "s" / "2.tsv")):
        for option in ("--corpus", "--test"):
            command = ["evaluate", "--model", "m", option, shard]
            assert cli.main(command) == 2
            assert "of the training" in capsys.readouterr().err


def test_a_file_is_known_whatever_it_is_called(tmp_path, capsys, monkeypatch):
    """One that looks like a pattern, or behind a link; of a whole corpus."""
    folder = tmp_path / "ü b,c [x]"
    folder.mkdir()
    own = folder / "own [a-z].tsv"
    own.write_text("".join(line(n) for n in range(40)))
    (tmp_path / "link.tsv").symlink_to(own)
    monkeypatch.chdir(tmp_path)
    train = ["train", "--corpus", str(own), "--steps", "1", "--hidden-size",
             "4", "--quiet", "--device", "cpu", "--out", "m"]  # fmt: skip
    assert cli.main(train) == 0
    capsys.readouterr()
    for name in (str(own), "link.tsv"):
        assert cli.main(["evaluate", "--model", "m", "--test", name]) == 2
        assert "leave --test out, to score" in capsys.readouterr().err
        assert cli.main([*train, "--valid", name]) == 2
        assert "is trained on; give --valid" in capsys.readouterr().err
    (tmp_path / "loop.tsv").symlink_to("loop.tsv")
    assert cli.main(["evaluate", "--model", "m", "--test", "loop.tsv"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert cli.main([*train[:-1], "loop.tsv"]) == 0  # it led nowhere


def test_a_folder_does_not_hide_a_corpus(tmp_path, capsys, monkeypatch):
    """Neither to train on, nor where a model was trained on the corpus."""
    write_shards(tmp_path / "sorting")
    monkeypatch.chdir(tmp_path)
    small = corpora.toy("sorting", 40, 10, 10)
    monkeypatch.setattr(corpora, "toy", lambda task: small)
    recipes._load_corpus.cache_clear()
    train = ["train", "--corpus", "sorting", "--steps", "1", "--hidden-size"]
    train += ["4", "--quiet", "--device", "cpu", "--out", "m"]
    status = cli.main(train)
    assert status == 0 and "40 training pairs" in capsys.readouterr().err
    assert models.load("m").recipe.corpus == "sorting"
    status = cli.main(["evaluate", "--model", "m"])
    recipes._load_corpus.cache_clear()
    assert status == 0
    assert capsys.readouterr().out.startswith("sorting, test: 10 sentences")


def test_shards_without_pairs_are_named(tmp_path, capsys):
    folder, valid = tmp_path / "s", tmp_path / "v.tsv"
    write_shards(folder, (0, 0))
    valid.write_text("".join(line(n) for n in range(5)))
    command = ["train", "--corpus", str(folder), "--valid", str(valid)]
    command += ["--out", str(tmp_path / "m"), "--quiet", "--device", "cpu"]
    assert cli.main(command) == 2
    errors = capsys.readouterr().err
    assert f"{folder}: there are no sentence pairs to train on in" in errors


def test_a_file_to_validate_on_goes_with_any_corpus(tmp_path, capsys):
    corpus, valid = tmp_path / "c.tsv", tmp_path / "v.tsv"
    corpus.write_text("".join(line(n) for n in range(80)))
    valid.write_text("".join(line(n) for n in range(5)))
    status = cli.main(
        ["train", "--corpus", str(corpus), "--valid", str(valid), "--out",
         str(tmp_path / "m"), "--steps", "1", "--hidden-size", "4",
         "--quiet", "--device", "cpu"]
    )  # fmt: skip
    assert status == 0, capsys.readouterr().err
