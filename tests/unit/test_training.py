"""The training loop: its loss, its schedules, its files, stopping anywhere.

Invariant 12 (stopped and resumed = never stopped) is checked bitwise, with
dropout, scheduled sampling, ^C in the middle of a step and SIGKILL.
"""

import builtins
import errno
import inspect
import math
import os
import pickle
import re
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from s2s_lib import checkpoints, storage, training
from s2s_lib.batches import EncodedPair, PairList, collate
from s2s_lib.checkpoints import load_checkpoint, save_checkpoint
from s2s_lib.recurrent import RecurrentConfig, RecurrentModel
from s2s_lib.storage import CheckpointError, load_tensors, save_tensors
from s2s_lib.training import (
    TrainingConfig,
    TrainingError,
    fit,
    masked_cross_entropy,
    scheduled_logits,
    total_loss,
    updater,
)
from s2s_lib.transformer import TransformerConfig, TransformerModel
from s2s_lib.vocab import EOS, SOS

ROOT = Path(__file__).resolve().parents[2]
WORDS = 11
EPOCH = 6  # updates in an epoch of CONFIG: 23 pairs, 4 at a time
CONFIG = TrainingConfig(
    steps=14, batch_size=4, evaluate_every=5, learning_rate=1e-2, warmup=3
)


def make_pairs(count=23, seed=0):
    """Random ids; the target is the source from its end."""
    g = torch.Generator().manual_seed(seed)
    pairs = []
    for _ in range(count):
        length = int(torch.randint(1, 7, (), generator=g))
        ids = torch.randint(4, WORDS, (length,), generator=g).tolist()
        pairs.append(EncodedPair([*ids, EOS], [*ids[::-1], EOS]))
    return pairs


def make_model(seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"embedding_size": 6, "hidden_size": 8, **options}
    return RecurrentModel(WORDS, WORDS, RecurrentConfig(**sizes))


