"""Checkpoints: a folder each, of safetensors and one JSON, written whole or not at all. Nothing is ever unpickled.

    runs/demo/step_00001000/  model.safetensors  ema.safetensors  optimiser.safetensors  state.json

`state.json` says how the model is made, where the run stands, and the sha256 of each file beside it, which is checked
before anything is read.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from training.model import Model, ModelConfig

FORMAT_VERSION = 2
"""Of the checkpoint's folder, and of what the numbers mean that its towers read; a reader refuses any other."""
STATE, WEIGHTS, AVERAGE, OPTIMISER = "state.json", "model.safetensors", "ema.safetensors", "optimiser.safetensors"
CHOICES = ("auto", "ema", "model")
"""Which weights of a checkpoint a model gets: the average where there is one, the average, or those that learn."""
QUEUE = "queue.safetensors"
_NAME = re.compile(r"step_\d{8}")


class CheckpointError(ValueError):
    """A checkpoint cannot be used: one sentence with fact, value and remedy."""


@dataclass(frozen=True)
class State:
    """What stands in `state.json` besides digests."""

    step: int
    """Steps done."""
    model: dict[str, Any]
    """`ModelConfig` as plain values."""
    options: dict[str, Any]
    """Options that shape the weights."""
    corpus: dict[str, Any]
    """Which corpus, split and number of places it learnt from."""
    metrics: dict[str, float]
    """Of the last evaluation."""


def write_checkpoint(run: Path, state: State, tensors: Mapping[str, Mapping[str, Tensor]], *, keep: int) -> Path:
    """Writes the checkpoint of a step, whole or not at all, then forgets all but the newest.

    Args:
        tensors: by name of the file, then by name of the tensor.
    """
    final = run / f"step_{state.step:08d}"
    draft = run / f".{final.name}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    digests = {}
    for name, found in tensors.items():
        content = save({key: value.detach().cpu().contiguous() for key, value in found.items()})
        _write(draft / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()
    record = {"format_version": FORMAT_VERSION, **vars(state), "sha256": digests}
    _write(draft / STATE, json.dumps(record, indent=1, sort_keys=True).encode())
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)
    _sync(run)
    for old in list_checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    for left in run.glob(".step_*"):
        shutil.rmtree(left, ignore_errors=True)
    return final


def list_checkpoints(run: Path) -> list[Path]:
    """Returns the checkpoints of a run, the newest last."""
    return sorted(p for p in run.glob("step_*") if _NAME.fullmatch(p.name) and (p / STATE).is_file())


def find_checkpoint(run: Path) -> Path:
    """Returns a run's newest checkpoint, or the folder itself if it is one.

    Raises:
        CheckpointError: if there is none.
    """
    if (run / STATE).is_file():
        return run
    found = list_checkpoints(run)
    if not found:
        raise CheckpointError(f"{run} holds no checkpoint: name the folder of a run, such as runs/demo.")
    return found[-1]


def read_state(checkpoint: Path) -> State:
    """Reads and checks `state.json` and the digests of all files.

    Raises:
        CheckpointError: if it is of another format, or a file is missing or not what was written.
    """
    try:
        record = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        version, digests = record.pop("format_version"), record.pop("sha256")
        state = State(**record)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{checkpoint / STATE} cannot be read ({error}): take an earlier checkpoint.") from error
    if version != FORMAT_VERSION:
        is_old = isinstance(version, int) and version < FORMAT_VERSION
        remedy = "train again, or take the sameplace that wrote it" if is_old else "install a newer sameplace"
        raise CheckpointError(f"{checkpoint} has checkpoint format {version}, not {FORMAT_VERSION}: {remedy}.")
    for name, digest in digests.items():
        path = checkpoint / name
        if not path.is_file() or _hash(path) != digest:
            fact = "is not what was written" if path.is_file() else "is missing"
            raise CheckpointError(f"{path} {fact} (sha256): delete {checkpoint} and go on from an earlier checkpoint.")
    return state


def read_tensors(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """Reads one file of a checkpoint, on the CPU.

    Raises:
        CheckpointError: if it is no safetensors file.
    """
    try:
        return load_file(checkpoint / name)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint / name} cannot be read ({error}): take an earlier checkpoint.") from error


def load_model(run: str | Path, *, weights: str = "auto", device: str | torch.device = "cpu") -> Model:
    """Returns the model of a run's newest checkpoint, ready to encode.

    Args:
        run: folder of a run or of one checkpoint.
        weights: ema, model, or auto for the average where there is one.

    Raises:
        CheckpointError: if there is no checkpoint, it was tampered with, or holds another architecture.
    """
    if weights not in CHOICES:
        raise CheckpointError(f"Unknown weights {weights!r}: choose from {', '.join(CHOICES)}.")
    checkpoint = find_checkpoint(Path(run))
    state = read_state(checkpoint)
    has_average = (checkpoint / AVERAGE).is_file()
    if weights == "ema" and not has_average:
        raise CheckpointError(f"{checkpoint} holds no moving average: take weights 'model'.")
    try:
        model = Model(ModelConfig.from_dict(state.model))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} describes a model that this version does not make: {error}") from error
    found = read_tensors(checkpoint, WEIGHTS)
    if weights == "ema" or (weights == "auto" and has_average):
        found |= read_tensors(checkpoint, AVERAGE)
    fill(model, found, checkpoint)
    return model.to(device).eval()


def fill(model: nn.Module, found: Mapping[str, Tensor], where: Path) -> None:
    """Puts weights into a model.

    Raises:
        CheckpointError: if names or shapes are those of another architecture.
    """
    wanted = model.state_dict()
    wrong = sorted(set(wanted) ^ set(found)) or sorted(n for n in wanted if wanted[n].shape != found[n].shape)
    if wrong:
        raise CheckpointError(
            f"{where} is a checkpoint of another architecture ({len(wrong)} tensors differ, first {wrong[0]}): give "
            "the options it was trained with, or another --output."
        )
    model.load_state_dict(found)


def pack_optimisers(optimisers: Iterable[torch.optim.Optimizer], names: Mapping[Any, str]) -> dict[str, Tensor]:
    """Returns the state of optimisers that share no parameter as tensors, named `parameter/what`."""
    return {
        f"{names[parameter]}/{what}": value
        for optimiser in optimisers
        for parameter, kept in optimiser.state.items()
        for what, value in kept.items()
    }


def unpack_optimisers(
    optimisers: Iterable[torch.optim.Optimizer], parameters: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    """Puts back what `pack_optimisers` gave."""
    owners = {p: one for one in optimisers for group in one.param_groups for p in group["params"]}
    for name, value in found.items():
        parameter, _, what = name.rpartition("/")
        target = parameters[parameter]
        on = value if what == "step" and not target.is_cuda else value.to(target.device)
        owners[target].state[target][what] = on


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
