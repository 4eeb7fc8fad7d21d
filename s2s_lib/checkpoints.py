"""The state of a training in a file, from which it goes on exactly.

Weights, the optimizer's moments, the random numbers of every process, and how
far the training is. A file of another training is refused.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from s2s_lib.storage import (
    CheckpointError,
    check_weights,
    load_tensors,
    save_tensors,
)

# What `progress` has at least.
PROGRESS = {"step", "history", "seconds", "sums"}


def seed_process(seed: int, step: int, process: int) -> None:
    """Random numbers for a process that has no state of its own yet."""
    if process == 0:
        torch.manual_seed(seed)
        return
    text = f"seed {seed}, step {step}, process {process}"
    digest = hashlib.sha256(text.encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:4], "big"))


def save_checkpoint(
    path: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: Any,
    progress: dict[str, Any],
    task: str = "",
    mean: dict[str, Tensor] | None = None,
    random: dict[str, Tensor] | None = None,
) -> None:
    """Keep everything that the next step depends on.

    `config` is a dataclass of settings, with a `seed`. `task` names the data
    and architecture. Loading asks for the same of both. `mean`
    is the mean of weights so far, `random` the random states of all
    processes; by default this process is the only one, and its state that of
    the CPU and of the model's device.
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer.{i}.{name}"] = value
    for name, tensor in (mean or {}).items():
        tensors[f"mean.{name}"] = tensor
    if random is None:
        random = random_state(next(model.parameters()).device)
    tensors |= random
    about = {"config": asdict(config), "progress": progress, "task": task}
    save_tensors(path, tensors, about)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The random state of this process, under its names in a checkpoint.

    It is that of the CPU, which orders the data, and that of `device`, on
    which dropout draws.
    """
    state = {"rng.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["rng.cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["rng.mps"] = torch.mps.get_rng_state()
    return state


def random_states(accelerator: Any, device: torch.device) -> dict[str, Tensor]:
    """Those of all processes; behind the first the names have a number."""
    return {
        name + (f".{process}" if process else ""): state
        for name, own in random_state(device).items()
        for process, state in enumerate(
            accelerator.gather(own[None].to(device)).cpu()
        )
    }


def set_random_state(
    tensors: dict[str, Tensor], process: int, device: torch.device
) -> bool:
    """Go on from this process' state in a checkpoint, if it has one."""
    ending = f".{process}" if process else ""
    if "rng.cpu" + ending not in tensors:
        return False
    torch.set_rng_state(tensors["rng.cpu" + ending])
    own = tensors.get(f"rng.{device.type}{ending}")
    if device.type == "cuda" and own is not None:
        torch.cuda.set_rng_state(own, device)
    elif device.type == "mps" and own is not None:
        torch.mps.set_rng_state(own)
    return True


def load_checkpoint(
    path: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: Any,
    task: str = "",
    mean: dict[str, Tensor] | None = None,
    process: int = 0,
) -> dict[str, Any]:
    """Put model, optimizer and random state back as they were saved.

    `mean` is filled with the mean of weights so far. `process` says whose
    random state is wanted; a process that was not there gets a new one.

    Returns:
        The `progress` that `save_checkpoint` was given.

    Raises:
        CheckpointError: if the file is damaged, of another configuration,
            task or model. Model and optimizer are then as they were.
    """
    tensors, about = load_tensors(path)
    if not {"config", "progress", "task"} <= about.keys() or not isinstance(
        about["progress"], dict
    ):
        raise CheckpointError(
            f"{path} holds weights alone, not the state of a training; give "
            "another file to keep the checkpoint in"
        )
    if lacking := PROGRESS - about["progress"].keys():
        raise CheckpointError(
            f"{path} does not say how far the training was: it has no "
            f"{min(lacking)!r}; delete it to start afresh"
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
            f"{path} is of a training on other sentence pairs or other "
            f"spellings of them, or with another architecture. {advice}"
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
    device = next(model.parameters()).device
    if not set_random_state(tensors, process, device):
        seed_process(config.seed, about["progress"]["step"], process)
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