def copy_of(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(a, b):
    """Whether two dicts of tensors are equal to the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def without_seconds(history):
    return [
        {k: v for k, v in row.items() if k != "seconds"} for row in history
    ]


def update_once(model, batch, optimizer):
    """One update, as `fit` makes it."""
    loss_of = training._Loss(model, CONFIG, "float32")
    parts, accelerator = [(batch, 1.0)], training.join()
    training._update(loss_of, parts, optimizer, accelerator, CONFIG, 0)


def state_of(path):
    """All tensors of a checkpoint, and its history."""
    tensors, about = load_tensors(path)
    return tensors, without_seconds(about["progress"]["history"])


def noisy(model):
    """An evaluation that draws random numbers, and leaves eval mode on."""
    model.eval()
    return {"noise": float(torch.rand(()))}


# The loss


def test_loss_is_the_mean_over_real_tokens():
    torch.manual_seed(0)
    logits = torch.randn(3, 5, WORDS)
    target = torch.randint(0, WORDS, (3, 5))
    mask = torch.arange(5) < torch.tensor([5, 2, 3])[:, None]
    per_token = [
        nn.functional.cross_entropy(logits[i, t], target[i, t])
        for i in range(3)
        for t in range(5)
        if mask[i, t]
    ]
    loss = masked_cross_entropy(logits, target, mask)
    assert len(per_token) == 10
    torch.testing.assert_close(loss, torch.stack(per_token).mean())


def test_padding_does_not_count():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, WORDS, requires_grad=True)
    target = torch.randint(4, WORDS, (2, 4))
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    loss = masked_cross_entropy(logits, target, mask)
    loss.backward()
    assert (logits.grad[~mask] == 0).all()
    assert (logits.grad[mask] != 0).all()
    with torch.no_grad():
        other, wrong = logits.clone(), target.clone()
        other[~mask], wrong[~mask] = 1e6, 0
        assert masked_cross_entropy(other, wrong, mask) == loss
        # More padding: the mean is still over the same six tokens.
        pad = nn.functional.pad
        wider = masked_cross_entropy(
            pad(logits, (0, 0, 0, 3)), pad(target, (0, 3)), pad(mask, (0, 3))
        )
    assert wider == loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_is_the_formula(smoothing):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, WORDS).double()
    target = torch.randint(0, WORDS, (2, 3))
    mask = torch.tensor([[True, True, True], [True, False, False]])
    wanted = torch.full((2, 3, WORDS), smoothing / WORDS)
    wanted.scatter_add_(
        2, target[..., None], torch.full((2, 3, 1), 1 - smoothing)
    )
    by_hand = -(wanted * logits.log_softmax(2)).sum(2)[mask].mean()
    loss = masked_cross_entropy(logits, target, mask, smoothing)
    assert float(loss) == pytest.approx(float(by_hand), rel=1e-6)


def test_a_single_update_is_that_of_fit():
    """What is timed is what trains."""
    config = replace(CONFIG, steps=1)
    trained, timed = make_model(), make_model()
    (row,) = fit(trained, make_pairs(), config, progress=False)
    (rows, _) = next(PairList(make_pairs()).updates(config))
    loss, norm = updater(timed.train(), config)(collate(rows))
    assert same(trained.state_dict(), timed.state_dict())
    assert (row["loss"], row["grad_norm"]) == (loss, norm)


def test_total_loss_is_the_sum_over_all_tokens_in_evaluation_mode():
    model, pairs = make_model(dropout=0.5), make_pairs(9)
    model.train()
    total, tokens = total_loss(model, pairs, batch_size=4)
    assert model.training
    model.eval()
    by_hand = 0.0
    with torch.no_grad():
        for pair in pairs:  # one sentence at a time: no padding at all
            batch = collate([pair])
            memory = model.encode(batch.source, batch.source_mask)
            logits, _ = model.decode(memory, batch.target_in)
            log_probs = logits[0].log_softmax(1)
            for t, word in enumerate(pair.target):
                by_hand -= float(log_probs[t, word])
    assert tokens == sum(len(pair.target) for pair in pairs)
    assert total == pytest.approx(by_hand, rel=1e-5)


def test_evaluation_leaves_every_part_in_its_mode(monkeypatch):
    model, pairs = make_model(dropout=0.5), make_pairs(9)
    model.train()
    model.encoder.eval()  # a part that is frozen

    def as_before():
        frozen = [part.training for part in model.encoder.modules()]
        return model.training and model.decoder.training and not any(frozen)

    total_loss(model, pairs)
    assert as_before()
    monkeypatch.setattr(model, "encode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        total_loss(model, pairs)
    assert as_before()


def test_the_history_is_evaluated_without_dropout():
    modes = []

    def evaluate(model):
        modes.append(model.training)
        return {}

    config = TrainingConfig(steps=2, evaluate_every=1)
    model = make_model(dropout=0.5)
    fit(model, make_pairs(), config, evaluate, progress=False)
    assert modes and not any(modes)


# Settings and schedules


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        # Updates 0 and 3 of a warm-up of 4; then 4, 9 and 13 of 14.
        ("constant", (0.25, 1.0, 1.0, 1.0, 1.0)),
        ("linear", (0.25, 1.0, 1.0, 0.5, 0.1)),
        (
            "cosine",
            (0.25, 1.0, 1.0, 0.5, (1 + math.cos(0.9 * math.pi)) / 2),
        ),
        (
            "inverse_sqrt",
            (
                0.25,
                1.0,
                math.sqrt(4 / 5),
                math.sqrt(4 / 10),
                math.sqrt(4 / 14),
            ),
        ),
    ],
)
def test_schedule(schedule, rates):
    config = TrainingConfig(
        steps=14, warmup=4, schedule=schedule, learning_rate=0.3
    )
    found = [config.rate(step) for step in (0, 3, 4, 9, 13)]
    assert found == pytest.approx([0.3 * rate for rate in rates])


@pytest.mark.parametrize("schedule", training.SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 10, 99])
def test_every_rate_is_positive_and_at_most_the_highest(schedule, warmup):
    config = TrainingConfig(
        steps=10, warmup=warmup, schedule=schedule, learning_rate=0.3
    )
    rates = [config.rate(step) for step in range(10)]
    assert all(0 < rate <= 0.3 for rate in rates)


def test_the_optimizer_is_given_the_rate_of_the_schedule(monkeypatch):
    used = []
    step = torch.optim.Adam.step

    def watched(self, *args, **kwargs):
        used.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    config = replace(CONFIG, schedule="cosine")
    fit(make_model(), make_pairs(), config, progress=False)
    assert used == [config.rate(i) for i in range(config.steps)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schedule", "wild"),
        ("steps", 0),
        ("batch_size", 0),
        ("evaluate_every", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("clip_norm", -1.0),
        ("warmup", -1),
        ("label_smoothing", 1.0),
        ("teacher_forcing", 1.5),
        ("teacher_forcing", math.nan),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_bad_settings_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        TrainingConfig(**{name: value})


# Clipping


def gradient_after_one_update(clip_norm):
    """Norms (before, after clipping) of the first update."""
    model, config = make_model(), replace(CONFIG, clip_norm=clip_norm)
    norms = []

    class Watched(torch.optim.Adam):
        def step(self, closure=None):
            grads = [p.grad.flatten() for p in model.parameters()]
            norms.append(float(torch.cat(grads).norm()))
            return super().step(closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.torch.optim, "Adam", Watched)
        (row,) = fit(
            model,
            make_pairs(4),
            replace(config, steps=1),
            progress=False,
        )
    return row["grad_norm"], norms[0]


def test_the_gradient_is_clipped_and_its_norm_before_is_recorded():
    recorded, applied = gradient_after_one_update(0.01)
    assert recorded > 0.1
    assert applied == pytest.approx(0.01, rel=1e-3)
    unclipped, unchanged = gradient_after_one_update(1e9)
    assert unclipped == pytest.approx(recorded)
    assert unchanged == pytest.approx(recorded, rel=1e-5)


# Scheduled sampling


def test_scheduled_logits_with_the_truth_are_teacher_forcing():
    model, batch = make_model(), collate(make_pairs(5))
    memory = model.encode(batch.source, batch.source_mask)
    forced, _ = model.decode(memory, batch.target_in)
    torch.testing.assert_close(scheduled_logits(model, batch, 1.0), forced)


def test_scheduled_logits_without_the_truth_feed_their_own_argmax():
    model, batch = make_model(), collate(make_pairs(5))
    memory = model.encode(batch.source, batch.source_mask)
    token, state, fed = torch.full((5,), SOS), None, []
    rows = []
    for _ in range(batch.target_in.shape[1]):
        fed.append(token)
        logits, state, _ = model.step(memory, token, state)
        rows.append(logits)
        token = logits.argmax(1)
    own = scheduled_logits(model, batch, 0.0)
    torch.testing.assert_close(own, torch.stack(rows, 1))
    # The same through the other path: its own guesses, teacher-forced.
    again, _ = model.decode(memory, torch.stack(fed, 1))
    torch.testing.assert_close(own, again)
    assert (torch.stack(fed, 1) != batch.target_in).any()


def test_scheduled_logits_mix_in_the_share_asked_for():
    class Spy:
        """Predicts word 5 always; records what it is fed."""

        def __init__(self):
            self.fed = []

        def encode(self, source, mask):
            return None

        def step(self, memory, token, state):
            self.fed.append(token)
            logits = torch.zeros(len(token), WORDS)
            logits[:, 5] = 1
            return logits, None, None

    pairs = [EncodedPair([4, EOS], [6] * 40 + [EOS])] * 100
    spy = Spy()
    g = torch.Generator().manual_seed(0)
    scheduled_logits(spy, collate(pairs), 0.8, g)
    assert (spy.fed[0] == SOS).all()
    fed = torch.stack(spy.fed[1:])  # 40 steps of 100 tokens
    assert set(fed.unique().tolist()) == {5, 6}
    # Four standard errors of 4000 draws.
    assert float((fed == 6).float().mean()) == pytest.approx(0.8, abs=0.026)


def test_the_share_of_true_tokens_falls_in_a_straight_line(monkeypatch):
    shares = []

    def watched(model, batch, truth, generator=None):
        shares.append(truth)
        return scheduled_logits(model, batch, truth, generator)

    monkeypatch.setattr(training, "scheduled_logits", watched)
    config = replace(CONFIG, steps=4, teacher_forcing=0.2)
    fit(make_model(), make_pairs(), config, progress=False)
    assert shares == pytest.approx([0.8, 0.6, 0.4, 0.2])


# Training


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_loss_falls(share):
    config = TrainingConfig(
        steps=60,
        batch_size=8,
        learning_rate=4e-2,
        evaluate_every=20,
        teacher_forcing=share,
    )
    model, pairs = make_model(), make_pairs(8)
    before = total_loss(model, pairs)[0]
    history = fit(model, pairs, config, progress=False)
    losses = [row["loss"] for row in history]
    assert [row["step"] for row in history] == [20, 40, 60]
    assert losses[0] > losses[1] > losses[2]
    assert total_loss(model, pairs)[0] < before / 4
    assert not model.training


def test_a_row_is_the_mean_since_the_row_before():
    rows = fit(
        make_model(),
        make_pairs(),
        replace(CONFIG, evaluate_every=1),
        progress=False,
    )
    coarse = fit(make_model(), make_pairs(), CONFIG, progress=False)
    assert [row["step"] for row in coarse] == [5, 10, 14]
    for row, (start, end) in zip(
        coarse, [(0, 5), (5, 10), (10, 14)], strict=True
    ):
        for name in ("loss", "grad_norm"):
            fine = [r[name] for r in rows[start:end]]
            assert row[name] == pytest.approx(sum(fine) / len(fine))
        assert row["rate"] == CONFIG.rate(end - 1)


def test_numbers_of_numpy_go_into_a_checkpoint(tmp_path):
    def evaluate(model):
        return {"a": np.float32(1.5), "b": torch.tensor(2)}

    path = tmp_path / "c"
    fit(
        make_model(), make_pairs(), CONFIG, evaluate, path, 5,
        progress=False, stop_after=5,
    )  # fmt: skip
    _, about = load_tensors(path)
    row = about["progress"]["history"][-1]
    assert (row["a"], row["b"]) == (1.5, 2)
    with pytest.raises(ValueError, match=r"\['loss'\]"):
        fit(
            make_model(), make_pairs(), CONFIG, lambda _: {"loss": 1.0},
            progress=False,
        )  # fmt: skip


def test_evaluation_changes_nothing_but_the_history():
    plain, watched = make_model(dropout=0.3), make_model(dropout=0.3)
    bare = fit(plain, make_pairs(), CONFIG, progress=False)
    rows = fit(watched, make_pairs(), CONFIG, noisy, progress=False)
    assert same(copy_of(plain), copy_of(watched))
    for a, b in zip(bare, rows, strict=True):
        assert b.pop("noise") >= 0
        assert without_seconds([a]) == without_seconds([b])


def test_evaluation_that_fails_leaves_the_random_state():
    def fails(model):
        torch.rand(3)
        raise KeyError

    model, before = make_model(), torch.get_rng_state()
    with pytest.raises(KeyError):
        training._evaluated(model, fails)
    assert torch.equal(torch.get_rng_state(), before)


class Elsewhere(nn.Module):
    """A model that says it is on another device."""

    def __init__(self, device):
        super().__init__()
        self.device = torch.device(device)

    def parameters(self, recurse=True):
        yield SimpleNamespace(device=self.device)


@pytest.fixture
def generators(monkeypatch):
    """The calls to generators of devices that this machine may lack."""
    import torch._dynamo  # makes a table of these functions, each but once

    calls = []

    def get(device="current"):
        calls.append(("get", str(device)))
        return torch.tensor([7], dtype=torch.uint8)

    def put(state, device="current"):
        calls.append(("set", str(device), state.tolist()))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # Where PyTorch is built for such devices, Adam asks the one it has.
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda *_, **__: None
    )
    for module in (torch.cuda, torch.mps):
        monkeypatch.setattr(module, "get_rng_state", get)
        monkeypatch.setattr(module, "set_rng_state", put)
    return calls


@pytest.mark.parametrize(
    ("device", "called"),
    [("cpu", None), ("cuda:1", "cuda:1"), ("mps", "current")],
)
def test_the_random_state_is_that_of_the_models_device(
    device, called, generators, tmp_path
):
    model, drawn = Elsewhere(device), []
    optimizer = torch.optim.Adam(make_model().parameters())
    got, put = [("get", called)], [("set", called, [7])]
    if called is None:
        got = put = []
    save_checkpoint(tmp_path / "c", model, optimizer, CONFIG, {})
    assert generators == got
    tensors, _ = load_tensors(tmp_path / "c")
    kept = {"rng.cpu", f"rng.{model.device.type}"}
    assert {name for name in tensors if name.startswith("rng")} == kept
    generators.clear()
    assert checkpoints.set_random_state(tensors, 0, model.device)
    assert generators == put
    generators.clear()
    training._evaluated(model, lambda _: {"n": drawn.append(1) or 1.0})
    assert generators == got + put and drawn == [1]


def test_a_model_on_the_cpu_needs_no_state_of_another_device(
    checkpoint, generators
):
    """One that has the state of a graphics processor serves it, too."""
    _edit(checkpoint, lambda t, a: t.update({"rng.cuda": t["rng.cpu"]}))
    fit(
        make_model(), make_pairs(), CONFIG, lambda _: {"a": 1.0}, checkpoint,
        progress=False,
    )  # fmt: skip
    assert generators == []
    assert "rng.cuda" not in load_tensors(checkpoint)[0]


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    weights = []
    for seed in (3, 3, 4):
        model = make_model(dropout=0.3)
        fit(model, make_pairs(), replace(CONFIG, seed=seed), progress=False)
        weights.append(copy_of(model))
        torch.rand(7)  # what the caller draws in between has no influence
    assert same(weights[0], weights[1])
    assert not same(weights[0], weights[2])


def test_every_epoch_sees_each_pair_once_in_its_own_order():
    pairs = [EncodedPair([4 + i, EOS], [EOS]) for i in range(23)]
    updates = PairList(pairs).updates(CONFIG)
    epochs = [
        [pair.source[0] for _ in range(EPOCH) for pair in next(updates)[0]]
        for _ in range(3)
    ]
    for epoch in epochs:
        assert sorted(epoch) == list(range(4, 27))
    assert epochs[0] != epochs[1] != epochs[2]


def test_no_pairs_is_said():
    with pytest.raises(TrainingError, match="no sentence pairs"):
        fit(make_model(), [], CONFIG, progress=False)


def test_checkpoint_every_is_checked():
    with pytest.raises(ValueError, match="checkpoint_every"):
        fit(
            make_model(),
            make_pairs(),
            CONFIG,
            checkpoint_every=0,
            progress=False,
        )


# Invariant 12: stopped and resumed = never stopped

VARIANTS = {
    "plain": ({}, {}),
    "dropout": ({"dropout": 0.4}, {}),
    "scheduled": ({}, {"teacher_forcing": 0.3}),
    "everything": (
        {"dropout": 0.2, "cell": "lstm", "num_layers": 2},
        {
            "teacher_forcing": 0.5,
            "schedule": "cosine",
            "label_smoothing": 0.1,
            "seed": 5,
        },
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_at_any_step_and_resumed(variant, tmp_path):
    options, settings = VARIANTS[variant]
    config = replace(CONFIG, **settings)

    def run(path, stops):
        for stop in stops:
            # A new model of other weights each time: all must be restored.
            model = make_model(seed=0 if stop == stops[0] else 99, **options)
            history = fit(
                model,
                make_pairs(),
                config,
                noisy,
                path,
                checkpoint_every=3,
                progress=False,
                stop_after=stop,
            )
        return copy_of(model), without_seconds(history), state_of(path)

    weights, history, (tensors, kept) = run(tmp_path / "whole", [None])
    assert len(history) == 3 and kept == history
    # Once at every single step; once at an evaluation row (5), at the end of
    # an epoch (6) and within one (7).
    plans = [[*range(1, CONFIG.steps + 1)], [5, None], [6, None], [7, None]]
    for number, plan in enumerate(plans):
        path = tmp_path / str(number)
        found, rows, (found_tensors, found_kept) = run(path, plan)
        assert same(weights, found), plan
        assert rows == history and found_kept == history, plan
        # Optimizer and random state, too.
        assert same(tensors, found_tensors), plan


def test_resuming_a_finished_training_does_nothing(tmp_path):
    model, path = make_model(), tmp_path / "c"
    history = fit(model, make_pairs(), CONFIG, checkpoint=path, progress=False)
    other = make_model(seed=9)
    again = fit(other, make_pairs(), CONFIG, checkpoint=path, progress=False)
    assert again == history
    assert same(copy_of(model), copy_of(other))


def test_seconds_go_on_counting(tmp_path, monkeypatch):
    path, pairs = tmp_path / "c", make_pairs()
    fit(
        make_model(), pairs, CONFIG, checkpoint=path,
        progress=False, stop_after=5,
    )  # fmt: skip
    tensors, about = load_tensors(path)
    about["progress"]["seconds"] = 1000.0
    save_tensors(path, tensors, about)
    history = fit(make_model(), pairs, CONFIG, checkpoint=path, progress=False)
    assert history[0]["seconds"] < 900 < 1000 < history[-1]["seconds"] < 1900


@pytest.mark.parametrize("place", ["step", "clip", "save", "replace"])
def test_interrupted_in_the_middle(place, tmp_path, monkeypatch):
    """^C inside an update or a checkpoint: the file before it is whole."""
    whole, path = tmp_path / "whole", tmp_path / "c"
    model = make_model(dropout=0.3)
    history = fit(model, make_pairs(), CONFIG, None, whole, 3, progress=False)
    targets = {
        "step": (torch.optim.Adam, "step", 8),
        "clip": (nn.utils, "clip_grad_norm_", 8),
        "save": (storage, "save_file", 3),
        "replace": (storage.os, "replace", 3),
    }
    owner, name, when = targets[place]
    original, calls = getattr(owner, name), []

    def interrupted(*args, **kwargs):
        calls.append(0)
        if len(calls) == when:
            if place == "step":  # half of the update has been made
                original(*args, **kwargs)
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(
                make_model(dropout=0.3),
                make_pairs(),
                CONFIG,
                None,
                path,
                3,
                progress=False,
            )
    assert load_tensors(path)[1]["progress"]["step"] == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "whole"]
    resumed = make_model(seed=99, dropout=0.3)
    rows = fit(resumed, make_pairs(), CONFIG, None, path, 3, progress=False)
    assert same(copy_of(model), copy_of(resumed))
    assert without_seconds(rows) == without_seconds(history)
    assert same(state_of(whole)[0], state_of(path)[0])


CHILD = """
import sys, time
sys.path[:0] = sys.argv[2:4]
import test_training as t
def slow(model):
    print("row", flush=True)
    time.sleep(0.05)
    return {}
t.fit(t.make_model(dropout=0.3), t.make_pairs(), t.KILLED, slow,
      sys.argv[1], 4, progress=False)
"""
KILLED = replace(CONFIG, steps=40, evaluate_every=1)


def test_killed_between_checkpoints(tmp_path):
    path = tmp_path / "c"
    here = str(Path(__file__).parent)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), here, str(ROOT)],
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(7):  # past the checkpoint at 4, before the one at 8
        assert child.stdout.readline() == "row\n"
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    step = load_tensors(path)[1]["progress"]["step"]
    assert 4 <= step < KILLED.steps and step % 4 == 0

    def nothing(model):
        return {}

    whole, resumed = make_model(dropout=0.3), make_model(9, dropout=0.3)
    history = fit(whole, make_pairs(), KILLED, nothing, progress=False)
    rows = fit(resumed, make_pairs(), KILLED, nothing, path, progress=False)
    assert same(copy_of(whole), copy_of(resumed))
    assert without_seconds(rows) == without_seconds(history)


# A loss that is not finite


class Explodes(nn.Module):
    """A model whose loss, or only its gradient, breaks at one update."""

    def __init__(self, inner, at, what):
        super().__init__()
        self.inner, self.at, self.what, self.calls = inner, at, what, 0

    def encode(self, source, mask):
        return self.inner.encode(source, mask)

    @property
    def output(self):
        return self.inner.output

    def hidden(self, memory, target_in):
        hidden, weights = self.inner.hidden(memory, target_in)
        self.calls += 1
        if self.calls == self.at:
            if self.what == "gradient":
                hidden.register_hook(lambda g: g * math.inf)
            else:
                hidden = hidden * float(self.what)
        return hidden, weights


@pytest.mark.parametrize("what", ["nan", "inf", "gradient"])
def test_not_finite(what, tmp_path):
    path, safe = tmp_path / "c", make_model()
    fit(safe, make_pairs(), CONFIG, progress=False, stop_after=7)
    model = Explodes(make_model(), 8, what)
    with pytest.raises(TrainingError) as caught:
        fit(model, make_pairs(), CONFIG, None, path, 3, progress=False)
    message = str(caught.value)
    assert "at step 8" in message and "learning_rate" in message
    assert ("gradient" if what == "gradient" else "loss") in message
    # The seven updates before are in the weights, and nothing more.
    assert same(copy_of(safe), copy_of(model.inner))
    tensors, about = load_tensors(path)
    assert about["progress"]["step"] == 6
    assert all(t.isfinite().all() for t in tensors.values())


# Checkpoints that cannot be used


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "state.checkpoint"
    fit(
        make_model(), make_pairs(), CONFIG, checkpoint=path,
        progress=False, stop_after=4,
    )  # fmt: skip
    return path


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def _truncate(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def _flip_header(path):
    content = bytearray(path.read_bytes())
    content[20] ^= 0xFF
    path.write_bytes(content)


def _edit(path, change):
    tensors, about = load_tensors(path)
    change(tensors, about)
    save_tensors(path, tensors, about)


def _pickle(path):
    path.write_bytes(pickle.dumps(Trap(path.with_name("executed"))))


def _torch_save(path):
    torch.save({"a": Trap(path.with_name("executed"))}, path)


def _foreign(path):
    save_file({"a": torch.zeros(2)}, path)


def _foreign_about(path):
    save_file({"a": torch.zeros(2)}, path, {"about": "[1, 2]"})


def _weights_only(path):
    save_tensors(path, copy_of(make_model()), {"recipe": {}})


def _flip_a_bit(path, place):
    """Of what is kept, not of the header: the file can still be read."""
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    at = start + int(place * (len(content) - 1 - start))
    content[at] ^= 1
    path.write_bytes(content)


def _change_a_digit(path):
    """Of the description: it can still be read, and says something else."""
    content = path.read_bytes()
    changed = content.replace(b'\\"step\\": 4', b'\\"step\\": 5', 1)
    assert changed != content and len(changed) == len(content)
    path.write_bytes(changed)


BREAKS = {
    "empty": lambda p: p.write_bytes(b""),
    "noise": lambda p: p.write_bytes(os.urandom(5000)),
    "text": lambda p: p.write_text("epoch 1, loss 2.3\n" * 100),
    "short": lambda p: _truncate(p, 5),
    "header": lambda p: _truncate(p, 100),
    "truncated": lambda p: _truncate(p, p.stat().st_size - 1),
    "flipped": _flip_header,
    "first bit flipped": lambda p: _flip_a_bit(p, 0),
    "middle bit flipped": lambda p: _flip_a_bit(p, 0.5),
    "last bit flipped": lambda p: _flip_a_bit(p, 1),
    "a digit changed": _change_a_digit,
    "pickle": _pickle,
    "torch.save": _torch_save,
    "foreign": _foreign,
    "foreign about": _foreign_about,
    "weights only": _weights_only,
    "no random state": lambda p: _edit(p, lambda t, a: t.pop("rng.cpu")),
    "no moments": lambda p: _edit(
        p,
        lambda t, a: [t.pop(k) for k in list(t) if "optimizer" in k],
    ),
    "moment of another shape": lambda p: _edit(
        p, lambda t, a: t.update({"optimizer.0.exp_avg": torch.zeros(3)})
    ),
    "a weight too few": lambda p: _edit(
        p, lambda t, a: t.pop("model.bridge.bias")
    ),
    "a weight too many": lambda p: _edit(
        p, lambda t, a: t.update({"model.more": torch.zeros(3)})
    ),
}
# What a message may say is to be done.
ADVICE = r"delete|another file|Check the architecture"


def refuses(path, model=None, config=CONFIG, task=None, pairs=None):
    """Load, expect the error; nothing may have changed. The message."""
    model = model or make_model(seed=3)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    pairs = pairs or make_pairs()
    batch = collate(pairs[:3])
    update_once(model, batch, optimizer)
    weights, moments = copy_of(model), pickle.dumps(optimizer.state_dict())
    content, rng = path.read_bytes(), torch.get_rng_state()
    task = training._task(model, PairList(pairs)) if task is None else task
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, model, optimizer, config, task)
    assert same(weights, copy_of(model))
    assert moments == pickle.dumps(optimizer.state_dict())
    assert torch.equal(rng, torch.get_rng_state())
    assert path.read_bytes() == content
    message = str(caught.value)
    assert str(path) in message and re.search(ADVICE, message), message
    assert "\n" not in message
    # The loop stops at the same error, before its first update.
    with pytest.raises(CheckpointError):
        fit(model, pairs, config, checkpoint=path, progress=False)
    assert same(weights, copy_of(model))
    assert path.read_bytes() == content
    return message


@pytest.mark.parametrize("way", BREAKS)
def test_unusable_checkpoint(way, checkpoint):
    BREAKS[way](checkpoint)
    refuses(checkpoint)
    assert not checkpoint.with_name("executed").exists()


def test_the_trap_would_have_sprung(tmp_path):
    """The two files above do execute code where they are unpickled."""
    _pickle(tmp_path / "p")
    pickle.loads((tmp_path / "p").read_bytes())
    assert (tmp_path / "executed").exists()


def test_no_module_of_the_library_unpickles():
    for path in (ROOT / "s2s_lib").glob("*.py"):
        code = path.read_text(encoding="utf-8")
        found = re.search(
            r"^\s*(import|from) (pickle|joblib|shelve|dill)|torch\.load\(",
            code,
            re.MULTILINE,
        )
        assert not found, f"{path.name}: {found}"


@pytest.mark.parametrize(
    ("setting", "value"), [("batch_size", 5), ("steps", 20), ("seed", 1)]
)
def test_checkpoint_of_other_settings(setting, value, checkpoint):
    other = replace(CONFIG, **{setting: value})
    message = refuses(checkpoint, config=other)
    was = getattr(CONFIG, setting)
    assert f"{setting} was {was}, now {value}" in message


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_size": 9},
        {"cell": "lstm"},
        {"num_layers": 2},
        {"dropout": 0.5},  # the same shapes, another training
    ],
)
def test_checkpoint_of_another_model(options, checkpoint):
    refuses(checkpoint, model=make_model(**options))


@pytest.mark.parametrize(
    "change",
    [{"num_heads": 4}, {"positions": "rotary"}, {"weights_layer": 0}],
)
def test_checkpoint_of_what_no_shape_tells(change, tmp_path):
    """Neither the weights nor the layers show it."""
    config = TransformerConfig(8, 2, 2, 8)
    path = tmp_path / "checkpoint"
    for one in (config, replace(config, **change)):
        torch.manual_seed(0)
        model = TransformerModel(WORDS, WORDS, one)
        arguments = [model, make_pairs(), CONFIG, None, path, 2]
        if one is config:
            fit(*arguments, progress=False, stop_after=2)
        else:
            with pytest.raises(CheckpointError, match="architecture"):
                fit(*arguments, progress=False)


def test_checkpoint_of_other_pairs(checkpoint):
    """The vocabularies may well be the same, so shapes would not tell."""
    swapped = [EncodedPair(p.target, p.source) for p in make_pairs()]
    assert "other sentence pairs" in refuses(checkpoint, pairs=swapped)


def test_no_file_is_said(tmp_path):
    for path, error in (
        (tmp_path / "none", FileNotFoundError),
        (tmp_path, IsADirectoryError),
        ("/dev/null", FileNotFoundError),
    ):
        with pytest.raises(error, match=str(path)):
            load_tensors(path)


def test_a_file_of_an_older_version_has_no_checksum(tmp_path):
    path, tensors = tmp_path / "old", {"a": torch.ones(2)}
    save_file(tensors, path, {"about": '{"is": "old"}'})
    found, about = load_tensors(path)
    assert torch.equal(found["a"], tensors["a"]) and about == {"is": "old"}


@pytest.mark.parametrize("name", ["steps", "batch_size", "warmup"])
def test_what_is_counted_is_a_whole_number(name):
    """(The tests check types themselves, so it is made by hand.)"""
    config = object.__new__(TrainingConfig)
    for value in (2.5, 3.0, math.inf, None):
        vars(config).update(vars(CONFIG) | {name: value})
        with pytest.raises(ValueError, match=f"{name} must be a whole numb"):
            inspect.unwrap(TrainingConfig.__post_init__)(config)


# Writing


def test_tensors_come_back_as_they_were(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    tensors = {
        "a": torch.randn(3, 4).T,  # not contiguous
        "b": torch.tensor(3),
        "c": torch.tensor([math.nan, math.inf, -0.0]),
        "d": torch.zeros(0, 3),
        "e": torch.randn(2).bfloat16(),
    }
    about = {"é": [1, 0.1, None], "n": math.nan}
    save_tensors(path, tensors, about)
    found, told = load_tensors(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=0, atol=0, equal_nan=True
        )
    assert told["é"] == about["é"] and math.isnan(told["n"])


def mapped(path):
    """Whether this process has the file mapped into its memory."""
    return str(path) in Path("/proc/self/maps").read_text()


@pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="maps are told by Linux"
)
def test_what_is_read_does_not_hold_on_to_the_file(checkpoint):
    """Else Windows would not let the next checkpoint replace it."""
    tensors, _ = load_tensors(checkpoint)
    assert len(tensors) > 10 and not mapped(checkpoint)
    model, mean = make_model(), {}
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    task = training._task(model, PairList(make_pairs()))
    load_checkpoint(checkpoint, model, optimizer, CONFIG, task, mean)
    assert optimizer.state_dict()["state"] and not mapped(checkpoint)


def test_two_writers_never_write_one_file(tmp_path, monkeypatch):
    """Machines and containers may have the same numbers of processes."""
    path, names = tmp_path / "file", set()
    hosts = ("node", "nöde/1.a b", "n" * 300 + "1", "n" * 300 + "2", "")
    for host in hosts * 2:
        with monkeypatch.context() as patch:
            patch.setattr(storage.platform, "node", lambda h=host: h)
            temporary = storage.temporary_of(path)
            assert len(storage.temporary_of(path).name) == len(temporary.name)
        assert temporary.parent == tmp_path and len(temporary.name) < 50
        assert re.fullmatch(
            rf"\.file\.[A-Za-z0-9-]+\.{os.getpid()}\.[0-9a-f]+\.tmp",
            temporary.name,
        )
        names.add(temporary.name)
    assert len(names) == 2 * len(hosts)
    assert len({name.split(".")[2] for name in names}) == len(hosts)
    assert any(name.startswith(".file.node-") for name in names)


def test_only_what_this_machine_left_half_written_is_cleared(tmp_path):
    path = tmp_path / "file"
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = storage.temporary_of(path).name.replace(
        f".{os.getpid()}.", f".{child.pid}."
    )
    others = {
        storage.temporary_of(path).name,  # of a living process
        dead.replace(storage._host(), "elsewhere-012345"),
    }
    for name in (dead, *others):
        (tmp_path / name).write_bytes(b"half")
    save_tensors(path, {"a": torch.ones(2)}, {})
    assert {p.name for p in tmp_path.iterdir()} == {"file", *others}


@pytest.mark.parametrize("place", ["save_file", "fsync", "replace", "open"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_failed_write_leaves_the_old_file(place, error, tmp_path, monkeypatch):
    path = tmp_path / "file"
    save_tensors(path, {"a": torch.zeros(2)}, {"is": "old"})
    old = path.read_bytes()

    def fails(target, *args):
        if place in ("save_file", "replace"):
            assert list(tmp_path.glob(".*.tmp")) or place == "save_file"
        if place == "save_file":  # half of it is there
            Path(args[0]).write_bytes(b"half")
        raise error(errno.ENOSPC, "No space left on device")

    owner = {"save_file": storage, "open": builtins}.get(place, storage.os)
    with monkeypatch.context() as patch:
        patch.setattr(owner, place, fails)
        with pytest.raises(error):
            save_tensors(path, {"a": torch.ones(2)}, {"is": "new"})
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert load_tensors(path)[1] == {"is": "old"}


def test_full_disk(tmp_path, full_disk):
    path = tmp_path / "file"
    save_tensors(path, {"a": torch.zeros(2)}, {"is": "old"})
    old = path.read_bytes()
    with (
        full_disk(4096),
        pytest.raises(OSError, match="disk full") as caught,
    ):
        save_tensors(path, {"a": torch.ones(4096)}, {"is": "new"})
    assert str(path) in str(caught.value)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_read_only_folder(others_folder, read_only):
    with (
        read_only(others_folder),
        pytest.raises(OSError, match="file") as caught,
    ):
        save_tensors(others_folder / "file", {"a": torch.ones(2)}, {})
    assert "ermission" in str(caught.value)
    assert not list(others_folder.iterdir())


def test_others_may_read_a_file_as_they_may_any_new_one(tmp_path):
    path = tmp_path / "file"
    for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            save_tensors(path, {"a": torch.ones(2)}, {})
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        save_tensors(tmp_path / "file" / "x", {"a": torch.ones(2)}, {})
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_checkpoint_holds_all_that_the_next_step_needs(tmp_path):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    batch = collate(make_pairs(4))
    update_once(model, batch, optimizer)
    path = tmp_path / "c"
    so_far = {"step": 1, "history": [], "seconds": 2.0, "sums": [3.0]}
    save_checkpoint(path, model, optimizer, CONFIG, so_far, "task")
    drawn = torch.rand(3)
    other = make_model(seed=7)
    fresh = torch.optim.Adam(other.parameters(), fused=True)
    progress = load_checkpoint(path, other, fresh, CONFIG, "task")
    assert progress == so_far
    assert torch.equal(torch.rand(3), drawn)
    assert same(copy_of(model), copy_of(other))
    old, new = optimizer.state_dict(), fresh.state_dict()
    assert old["state"].keys() == new["state"].keys()
    for i in old["state"]:
        assert same(old["state"][i], new["state"][i])


@pytest.mark.parametrize("progress", [{"step": 1}, {}, "x"])
def test_a_checkpoint_without_its_progress_is_refused(tmp_path, progress):
    model, path = make_model(), tmp_path / "c"
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    update_once(model, collate(make_pairs(4)), optimizer)
    task = training._task(model, PairList(make_pairs()))
    write = inspect.unwrap(save_checkpoint)  # any progress will do
    write(path, model, optimizer, CONFIG, progress, task)
    told = r"does not say how far|holds weights alone"
    before = copy_of(model)
    with pytest.raises(CheckpointError, match=told):
        fit(model, make_pairs(), CONFIG, checkpoint=path, progress=False)
    assert same(before, copy_of(model))


def test_writing_a_checkpoint_is_quick(tmp_path):
    """It happens every few seconds: well below a second, if fsync is."""
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    began = time.perf_counter()
    save_checkpoint(tmp_path / "c", model, optimizer, CONFIG, {})
    assert time.perf_counter() - began < 5


def test_training_says_nothing_in_a_notebook():
    """accelerate's import warns there, and a chapter shows what is said."""
    code = """
import sys, types
notebook = types.SimpleNamespace(get_ipython=lambda: None)
sys.modules |= {"ipykernel.zmqshell": notebook, "IPython": notebook}
sys.modules["ipywidgets"] = None  # is not installed
from s2s_lib.training import join
join()
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, "")
