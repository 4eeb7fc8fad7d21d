"""One training loop for every model of the book.

Teacher forcing, a loss that does not count padding, clipped gradients, a
learning-rate schedule, and checkpoints from which a run that was stopped
goes on exactly where it was.
"""

import glob
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from s2s_lib.batches import (
    Batch,
    EncodedPair,
    batch_rows,
    collate,
    make_batches,
)
from s2s_lib.hard import reinforce_loss
from s2s_lib.losses import batch_loss, masked_cross_entropy

OBJECTIVES = (
    "likelihood", "reinforce", "reinforce_mean", "reinforce_none"
)  # fmt: skip
SCHEDULES = ("constant", "linear", "cosine", "inverse_sqrt")
History = list[dict[str, float | int]]


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says what to do."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says why."""


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    Args:
        steps: updates of the weights, over all epochs.
        batch_size: sentence pairs per update.
        learning_rate: the highest rate that Adam (`kingma2015`) is given.
        schedule: how the rate goes on after `warmup` steps of linear rise:
            "constant", "linear" or "cosine" to zero, or "inverse_sqrt".
        clip_norm: the gradient is scaled down to this norm (`pascanu2013`).
        label_smoothing: see `masked_cross_entropy`.
        teacher_forcing: share of true tokens fed at the last step. Below 1
            it falls from 1 in a straight line: scheduled sampling
            (`bengio2015`).
        bucket: batches of similar length.
        batch_tokens: if not 0, an update has so many positions on either
            side in place of `batch_size` pairs; see `batches.batch_rows`.
        average: if not 0, what training leaves are the mean weights of the
            last so many evaluations (`vaswani2017`, section 6.1).
        objective: "likelihood", or for hard attention "reinforce" with
            another draw, the batch's mean or nothing as its baseline; see
            `hard.reinforce_loss`.
        evaluate_every: steps between two rows of the history.
        seed: of the weights, the order of the data and dropout.

    Raises:
        ValueError: if a value is outside its range.
    """

    steps: int = 1200
    batch_size: int = 64
    learning_rate: float = 2e-3
    schedule: str = "constant"
    warmup: int = 0
    clip_norm: float = 1.0
    label_smoothing: float = 0.0
    teacher_forcing: float = 1.0
    bucket: bool = True
    batch_tokens: int = 0
    average: int = 0
    objective: str = "likelihood"
    evaluate_every: int = 200
    seed: int = 0

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"schedule must be one of {SCHEDULES}, not {self.schedule!r}"
            )
        if self.objective not in OBJECTIVES:
            raise ValueError(
                f"objective must be one of {OBJECTIVES}, "
                f"not {self.objective!r}"
            )
        for name in ("steps", "batch_size", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be 1 or more, not {getattr(self, name)}"
                )
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"{name} must be above 0, not {getattr(self, name)}"
                )
        if math.isinf(self.learning_rate):
            raise ValueError("learning_rate must be finite, not inf")
        if not 0 <= self.seed < 2**32:
            raise ValueError(
                f"seed must be from 0 to 2**32 - 1, not {self.seed}"
            )
        for name in ("warmup", "batch_tokens", "average"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{name} must be 0 or more, not {getattr(self, name)}"
                )
        evaluations = math.ceil(self.steps / self.evaluate_every)
        if self.average > evaluations:
            raise ValueError(
                f"average={self.average} needs so many evaluations, and "
                f"{self.steps} steps with evaluate_every="
                f"{self.evaluate_every} have {evaluations}"
            )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                "label_smoothing must be at least 0 and below 1, "
                f"not {self.label_smoothing}"
            )
        if not 0 <= self.teacher_forcing <= 1:
            raise ValueError(
                f"teacher_forcing is a share from 0 to 1, "
                f"not {self.teacher_forcing}"
            )

    def evaluates(self, done: int) -> bool:
        """Whether the model is evaluated after so many updates."""
        return done % self.evaluate_every == 0 or done == self.steps

    def averaged(self, done: int) -> int:
        """How many weights are in the mean after so many updates."""
        rest = math.ceil((self.steps - done) / self.evaluate_every)
        return max(0, self.average - rest)

    def rate(self, step: int) -> float:
        """The learning rate of update `step`, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        factor = {
            "constant": 1.0,
            "linear": 1 - done,
            "cosine": 0.5 * (1 + math.cos(math.pi * done)),
            "inverse_sqrt": math.sqrt(max(1, self.warmup) / (step + 1)),
        }[self.schedule]
        return self.learning_rate * factor


