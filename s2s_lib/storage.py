"""Tensors in files: whole or not at all, and nothing in them is executed.

Weights and checkpoints are safetensors files with a description in JSON.
"""

import glob
import hashlib
import json
import os
import platform
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_CHECKSUM = "sha256"  # its name in the description


class CheckpointError(ValueError):
    """A file of weights that cannot be used; the message says why."""


def save_tensors(
    path: Path | str, tensors: dict[str, Tensor], about: dict[str, Any]
) -> None:
    """Write tensors and a JSON description into one safetensors file.

    The file is written beside `path` and then renamed, so that whatever
    happens `path` holds the old file or the new one, never half of one. What
    a process that was killed left half written is cleared away, if it ran on
    this machine: of others nobody knows here whether they still write. Others
    may read it as they may any new file (safetensors alone would forbid it).
    A checksum goes with it, by which a damaged file is known.

    Raises:
        OSError: if it cannot be written; `path` is as it was.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    ours = glob.escape(f".{path.name}.{_host()}.")
    for left in path.parent.glob(f"{ours}*.*.tmp"):
        writer = left.suffixes[-3][1:]
        if writer.isdigit() and not psutil.pid_exists(int(writer)):
            left.unlink(missing_ok=True)
    temporary = temporary_of(path)
    try:
        # Shared weights have several names, and are written under each.
        tensors = {
            name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, t in tensors.items()
        }
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            told = about | {_CHECKSUM: _digest(tensors, about)}
            save_file(tensors, temporary, {"about": json.dumps(told)})
        except SafetensorError as error:
            raise OSError(
                f"{path} could not be written ({error}); is the disk full? "
                "What was there before is untouched"
            ) from error
        temporary.chmod(mode)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _digest(tensors: dict[str, Tensor], about: dict[str, Any]) -> str:
    """The checksum of a description and of each bit of the tensors."""
    found = hashlib.sha256(json.dumps(about).encode())
    for name, tensor in sorted(tensors.items()):
        kind = f"{name} {tensor.dtype} {tuple(tensor.shape)}"
        found.update(kind.encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def temporary_of(path: Path) -> Path:
    """What `save_tensors` calls a file that is not written to its end.

    The name says which process of which machine writes it, since machines
    may share the folder. It is another one at each call, but as long:
    containers may have the same names and numbers.
    """
    writer = f"{_host()}.{os.getpid()}.{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{writer}.tmp")


def _host() -> str:
    """This machine's name, short, and without what a file name may not have.

    Long names may begin alike, so a hash of the whole goes with it.
    """
    name = platform.node()
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()
    return re.sub(r"[^A-Za-z0-9-]", "-", name)[:12] + "-" + digest[:6]


def load_tensors(
    path: Path | str,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote. Nothing in the file is executed.

    The tensors are copies: the file can be replaced while they are in use.

    Returns:
        The tensors by name, and the description.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is a folder, or may not be read.
        CheckpointError: if it is damaged or not one of ours.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a file")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with open(path, "rb"):  # what may not be read is said here
        pass
    try:
        with safe_open(path, framework="pt") as file:
            about = dict(json.loads((file.metadata() or {})["about"]))
            names = file.keys()
            # What get_tensor returns lies in the file, mapped into memory.
            tensors = {name: file.get_tensor(name).clone() for name in names}
        # What an older version of the library has written holds none.
        checksum = about.pop(_CHECKSUM, None)
        if checksum and checksum != _digest(tensors, about):
            raise ValueError("its checksum is not that of its content")
        return tensors, about
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or was not written by this library "
            f"({error}); if it held a checkpoint or a model of the cache, "
            "delete it to start afresh"
        ) from error


def check_weights(
    path: Path | str, model: nn.Module, weights: dict[str, Tensor]
) -> None:
    """Compare names and shapes with the model's, before loading anything.

    `path` is named in the message.

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
