"""A location encoder and a head that learn a task together, from the folds that are not held out."""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training.location.parameters import Span
from training.locbench.encoders import span_of
from training.locbench.folds import FOLDS
from training.locbench.probes import decide, targets_of
from training.locbench.tasks import Task
from training.towers.locations import LocationShape, PositionEncoder, make_location_tower

SHAPE = LocationShape(dim=128, width=128, hidden=256, depth=2, heads=2)
"""Sizes of an encoder that learns one task."""


@dataclass(frozen=True)
class Recipe:
    """How an encoder learns; the values are guesses that did well in a small search, not tuned for each task."""

    location: str
    """Name of the location encoder."""
    finest_km: tuple[float, ...] = (1000.0, 300.0, 30.0)
    """Finest distances that are tried; one of the folds that are learnt from decides."""
    epochs: int = 12
    batch: int = 512
    lr: float = 2e-3
    weight_decay: float = 0.1
    dropout: float = 0.2
    members: int = 1
    """Encoders whose predictions are averaged."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Learnt:
    """Predictions of positions that were held out."""

    predicted_N: NDArray[np.generic]
    finest_km: tuple[float, ...]
    """What was chosen for each fold."""
    work_s: float
    """Seconds of the processor."""


def learn_out_of_fold(task: Task, fold_N: NDArray[np.int64], recipe: Recipe) -> Learnt:
    """Returns the prediction for every position by encoders that learnt from the other folds.

    Where several finest distances are to be tried, an encoder for each learns without one of the folds, the one whose
    predictions of that fold are nearest is chosen, and learns anew from all of them.

    Raises:
        TowerError: for an unknown location encoder.
    """
    start, score_NY, chosen = time.process_time(), np.zeros_like(targets_of(task)), []
    for fold in range(FOLDS):
        chosen.append(_choose_finest(task, fold_N, fold, recipe))
        is_test = fold_N == fold
        for member in range(recipe.members):
            one = replace(recipe, finest_km=(chosen[-1],), seed=recipe.seed + FOLDS * member + fold)
            score_NY[is_test] += _learn(task, ~is_test, is_test, one) / recipe.members
    return Learnt(decide(task, score_NY), tuple(chosen), time.process_time() - start)


def _choose_finest(task: Task, fold_N: NDArray[np.int64], fold: int, recipe: Recipe) -> float:
    if len(recipe.finest_km) == 1:
        return recipe.finest_km[0]
    is_held = fold_N == (fold + 1) % FOLDS
    is_learnt = ~is_held & (fold_N != fold)
    errors = {}
    for finest_km in recipe.finest_km:
        one = replace(recipe, finest_km=(finest_km,), seed=recipe.seed + fold)
        predicted_N = decide(task, _scatter(_learn(task, is_learnt, is_held, one), is_held))
        errors[finest_km] = -task.score(predicted_N, np.nonzero(is_held)[0])
    return min(errors, key=errors.__getitem__)


def _scatter(score_KY: NDArray[np.float64], is_K: NDArray[np.bool_]) -> NDArray[np.float64]:
    score_NY = np.zeros((len(is_K), score_KY.shape[1]))
    score_NY[is_K] = score_KY
    return score_NY


def _learn(
    task: Task, is_learnt_N: NDArray[np.bool_], is_asked_N: NDArray[np.bool_], recipe: Recipe
) -> NDArray[np.float64]:
    """Returns predictions of `targets_of` for the positions that are asked for: (K, Y)."""
    torch.manual_seed(recipe.seed)
    target_NY = torch.from_numpy(targets_of(task)).float()
    learner = Learner(recipe, span_of(task.lonlat_N2[is_learnt_N], recipe.finest_km[0]), target_NY.shape[1])
    input_NF = learner.prepare(torch.from_numpy(task.lonlat_N2))
    rows_K = torch.from_numpy(np.nonzero(is_learnt_N)[0])
    middle_Y, spread_Y = torch.zeros(1), torch.ones(1)
    if not task.classes:
        spread_Y, middle_Y = torch.std_mean(target_NY[rows_K], 0)
        target_NY = (target_NY - middle_Y) / spread_Y.clamp(min=1e-12)
    optimiser = torch.optim.AdamW(learner.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * (-(-len(rows_K) // recipe.batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=steps, pct_start=0.1)
    for _ in range(recipe.epochs):
        for rows_B in rows_K[torch.randperm(len(rows_K))].split(recipe.batch):
            out_BY = learner(input_NF[rows_B])
            measure = F.cross_entropy if task.classes else F.mse_loss
            loss = measure(out_BY, target_NY[rows_B])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    learner.eval()
    with torch.inference_mode():
        asked = input_NF[torch.from_numpy(np.nonzero(is_asked_N)[0])].split(4096)
        out_KY = torch.cat([learner(chunk) for chunk in asked]).double()
    scores_KY: NDArray[np.float64] = (out_KY.softmax(1) if task.classes else out_KY * spread_Y + middle_Y).numpy()
    return scores_KY


class Learner(nn.Module):
    """A location encoder, and a head on its embedding."""

    def __init__(self, recipe: Recipe, span: Span, outputs: int) -> None:
        super().__init__()
        self.tower = make_location_tower(recipe.location, span, replace(SHAPE, dropout=recipe.dropout))
        dim = SHAPE.dim
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, outputs))

    def prepare(self, lonlat_N2: Tensor) -> Tensor:
        """Returns what `forward` takes, rows in the same order: features that nothing learns are computed once."""
        encoder = self.tower.encoder
        if not isinstance(encoder, PositionEncoder):
            return lonlat_N2
        with torch.inference_mode():
            feature_NF: Tensor = encoder.position(lonlat_N2)
        return feature_NF.float().clone() if feature_NF.is_floating_point() else feature_NF.clone()

    def forward(self, input_BF: Tensor) -> Tensor:
        """Returns (B, outputs)."""
        encoder = self.tower.encoder
        network = encoder.network if isinstance(encoder, PositionEncoder) else encoder
        out_BY: Tensor = self.head(self.tower.head(network(input_BF)))
        return out_BY
