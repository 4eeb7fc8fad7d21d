"""Several processes: the training of one, and what only several can break.

Two runs of torchrun with two processes each serve all tests here. In the
first, `work` below goes through all that needs no restart; in the second the
command line is killed twice, restarted twice, and ends well.
"""

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s2s_lib import (
    checkpoints,
    cli,
    losses,
    models,
    storage,
    streams,
    training,
)
from s2s_lib.batches import EncodedPair, shares
from s2s_lib.captions import PIXELS
from s2s_lib.recurrent import RecurrentConfig, RecurrentModel
from s2s_lib.storage import load_tensors, save_tensors
from s2s_lib.streams import Shards, Stream
from s2s_lib.training import TrainingConfig, TrainingError, fit, join
from s2s_lib.transformer import TransformerConfig, TransformerModel
from s2s_lib.vocab import EOS

ROOT = Path(__file__).resolve().parents[2]
WORDS = 11
# 21 pairs, 4 at a time: the last update of an epoch has a single pair.
CONFIG = TrainingConfig(
    steps=8, batch_size=4, evaluate_every=3, learning_rate=1e-2, average=2
)
SAMPLED = replace(CONFIG, teacher_forcing=0.3)
TOKENS = replace(CONFIG, batch_tokens=30, label_smoothing=0.1)
HARD = {"attention": "dot", "query": "after", "selection": "hard"}


def make_pairs(count=21):
    draw = random.Random(0)
    pairs = []
    for _ in range(count):
        ids = draw.choices(range(4, WORDS), k=draw.randint(1, 6))
        pairs.append(EncodedPair([*ids, EOS], [*ids[::-1], EOS]))
    return pairs


def gru(seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"embedding_size": 6, "hidden_size": 8, **options}
    return RecurrentModel(WORDS, WORDS, RecurrentConfig(**sizes))


def transformer(**options):
    torch.manual_seed(0)
    config = TransformerConfig(hidden_size=8, num_heads=2, **options)
    return TransformerModel(WORDS, WORDS, config)


def stream(folder):
    """Shards of the pairs' ids, as words that are read back as ids."""

    def encode(pairs):
        sides = [[[*map(int, p.source)], [*map(int, p.target)]] for p in pairs]
        return [EncodedPair(*([*ids, EOS] for ids in side)) for side in sides]

    return Stream(Shards(str(folder)), encode, buffer=8)


def write_corpus(folder):
    """Shards for `stream`, and a corpus for the command line."""
    (folder / "shards").mkdir()
    lines = [
        " ".join(map(str, p.source[:-1]))
        + "\t"
        + " ".join(map(str, p.target[:-1]))
        + "\n"
        for p in make_pairs(60)
    ]
    for i in range(3):
        text = "".join(lines[i::3])
        (folder / f"shards/{i}.tsv").write_text(text)
    (folder / "corpus.tsv").write_text("".join(sorted(set(lines))))


def quiet(model, pairs=None, config=CONFIG, **options):
    return fit(model, pairs or make_pairs(), config, progress=False, **options)


def scores(model):
    return {"words": float(WORDS)}


# The scenarios: each is run by one process here, and by both of torchrun.


def whole(folder, **options):
    model = gru()
    return model, quiet(model, evaluate=scores, **options)


def in_parts(folder):
    return whole(folder, accumulate=2)


def with_tokens(folder):
    model = transformer()
    return model, quiet(model, config=TOKENS)


def with_pictures(folder):
    """The encoder has weights for a summary that a Transformer leaves."""
    model, draw = transformer(encoder="image"), random.Random(1)
    pairs = [
        EncodedPair([*draw.choices(range(4, 10), k=PIXELS), EOS], p.target)
        for p in make_pairs()
    ]
    return model, quiet(model, pairs)


def in_chunks(folder):
    """Few positions at a time in the output layer."""
    usual, losses.CHUNK = losses.CHUNK, 100
    try:
        return whole(folder)
    finally:
        losses.CHUNK = usual


def with_half_the_digits(folder):
    """In the same parts, so that what is rounded is the same."""
    parts = 2 // join().num_processes
    return whole(folder, precision="bfloat16", accumulate=parts)


def streamed(folder):
    model = gru()
    return model, quiet(model, stream(folder / "shards"))


