"""One training loop for every model of the book.

Teacher forcing, a loss that does not count padding, clipped gradients, and a
learning-rate schedule; a run that was stopped goes on from its checkpoint
exactly where it was. The same loop runs in one process and, under
torchrun or `accelerate launch`, in several that share each update.
"""

import hashlib
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import TqdmWarning, tqdm

from s2s_lib.batches import (
    Batch,
    EncodedPair,
    PairList,
    Updates,
    collate,
    make_batches,
    shares,
)
from s2s_lib.checkpoints import (
    load_checkpoint,
    random_state,
    random_states,
    save_checkpoint,
    seed_process,
    set_random_state,
)
from s2s_lib.hard import reinforce_loss
from s2s_lib.losses import batch_loss, masked_cross_entropy
from s2s_lib.modes import evaluation_mode

OBJECTIVES = (
    "likelihood", "reinforce", "reinforce_mean", "reinforce_none"
)  # fmt: skip
SCHEDULES = ("constant", "linear", "cosine", "inverse_sqrt")
# As accelerate names them, and as PyTorch does.
PRECISIONS = {"no": "float32", "bf16": "bfloat16"}
History = list[dict[str, float | int]]


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says what to do."""


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    Args:
        steps: updates of the weights, over all epochs.
        batch_size: sentence pairs per update.
        learning_rate: the highest rate that Adam (`kingma2015`) is given.
        schedule: how the rate goes on after the warm-up: "constant",
            "linear" or "cosine" to zero, or "inverse_sqrt".
        warmup: steps in which the rate rises to its height, in a line.
        clip_norm: the gradient is scaled down to this norm (`pascanu2013`).
        label_smoothing: share of the target's probability that is spread
            over the whole vocabulary; see `masked_cross_entropy`.
        teacher_forcing: share of true tokens fed at the last step. Below 1
            it falls from 1 in a straight line: scheduled sampling
            (`bengio2015`).
        bucket: batches of similar length.
        batch_tokens: if not 0, an update has so many positions on either
            side in place of `batch_size` pairs; see `batches.batch_rows`.
        average: if not 0, what training leaves are the mean weights of the
            last so many evaluations (`vaswani2017`, section 6.1).
        objective: "likelihood"; or for hard attention "reinforce" (another
            draw is the baseline), "reinforce_mean" (the batch's mean is) or
            "reinforce_none" (without one); see `hard.reinforce_loss`.
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
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is int and not isinstance(value, int):
                raise ValueError(
                    f"{f.name} must be a whole number, not {value}"
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
        if self.objective != "likelihood" and (
            self.label_smoothing or self.teacher_forcing != 1
        ):
            raise ValueError(
                f"objective={self.objective!r} knows no label_smoothing and "
                "no teacher_forcing below 1; leave them at 0 and 1"
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
    ordered = sorted(pairs, key=lambda pair: len(pair.target))
    total, tokens = 0.0, 0
    with evaluation_mode(model):
        for batch in make_batches(ordered, batch_size):
            batch = batch.to(device)
            n = int(batch.target_mask.sum())
            total += float(batch_loss(model, batch)) * n
            tokens += n
    return total, tokens


def join(device: torch.device | str = "cpu") -> Any:
    """Join the processes that torchrun or `accelerate launch` started.

    Args:
        device: if it is a CPU, the processes train on CPUs, else each on a
            graphics processor of its own.

    Returns:
        accelerate's `Accelerator`: how many processes there are, which of
        them this is, and what they have to say to each other. Without a
        launcher this process is the only one.

    Raises:
        TrainingError: if torchrun is to restart processes, but its settings
            would let them look for the ones that have ended.
    """
    # Here, since it takes a third of a second that translating does without,
    # and quietly, since it warns in notebooks without ipywidgets.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)
        from accelerate import Accelerator

    launched = "LOCAL_RANK" in os.environ
    if launched:
        # Imported after the processes have met, its defaults would hold their
        # connection; its threads would live on, and may abort at the end.
        import_module("torch.distributed.nn.functional")
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if launched and restarts and shared:
        # Addresses of an earlier attempt stay in the store of torchrun.
        raise TrainingError(
            "torchrun --max-restarts needs the environment variable "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, without which restarted "
            "processes may wait for those that have ended; set it"
        )
    return Accelerator(
        cpu=launched and torch.device(device).type == "cpu",
        device_placement=False,
        mixed_precision="no",  # `fit` sees to that, see `_Loss`
    )


def fit(
    model: nn.Module,
    pairs: Sequence[EncodedPair] | Updates,
    config: TrainingConfig,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 200,
    progress: bool = True,
    stop_after: int | None = None,
    accumulate: int = 1,
    precision: str | None = None,
) -> History:
    """Train `model` in place.

    Under torchrun or `accelerate launch` each process calls this with the
    same arguments. They share the pairs of every update, so that it is the
    update that one process would have made, up to rounding and to the
    positions that dropout draws. The first of them, the main process, alone
    evaluates, shows progress and writes.

    Args:
        pairs: the encoded training pairs; or, where they do not fit into
            memory, an object that gives them update by update, such as
            `streams.Stream`.
        evaluate: called every `config.evaluate_every` steps and at the end;
            what it returns joins the history of the main process.
        checkpoint: a file to keep the state in. If it is there already, the
            training goes on from it, to the same weights as if it had never
            stopped, if the number of processes is the same. With another
            number the new processes draw other random numbers. Processes on
            several machines must see it in a folder that they share.
        checkpoint_every: steps between two checkpoints.
        progress: show a bar on standard error.
        stop_after: leave after so many steps of the whole, with the
            checkpoint written; for tests and for short sessions.
        accumulate: compute each update in so many parts, one after another,
            for which less memory is needed; the update stays the same, but
            with the objective "reinforce_mean", whose baseline is the mean
            of one part. (The pairs of one process are such a part, too.)
        precision: "float32"; or "bfloat16", in which the products of
            matrices have fewer digits, for speed. None: what `accelerate
            launch` was told, else "float32". Weights and checkpoints have
            32 bits in any case.

    Returns:
        One dict per evaluation: step, loss (mean over the steps since the
        last row), rate, grad_norm (before clipping), seconds, and what
        `evaluate` returned.

    Raises:
        TrainingError: if the loss or the gradient is not finite, there are
            no pairs, or the processes do not see the same files.
        CheckpointError: if the checkpoint is of another training: other
            settings, pairs or architecture.
        ValueError: if `checkpoint_every` or `accumulate` is below 1, there
            is no such precision, or `evaluate` returns a number under a name
            that a row has already, such as "loss".
    """
    data = pairs if isinstance(pairs, Updates) else PairList(pairs)
    if isinstance(data, PairList) and not data.pairs:
        raise TrainingError("there are no sentence pairs to train on")
    for name, value in (
        ("checkpoint_every", checkpoint_every),
        ("accumulate", accumulate),
    ):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, not {value}")
    precision = _precision(precision)
    device = next(model.parameters()).device
    accelerator = join(device)
    main, several = accelerator.is_main_process, accelerator.num_processes > 1
    if several:
        device = accelerator.device
        model.to(device)
    optimizer = _optimizer(model, config)
    seed_process(config.seed, 0, accelerator.process_index)
    history, start, spent, sums = [], 0, 0.0, [0.0, 0.0, 0.0]
    place: Any = None
    mean: dict[str, Tensor] = {}
    task = "" if checkpoint is None else _task(model, data)
    if checkpoint is not None and Path(checkpoint).exists():
        saved = load_checkpoint(
            checkpoint,
            model,
            optimizer,
            config,
            task,
            mean,
            accelerator.process_index,
        )
        start, history = saved["step"], saved["history"]
        spent, sums = saved["seconds"], saved["sums"]
        place = saved.get("place", start)
    if several:
        _check_agreement(accelerator, start, task)
    # From here on the processes have the weights of the first one.
    loss_of = accelerator.prepare_model(_Loss(model, config, precision))
    began = time.perf_counter() - spent
    last = config.steps if stop_after is None else stop_after
    last = min(last, config.steps)
    model.train()
    bar = tqdm(
        total=config.steps,
        initial=start,
        # Where it is wanted, TQDM_DISABLE in the environment decides.
        **({} if progress and main else {"disable": True}),
        desc="training",
        unit="step",
        mininterval=1.0,
    )
    with bar:
        updates = data.updates(config, place)
        for step in range(start, last):
            together, place = next(updates)
            parts = [
                (collate(part).to(device), weight)
                for part, weight in shares(
                    together,
                    accelerator.num_processes,
                    accelerator.process_index,
                    accumulate,
                )
            ]
            loss, norm = _update(
                loss_of, parts, optimizer, accelerator, config, step
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
                history.append(
                    row | _evaluated(model, evaluate if main else None)
                )
                sums = [0.0, 0.0, 0.0]
                if (number := config.averaged(done)) > 0:
                    _average(mean, model, number)
                bar.set_postfix(loss=f"{row['loss']:.3f}")
            at_stop = done % checkpoint_every == 0 or done == last
            if checkpoint is not None and at_stop:
                random = random_states(accelerator, device)
                progress_so_far = {
                    "step": done,
                    "history": history,
                    "seconds": time.perf_counter() - began,
                    "sums": sums,
                    "place": place,
                }
                if main:
                    save_checkpoint(
                        checkpoint,
                        model,
                        optimizer,
                        config,
                        progress_so_far,
                        task,
                        mean,
                        random,
                    )
    if mean and last == config.steps:
        model.load_state_dict(mean)
        row = {**history[-1], "averaged": config.average}
        history.append(row | _evaluated(model, evaluate if main else None))
    model.eval()
    accelerator.wait_for_everyone()
    return history


def _precision(name: str | None) -> str:
    source = ""
    if name is None:
        given = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        name = PRECISIONS.get(given, given)
        source = (
            ", which ACCELERATE_MIXED_PRECISION says, the variable that "
            "`accelerate launch` sets. Give --precision, or choose one of "
            f"{tuple(PRECISIONS)} with `accelerate config`"
        )
    if name not in PRECISIONS.values():
        raise ValueError(
            f"precision must be one of {tuple(PRECISIONS.values())}, "
            f"not {name!r}{source}"
        )
    return name


def _check_agreement(accelerator: Any, start: int, task: str) -> None:
    """Processes that read other files would wait for each other for ever."""
    own = torch.tensor([[start, int(task[:15] or "0", 16)]])
    seen = accelerator.gather(own.to(accelerator.device)).cpu()
    if (seen[:, 0] != seen[0, 0]).any():
        raise TrainingError(
            "the processes do not see the same checkpoint: they would start "
            f"after steps {seen[:, 0].tolist()}. Put it into a folder that "
            "all machines share"
        )
    if (seen[:, 1] != seen[0, 1]).any():
        raise TrainingError(
            "the processes do not have the same sentence pairs or model. "
            "Give all the same command and the same files"
        )


# What a row of the history has without any evaluation.
MEASURED = {"step", "loss", "grad_norm", "rate", "seconds", "averaged"}


def _evaluated(
    model: nn.Module, evaluate: Callable[[nn.Module], dict[str, Any]] | None
) -> dict[str, Any]:
    """What `evaluate` returns; the random state and the mode stay.

    Raises:
        ValueError: if the history has another number of that name.
    """
    if evaluate is None:
        return {}
    device = next(model.parameters()).device
    random = random_state(device)
    try:
        with evaluation_mode(model):
            scores = evaluate(model)
    finally:
        set_random_state(random, 0, device)
    if taken := MEASURED & scores.keys():
        raise ValueError(
            f"evaluate returns {sorted(taken)}, which the history has already "
            "from the training; give other names"
        )
    # Numbers of NumPy and PyTorch cannot be written into a checkpoint.
    return {
        name: value.item() if hasattr(value, "item") else value
        for name, value in scores.items()
    }


def _average(mean: dict[str, Tensor], model: nn.Module, number: int) -> None:
    """Take a model's weights into a mean, as the `number`-th in it."""
    for name, weight in model.state_dict().items():
        weight = weight.cpu()
        if number == 1:
            mean[name] = weight.clone()
        else:
            mean[name] += (weight - mean[name]) / number


