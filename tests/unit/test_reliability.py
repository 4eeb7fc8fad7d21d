"""Whatever happens to a run, nothing is lost and nothing is half written."""

import io
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s2s_lib import cli, models, recipes, search, storage, training
from s2s_lib.batches import EncodedPair
from s2s_lib.storage import load_tensors
from s2s_lib.training import TrainingConfig, fit
from s2s_lib.transformer import TransformerConfig, TransformerModel
from s2s_lib.vocab import EOS, PAD, SOS, Vocabulary

WORDS = 11
CONFIG = TrainingConfig(
    steps=30, batch_size=4, evaluate_every=10, learning_rate=1e-2, average=2
)
KILLS = 20


def make_pairs():
    g = torch.Generator().manual_seed(0)
    rows = torch.randint(4, WORDS, (30, 6), generator=g).tolist()
    return [EncodedPair([*row, EOS], [*row[::-1], EOS]) for row in rows]


def make_model():
    torch.manual_seed(0)
    config = TransformerConfig(8, 2, 1, 8, dropout=0.2)
    return TransformerModel(WORDS, WORDS, config)


def run(path: Path, config: TrainingConfig = CONFIG, **options):
    model = make_model()
    # A checkpoint at every step: most of the time it is being written.
    fit(
        model,
        make_pairs(),
        config,
        checkpoint=path,
        checkpoint_every=1,
        progress=False,
        **options,
    )
    return model.state_dict()


def killed_child(path: Path, arm) -> bool:
    """Train in a child; whether it was killed before the end.

    `arm` is called with the child's number, in this process.
    """
    child = os.fork()
    if child == 0:
        try:
            run(path)
        finally:
            os._exit(0)
    arm(child)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("undisturbed") / "c")


def test_killed_twenty_times_at_random_moments(tmp_path, undisturbed):
    """The weights are those of a run that nobody disturbed."""
    draw = random.Random(0)
    path, kills, last = tmp_path / "c", 0, 0

    def shoot(child):
        """Some time after the child has written its first checkpoint."""
        before = path.stat().st_mtime_ns if path.exists() else 0
        while not path.exists() or path.stat().st_mtime_ns == before:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)

    while kills < KILLS:
        if last == CONFIG.steps:
            assert equal(run(path), undisturbed)
            path.unlink()
            last = 0
        kills += killed_child(path, shoot)
        step = load_tensors(path)[1]["progress"]["step"]
        assert step > last  # what was kept is never lost again
        last = step
    assert equal(run(path), undisturbed)


