"""One step of learning: encode, contrast, go back, clip, step, average. It knows nothing of files."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from training.data.batch import Batch
from training.learning import distributed
from training.learning.augment import move, turn
from training.learning.caching import cached_backward
from training.learning.config import FitOptions
from training.learning.objective import Objective, join_rows
from training.learning.optimiser import MovingAverage, learning_rate, make_optimiser, set_learning_rate
from training.model import Model


class NotFiniteError(ArithmeticError):
    """The loss of a step is not finite."""


@dataclass(frozen=True)
class Report:
    """What a step gave; tensors stay on the device until they are asked for."""

    loss: Tensor
    """Of the whole batch, 0-dim."""
    gradient_norm: Tensor
    """Before clipping, 0-dim."""
    lr: float
    """Rate of the step."""


class Learner:
    """A model, its optimiser and the average of its weights."""

    def __init__(self, model: Model, options: FitOptions, *, dtype: torch.dtype, steps: int) -> None:
        self.model, self.options, self.dtype, self.steps = model, options, dtype, steps
        self.optimiser = make_optimiser(model, options)
        self.average = MovingAverage(model, options.ema) if options.ema else None
        self._objective = Objective(options)
        self._learning = [p for p in model.parameters() if p.requires_grad]

    def step(self, batch: Batch, step: int) -> Report:
        """Learns from this process's share of the batch of a step; steps count from 0.

        Weights, crops and dropout being pure functions of (seed, step, rank), a run that goes on repeats nothing else.
        """
        options = self.options
        torch.manual_seed((options.seed * 1_000_003 + step) * 4099 + distributed.rank())
        if not options.plain_patches:
            batch = turn(batch, seed=options.seed, step=step)
        if options.location_noise_m:
            batch = replace(batch, lonlat_B2=move(batch.lonlat_B2, options.location_noise_m))
        rate = learning_rate(step, self.steps, options)
        set_learning_rate(self.optimiser, rate)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        limit = options.clip or float("inf")
        norm = nn.utils.clip_grad_norm_([p for p in self._learning if p.grad is not None], limit)
        self.optimiser.step()
        self.model.clamp_scale()
        if self.average:
            self.average.update(self.model, step)
        return Report(loss, norm, rate)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns the rows of a batch's places, (R, B, D) in float32, and which there are, bool (R, B)."""
        with torch.autocast(batch.lonlat_B2.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return join_rows(self.model(batch))

    def _backward(self, batch: Batch) -> Tensor:
        """Adds the gradients of the batch's loss; returns the loss of the whole batch."""

        def loss_of(z_RBD: Tensor, present_RB: Tensor) -> Tensor:
            rows = distributed.own_rows(present_RB.shape[1])
            whole = distributed.gather(z_RBD, present_RB)
            return self._objective(*whole, self.model.scale, near_K2=batch.near_K2, rows=rows)

        pieces = split(batch, self.options.micro_batch)
        loss = cached_backward(self.encode, pieces, loss_of, dims=(1, 1))
        distributed.reduce_gradients(self._learning)
        return distributed.total(loss)


def split(batch: Batch, micro_batch: int) -> list[Batch]:
    """Returns a batch in pieces of so many places, the last may be smaller; 0 for the whole."""
    size = micro_batch or len(batch)
    if size >= len(batch):
        return [batch]
    return [batch.rows(start, min(start + size, len(batch))) for start in range(0, len(batch), size)]


def check_finite(losses: list[tuple[int, Tensor]]) -> None:
    """Raises NotFiniteError, naming the first step whose loss is not finite."""
    for step, loss in losses:
        if not bool(torch.isfinite(loss)):
            raise NotFiniteError(
                f"The loss of step {step} is {float(loss)}: go on from the last checkpoint with a lower --lr, or with "
                "--precision fp32."
            )