def _task(model: nn.Module, data: Updates) -> str:
    """A hash of the data and of the architecture, dropout included."""
    # What has no layer of its own, such as a number of heads, is only here.
    settings = getattr(model, "config", "")
    text = f"{model}{settings}{data.identity()}"
    return hashlib.sha256(text.encode()).hexdigest()


class _Loss(nn.Module):
    """The loss of a batch as a module.

    Several processes exchange gradients in the backward pass of a module
    whose forward pass was called, and our models have no forward pass.
    """

    def __init__(
        self, model: nn.Module, config: TrainingConfig, precision: str
    ):
        super().__init__()
        self.model, self.config = model, config
        self.reduced = precision == "bfloat16"

    def forward(self, batch: Batch, step: int) -> Float[Tensor, ""]:
        kind = batch.source.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.reduced):
            return _loss(self.model, batch, self.config, step)


def _update(
    loss_of: nn.Module,
    parts: Sequence[tuple[Batch, float]],
    optimizer: torch.optim.Optimizer,
    accelerator: Any,
    config: TrainingConfig,
    step: int,
) -> tuple[float, float]:
    """One update; the loss and the gradient's norm before clipping.

    Each part has its weight in the loss. The weights of all parts of all
    processes together are 1.
    """
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=parts[0][0].source.device)
    for number, (batch, weight) in enumerate(parts, 1):
        # Gradients travel once per update, with the last part.
        early = number < len(parts)
        with accelerator.no_sync(loss_of) if early else nullcontext():
            loss = loss_of(batch, step)
            total += weight * loss.detach()
            # The processes' gradients are averaged, and their sum is wanted.
            (loss * (weight * accelerator.num_processes)).backward()
    # What is checked is the same in all processes: they stop together.
    value = float(accelerator.reduce(total, "sum"))
    _check_finite("loss", value, config, step)
    norm = nn.utils.clip_grad_norm_(loss_of.parameters(), config.clip_norm)
    # A finite loss can have an infinite gradient, and the clip makes it NaN.
    _check_finite("gradient's norm", float(norm), config, step)
    for group in optimizer.param_groups:
        group["lr"] = config.rate(step)
    optimizer.step()
    return value, float(norm)


def updater(
    model: nn.Module, config: TrainingConfig
) -> Callable[[Batch], tuple[float, float]]:
    """A function that makes one update of `model` from a batch, as `fit` does.

    To be timed: the rate stays that of the first update, and nothing is
    validated or written. It returns the loss, and the gradient's norm before
    clipping.
    """
    optimizer = _optimizer(model, config)
    loss_of, alone = _Loss(model, config, "float32"), join()

    def update(batch: Batch) -> tuple[float, float]:
        return _update(loss_of, [(batch, 1.0)], optimizer, alone, config, 0)

    return update


def _optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Adam:
    return torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, fused=True
    )


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
            f"the {what} became {value} at step {step + 1}, and the model "
            "was not changed by this step. A lower learning_rate (now "
            f"{config.rate(step):.2g}) or clip_norm (now {config.clip_norm}) "
            "usually helps; begin anew with it, since a checkpoint holds "
            "weights that led here. Check the data for very long sentences "
            "too"
        )