SAME = {
    f.__name__: f
    for f in (
        whole, in_parts, with_tokens, with_pictures, in_chunks,
        with_half_the_digits, streamed,
    )
}  # fmt: skip


# What a process of torchrun does


def kept(out, name, model, history, **more):
    """Write what a process has in the end."""
    path = out / f"{name}-{join().process_index}"
    state = dict(model.state_dict())
    save_tensors(path, state, {"history": history, **more})


class Explodes(torch.nn.Module):
    """A model whose loss becomes NaN at the third update."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0
        self.encode, self.output = inner.encode, inner.output

    def hidden(self, memory, target_in):
        hidden, weights = self.inner.hidden(memory, target_in)
        self.calls += 1
        return hidden * (float("nan") if self.calls == 3 else 1), weights


def error_of(call):
    try:
        call()
    except (TrainingError, storage.CheckpointError) as error:
        return str(error)
    return ""


def noted(out):
    """From here on: a line for each file that the library writes."""
    for module in (checkpoints, models):

        def write(path, *rest, right=module.save_tensors):
            with (out / f"written-{os.environ['RANK']}").open("a") as file:
                file.write(f"{Path(path).name}\n")
            right(path, *rest)

        module.save_tensors = write


def work(out):
    """All that needs no restart, in one of two processes."""
    process = join().process_index
    noted(out)
    for name, run in SAME.items():
        kept(out, name, *run(out))
    # Stopped and resumed, here and by one process; and from one process.
    path = out / "two.checkpoint"
    whole(out, checkpoint=path, stop_after=4)
    kept(out, "from_one", *whole(out, checkpoint=out / "one.checkpoint"))
    for name, config, options in (
        ("dropout", CONFIG, {"dropout": 0.4}),
        ("sampled", SAMPLED, {}),
        ("hard", replace(CONFIG, objective="reinforce"), HARD),
    ):
        model = gru(**options)
        kept(out, name, model, quiet(model, config=config))
        path = out / f"{name}.checkpoint"
        stopped = {"config": config, "checkpoint": path}
        quiet(gru(**options), **stopped, stop_after=5)
        again = gru(seed=9, **options)
        kept(out, f"{name}-resumed", again, quiet(again, **stopped))
    again = gru(seed=process)  # the first process' weights are everybody's
    kept(out, "seeds", again, quiet(again))
    # Half of the processes have a loss that is not finite, other pairs, or
    # no checkpoint.
    model = Explodes(gru()) if process else gru()
    errors = [error_of(lambda: quiet(model))]
    kept(out, "exploded", getattr(model, "inner", model), [])
    path = out / "none.checkpoint"
    other = make_pairs()[process:]
    errors.append(error_of(lambda: quiet(gru(), other, checkpoint=path)))
    path = out / f"{'none' if process else 'one'}.checkpoint"
    errors.append(error_of(lambda: quiet(gru(), checkpoint=path)))
    (out / f"errors-{process}").write_text(json.dumps(errors))
    command_line(out, out / "never.model")


def command_line(out, model):
    status = cli.main(
        ["train", "--corpus", str(out / "corpus.tsv"), "--out", str(model),
         "--steps", "12", "--evaluate-every", "4", "--dropout", "0.3",
         "--embedding-size", "6", "--hidden-size", "8", "--batch-size", "8",
         "--checkpoint-every", "3", "--device", "cpu", "--accumulate", "2",
         "--precision", "float32"]
    )  # fmt: skip
    # A thread that still waits when Python ends may abort the process.
    threads = Path("/proc/self/task").glob("*/comm")
    names = [path.read_text().strip() for path in threads]
    file = out / f"{model.stem}-threads-{os.environ['RANK']}"
    file.write_text("\n".join(names))
    return status


def accident(out):
    """The same command, with a process killed, and then the other one.

    At first the second one, between two checkpoints; after the restart the
    first one, which writes them, when one is written and has no name yet.
    """
    restarts = os.environ["TORCHELASTIC_RESTART_COUNT"]
    killed = {"0": ("1", training, "_update", 5)}
    killed["1"] = "0", storage.os, "replace", 2
    rank, place, name, when = killed.get(restarts, ("", training, "fit", 0))
    right, calls = getattr(place, name), []

    def deadly(*args):
        calls.append(0)
        if len(calls) == when:
            os.kill(os.getpid(), signal.SIGKILL)
        return right(*args)

    if os.environ["RANK"] == rank:
        setattr(place, name, deadly)
    return command_line(out, out / "restarted.model")


# The tests


def torchrun(folder, what, restarts=0):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment |= {"OMP_NUM_THREADS": "1"}
    environment |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    environment.pop("TQDM_DISABLE", None)  # the bar is wanted
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         "--nproc_per_node", "2", "--max_restarts", str(restarts),
         "--monitor_interval", "0.1", __file__, what, str(folder)],
        env=environment, cwd=ROOT, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder in which two processes have worked, and what they said."""
    folder = tmp_path_factory.mktemp("two")
    write_corpus(folder)
    whole(folder, checkpoint=folder / "one.checkpoint", stop_after=4)
    run = torchrun(folder, "work")
    assert run.returncode == 0, run.stderr
    return folder, run