def scheduled_logits(
    model: Any,
    batch: Batch,
    truth: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch steps vocabulary"]:
    """Logits with the model's own guesses among the inputs (`bengio2015`).

    Each input token is the true one with probability `truth`, else the most
    probable one of the step before. No gradient flows through the choice.
    """
    memory = model.encode(batch.source, batch.source_mask)
    token, state, rows = batch.target_in[:, 0], None, []
    for t in range(batch.target_in.shape[1]):
        logits, state, _ = model.step(memory, token, state)
        rows.append(logits)
        if t + 1 < batch.target_in.shape[1]:
            true = batch.target_in[:, t + 1]
            coin = torch.rand(true.shape, generator=generator)
            guess = logits.detach().argmax(1)
            token = torch.where(coin.to(true.device) < truth, true, guess)
    return torch.stack(rows, dim=1)


@torch.no_grad()
def total_loss(
    model: nn.Module, pairs: Sequence[EncodedPair], batch_size: int = 256
) -> tuple[float, int]:
    """Negative log-likelihood of all targets, teacher-forced, in nats.

    The model is in evaluation mode meanwhile.

    Returns:
        total: the sum over all real tokens.
        tokens: how many these are; `metrics.perplexity(total, tokens)`.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    ordered = sorted(pairs, key=lambda pair: len(pair.target))
    total, tokens = 0.0, 0
    for batch in make_batches(ordered, batch_size):
        batch = batch.to(device)
        n = int(batch.target_mask.sum())
        total, tokens = total + float(batch_loss(model, batch)) * n, tokens + n
    model.train(was_training)
    return total, tokens


def fit(
    model: nn.Module,
    pairs: Sequence[EncodedPair],
    config: TrainingConfig,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 200,
    progress: bool = True,
    stop_after: int | None = None,
) -> History:
    """Train `model` in place.

    Args:
        pairs: the encoded training pairs.
        evaluate: called every `config.evaluate_every` steps and at the end;
            what it returns joins the history.
        checkpoint: a file to keep the state in. If it is there already, the
            training goes on from it, to the same weights as if it had never
            stopped.
        checkpoint_every: steps between two checkpoints.
        progress: show a bar on standard error.
        stop_after: leave after so many steps of the whole, with the
            checkpoint written; for tests and for short sessions.

    Returns:
        One dict per evaluation: step, loss (mean over the steps since the
        last row), rate, grad_norm (before clipping), seconds, and what
        `evaluate` returned.

    Raises:
        TrainingError: if the loss or the gradient is not finite, or there
            are no pairs.
        CheckpointError: if the checkpoint is of another training: other
            settings, pairs or architecture.
        ValueError: if `checkpoint_every` is below 1.
    """
    if not pairs:
        raise TrainingError("there are no sentence pairs to train on")
    if checkpoint_every < 1:
        raise ValueError(
            f"checkpoint_every must be 1 or more, not {checkpoint_every}"
        )
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, fused=True
    )
    torch.manual_seed(config.seed)
    history, start, spent, sums = [], 0, 0.0, [0.0, 0.0, 0.0]
    mean: dict[str, Tensor] = {}
    task = "" if checkpoint is None else _task(model, pairs)
    if checkpoint is not None and Path(checkpoint).exists():
        saved = load_checkpoint(
            checkpoint, model, optimizer, config, task, mean
        )
        start, history = saved["step"], saved["history"]
        spent, sums = saved["seconds"], saved["sums"]
    began = time.perf_counter() - spent
    last = config.steps if stop_after is None else stop_after
    last = min(last, config.steps)
    model.train()
    bar = tqdm(
        total=config.steps,
        initial=start,
        # Where it is wanted, TQDM_DISABLE in the environment decides.
        **({} if progress else {"disable": True}),
        desc="training",
        unit="step",
        mininterval=1.0,
    )
    with bar:
        batches = _batches_from(pairs, config, start)
        for step in range(start, last):
            loss, norm = _update(
                model, next(batches).to(device), optimizer, config, step
            )
            sums = [sums[0] + loss, sums[1] + norm, sums[2] + 1]
            bar.update()
            done = step + 1
            if config.evaluates(done):
                row = {
                    "step": done,
                    "loss": sums[0] / sums[2],
                    "grad_norm": sums[1] / sums[2],
                    "rate": config.rate(step),
                    "seconds": time.perf_counter() - began,
                }
                history.append(row | _evaluated(model, evaluate))
                sums = [0.0, 0.0, 0.0]
                if (number := config.averaged(done)) > 0:
                    _join(mean, model, number)
                bar.set_postfix(loss=f"{row['loss']:.3f}")
            at_stop = done % checkpoint_every == 0 or done == last
            if checkpoint is not None and at_stop:
                progress_so_far = {
                    "step": done,
                    "history": history,
                    "seconds": time.perf_counter() - began,
                    "sums": sums,
                }
                save_checkpoint(
                    checkpoint,
                    model,
                    optimizer,
                    config,
                    progress_so_far,
                    task,
                    mean,
                )
    if mean and last == config.steps:
        model.load_state_dict(mean)
        row = {**history[-1], "averaged": config.average}
        history.append(row | _evaluated(model, evaluate))
    model.eval()
    return history


def _evaluated(
    model: nn.Module, evaluate: Callable[[nn.Module], dict[str, Any]] | None
) -> dict[str, Any]:
    """What `evaluate` returns; the random state and the mode stay."""
    if evaluate is None:
        return {}
    with torch.random.fork_rng():
        scores = evaluate(model)
    model.train()
    return scores


def _join(mean: dict[str, Tensor], model: nn.Module, number: int) -> None:
    """Take a model's weights into a mean, as the `number`-th in it."""
    for name, weight in model.state_dict().items():
        weight = weight.cpu()
        if number == 1:
            mean[name] = weight.clone()
        else:
            mean[name] += (weight - mean[name]) / number


def _task(model: nn.Module, pairs: Sequence[EncodedPair]) -> str:
    """A hash of the data and of the architecture, dropout included."""
    return hashlib.sha256(f"{model}{json.dumps(pairs)}".encode()).hexdigest()


def _batches_from(
    pairs: Sequence[EncodedPair], config: TrainingConfig, step: int
) -> Iterator[Batch]:
    """Batches from update `step` on; each epoch has a seed of its own."""
    epoch = 0
    while True:
        generator = torch.Generator().manual_seed(
            config.seed * 1_000_003 + epoch
        )
        batches = batch_rows(
            pairs,
            config.batch_size,
            generator,
            config.bucket,
            config.batch_tokens,
        )
        for rows in batches[step:]:
            yield collate([pairs[row] for row in rows])
        epoch, step = epoch + 1, max(0, step - len(batches))


def _update(
    model: nn.Module,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    step: int,
) -> tuple[float, float]:
    """One update; the loss and the gradient's norm before clipping."""
    loss = _loss(model, batch, config, step)
    value = float(loss.detach())
    _check_finite("loss", value, config, step)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    # A finite loss can have an infinite gradient, and the clip makes it NaN.
    _check_finite("gradient's norm", float(norm), config, step)
    for group in optimizer.param_groups:
        group["lr"] = config.rate(step)
    optimizer.step()
    return value, float(norm)


def _loss(
    model: nn.Module, batch: Batch, config: TrainingConfig, step: int
) -> Float[Tensor, ""]:
    if config.objective != "likelihood":
        _, _, baseline = config.objective.partition("_")
        return reinforce_loss(model, batch, baseline or "other")
    if config.teacher_forcing < 1:
        share = (step + 1) / config.steps
        truth = 1 - (1 - config.teacher_forcing) * share
        logits = scheduled_logits(model, batch, truth)
        return masked_cross_entropy(
            logits, batch.target_out, batch.target_mask, config.label_smoothing
        )
    return batch_loss(model, batch, config.label_smoothing)


def _check_finite(
    what: str, value: float, config: TrainingConfig, step: int
) -> None:
    if not math.isfinite(value):
        raise TrainingError(
            f"the {what} became {value} at step {step + 1}. The weights "
            "before this step are kept. A lower learning_rate (now "
            f"{config.rate(step):.2g}) or clip_norm (now {config.clip_norm}) "
            "usually helps; check the data for very long sentences too"
        )


def save_tensors(
    path: Path | str, tensors: dict[str, Tensor], about: dict[str, Any]
) -> None:
    """Write tensors and a JSON description into one safetensors file.

    The file is written beside `path` and then renamed, so that whatever
    happens `path` holds the old file or the new one, never half of one. What
    a process that was killed left half written is cleared away.

    Raises:
        OSError: if it cannot be written; `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        writer = left.suffixes[-2][1:]
        if writer.isdigit() and not psutil.pid_exists(int(writer)):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Shared weights have several names, and are written under each.
        tensors = {
            name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, t in tensors.items()
        }
        try:
            save_file(tensors, temporary, {"about": json.dumps(about)})
        except SafetensorError as error:
            raise OSError(
                f"{path} could not be written ({error}); is the disk full? "
                "What was there before is untouched"
            ) from error
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def load_tensors(
    path: Path | str,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote. Nothing in the file is executed.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged or not one of ours.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = dict(json.loads((file.metadata() or {})["about"]))
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, about
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or was not written by this library "
            f"({error}); delete it to start afresh"
        ) from error


def save_checkpoint(
    path: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    progress: dict[str, Any],
    task: str = "",
    mean: dict[str, Tensor] | None = None,
) -> None:
    """Keep everything that the next step depends on.

    `task` names the data and architecture; loading asks for the same. `mean`
    is the mean of weights so far.
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer.{i}.{name}"] = value
    for name, tensor in (mean or {}).items():
        tensors[f"mean.{name}"] = tensor
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    about = {"config": asdict(config), "progress": progress, "task": task}
    save_tensors(path, tensors, about)


def load_checkpoint(
    path: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    task: str = "",
    mean: dict[str, Tensor] | None = None,
) -> dict[str, Any]:
    """Put model, optimizer and random state back as they were saved.

    `mean` is filled with the mean of weights so far.

    Returns:
        The `progress` that `save_checkpoint` was given.

    Raises:
        CheckpointError: if the file is damaged, of another configuration,
            task or model. Model and optimizer are then as they were.
    """
    tensors, about = load_tensors(path)
    if not {"config", "progress", "task"} <= about.keys():
        raise CheckpointError(
            f"{path} holds weights alone, not the state of a training; give "
            "another file to keep the checkpoint in"
        )
    advice = "Give the same to resume, or delete the file to start afresh"
    if about["config"] != asdict(config):
        changed = [
            f"{name} was {about['config'].get(name)!r}, now {value!r}"
            for name, value in asdict(config).items()
            if about["config"].get(name) != value
        ]
        raise CheckpointError(
            f"{path} is of another training: {'; '.join(changed)}. {advice}"
        )
    weights, moments = _split(tensors)
    check_weights(path, model, weights)
    if about["task"] != task:
        raise CheckpointError(
            f"{path} is of a training on other sentence pairs, or with "
            f"another architecture. {advice}"
        )
    if "rng.cpu" not in tensors or not _moments_fit(moments, model):
        raise CheckpointError(
            f"{path} lacks a part of the optimizer's or the random state; "
            "delete it to start afresh"
        )
    model.load_state_dict(weights)
    if mean is not None:
        mean |= {
            name.removeprefix("mean."): tensor
            for name, tensor in tensors.items()
            if name.startswith("mean.")
        }
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    torch.set_rng_state(tensors["rng.cpu"])
    if torch.cuda.is_available() and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    return about["progress"]


def _moments_fit(
    moments: dict[int, dict[str, Tensor]], model: nn.Module
) -> bool:
    """Whether Adam's state is there, with the shapes of the parameters.

    A parameter that never had a gradient has no state.
    """
    shapes = dict(enumerate(p.shape for p in model.parameters()))
    expected = {"step", "exp_avg", "exp_avg_sq"}
    return bool(moments) and all(
        state.keys() == expected
        and state["exp_avg"].shape == shapes.get(i)
        and state["exp_avg_sq"].shape == shapes.get(i)
        for i, state in moments.items()
    )


def _split(
    tensors: dict[str, Tensor],
) -> tuple[dict[str, Tensor], dict[int, dict[str, Tensor]]]:
    """Separate a checkpoint's weights from the optimizer's moments."""
    weights: dict[str, Tensor] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            weights[rest] = tensor
        elif kind == "optimizer":
            i, _, moment = rest.partition(".")
            moments.setdefault(int(i), {})[moment] = tensor
    return weights, moments


def check_weights(
    path: Path | str, model: nn.Module, weights: dict[str, Tensor]
) -> None:
    """Compare names and shapes with the model's, before loading anything.

    Raises:
        CheckpointError: naming the first difference.
    """
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path} is of another model: {name} has shape "
                f"{found.get(name)} there and {expected.get(name)} here "
                "(None: not there). Check the architecture and vocabularies"
            )
