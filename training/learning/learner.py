"""One step of learning: encode, contrast, go back, clip, step, average. It knows nothing of files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from training.data.batch import LOCATION, Batch
from training.learning import distributed
from training.learning.augment import move, turn
from training.learning.caching import cached_backward
from training.learning.config import FitOptions
from training.learning.negatives import Negatives, Queue, collect, draw_positions, gather_positions, widen
from training.learning.objective import TWIN, Objective, join_rows
from training.learning.optimiser import MovingAverage, learning_rate, make_optimisers, set_learning_rate
from training.learning.variants import VARIANTS
from training.model import Model

Piece = tuple[Batch, Tensor]
"""Places, and degrees east and north (E, 2) of further negatives."""


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
    """A model, its optimisers, the average of its weights, and the positions it keeps as negatives."""

    def __init__(
        self, model: Model, options: FitOptions, *, dtype: torch.dtype, steps: int, phase_steps: int = 0
    ) -> None:
        """Takes, of a variant in phases, the steps of a phase; of others 0."""
        self.model, self.options, self.dtype, self.steps = model, options, dtype, steps
        self.queue = Queue(options.queue) if options.queue else None
        self._phase_steps = phase_steps
        self.optimisers = make_optimisers(model, options)
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
        rate = learning_rate(step, self.steps, options) * self._warm_up_of_phase(step)
        set_learning_rate(self.optimisers, rate)
        self.model.zero_grad(set_to_none=True)
        is_hub_fixed = options.hub == "frozen" and step >= self._phase_steps
        with _fixed(self.model.towers[LOCATION], is_fixed=is_hub_fixed):
            loss = self._backward(batch, step)
        limit = options.clip or float("inf")
        norm = nn.utils.clip_grad_norm_([p for p in self._learning if p.grad is not None], limit)
        for optimiser in self.optimisers:
            optimiser.step()
        self.model.clamp_scale()
        if self.average:
            self.average.update(self.model, step)
        return Report(loss, norm, rate)

    def encode(self, piece: Piece) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the rows of places (R, B, D), float32, which there are (R, B), and further locations (E, D)."""
        (batch, lonlat_E2), rows = piece, self._objective.rows
        extra_ED = lonlat_E2.new_zeros(0, self.model.dim, dtype=torch.float32)
        with torch.autocast(batch.lonlat_B2.device.type, self.dtype, enabled=self.dtype != torch.float32):
            embeddings = self.model(batch)
            twin_BD = self.model.encode(LOCATION, batch.lonlat_B2) if TWIN in rows else None
            if len(lonlat_E2):
                extra_ED = self.model.encode(LOCATION, lonlat_E2)
        return *join_rows(embeddings, rows, twin_BD), extra_ED

    def _backward(self, batch: Batch, step: int) -> Tensor:
        """Adds the gradients of the batch's loss; returns the loss of the whole batch."""
        others, names = self._find_negatives(batch, step), self._objective.rows

        def loss_of(z_RBD: Tensor, present_RB: Tensor, extra_ED: Tensor) -> Tensor:
            own = widen(z_RBD, present_RB, extra_ED, names)
            rows = distributed.own_rows(own[0].shape[1])
            return self._objective(*distributed.gather(*own), self.model.scale, near_K2=others.near_K2, rows=rows)

        places = split(batch, self.options.micro_batch)
        pieces = list(zip(places, torch.tensor_split(others.lonlat_E2, len(places)), strict=True))
        loss = cached_backward(self.encode, pieces, loss_of, dims=(1, 1, 0))
        distributed.reduce_gradients(self._learning)
        return distributed.total(loss)

    def _find_negatives(self, batch: Batch, step: int) -> Negatives:
        """Returns the further negatives of a batch, and puts its positions into the queue."""
        draws = VARIANTS[self.options.variant].draws_positions
        if LOCATION not in self._objective.rows or (self.queue is None and not draws):
            return Negatives(batch.lonlat_B2[:0], batch.near_K2)
        lonlat_N2, others = gather_positions(batch), []
        if self.queue is not None:
            others.append(self.queue.positions().to(lonlat_N2, copy=True))
            self.queue.push(lonlat_N2)
        if draws:
            extent = self.model.config.extent
            others.append(draw_positions(len(lonlat_N2), extent, seed=self.options.seed, step=step).to(lonlat_N2))
        return collect(lonlat_N2, torch.cat(others), batch.near_K2, self.options.mask_within_m)

    def _warm_up_of_phase(self, step: int) -> float:
        """Returns the factor of the rate by which each phase begins anew."""
        warmup = max(1, round(self.options.warmup * self._phase_steps))
        return min(1.0, (step % self._phase_steps + 1) / warmup) if self._phase_steps else 1.0


def split(batch: Batch, micro_batch: int) -> list[Batch]:
    """Returns a batch in pieces of so many places, the last may be smaller; 0 for the whole."""
    size = micro_batch or len(batch)
    if size >= len(batch):
        return [batch]
    return [batch.rows(start, min(start + size, len(batch))) for start in range(0, len(batch), size)]


@contextmanager
def _fixed(tower: nn.Module, *, is_fixed: bool) -> Iterator[None]:
    """Holds a tower fast: its parameters get no gradient, so the optimiser does not touch them."""
    learning = [p for p in tower.parameters() if p.requires_grad and is_fixed]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def check_finite(losses: list[tuple[int, Tensor]]) -> None:
    """Raises NotFiniteError, naming the first step whose loss is not finite."""
    for step, loss in losses:
        if not bool(torch.isfinite(loss)):
            raise NotFiniteError(
                f"The loss of step {step} is {float(loss)}: begin another run (--output) with a lower --lr, or with "
                "--precision fp32; the checkpoints of this one stay."
            )
