"""Going on: what a run left, whether it may be continued with these options, and putting it back."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training import checkpoint as files
from training.checkpoint import CheckpointError
from training.data.samples import Samples
from training.data.stream import Stream
from training.hardware import choose_precision
from training.learning import distributed
from training.learning.config import FitOptions, describe_difference
from training.learning.learner import Learner
from training.log import LOG
from training.options import OptionError

_DERIVED = ("preset", "precision")
"""Options whose default depends on the machine; a run keeps what it began with."""


def find_previous(options: FitOptions) -> tuple[Path, files.State] | None:
    """Returns the newest checkpoint of the run, read and checked, or None for a new run.

    Raises:
        OptionError: if the run's folder holds a run and `--resume no` asks for a new one.
        CheckpointError: if the checkpoint was tampered with or is of a newer format.
    """
    run = options.run_folder
    found = files.list_checkpoints(run)
    if options.resume == "no" and (found or (run / LOG).exists()):
        raise OptionError(f"--resume no, but {run} holds a run already: name another --output, or delete it yourself.")
    return (found[-1], files.read_state(found[-1])) if found else None


def check_shared(run: Path, previous: tuple[Path, files.State] | None, device: torch.device) -> None:
    """Raises CheckpointError, in every process, unless all found the same checkpoint.

    Only the main process writes: on machines without a common disk the others would begin anew.
    """
    found = 0
    if previous:
        folder, _ = previous
        found = 1 + int(hashlib.sha256((folder / files.STATE).read_bytes()).hexdigest()[:15], 16)
    if not distributed.agree(found, device):
        raise CheckpointError(
            f"Not all processes find the same checkpoint in {run}: put --output on a disk that all machines share, or "
            "copy the run to each."
        )


def settle(options: FitOptions, previous: tuple[Path, files.State] | None, device: torch.device) -> FitOptions:
    """Returns the options with what follows from the machine, or from the run that is continued, filled in.

    Raises:
        OptionError: if options differ that shape the weights, all named.
    """
    if previous is None:
        preset = options.preset or ("tiny" if device.type == "cpu" else "small")
        precision = "bf16" if choose_precision(options.precision, device) == torch.bfloat16 else "fp32"
        return replace(options, preset=preset, precision=precision)
    kept, defaults = previous[1].options, FitOptions(options.corpus)
    unsaid = {name: kept[name] for name in _DERIVED if getattr(options, name) == getattr(defaults, name)}
    settled = replace(options, **unsaid)
    difference = describe_difference(kept, settled)
    if difference:
        raise OptionError(
            f"{options.run_folder} was begun with other options ({difference}): give them again, or another --output."
        )
    return settled


def restore(learner: Learner, previous: tuple[Path, files.State], corpus: dict[str, Any]) -> int:
    """Puts weights, average, optimiser and queue back; returns how many steps are done.

    Args:
        corpus: what `describe_corpus` says of the places at hand.

    Raises:
        OptionError: if the split holds other places than those the run learnt from, or is shared out otherwise.
        CheckpointError: if the weights are those of another architecture.
    """
    folder, state = previous
    if corpus["keys_sha256"] != state.corpus["keys_sha256"]:
        raise OptionError(
            f"{folder.parent} learnt from {state.corpus['places']} places, this split holds {corpus['places']} or "
            "others: give the corpus as it was, or another --output."
        )
    if corpus.get("ranks") != state.corpus.get("ranks", corpus.get("ranks")):
        raise OptionError(
            f"{folder.parent} was begun with {state.corpus['ranks']} processes, which share a remote corpus out "
            f"otherwise than {corpus['ranks']}: start as many, or give another --output."
        )
    files.fill(learner.model, files.read_tensors(folder, files.WEIGHTS), folder)
    parameters = dict(learner.model.named_parameters())
    files.unpack_optimisers(learner.optimisers, parameters, files.read_tensors(folder, files.OPTIMISER))
    if learner.average:
        kept = files.read_tensors(folder, files.AVERAGE)
        for name, shadow in learner.average.shadow.items():
            shadow.copy_(kept[name])
    if learner.queue:
        learner.queue.restore(files.read_tensors(folder, files.QUEUE))
    return state.step


def save(run: Path, learner: Learner, step: int, *, metrics: dict[str, float], corpus: dict[str, Any]) -> Path:
    """Writes the checkpoint after so many steps."""
    model, options = learner.model, learner.options
    names = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {
        files.WEIGHTS: model.state_dict(),
        files.OPTIMISER: files.pack_optimisers(learner.optimisers, names),
        **({files.AVERAGE: learner.average.shadow} if learner.average else {}),
        **({files.QUEUE: learner.queue.state()} if learner.queue else {}),
    }
    state = files.State(step, model.config.to_dict(), options.shaping(), corpus, metrics)
    return files.write_checkpoint(run, state, tensors, keep=options.keep)


def describe_corpus(samples: Samples | Stream) -> dict[str, Any]:
    """Returns what tells one split of a corpus from another: its keys, of a remote one its shards.

    The order of a remote one also depends on how many processes share its shards.
    """
    names = (
        samples.keys
        if isinstance(samples, Samples)
        else [f"{name} {places}" for name, places in samples.shards.items()]
    )
    digest = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
    ranks = {} if isinstance(samples, Samples) else {"ranks": distributed.world()}
    return {"places": len(samples), "keys_sha256": digest, **ranks}