MOMENTS = {
    "before the file is written": (storage, "save_file"),
    "before it is safe on the disk": (storage.os, "fsync"),
    "before it takes its name": (storage.os, "replace"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("after", [False, True])
def test_killed_while_a_checkpoint_is_written(
    moment, after, tmp_path, monkeypatch, undisturbed
):
    place, name = MOMENTS[moment]
    right, calls, parent = getattr(place, name), [], os.getpid()

    def deadly(*args, **options):
        calls.append(1)
        dies = os.getpid() != parent and len(calls) == 7
        if dies and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = right(*args, **options)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    monkeypatch.setattr(place, name, deadly)
    path = tmp_path / "c"
    assert killed_child(path, lambda child: None)
    step = load_tensors(path)[1]["progress"]["step"]
    assert step == (7 if after and name == "replace" else 6)
    monkeypatch.undo()
    assert equal(run(path), undisturbed)


@pytest.mark.parametrize("name", ["_update", "load_checkpoint"])
def test_killed_before_it_has_written_anything(
    name, tmp_path, monkeypatch, undisturbed
):
    """In its first update, or when it has just read what it resumes from."""
    right, parent = getattr(training, name), os.getpid()
    path = tmp_path / "c"
    if name == "load_checkpoint":
        run(path, stop_after=5)
    before = path.read_bytes() if path.exists() else None

    def deadly(*args):
        result = right(*args)
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    monkeypatch.setattr(training, name, deadly)
    assert killed_child(path, lambda child: None)
    assert (path.read_bytes() if path.exists() else None) == before
    monkeypatch.undo()
    assert equal(run(path), undisturbed)


def test_what_a_killed_run_left_behind_is_cleared_away(tmp_path):
    path = tmp_path / "c"
    short = replace(CONFIG, steps=3, evaluate_every=1)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    here, there = storage._host(), "elsewhere-012345"
    (tmp_path / f".c.{here}.{child}.12ab.tmp").write_bytes(b"half of it")
    others = {
        f".c.{here}.{os.getppid()}.12ab.tmp",  # of a living process
        f".other.{here}.{child}.12ab.tmp",  # of another file
        f".c.{there}.{child}.12ab.tmp",  # of a machine not asked
    }
    for name in others:
        (tmp_path / name).write_bytes(b"half of it")
    run(path, short)
    assert {p.name for p in tmp_path.iterdir()} == {"c", *others}


# Very long lines


def test_a_long_line_does_not_drag_others_to_its_length(monkeypatch):
    """Sentences are decoded together only up to `BATCH_TOKENS`."""
    torch.manual_seed(0)
    model = make_model()
    vocab = Vocabulary([f"w{i}" for i in range(WORDS - 4)])
    lines = [["w1"] * n for n in (5000, 3, 1, 2, 4)] * 3
    sizes, right = [], search.pad

    def watched(rows):
        ids, mask = right(rows)
        sizes.append(tuple(ids.shape))
        return ids, mask

    monkeypatch.setattr(search, "pad", watched)
    monkeypatch.setattr(search, "BATCH_TOKENS", 10_100)
    found = search.n_best(model, lines, vocab, max_steps=3)
    assert sizes == [(12, 5), (2, 5001), (1, 5001)]
    monkeypatch.undo()
    for line, hypotheses in zip(lines, found, strict=True):
        ((alone,),) = search.n_best(model, [line], vocab, max_steps=3)
        assert hypotheses[0].tokens == alone.tokens


LONG = [4, 5] * 2500


def small_model(name):
    """A model of the catalogue, made narrow."""
    config = replace(recipes.RECIPES[name].model, hidden_size=8)
    torch.manual_seed(0)
    recipe = recipes.Recipe(config, TrainingConfig(steps=1))
    return models._model(recipe, WORDS, WORDS)


@pytest.mark.parametrize("name", ["plain", "additive", "transformer"])
def test_five_thousand_tokens_are_translated(name):
    """As the model says when it is asked for one token after the other."""
    model = small_model(name).eval()
    with torch.no_grad():
        # No search writes the first two, and the third would stop it.
        model.output.bias[[PAD, SOS, EOS]] = -100
    vocab = Vocabulary([f"w{i}" for i in range(WORDS - 4)])
    lines = [vocab.decode(LONG), ["w3"]]
    found = search.n_best(model, lines, vocab, max_steps=4)
    source = torch.tensor([[*LONG, EOS]])
    wanted = [SOS]
    with torch.no_grad():
        memory = model.encode(source, torch.ones_like(source).bool())
        for _ in range(4):
            hidden, _ = model.hidden(memory, torch.tensor([wanted]))
            wanted.append(int(model.output(hidden[0, -1]).argmax()))
    assert list(found[0][0].tokens) == wanted[1:]
    assert len(found[1][0].tokens) == 4


@pytest.mark.parametrize("long", ["source", "target"])
@pytest.mark.parametrize("name", ["plain", "additive-after", "transformer"])
def test_five_thousand_tokens_are_learned(name, long):
    """They are a pair like any other, if a costly one: its loss falls."""
    model = small_model(name)
    sides = {"source": LONG[:8], "target": LONG[:8], long: LONG}
    pair = EncodedPair(*([*ids, EOS] for ids in sides.values()))
    config = TrainingConfig(
        steps=2, evaluate_every=1, learning_rate=0.03, batch_tokens=4096
    )
    first, last = (
        row["loss"] for row in fit(model, [pair], config, progress=False)
    )
    assert 0 < last < 0.95 * first < 10


# Pipes


class Pipe:
    """Standard input that knows how far it was read."""

    def __init__(self, lines):
        self.lines, self.read = lines, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.read == self.lines:
            raise StopIteration
        self.read += 1
        return b"w1 w2\n" if self.read % 3 else b"\n"

    @property
    def buffer(self):
        return self

    def isatty(self):
        return False


def test_a_pipe_is_read_as_far_as_it_is_answered(tmp_path, monkeypatch):
    """So translating takes as much memory for many lines as for some."""
    recipe = recipes.Recipe(
        TransformerConfig(8, 2, 1, 8), TrainingConfig(steps=1)
    )
    vocab = Vocabulary(["w1", "w2"])
    trained = models.Trained(
        models._model(recipe, 6, 6), vocab, vocab, [], recipe
    )
    models.save(tmp_path / "m", trained)
    pipe, ahead, answers = Pipe(3000), [], []

    class Answers(io.StringIO):
        def write(self, text):
            answers.append(text)
            ahead.append(pipe.read - "".join(answers).count("\n"))
            return len(text)

    monkeypatch.setattr("sys.stdin", pipe)
    monkeypatch.setattr("sys.stdout", Answers())
    command = ["translate", "--model", str(tmp_path / "m")]
    assert cli.main([*command, "--max-steps", "2", "--device", "cpu"]) == 0
    lines = "".join(answers).split("\n")
    assert len(lines) == 3001 and lines[-1] == ""
    assert all(not line for line in lines[2::3])
    assert 0 < max(ahead) <= 512


# A cache that cannot be written


def test_a_cache_that_cannot_be_written_is_said_before_training(monkeypatch):
    monkeypatch.setenv("S2S_CACHE_DIR", "/proc/s2s_lib")
    monkeypatch.setattr(recipes, "fit", None)  # it is not come to
    with pytest.raises(OSError, match=r"cache folder .* set S2S_CACHE_DIR"):
        recipes.train("reversal-plain", progress=False)


def test_a_model_in_a_cache_that_cannot_be_written_is_used(
    monkeypatch, others_folder, read_only
):
    """As on a machine where somebody else keeps the models for all."""
    config = replace(recipes.RECIPES["reversal-plain"].model, hidden_size=4)
    recipe = replace(
        recipes.RECIPES["reversal-plain"],
        model=config,
        training=TrainingConfig(steps=1),
    )
    monkeypatch.setenv("S2S_CACHE_DIR", str(others_folder))
    kept = recipes.train(recipe, progress=False)
    monkeypatch.setattr(recipes, "fit", None)  # it is not come to
    with read_only(others_folder / "models"):
        found = recipes.train(recipe, progress=False)
        with pytest.raises(OSError, match=r"cache folder .* S2S_CACHE_DIR"):
            recipes.train(recipe, seed=1, progress=False)
    weights = found.model.state_dict()
    assert weights.keys() == kept.model.state_dict().keys()
    for name, tensor in kept.model.state_dict().items():
        assert torch.equal(weights[name], tensor)