@pytest.fixture(scope="module")
def restarted(two):
    folder, _ = two
    run = torchrun(folder, "accident", restarts=2)
    assert run.returncode == 0, run.stderr
    return folder / "restarted.model", run


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("name", ["never", "restarted"])
def test_no_connection_is_left_at_the_end(name, two, restarted):
    for process in range(2):
        file = two[0] / f"{name}-threads-{process}"
        names = file.read_text().splitlines()
        assert names  # this one at least
        assert not [n for n in names if "gloo" in n and "loop" in n], names


def results(folder, name):
    """What both processes had in the end: (weights, history) of each."""
    found = [load_tensors(folder / f"{name}-{i}") for i in range(2)]
    return [(weights, about["history"]) for weights, about in found]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def assert_close(a, b):
    """Weights up to rounding.

    A bias of the keys changes no weight of attention; its gradient is 0 but
    for rounding, of which Adam makes steps of the usual size.
    """
    assert a.keys() == b.keys()
    for name in a:
        one, other = a[name], b[name]
        if name.endswith("in_proj_bias"):
            third = len(one) // 3
            keys = slice(third, 2 * third)
            one, other = one.clone(), other.clone()
            one[keys] = other[keys] = 0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def assert_same_rows(a, b):
    assert [row["step"] for row in a] == [row["step"] for row in b]
    for one, other in zip(a, b, strict=True):
        for name in ("loss", "grad_norm", "rate"):
            assert one[name] == pytest.approx(other[name], rel=1e-5), name


@pytest.mark.parametrize("name", SAME)
def test_two_processes_make_the_training_of_one(name, two):
    """Invariant 13; with parts of an update, too."""
    folder, _ = two
    model, history = SAME[name](folder)
    (first, rows), (second, other_rows) = results(folder, name)
    assert equal(first, second)
    assert_close(first, model.state_dict())
    assert_same_rows(rows, history)
    assert_same_rows(other_rows, history)


def test_parts_of_an_update_are_the_update():
    one, history = whole(None)
    for accumulate in (2, 3, 9):  # 9: more parts than pairs
        other, rows = whole(None, accumulate=accumulate)
        assert_close(one.state_dict(), other.state_dict())
        assert_same_rows(history, rows)
        assert not equal(one.state_dict(), other.state_dict())


