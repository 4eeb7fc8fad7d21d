"""The command line: what a user types, reads, pipes and interrupts."""

import errno
import gzip
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
from dataclasses import fields, replace
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from s2s_lib import (
    cli,
    corpora,
    evaluation,
    grammar,
    models,
    recipes,
    recurrent,
    search,
    storage,
)
from s2s_lib.cli import main
from s2s_lib.metrics import bleu
from s2s_lib.recurrent import RecurrentConfig
from s2s_lib.storage import load_tensors, save_tensors
from s2s_lib.training import TrainingConfig
from s2s_lib.transformer import TransformerConfig
from s2s_lib.vocab import Vocabulary, detokenize, tokenize

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--embedding-size", "6", "--hidden-size", "8", "--batch-size", "8"]
QUIET = ["--quiet", "--device", "cpu"]


def write_tsv(path, count=80, seed=0):
    """Numbers to words, one pair per line: a corpus that is learnt fast."""
    draw = random.Random(seed)
    english = ["one", "two", "three", "four", "é"]
    french = ["un", "deux", "trois", "quatre", "f"]
    table = dict(zip(english, french, strict=True))
    lines = set()
    while len(lines) < count:
        words = draw.choices(english, k=draw.randint(2, 6))
        right = " ".join(table[word] for word in words)
        lines.add(f"{' '.join(words)}\t{right}\n")
    path.write_text("".join(sorted(lines)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tsv(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("corpus") / "tiny.tsv")


def train(tsv, out, *options):
    return main(
        ["train", "--corpus", str(tsv), "--out", str(out), "--steps", "4",
         "--evaluate-every", "4", *SMALL, *QUIET, *options]
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(tsv, tmp_path_factory):
    """A model file of a few updates."""
    out = tmp_path_factory.mktemp("model") / "tiny.model"
    assert train(tsv, out) == 0
    return out


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command in this process: (status, output, errors)."""

    def run(*arguments, stdin=""):
        given = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(given)))
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as stop:  # argparse's way
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def same_tensors(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def heeds_interrupts():
    """In the child: ^C counts, even if the tests run in the background.

    A shell without job control lets its background jobs ignore ^C, and
    what is ignored stays so in all that they start.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def process(*arguments, **options):
    """A process of its own, as a user starts it: its output is buffered."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.Popen(
        [sys.executable, "-m", "s2s_lib", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=heeds_interrupts,
        **options,
    )


# train


def test_train_writes_a_model(model, tsv):
    trained = models.load(model)
    assert trained.recipe.corpus == str(tsv)
    assert trained.recipe.training.steps == 4
    assert trained.model.config.hidden_size == 8
    assert [row["step"] for row in trained.history] == [4]
    assert {"valid_loss", "valid_bleu"} <= trained.history[0].keys()
    assert [p.name for p in model.parent.iterdir()] == [model.name]


def test_train_says_what_it_does(run, tsv, tmp_path):
    status, output, errors = run(
        "train", "--corpus", tsv, "--out", tmp_path / "new/folder/m",
        "--steps", 1, *SMALL, *QUIET,
    )  # fmt: skip
    assert status == 0 and output == ""
    assert "72 training pairs" in errors and "parameters" in errors
    assert "valid_bleu" in errors and "wrote" in errors
    assert (tmp_path / "new/folder/m").is_file()


def test_train_takes_every_setting(run, tsv, tmp_path):
    out = tmp_path / "m"
    status, _, _ = run(
        "train", "--corpus", tsv, "--out", out, "--pair", "en-fr",
        "--min-count", 2, "--reverse-source", "--cell", "lstm",
        "--num-layers", 2, "--no-bidirectional", "--dropout", 0.1,
        "--context", "every_step", "--context-size", 5, "--steps", 2,
        "--learning-rate", 0.01, "--schedule", "cosine", "--warmup", 1,
        "--clip-norm", 2, "--label-smoothing", 0.1, "--teacher-forcing",
        0.5, "--no-bucket", "--evaluate-every", 1, "--seed", 7,
        *SMALL, *QUIET,
    )  # fmt: skip
    assert status == 0
    recipe = models.load(out).recipe
    assert (recipe.pair, recipe.min_count) == ("en-fr", 2)
    assert recipe.reverse_source is True
    model, training = recipe.model, recipe.training
    assert (model.cell, model.num_layers, model.context_size) == ("lstm", 2, 5)
    assert (model.bidirectional, model.dropout) == (False, 0.1)
    assert model.context == "every_step"
    assert (training.schedule, training.warmup) == ("cosine", 1)
    assert (training.learning_rate, training.clip_norm) == (0.01, 2.0)
    assert (training.label_smoothing, training.teacher_forcing) == (0.1, 0.5)
    assert (training.bucket, training.seed) == (False, 7)
    assert training.batch_size == 8


@pytest.mark.parametrize(
    "options",
    [
        ["--attention", "additive", "--coverage"],
        ["--attention", "dot", "--query", "after", "--input-feeding"],
        [
            "--attention", "general", "--query", "after", "--selection",
            "hard", "--objective", "reinforce",
        ],
    ],
)  # fmt: skip
def test_train_and_translate_with_attention(run, tsv, tmp_path, options):
    out = tmp_path / "m"
    assert train(tsv, out, *options) == 0
    assert models.load(out).recipe.model.attention == options[1]
    status, output, _ = run("translate", "--model", out, "one two")
    assert status == 0 and output.endswith("\n")


@pytest.mark.parametrize("options", [[], ["--decoder-only"]])
def test_train_and_translate_with_a_transformer(run, tsv, tmp_path, options):
    out = tmp_path / "stack.model"
    command = ["train", "--architecture", "transformer", "--corpus", tsv]
    command += ["--hidden-size", "8", "--num-heads", "2", "--norm", "post"]
    command += ["--steps", "4", "--positions", "rotary", "--out", out, *QUIET]
    status, _, _ = run(*command, *options)
    assert status == 0
    recipe = models.load(out).recipe
    assert recipe.model.norm == "post" and recipe.model.num_layers == 2
    assert recipe.model.decoder_only == bool(options)
    status, output, _ = run("translate", "--model", out, "one two", "--beam=2")
    assert status == 0 and output.count("\n") == 1


def test_a_setting_of_the_other_architecture_is_refused(run, tsv, tmp_path):
    out = tmp_path / "none.model"
    command = ["train", "--corpus", tsv, "--out", out, *QUIET]
    status, _, errors = run(*command, "--num-heads", "2")
    assert status == 2 and not out.exists()
    assert "--num-heads is a setting of --architecture transformer" in errors
    command += ["--architecture", "transformer"]
    status, _, errors = run(*command, "--no-bidirectional")
    assert status == 2 and not out.exists()
    assert "--bidirectional is a setting of --architecture recurrent" in errors


def test_train_on_the_generated_corpus(run, monkeypatch, tmp_path):
    pairs = grammar.generate(120, max_tokens=15)
    small = corpora.ParallelCorpus(
        "generated", "en", "fr", pairs[:90], pairs[90:105], pairs[105:]
    )
    monkeypatch.setattr(corpora, "generated", lambda **options: small)
    recipes._load_corpus.cache_clear()
    out = tmp_path / "m"
    status, _, errors = run(
        "train", "--out", out, "--steps", 2, *SMALL, *QUIET
    )
    assert status == 0 and "generated: 90 training pairs" in errors
    status, output, _ = run("evaluate", "--model", out, "--device", "cpu")
    recipes._load_corpus.cache_clear()
    assert status == 0 and output.startswith("generated, test: 15 sentences")


def test_words_spelled_anew(run, tsv, tmp_path):
    """The option changes what is learned, and stands in the file."""
    weights = []
    for share in (0.0, 0.3, 0.3):
        out = tmp_path / str(len(weights))
        status, _, errors = run(
            "train", "--corpus", tsv, "--out", out, "--steps", 2, *SMALL,
            *QUIET, "--subwords", 60, "--subword-dropout", share,
        )  # fmt: skip
        assert status == 0, errors
        tensors, about = load_tensors(out)
        assert about["recipe"]["subword_dropout"] == share
        weights.append(torch.cat([t.flatten() for t in tensors.values()]))
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])


LONG_RUN = ["--steps", "60", "--evaluate-every", "5", "--dropout", "0.2",
            "--checkpoint-every", "2", *SMALL, *QUIET]  # fmt: skip


def test_interrupt_and_resume(run, tsv, tmp_path):
    """SIGINT in the middle; the same command ends with the same weights."""
    out = tmp_path / "m"
    command = ["train", "--corpus", tsv, "--out", out, *LONG_RUN]
    child = process(*command)
    for line in child.stderr:  # the first row: two checkpoints are written
        if "valid_loss" in line:
            break
    child.send_signal(signal.SIGINT)
    output, errors = child.communicate(timeout=300)
    assert child.returncode == 130, errors
    assert output == "" and "Traceback" not in errors
    assert not out.exists()
    (kept,) = tmp_path.iterdir()
    step = load_tensors(kept)[1]["progress"]["step"]
    assert 4 <= step < 60 and step % 2 == 0
    last = errors.strip().splitlines()[-1]
    assert str(kept) in last and "same command resumes" in last
    # Other options are refused, and nothing is lost by trying.
    status, _, errors = run(*command, "--reverse-source")
    assert status == 2
    assert "other sentence pairs" in errors and kept.exists()
    status, _, errors = run(*command, "--batch-size", 9)
    assert status == 2 and "batch_size was 8, now 9" in errors
    status, _, errors = run(*command)
    assert status == 0 and f"resuming from {kept}" in errors
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    whole = tmp_path / "whole"
    assert run("train", "--corpus", tsv, "--out", whole, *LONG_RUN)[0] == 0
    assert same_tensors(load_tensors(out)[0], load_tensors(whole)[0])
    a, b = models.load(out).history, models.load(whole).history
    assert [r | {"seconds": 0} for r in a] == [r | {"seconds": 0} for r in b]


@pytest.mark.parametrize("changed", ["fewer", "swapped", "pieces"])
def test_a_checkpoint_of_another_vocabulary(
    changed, run, tsv, tmp_path, monkeypatch
):
    """Also of the same words in another order, which no shape tells."""

    def stops(*args):
        raise KeyboardInterrupt

    options = ["--steps", 9, "--evaluate-every", 5, "--checkpoint-every", 1,
               *SMALL, *QUIET]  # fmt: skip
    corpus, out = tmp_path / "c.tsv", tmp_path / "m"
    corpus.write_bytes(tsv.read_bytes())
    kept = tmp_path / "m.checkpoint"
    command = ["train", "--corpus", corpus, "--out", out, *options]
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "validate", stops)
        assert run(*command)[0] == 130
    before = kept.read_bytes()
    if changed == "fewer":
        command += ["--min-count", 65]
    elif changed == "swapped":
        right = Vocabulary.build
        monkeypatch.setattr(
            models.Vocabulary,
            "build",
            lambda *given: Vocabulary(right(*given).to_list()[::-1]),
        )
    else:
        command += ["--subwords", 60]
    status, _, errors = run(*command)
    said = "another model" if changed != "swapped" else "other sentence pairs"
    last = errors.splitlines()[-1]
    assert status == 2 and f"{kept} is of a" in last and said in last
    assert kept.read_bytes() == before and not out.exists()


@pytest.mark.parametrize("place", ["before", "after"])
def test_what_is_said_after_an_interrupt(
    place, run, tsv, tmp_path, monkeypatch
):
    def stops(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "validate", stops)
    every = "1" if place == "after" else "100"
    status, _, errors = run(
        "train", "--corpus", tsv, "--out", tmp_path / "m", "--steps", 9,
        "--evaluate-every", 5, "--checkpoint-every", every, *SMALL, *QUIET,
    )  # fmt: skip
    assert status == 130
    written = (tmp_path / "m.checkpoint").exists()
    assert written == (place == "after")
    assert ("no checkpoint was written yet" in errors) != written
    assert ("the same command resumes" in errors) == written


def test_an_interrupt_before_pytorch_is_there(tmp_path):
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt")
    ended = subprocess.run(
        [sys.executable, "-m", "s2s_lib", "train", "--help"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_a_loss_that_is_not_finite_is_one_line(
    run, tsv, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        recurrent.RecurrentModel,
        "hidden",
        lambda self, memory, target: (
            torch.full(
                (*target.shape, self.output.in_features),
                math.nan,
                requires_grad=True,
            ),
            None,
        ),
    )
    status, _, errors = run(
        "train", "--corpus", tsv, "--out", tmp_path / "m", *SMALL, *QUIET
    )
    assert status == 2
    assert "error: the loss became nan at step 1" in errors.splitlines()[-1]


@pytest.mark.parametrize("old", [True, False])
def test_a_full_disk_is_one_line_and_loses_nothing(
    old, run, model, tsv, tmp_path, full_disk
):
    out = tmp_path / "m"
    before = model.read_bytes() if old else None
    if old:
        out.write_bytes(before)
    with full_disk(4096):
        status, _, errors = run(
            "train", "--corpus", tsv, "--out", out, *SMALL, *QUIET
        )
    assert status == 2
    assert "could not be written" in errors.splitlines()[-1]
    assert "disk full" in errors.splitlines()[-1]
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == ({"m": before} if before else {})


@pytest.mark.parametrize("moment", ["second", "model"])
def test_a_disk_that_fills_later_loses_nothing(
    moment, run, tsv, tmp_path, monkeypatch
):
    """What was kept before is still there, and the training goes on."""
    right, calls = storage.save_file, []

    def full(*args):
        calls.append(1)
        if len(calls) == {"second": 2, "model": 5}[moment]:
            raise SafetensorError("No space left on device")
        right(*args)

    monkeypatch.setattr(storage, "save_file", full)
    out = tmp_path / "m"
    command = ["train", "--corpus", tsv, "--out", out, "--steps", 4,
               "--checkpoint-every", 1, *SMALL, *QUIET]  # fmt: skip
    status, _, errors = run(*command)
    assert status == 2 and "disk full" in errors.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["m.checkpoint"]
    step = load_tensors(tmp_path / "m.checkpoint")[1]["progress"]["step"]
    assert step == {"second": 1, "model": 4}[moment]
    status, _, errors = run(*command)
    assert status == 0 and "resuming" in errors
    whole = tmp_path / "whole"
    assert run(*command, "--out", whole)[0] == 0
    assert same_tensors(load_tensors(out)[0], load_tensors(whole)[0])


@pytest.mark.parametrize("command", ["translate", "evaluate", "train"])
def test_standard_output_may_be_closed(command, taught, tsv, tmp_path):
    out = tmp_path / "m"
    options = {
        "translate": ["--model", taught, "one"],
        "evaluate": ["--model", taught],
        "train": ["--corpus", tsv, "--out", out, "--steps", 1, *SMALL],
    }[command]
    words = [sys.executable, "-m", "s2s_lib", command, *map(str, options)]
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *words],
        stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert "Traceback" not in ended.stderr
    if command == "train":
        assert ended.returncode == 0 and out.exists()
    else:
        assert ended.returncode == 2
        assert "standard output is closed" in ended.stderr


def test_standard_error_may_be_closed(tsv, tmp_path):
    out = tmp_path / "m"
    words = [sys.executable, "-m", "s2s_lib", "train", "--corpus", str(tsv),
             "--out", str(out), "--steps", "2", *SMALL]  # fmt: skip
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *words],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert ended.returncode == 0 and out.exists() and ended.stdout == ""


def test_what_cannot_be_validated_is_said_before_the_training(
    run, tsv, tmp_path
):
    valid = tmp_path / "valid.tsv"
    valid.write_text("one\tun\n" + "two " * 30 + "\tdeux\n")
    status, _, errors = run(
        "train", "--corpus", tsv, "--valid", valid, "--out", tmp_path / "m",
        "--architecture", "transformer", "--hidden-size", 8, "--num-heads", 2,
        "--positions", "learned", "--max-positions", 20, *QUIET,
    )  # fmt: skip
    assert status == 2
    assert "a validation pair of 31 source and 2 target ids, 'two" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["valid.tsv"]


def test_padding_takes_no_learned_position(run, tsv, tmp_path):
    """A long source beside a long target: each pair fits for itself."""
    valid, command = tmp_path / "valid.tsv", [
        "train", "--corpus", tsv, "--out", tmp_path / "m", "--steps", 1,
        "--architecture", "transformer", "--hidden-size", 8, "--num-heads", 2,
        "--decoder-only", "--positions", "learned", *QUIET,
    ]  # fmt: skip
    long, short = "one " * 15, "two"
    valid.write_text(f"{long}\t{short}\n{short}\t{long}\n")
    command += ["--valid", valid, "--max-positions"]
    assert run(*command, 20)[0] == 0
    both = "one " * 11
    valid.write_text(f"{long}\t{short}\n{both}\t{both}\n{short}\t{long}\n")
    status, _, errors = run(*command, 20)
    assert status == 2 and "of 12 source and 12 target ids" in errors


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_translations_that_cannot_be_written(taught):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "s2s_lib", "translate", "--model",
             str(taught), "one two"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
    assert ended.returncode == 2
    assert "No space left" in ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr


# translate


def expected(model, lines, **options):
    trained = models.load(model)
    sentences = [tokenize(line) for line in lines]
    return [
        detokenize(tokens)
        for tokens in trained.translate(sentences, **options)
    ]


@pytest.fixture
def fresh_corpora():
    """No corpus that another test has loaded, and none for the next."""
    recipes._load_corpus.cache_clear()
    yield
    recipes._load_corpus.cache_clear()


@pytest.fixture(scope="module")
def taught(tsv, tmp_path_factory):
    """A model that has learnt something: outputs differ with the input."""
    out = tmp_path_factory.mktemp("taught") / "taught.model"
    assert train(
        tsv, out, "--steps", "80", "--learning-rate", "0.03",
        "--evaluate-every", "80",
    ) == 0  # fmt: skip
    return out


@pytest.fixture(scope="module")
def taught_pieces(tsv, tmp_path_factory):
    """The same, a Transformer of pieces of words."""
    out = tmp_path_factory.mktemp("pieces") / "pieces.model"
    assert main(
        ["train", "--corpus", str(tsv), "--out", str(out), *QUIET,
         "--architecture", "transformer", "--hidden-size", "16",
         "--num-heads", "2", "--subwords", "60", "--steps", "80",
         "--learning-rate", "0.01", "--evaluate-every", "80"]
    ) == 0  # fmt: skip
    return out


def test_translate_an_argument(run, taught):
    (wanted,) = expected(taught, ["one two"])
    for words in (["one two"], ["one", "two"], ["One TWO"]):
        status, output, errors = run("translate", "--model", taught, *words)
        assert (status, output, errors) == (0, wanted + "\n", "")


def test_translate_stdin_keeps_the_order(run, taught):
    draw = random.Random(1)
    lines = [
        " ".join(draw.choices(["one", "two", "three"], k=draw.randint(1, 7)))
        for _ in range(40)
    ]
    lines[3] = lines[20] = ""
    lines[7] = "  \t "
    wanted = expected(taught, lines)
    wanted[3] = wanted[7] = wanted[20] = ""
    assert len(set(wanted)) > 5
    status, output, _ = run(
        "translate", "--model", taught, stdin="\n".join(lines)
    )
    assert status == 0 and output.split("\n") == [*wanted, ""]


def test_translate_more_lines_than_a_block(run, taught):
    draw = random.Random(2)
    words = ["one", "two", "three", "four"]
    lines = [" ".join(draw.choices(words, k=3)) for _ in range(600)]
    wanted = expected(taught, lines, max_steps=3)
    around = wanted[cli.BLOCK - 20 : cli.BLOCK + 20]
    assert len(set(around)) > 5 and "" not in around
    status, output, _ = run(
        "translate", "--model", taught, "--max-steps", 3,
        stdin="\n".join(lines),
    )  # fmt: skip
    assert status == 0 and output.splitlines() == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_translating_many_lines_takes_no_more_memory(taught):
    """Ten times as many lines; each is answered before the end is known."""
    peaks = []
    for blocks in (2, 20):
        child = process("translate", "--model", taught, "--max-steps", 2)
        ends = threading.Timer(120, child.kill)  # or a reader might wait
        ends.start()
        for _ in range(blocks):
            lines = ["one two three four" + " " * 4000] * cli.BLOCK
            child.stdin.write("\n".join(lines) + "\n")
            child.stdin.flush()
            for _ in range(cli.BLOCK):
                assert child.stdout.readline().endswith("\n")
        status = Path(f"/proc/{child.pid}/status").read_text()
        peaks.append(int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]))
        assert child.communicate(timeout=60) == ("", "")
        ends.cancel()
        assert child.returncode == 0
    # The further lines alone are 37 MB.
    assert peaks[1] < peaks[0] + 12 * 1024, f"{peaks} kB"


STRANGE = {
    "unknown words": "xylophone ☃ 𝔸",
    "a long line": "one " * 5000,
    "ids": "<eos> <pad>",
    "byte order mark": "\ufeffone",
    "null": "a\x00b",
    "apostrophe": "'",
    "emoji": "one 👩‍👩‍👧‍👦 🇫🇷 👍🏽 two",
    "scripts": "one Москва 北京 القاهرة कखग two",
    "control characters": "one\x07 two\x1b[31m \x7f",
    "line ends of Unicode": "one\u2028two\u2029three\x85four\x0bfive\x0c",
    "carriage return": "one\rtwo",
    "half a pair": "one \ufffe\uffff two",
    "direction": "one \u202etwo\u202c",
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("pieces", [False, True])
def test_translate_strange_lines(pieces, name, taught, taught_pieces, run):
    """One line out for one line in, and its neighbours are as they were."""
    model = taught_pieces if pieces else taught
    status, output, errors = run(
        "translate", "--model", model, "--max-steps", 20,
        stdin=f"one two\n{STRANGE[name]}\nthree\n",
    )  # fmt: skip
    assert status == 0 and errors == ""
    lines = output.split("\n")
    assert len(lines) == 4 and lines[3] == ""
    assert lines[0] == expected(model, ["one two"])[0] != ""
    assert lines[2] == expected(model, ["three"])[0]


def test_strange_lines_are_learned_and_scored(run, tmp_path):
    """They are words like others, or characters of which pieces are made."""
    skipped = {"a long line", "line ends of Unicode", "carriage return"}
    texts = [text for name, text in STRANGE.items() if name not in skipped]
    corpus = tmp_path / "strange.tsv"
    lines = [f"{text} {i}\t{i} {text}" for text in texts for i in range(8)]
    corpus.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for pieces in ([], ["--subwords", "150"]):
        out = tmp_path / f"m{len(pieces)}"
        assert train(corpus, out, *pieces) == 0
        status, output, _ = run("evaluate", "--model", out, "--device", "cpu")
        assert status == 0 and f"test: {len(lines) // 20} sent" in output


def test_a_letter_and_its_accent_are_one(run, taught):
    """é as two code points, which is how some systems type it."""
    vocab = models.load(taught).source_vocab
    assert "é" in vocab
    first, second = (
        run("translate", "--model", taught, word)
        for word in ("é one", "e\u0301 one")
    )
    assert first == second
    assert first != run("translate", "--model", taught, "xxx one")


def test_who_types_is_answered_line_by_line(run, taught, monkeypatch, capsys):
    class Terminal:
        def __init__(self):
            self.lines, self.answers = iter([b"one\n", b"two\n"]), []

        def isatty(self):
            return True

        @property
        def buffer(self):
            return self

        def __iter__(self):
            return self

        def __next__(self):
            self.answers.append(capsys.readouterr().out)
            return next(self.lines)

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdin", terminal)
    assert main(["translate", "--model", str(taught)]) == 0
    wanted = [f"{text}\n" for text in expected(taught, ["one", "two"])]
    assert terminal.answers == ["", *wanted]


def test_standard_input_is_read_as_files_are(run, taught):
    """A mark at its start is no letter; what is not UTF-8 is said."""
    (wanted,) = expected(taught, ["one two"])
    given = b"\xef\xbb\xbfone two\n"
    status, output, _ = run("translate", "--model", taught, stdin=given)
    assert (status, output) == (0, wanted + "\n")
    given = b"one two\none \xe9\nthree\n"
    status, output, errors = run("translate", "--model", taught, stdin=given)
    assert (status, output) == (2, wanted + "\n")
    assert "line 2: not UTF-8 at byte 5 of the line (0xe9)" in errors


def test_closed_standard_input_is_said(run, taught, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["translate", "--model", str(taught)]) == 2
    assert "standard input is closed" in capsys.readouterr().err


class Screen(TextIOWrapper):
    """A terminal with an encoding of its own."""

    def isatty(self):
        return True


def test_output_is_utf_8_as_the_input_is(taught, monkeypatch, capsys):
    """A pipe or a file; a terminal that lacks a letter is named."""
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    monkeypatch.setattr(cli, "detokenize", lambda tokens: "žluť")
    command = ["translate", "--model", str(taught), "one"]
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, "cp1252"))
    assert main(command) == 0
    assert written.getvalue().decode() == "žluť\n"
    # Unless somebody has chosen another encoding.
    monkeypatch.setenv("PYTHONIOENCODING", "iso8859-2")
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, "iso8859-2"))
    assert main(command) == 0
    assert written.getvalue().decode("iso8859-2") == "žluť\n"
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", Screen(written, "ascii"))
    assert main(command) == 2 and written.getvalue() == b""
    monkeypatch.undo()
    errors = capsys.readouterr().err
    assert "in ascii, which has no 'ž'; set the environ" in errors
    assert "PYTHONIOENCODING=utf-8" in errors


def test_a_line_that_is_too_long_is_named(run, tsv, tmp_path, monkeypatch):
    """What stands before it, in the same block, is answered."""
    out = tmp_path / "m"
    status, _, errors = run(
        "train", "--corpus", tsv, "--architecture", "transformer", "--steps",
        1, "--hidden-size", 8, "--num-heads", 2, "--positions", "learned",
        "--max-positions", 9, "--out", out, *QUIET,
    )  # fmt: skip
    assert status == 0, errors
    lines = [*["one two", "three", "four one"] * 200, "one " * 20, "two"]
    status, output, errors = run(
        "translate", "--model", out, stdin="\n".join(lines)
    )
    assert status == 2
    assert output.splitlines() == expected(out, lines[:600])
    assert "error: standard input, line 601: position 20 is beyond" in errors
    assert "the lines before it are translated" in errors
    # What is said as an argument has no number, nor what no line is to blame
    # for.
    for more, words in (
        ([lines[600]], "position 20 is beyond"),
        (["--max-steps", 0], "max_steps must be 1"),
    ):
        found = run("translate", "--model", out, *more, stdin="one\n")
        assert found[:2] == (2, "") and found[2].startswith(f"error: {words}")


def test_n_best(run, taught):
    lines = ["one two three", "", "four"]
    status, output, _ = run(
        "translate", "--model", taught, "--beam", 4, "--n-best", 3,
        "--length-penalty", 0.5, stdin="\n".join(lines),
    )  # fmt: skip
    assert status == 0
    trained = models.load(taught)
    wanted = []
    for line in lines:
        if not line:
            wanted.append("")
            continue
        (found,) = search.n_best(
            trained.model, [tokenize(line)], trained.source_vocab,
            beam_size=4, length_penalty=0.5,
        )  # fmt: skip
        for h in found[:3]:
            text = detokenize(trained.target_vocab.decode(h.tokens))
            wanted.append(f"{h.score:.4f}\t{h.log_prob:.4f}\t{text}")
    assert output.splitlines() == wanted and len(wanted) == 7
    for block in (wanted[:3], wanted[4:]):
        scores = [float(row.split("\t")[0]) for row in block]
        assert scores == sorted(scores, reverse=True)


def test_translate_reverses_for_a_model_that_reads_backwards(
    run, tsv, tmp_path
):
    out = tmp_path / "m"
    assert train(tsv, out, "--reverse-source", "--steps", "60") == 0
    trained = models.load(out)
    (found,) = search.n_best(
        trained.model, [["three", "two", "one"]], trained.source_vocab
    )
    wanted = detokenize(trained.target_vocab.decode(found[0].tokens))
    assert (
        run("translate", "--model", out, "one two three")[1] == wanted + "\n"
    )


def test_a_closed_pipe_is_no_error(taught):
    child = process("translate", "--model", taught, "--device", "cpu")
    child.stdin.write("one two\n" * 600)
    child.stdin.flush()
    assert child.stdout.readline()
    child.stdout.close()  # as head -1 does
    try:
        child.stdin.write("one two\n" * 20000)
        child.stdin.close()
    except BrokenPipeError:
        pass
    errors = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=300) == 0
    assert errors == ""


def test_a_pipe_that_closes_before_the_end_is_flushed(taught, tsv):
    """What evaluate prints stays in a buffer until Python ends."""
    child = process("evaluate", "--model", taught, "--device", "cpu", "--json")
    child.stdin.close()
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=300) == 0
    assert errors == ""


# evaluate


def test_evaluate(run, taught):
    status, output, errors = run("evaluate", "--model", taught)
    assert status == 0 and errors == ""
    trained = models.load(taught)
    pairs = recipes.corpus_of(trained.recipe).test
    metrics = evaluation.evaluate(trained, pairs)
    score = bleu(
        expected(taught, [p.source_sentence for p in pairs]),
        [p.target_sentence for p in pairs],
    )
    lines = output.splitlines()
    assert lines[0] == f"{trained.recipe.corpus}, test: 4 sentences"
    assert lines[1] == f"BLEU {score.score:.2f}  {score.signature}"
    assert "version:" in score.signature and "tok:13a" in score.signature
    assert f"perplexity {metrics['perplexity']:.3f}" in lines[2]
    assert lines[3] == f"   1-10 source tokens: BLEU {score.score:.2f}"
    assert lines[4:] == [
        f"  {low}-{high} source tokens: no sentences"
        for low, high in corpora.LENGTH_BUCKETS[1:]
    ]


def no_constant(name):
    raise ValueError(f"{name} is not JSON")


def test_evaluate_json(run, taught):
    status, output, _ = run(
        "evaluate", "--model", taught, "--json", "--beam", 3, "--split",
        "valid", "--length-penalty", 1,
    )  # fmt: skip
    assert status == 0
    trained = models.load(taught)
    metrics = evaluation.evaluate(
        trained,
        recipes.corpus_of(trained.recipe).valid,
        beam_size=3,
        length_penalty=1.0,
    )
    found = json.loads(output, parse_constant=no_constant)
    assert found == recipes.rounded(metrics)


def test_evaluate_json_has_no_nan(run, taught, monkeypatch):
    """A part of the sentences without gold links has no recall."""
    monkeypatch.setattr(
        evaluation, "evaluate", lambda *a, **k: {"recall": [0.5, math.nan]}
    )
    _, output, _ = run("evaluate", "--model", taught, "--json")
    found = json.loads(output, parse_constant=no_constant)
    assert found == {"recall": [0.5, None]}


def test_evaluate_on_another_corpus(run, taught, tmp_path):
    other = write_tsv(tmp_path / "other.tsv", count=100, seed=5)
    status, output, _ = run(
        "evaluate", "--model", taught, "--corpus", other, "--split", "valid"
    )
    assert status == 0 and output.startswith(f"{other}, valid: 5 sentences")


def test_evaluate_says_what_is_in_no_row_of_its_table(run, taught, tmp_path):
    path = tmp_path / "long.tsv"
    lengths = (60, 3, 61, 70)
    path.write_text("".join(f"{'one ' * n}\tun\n" for n in lengths))
    command = ["evaluate", "--model", taught, "--max-steps", 3]
    status, output, _ = run(*command, "--test", path)
    assert status == 0
    assert output.splitlines()[-1] == (
        "  more than 60 source tokens: 2 sentence(s), which count in the BLEU "
        "and perplexity above only"
    )


@pytest.mark.parametrize("sides", ["one file", "a comma", "two files"])
def test_evaluate_scores_the_whole_of_a_test_file(
    sides, run, taught, tmp_path
):
    path = write_tsv(tmp_path / "other.tsv", count=30, seed=5)
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    if sides == "a comma":
        path = path.rename(tmp_path / "the,other.tsv")
    if sides == "two files":
        names = [tmp_path / name for name in ("en.txt", "fr.txt")]
        for name, side in zip(names, zip(*rows, strict=True), strict=True):
            name.write_text("\n".join(side) + "\n", encoding="utf-8")
        path = ",".join(map(str, names))
    status, output, _ = run("evaluate", "--model", taught, "--test", path)
    score = bleu(
        expected(taught, [row[0] for row in rows]), [row[1] for row in rows]
    )
    assert status == 0
    lines = output.splitlines()
    assert lines[0] == f"{path}: 30 sentences"
    assert lines[1] == f"BLEU {score.score:.2f}  {score.signature}"


def test_a_corpus_that_has_changed_is_not_scored(run, tsv, tmp_path):
    """It is split anew: sentences of the training would be tested."""
    path, out = tmp_path / "own.tsv", tmp_path / "own.model"
    path.write_bytes(tsv.read_bytes())
    # Pairs to validate on are no part of the corpus.
    assert train(path, out, "--valid", str(tsv)) == 0
    assert run("evaluate", "--model", out)[0] == 0
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[1:]), encoding="utf-8")
    for more in ([], ["--corpus", path], ["--corpus", out.parent / path.name]):
        status, output, errors = run("evaluate", "--model", out, *more)
        assert (status, output) == (2, "")
        assert "are not those that this model was" in errors
    assert run("evaluate", "--model", out, "--test", tsv)[0] == 0
    assert run("evaluate", "--model", out, "--corpus", tsv)[0] == 0


def test_another_pair_does_not_hide_the_training(
    run, tsv, tmp_path, monkeypatch, fresh_corpora
):
    """Tatoeba is split anew where the file has changed, or is turned."""
    folder = tmp_path / "fra-eng"
    folder.mkdir()
    text = tsv.read_text(encoding="utf-8")
    (folder / "fra.txt").write_text(text, encoding="utf-8")
    monkeypatch.setenv("S2S_DATA_DIR", str(tmp_path))
    out = tmp_path / "t.model"
    status, _, errors = run(
        "train", "--corpus", "tatoeba", "--out", out, "--steps", 1, *SMALL,
        *QUIET,
    )  # fmt: skip
    assert status == 0, errors
    evaluate = ["evaluate", "--model", out]
    for more in ([], ["--pair", "en-fr"], ["--corpus", "tatoeba"]):
        assert run(*evaluate, *more)[0] == 0
    for more in ([], ["--corpus", "tatoeba"]):
        status, _, errors = run(*evaluate, *more, "--pair", "fr-en")
        assert status == 2 and "with --pair en-fr, not fr-en" in errors
    lines = text.splitlines(keepends=True)
    (folder / "fra.txt").write_text("".join(lines[1:]), encoding="utf-8")
    recipes._load_corpus.cache_clear()
    for more in ([], ["--pair", "en-fr"], ["--corpus", "tatoeba"]):
        status, _, errors = run(*evaluate, *more)
        assert status == 2 and "are not those that this" in errors, more


def test_files_are_the_same_corpus_from_any_folder(
    run, tsv, tmp_path, monkeypatch
):
    """And under any name of the languages, which is no part of it."""
    folder = tmp_path / "here"
    folder.mkdir()
    own, out = folder / "own.tsv", folder / "own.model"
    own.write_bytes(tsv.read_bytes())
    monkeypatch.chdir(folder)
    command = ["train", "--steps", 1, "--pair", "en-fr", *SMALL, *QUIET]
    status, _, errors = run(*command, "--corpus", own.name, "--out", out)
    assert status == 0 and errors.startswith("own.tsv: 72 training pairs")
    trained = models.load(out)
    assert trained.recipe.corpus == str(own)
    # As an older version kept it.
    trained.recipe = replace(trained.recipe, corpus=own.name)
    models.save(folder / "old.model", trained)
    status, output, _ = run("evaluate", "--model", "old.model")
    assert status == 0 and output.startswith("own.tsv, test: 4 sentences")
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", "--model", out)[0] == 0
    lines = own.read_text(encoding="utf-8").splitlines(keepends=True)
    own.write_text("".join(lines[1:]), encoding="utf-8")
    for more in (
        [],
        ["--corpus", own],
        ["--corpus", "here/own.tsv"],
        ["--corpus", own, "--pair", "de-cs"],
        ["--pair", "de-cs"],
    ):
        status, output, errors = run("evaluate", "--model", out, *more)
        assert (status, output) == (2, ""), more
        assert "are not those that this model was" in errors
    # Moved, it is the same corpus, whose place has to be said.
    folder.rename(tmp_path / "there")
    out = tmp_path / "there" / "own.model"
    status, _, errors = run("evaluate", "--model", out)
    assert status == 2 and "which is not here; say where it is" in errors
    moved = ["evaluate", "--model", out, "--corpus", "there/own.tsv"]
    status, output, errors = run(*moved)
    assert (status, output) == (2, "")
    assert "are not those that this model was" in errors


def test_two_files_in_a_folder_with_a_comma(run, tsv, tmp_path, monkeypatch):
    folder = tmp_path / "one, two"
    folder.mkdir()
    rows = [line.split("\t") for line in tsv.read_text("utf-8").splitlines()]
    for i, name in enumerate(("a.en", "a.fr")):
        text = "".join(f"{row[i]}\n" for row in rows)
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    out = tmp_path / "m"
    assert train("a.en,a.fr", out) == 0
    monkeypatch.chdir(tmp_path)
    wanted = f"{folder / 'a.en'},{folder / 'a.fr'}"
    assert models.load(out).recipe.corpus == wanted
    status, output, _ = run("evaluate", "--model", out)
    assert status == 0 and output.startswith(f"{wanted}, test: 4 sentences")


def test_only_a_model_is_replaced(run, tsv, tmp_path):
    own, out = tmp_path / "own.tsv", tmp_path / "a.model"
    own.write_bytes(tsv.read_bytes())
    status, _, errors = run("train", "--corpus", own, "--out", own, *SMALL)
    assert status == 2 and "exists and is no model" in errors
    assert own.read_bytes() == tsv.read_bytes()
    save_tensors(out, {"a": torch.ones(1)}, {"progress": {}})
    for other in (out, "/dev/null"):
        status, _, errors = run("train", "--corpus", own, "--out", other)
        assert status == 2 and "exists and is no model" in errors
    out.write_bytes(b"")  # as mktemp leaves it
    assert train(own, out) == 0
    link = tmp_path / "link.model"
    link.symlink_to(out)
    before = out.read_bytes()
    status, _, errors = run(
        "train", "--corpus", own, "--out", link, "--steps", 1, *SMALL, *QUIET
    )
    assert status == 0 and "is there already and will be replaced" in errors
    assert link.is_symlink() and out.read_bytes() != before


def test_a_training_whose_listener_has_gone_did_not_succeed(tsv, tmp_path):
    """As with 2>&1 | head -1."""
    out = tmp_path / "a.model"
    options = ["--evaluate-every", 1, "--steps", 300, *SMALL, *QUIET]
    child = process("train", "--corpus", tsv, "--out", out, *options)
    child.stderr.readline()
    child.stderr.close()
    child.stdin.close()
    child.stdout.close()
    assert child.wait(timeout=300) == 2
    assert not out.exists()


def test_evaluate_takes_the_pair_alone(run, taught, monkeypatch):
    asked = []

    def corpus_of(recipe):
        asked.append((recipe.corpus, recipe.pair))
        raise corpora.CorpusError("enough")

    monkeypatch.setattr(recipes, "corpus_of", corpus_of)
    corpus = models.load(taught).recipe.corpus
    run("evaluate", "--model", taught, "--pair", "de-en")
    run("evaluate", "--model", taught, "--corpus", "x.tsv")
    run("evaluate", "--model", taught)
    assert asked == [(corpus, "de-en"), ("x.tsv", None), (corpus, None)]


def test_the_corpus_of_a_model_keeps_its_pair(
    run, taught, tmp_path, monkeypatch
):
    asked = []

    def corpus_of(recipe):
        asked.append((recipe.corpus, recipe.pair))
        raise corpora.CorpusError("enough")

    trained = models.load(taught)
    link = tmp_path / "link.tsv"
    link.symlink_to(trained.recipe.corpus)
    out = tmp_path / "m"
    trained.recipe = replace(trained.recipe, pair="cs-en")
    models.save(out, trained)
    monkeypatch.setattr(recipes, "corpus_of", corpus_of)
    run("evaluate", "--model", out, "--corpus", link)
    run("evaluate", "--model", out, "--corpus", link, "--pair", "de-en")
    run("evaluate", "--model", out, "--corpus", "multi30k")
    assert asked == [
        (str(link), "cs-en"), (str(link), "de-en"), ("multi30k", None),
    ]  # fmt: skip


# reproduce


def test_reproduce_lists_the_recipes(run):
    status, output, errors = run("reproduce")
    assert status == 0 and errors == ""
    assert output.splitlines() == list(recipes.RECIPES)
    assert "plain" in output.split()


def test_reproduce_runs_one(run, monkeypatch):
    asked = []

    def reproduce(*arguments):
        asked.append(arguments)
        return Path("results/plain-seed3.json")

    monkeypatch.setattr(recipes, "reproduce", reproduce)
    found = run("reproduce", "plain", "--seed", 3, "--quiet")
    assert found == (0, "results/plain-seed3.json\n", "")
    assert asked == [("plain", 3, False)]


# What goes wrong


NO_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried 9 GiB\nand more"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=range(len(NO_MEMORY)))
def test_too_little_memory_is_one_line(
    error, run, taught, tsv, tmp_path, monkeypatch
):
    def fails(*args, **options):
        raise error

    monkeypatch.setattr(cli, "fit", fails)
    monkeypatch.setattr(search, "n_best", fails)
    status, _, errors = run(
        "train", "--corpus", tsv, "--out", tmp_path / "m", *SMALL, *QUIET
    )
    assert status == 2 and "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert last.startswith("error: out of memory (")
    for option in ("--batch-size", "--batch-tokens", "--accumulate"):
        assert option in last
    status, output, errors = run("translate", "--model", taught, stdin="one\n")
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: out of memory (")
    assert "give shorter lines, or a smaller --beam" in errors


def test_other_errors_are_not_hidden(run, taught, monkeypatch):
    def fails(*args, **options):
        raise RuntimeError("mat1 and mat2 do not fit")

    monkeypatch.setattr(search, "n_best", fails)
    with pytest.raises(RuntimeError, match="mat1"):
        run("translate", "--model", taught, "one")


def test_a_folder_that_may_not_be_entered(run, tsv, tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cli, "temporary_of", denied)
    command = ["train", "--corpus", tsv, "--steps", 1, *SMALL, *QUIET]
    status, _, errors = run(*command, "--out", tmp_path / "m")
    assert status == 2
    assert "m cannot be written (Permission denied); give a file" in errors


def test_bad_input_is_told_in_one_line(run, model, tsv, tmp_path):
    empty, corrupt = tmp_path / "empty.tsv", tmp_path / "corrupt.model"
    empty.write_text("")
    corrupt.write_bytes(model.read_bytes()[:500])
    two = tmp_path / "two.tsv"
    two.write_text("one\tun\ntwo\tdeux\n")
    latin = tmp_path / "latin.tsv"
    latin.write_bytes("un\té\n".encode("latin-1") * 50)
    mac = tmp_path / "mac.tsv"
    mac.write_bytes(b"one\tun\rtwo\tdeux\r" * 50)
    zipped = tmp_path / "zipped.tsv"
    zipped.write_bytes(gzip.compress(tsv.read_bytes()))
    file = tmp_path / "file"
    file.write_text("")
    out = tmp_path / "out"
    training = ["train", "--corpus", tsv, "--out", out, *QUIET]
    short = ["train", "--corpus", tsv, "--steps", 1, *SMALL, *QUIET]
    translating = ["translate", "--model", model]
    evaluating = ["evaluate", "--model", model]
    cases = [
        (["train", "--corpus", "nope", "--out", out], "unknown corpus 'no"),
        (["train", "--corpus", "no.tsv", "--out", out], "no.tsv: no such"),
        (["train", "--corpus", empty, "--out", out], "empty.tsv: empty"),
        (["train", "--corpus", two, "--out", out], "too small to split"),
        (["train", "--corpus", latin, "--out", out], "not UTF-8"),
        (["train", "--corpus", mac, "--out", out], "an old Mac; convert it"),
        (["train", "--corpus", f"{mac},{mac}", "--out", out], "an old Mac"),
        (["train", "--corpus", f"{tmp_path}/ma*.tsv", "--out", out],
         "an old Mac"),
        (["train", "--corpus", zipped, "--out", out], "compressed by gzip"),
        ([*training, "--valid", tsv], "which is trained on; give --valid"),
        ([*training, "--valid", mac], "mac.tsv: its lines end with carriage"),
        ([*training, "--subwords", 2 * 10**9], "cannot be had"),
        ([*training, "--steps", 10**400], "a number is too large"),
        (["train", "--pair", "de-en", "--out", out], "no pair 'de-en'"),
        ([*training, "--cell", "transformer"], "cell must be one of"),
        ([*training, "--hidden-size", 0], "hidden_size must be 1"),
        ([*training, "--attention", "x"], "attention must be one of"),
        ([*training, "--coverage"], "needs attention"),
        ([*training, "--objective", "x"], "objective must be one of"),
        ([*training, "--objective", "reinforce"], "do not fit"),
        (
            [*training, "--attention", "dot", "--selection", "hard"],
            "do not fit",
        ),
        (
            [*training, "--attention", "dot", "--selection", "hard",
             "--objective", "reinforce", "--label-smoothing", 0.1],
            "knows no label_smoothing",
        ),
        ([*training, "--min-count", 0], "min_count must be 1"),
        ([*training, "--subwords", 60, "--min-count", 2], "leave it at 1"),
        ([*training, "--subword-dropout", 0.1], "give subwords a size"),
        (
            [*training, "--subwords", 60, "--subword-dropout", 1.5],
            "subword_dropout must be from 0 to 1, not 1.5",
        ),
        (
            ["train", "--corpus", f"{tmp_path}/*.tsv", "--out", out,
             "--subwords", 60, "--subword-dropout", 0.1],
            "would be streamed; leave one of them out",
        ),
        ([*training, "--dropout", 1], "dropout must be"),
        ([*training, "--steps", 0], "steps must be 1"),
        ([*training, "--batch-size", -3], "batch_size must be 1"),
        ([*training, "--learning-rate", "nan"], "learning_rate must be"),
        ([*training, "--learning-rate", "inf"], "learning_rate must be"),
        ([*training, "--schedule", "x"], "schedule must be one of"),
        ([*training, "--seed", -1], "seed must be"),
        ([*training, "--seed", 10**20], "seed must be"),
        ([*training, "--device", "abacus"], "--device abacus cannot be used"),
        ([*training, "--device", "cuda:77"], "--device cuda:77 cannot be"),
        ([*short, "--out", tmp_path], "is a folder"),
        ([*short, "--out", "."], "--out . is a folder; give the name of a"),
        ([*short, "--out", ""], "is a folder; give the name of a file"),
        ([*short, "--out", "/"], "--out / is a folder; give the name of a"),
        ([*short, "--out", tmp_path / ("m" * 240)], "give a shorter one"),
        ([*short, "--out", tmp_path / ("m" * 300)], "give a shorter one"),
        ([*short, "--out", file / "m"], "cannot be written"),
        (["translate", "--model", "none", "x"], "there is no file none"),
        (["translate", "--model", tmp_path, "x"], "is a folder"),
        (["translate", "--model", corrupt, "x"], "corrupt.model is damaged"),
        (["evaluate", "--model", corrupt], "corrupt.model is damaged"),
        (["evaluate", "--model", tsv], "tiny.tsv is damaged"),
        ([*translating, "--beam", -1, "x"], "--beam"),
        ([*translating, "--beam", 2, "--n-best", 3, "x"], "--n-best 3 needs"),
        ([*translating, "--n-best", 0, "x"], "--n-best must be 1 or more"),
        ([*translating, "--device", "meta", "x"], "--device meta cannot be"),
        ([*translating, "--max-steps", 0, "x"], "max_steps must be 1"),
        ([*translating, "--beam", 2, "--length-penalty", -1, "x"],
         "length_penalty must be"),
        ([*translating, "--length-penalty", "nan", "--beam", 2, "x"],
         "length_penalty must be"),
        ([*translating, "--length-penalty", 1000, "--beam", 2, "x"],
         "length_penalty must be"),
        ([*translating, "--device", "abacus", "x"], "--device abacus"),
        ([*evaluating, "--beam", 0], "beam_size must be 1"),
        ([*evaluating, "--corpus", "nope"], "unknown corpus 'nope'"),
        ([*evaluating, "--test", tsv, "--split", "test"], "as a whole"),
        ([*evaluating, "--test", "no.tsv"], "no.tsv"),
        ([*evaluating, "--test", tsv], "the corpus that this model was"),
        (["reproduce", "nope"], "there is no recipe 'nope'"),
        (["reproduce", "plain", "--seed", -1], "seed must be"),
    ]  # fmt: skip
    # fit finds this one, after a line on the corpus.
    status, _, errors = run(*training, "--checkpoint-every", 0)
    assert status == 2 and "error: checkpoint_every must be 1" in errors
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    for arguments, message in cases:
        status, output, errors = run(*arguments)
        assert status == 2 and output == "", (arguments, errors)
        assert errors.startswith("error: "), (arguments, errors)
        assert message in errors, (arguments, errors)
        assert errors.count("\n") == 1, (arguments, errors)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "--out", "m", "--steps", "many"],
        ["translate", "hello"],
        ["evaluate", "--model", "m", "--split", "train"],
    ],
)
def test_misuse_shows_the_usage(arguments, run):
    status, output, errors = run(*arguments)
    assert status == 2 and output == ""
    assert errors.startswith("usage: python -m s2s_lib")
    assert "error:" in errors.splitlines()[-1]


@pytest.mark.parametrize(
    "command", ["", "train", "translate", "evaluate", "reproduce"]
)
def test_help(command, run):
    status, output, errors = run(*command.split(), "--help")
    assert status == 0 and errors == ""
    assert output.startswith(f"usage: python -m s2s_lib {command}".strip())
    words = {
        "": ["train", "translate", "evaluate", "reproduce"],
        "train": ["--corpus", "--out", "--hidden-size", "--learning-rate"],
        "translate": ["--beam", "--n-best", "--model"],
        "evaluate": ["--split", "--json", "--model"],
        "reproduce": ["--seed", "recipe"],
    }[command]
    assert all(word in output for word in words)


def test_help_says_what_each_setting_means(run):
    """In the words of the configuration that has it, with its default."""
    _, output, _ = run("train", "--help")
    text = " ".join(output.split())
    for shown in (
        "recurrent: which state asks.",
        "the output (`luong2015`) (default before)",
        "transformer: size of a position's vector, from bottom to top",
        "mean weights of the last so many evaluations",
        '"reinforce_mean" (the batch\'s mean is)',
    ):
        assert shown in text
    for config in (RecurrentConfig, TransformerConfig, TrainingConfig):
        for field in fields(config):
            assert f"--{field.name.replace('_', '-')} " in text


def test_the_examples_of_the_docstring_are_valid():
    """What the module shows can be parsed; the README shows the same."""
    shown = re.findall(r"python -m s2s_lib (.+)", cli.__doc__)
    assert len(shown) == 5
    for line in shown:
        arguments = cli._parser().parse_args(line.split())
        assert callable(arguments.run)