def test_the_pairs_of_an_update_are_dealt_out():
    pairs = make_pairs(7)
    for processes, accumulate in ((1, 1), (2, 1), (3, 2), (4, 3)):
        dealt = [
            part
            for process in range(processes)
            for part in shares(pairs, processes, process, accumulate)
        ]
        assert sum(weight for _, weight in dealt) == pytest.approx(1)
        real = [pair for part, weight in dealt if weight for pair in part]
        assert sorted(real) == sorted(pairs)
        tokens = sum(len(pair.target) for pair in pairs)
        for part, weight in dealt:
            own = sum(len(pair.target) for pair in part)
            assert weight in (own / tokens, 0)
        parts = range(processes * accumulate)
        filled = [
            len([i for i in parts if i // accumulate == p and i < 7])
            for p in range(processes)
        ]
        assert len(dealt) == sum(max(1, number) for number in filled)
    assert shares(pairs) == [(pairs, 1.0)]
    assert shares(pairs[:1], 2, 1) == [(pairs[:1], 0.0)]


@pytest.mark.parametrize("name", ["dropout", "sampled", "hard"])
def test_stopped_and_resumed_by_as_many_processes(name, two):
    """To the last bit, since each process finds its own random state."""
    folder, _ = two
    (first, rows), (second, _) = results(folder, name)
    for weights, again in results(folder, f"{name}-resumed"):
        assert equal(first, weights) and equal(second, weights)
        for row, other in zip(rows, again, strict=True):
            assert row | {"seconds": 0} == other | {"seconds": 0}
    tensors, _ = load_tensors(folder / f"{name}.checkpoint")
    states = tensors["rng.cpu"], tensors["rng.cpu.1"]
    assert not torch.equal(*states)
    assert len([k for k in tensors if k.startswith("rng.cpu")]) == 2


def test_resumed_by_one_process_and_by_two(two, tmp_path):
    folder, _ = two
    model, history = whole(None)
    for weights, rows in results(folder, "from_one"):
        assert_close(weights, model.state_dict())
        assert_same_rows(rows, history)
    path = tmp_path / "c"
    shutil.copy(folder / "two.checkpoint", path)
    tensors, about = load_tensors(path)
    assert about["progress"]["step"] == 4
    assert {f"model.{name}" for name in model.state_dict()} < tensors.keys()
    resumed = gru(seed=9)
    rows = quiet(resumed, evaluate=scores, checkpoint=path)
    assert_close(resumed.state_dict(), model.state_dict())
    assert_same_rows(rows, history)


def test_all_begin_with_the_weights_of_the_first(two):
    folder, _ = two
    (first, _), (second, _) = results(folder, "seeds")
    assert equal(first, second)
    assert_close(first, whole(None)[0].state_dict())


def test_the_main_process_evaluates(two):
    folder, _ = two
    (_, rows), (_, others) = results(folder, "whole")
    assert all(row["words"] == WORDS for row in rows)
    assert not any("words" in row for row in others)


def test_all_stop_with_the_same_error(two):
    folder, _ = two
    first, second = (
        json.loads((folder / f"errors-{i}").read_text()) for i in range(2)
    )
    assert first == second
    assert "the loss became nan at step 3" in first[0]
    assert "do not have the same sentence pairs" in first[1]
    assert "start after steps [8, 0]" in first[2]
    (a, _), (b, _) = results(folder, "exploded")
    two_updates = gru()
    quiet(two_updates, stop_after=2)
    assert equal(a, b)
    assert_close(a, two_updates.state_dict())


def test_one_process_speaks_for_all(two):
    folder, run = two
    assert run.stdout == ""
    for said in ("training pairs", "2 processes share", "wrote ", "| 12/12 ["):
        assert run.stderr.count(said) >= 1, run.stderr
    assert run.stderr.count("wrote ") == 1
    assert run.stderr.count("training pairs") == 1
    assert run.stderr.count("valid_bleu") == 3  # evaluations
    assert run.stderr.count("training:   0%") == 1
    assert not list(folder.glob("*.model.checkpoint"))
    assert not list(folder.glob(".*.tmp"))


def test_killed_and_restarted_by_torchrun(two, restarted):
    """Nothing is lost: the weights are those of a run in peace."""
    folder, _ = two
    model, run = restarted
    never = models.load(folder / "never.model")
    again = models.load(model)
    assert equal(never.model.state_dict(), again.model.state_dict())
    for row, other in zip(never.history, again.history, strict=True):
        assert row | {"seconds": 0} == other | {"seconds": 0}
    assert run.stderr.count("resuming from") == 2
    assert run.stderr.count("wrote ") == 1
    assert not list(folder.glob(".*.tmp"))  # what was half written


def test_one_process_writes_the_files(two):
    folder, _ = two
    names = (folder / "written-0").read_text().split()
    assert {"two.checkpoint", "never.model.checkpoint", "never.model"} < {
        *names
    }
    assert not (folder / "written-1").exists()


def test_accelerate_launch_starts_the_same_training(tmp_path):
    """The command of the README, on a processor: one process."""
    write_corpus(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [
        "train", "--corpus", str(tmp_path / "corpus.tsv"), "--steps", "2",
        "--embedding-size", "6", "--hidden-size", "8", "--batch-size", "8",
    ]  # fmt: skip
    out = tmp_path / "launched.model"
    run = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--cpu",
         "--num_processes", "1", "--num_machines", "1", "--mixed_precision",
         "bf16", "--dynamo_backend", "no", "-m", "s2s_lib", *command,
         "--out", str(out)],
        env=environment, cwd=ROOT, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    here = tmp_path / "here.model"
    reduced = ["--precision", "bfloat16", "--device", "cpu"]
    assert cli.main([*command, *reduced, "--out", str(here)]) == 0
    launched, plain = (models.load(path) for path in (out, here))
    assert equal(launched.model.state_dict(), plain.model.state_dict())


def test_restarts_need_a_setting(monkeypatch):
    """Or a restarted process finds addresses of those that have ended."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with pytest.raises(TrainingError, match="TORCH_DISABLE_SHARE_RDZV_TCP"):
        join()


def test_what_is_wrong_is_said_by_one_process(monkeypatch, capsys):
    """By the first; before they have met, by the main process."""
    command = ["train", "--steps", "0", "--out", "m"]
    for process, times in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", process)
        assert cli.main(command) == 2
        said = "error: steps must be 1 or more, not 0\n"
        assert capsys.readouterr().err == said * times
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        assert [cli._first_to_complain() for _ in range(3)] == [1, 0, 0]
    finally:
        torch.distributed.destroy_process_group()


def test_two_processes_are_not_for_results_of_the_book(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(["reproduce", "plain"]) == 2
    assert "without a launcher" in capsys.readouterr().err


def test_the_commands_of_the_readme_are_valid():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text[text.index("## From a laptop") : text.index("## Licence")]
    text = text.replace("\\\n", " ")
    commands = [
        shlex.split(line.partition("-m s2s_lib ")[2].rstrip("& "))
        for line in text.splitlines()
        if "-m s2s_lib " in line
    ]
    assert len(commands) == 5
    for command in commands:
        args = cli._parser().parse_args(command)
        assert cli._model_configuration(args)
        assert cli._configuration(args, TrainingConfig).steps in (
            400, 1200, 100_000,
        )  # fmt: skip
    assert str(streams.BUFFER) in text.replace(",", "")
    assert f"{streams.SAMPLE:,} pairs" in text
    assert f"{streams.HELD_OUT:,} lines at most" in text
    assert streams.HELD_OUT_PART == 20 and "first twentieth" in text


# Precision


def test_half_the_digits_are_near():
    full, reduced = gru(), gru()
    rows = quiet(full, stop_after=1)
    quiet(reduced, stop_after=1, precision="bfloat16")
    assert {p.dtype for p in reduced.parameters()} == {torch.float32}
    assert not equal(full.state_dict(), reduced.state_dict())
    for name, weight in full.state_dict().items():
        other = reduced.state_dict()[name]
        torch.testing.assert_close(weight, other, rtol=0, atol=0.03)
    assert rows == []


@pytest.mark.parametrize("model", [gru, transformer])
def test_it_learns_with_half_the_digits(model):
    config = replace(CONFIG, steps=20, evaluate_every=10, average=0)
    chunks = {"gru": 2**20, "transformer": 200}[model.__name__]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "CHUNK", chunks)
        full = quiet(model(), config=config)
        reduced = quiet(model(), config=config, precision="bfloat16")
    assert reduced[-1]["loss"] == pytest.approx(full[-1]["loss"], rel=0.05)
    assert reduced[-1]["loss"] != full[-1]["loss"]
    assert reduced[-1]["loss"] < 0.98 * reduced[0]["loss"]


def test_the_launcher_may_choose_the_precision(monkeypatch):
    asked = []

    class Watched(training._Loss):
        def __init__(self, model, config, precision):
            asked.append(precision)
            super().__init__(model, config, precision)

    monkeypatch.setattr(training, "_Loss", Watched)
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    quiet(gru(), stop_after=1)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    quiet(gru(), stop_after=1)
    quiet(gru(), stop_after=1, precision="float32")
    assert asked == ["float32", "bfloat16", "float32"]
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    source = "which ACCELERATE_MIXED_PRECISION says.*--precision.*config"
    with pytest.raises(ValueError, match=f"not .fp16., {source}"):
        quiet(gru())
    with pytest.raises(ValueError, match=r"not 'fp16'$"):
        quiet(gru(), precision="fp16")


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"precision": "float64"}, "precision must be one of"),
        ({"accumulate": 0}, "accumulate must be 1 or more, not 0"),
    ],
)
def test_bad_options(option, match):
    with pytest.raises(ValueError, match=match):
        quiet(gru(), **option)


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](Path(sys.argv[2])))
