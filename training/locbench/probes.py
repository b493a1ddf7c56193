"""Predictions for positions that were held out, from features that stay as they are.

The protocol is CoordBench's (methods.md, 4.8): ridge regression over 21 penalties from 1e-4 to 1e6, five
folds. Features are standardised; targets need not be, since a ridge regression scales with its targets, and R2 has no
unit. Classes are predicted by the same regression of one column for each class (1 for its own, 0
else), of which the largest wins. The penalty is chosen by the folds that are learnt from, each held out in turn, so the
choice meets the same kind of distance as the test.
"""

import numpy as np
from numpy.typing import NDArray

from training.locbench.folds import FOLDS, find_nearest
from training.locbench.tasks import Task

PENALTIES = np.logspace(-4, 6, 21)
NEIGHBOURS = 5

Floats = NDArray[np.float64]


def probe_linear(task: Task, feature_NF: NDArray[np.floating], fold_N: NDArray[np.int64]) -> NDArray[np.generic]:
    """Returns the prediction of a ridge regression for every position, learnt from the other folds.

    Args:
        task: N positions.
        feature_NF: their features.
        fold_N: their folds.

    Returns:
        (N,) values or classes.
    """
    feature_NF = np.asarray(feature_NF, np.float64)
    deviation_F = feature_NF.std(0)
    feature_NF = (feature_NF - feature_NF.mean(0)) / np.where(deviation_F > 0, deviation_F, 1.0)
    target_NY = targets_of(task)
    sums = [Sums.of(feature_NF[fold_N == fold], target_NY[fold_N == fold]) for fold in range(FOLDS)]
    score_NY = np.empty_like(target_NY)
    for fold in range(FOLDS):
        others = [one for one in range(FOLDS) if one != fold]
        error_A = np.zeros(len(PENALTIES))
        for held in others:
            model = Sums.add([sums[one] for one in others if one != held])
            is_held = fold_N == held
            predicted_ANY = model.predict(feature_NF[is_held], PENALTIES)
            error_A += ((predicted_ANY - target_NY[is_held]) ** 2).sum((1, 2))
        best = PENALTIES[[int(error_A.argmin())]]
        is_test = fold_N == fold
        score_NY[is_test] = Sums.add([sums[one] for one in others]).predict(feature_NF[is_test], best)[0]
    return decide(task, score_NY)


def probe_neighbours(task: Task, fold_N: NDArray[np.int64]) -> NDArray[np.generic]:
    """Returns the mean, or the commonest class, of the `NEIGHBOURS` nearest positions of other folds: (N,).

    Of equally common classes that of the lowest number.
    """
    target_NY, score_NY = targets_of(task), np.empty((len(task), max(1, task.classes)))
    for fold in range(FOLDS):
        is_test = fold_N == fold
        row_QK, _ = find_nearest(task.lonlat_N2[is_test], task.lonlat_N2[~is_test], NEIGHBOURS)
        score_NY[is_test] = target_NY[~is_test][row_QK].mean(1)
    return decide(task, score_NY)


def predict_constant(task: Task, fold_N: NDArray[np.int64]) -> NDArray[np.generic]:
    """Returns the mean, or the commonest class, of the other folds: (N,)."""
    target_NY = targets_of(task)
    mean_OY = np.stack([target_NY[fold_N != fold].mean(0) for fold in range(FOLDS)])
    return decide(task, mean_OY[fold_N])


def targets_of(task: Task) -> Floats:
    """Returns (N, 1) values, or (N, classes) of 1 and 0."""
    if task.classes:
        one_hot_NY: Floats = np.eye(task.classes)[task.target_N.astype(np.int64)]
        return one_hot_NY
    return task.target_N.astype(np.float64)[:, None]


def decide(task: Task, score_NY: Floats) -> NDArray[np.generic]:
    """Returns the values, or the classes of the largest scores, for predictions of `targets_of`: (N,)."""
    if task.classes:
        class_N: NDArray[np.int64] = score_NY.argmax(1)
        return class_N
    return score_NY[:, 0]


class Sums:
    """What a ridge regression needs of its data: sums that add up over folds."""

    def __init__(self, count: int, x_F: Floats, y_Y: Floats, xx_FF: Floats, xy_FY: Floats) -> None:
        self.count, self.x_F, self.y_Y, self.xx_FF, self.xy_FY = count, x_F, y_Y, xx_FF, xy_FY

    @classmethod
    def of(cls, x_NF: Floats, y_NY: Floats) -> "Sums":
        """Returns the sums of one fold."""
        return cls(len(x_NF), x_NF.sum(0), y_NY.sum(0), x_NF.T @ x_NF, x_NF.T @ y_NY)

    @classmethod
    def add(cls, parts: "list[Sums]") -> "Sums":
        """Returns the sums of several folds."""
        x_F, y_Y = sum(one.x_F for one in parts), sum(one.y_Y for one in parts)
        xx_FF, xy_FY = sum(one.xx_FF for one in parts), sum(one.xy_FY for one in parts)
        return cls(sum(one.count for one in parts), *map(np.asarray, (x_F, y_Y, xx_FF, xy_FY)))

    def predict(self, x_NF: Floats, penalties_A: Floats) -> Floats:
        """Returns predictions for each penalty: (A, N, Y). The constant is not penalised."""
        x_mean_F, y_mean_Y = self.x_F / self.count, self.y_Y / self.count
        covariance_FF = self.xx_FF - self.count * np.outer(x_mean_F, x_mean_F)
        value_F, vector_FF = np.linalg.eigh(covariance_FF)
        turned_FY = vector_FF.T @ (self.xy_FY - self.count * np.outer(x_mean_F, y_mean_Y))
        turned_NF = (x_NF - x_mean_F) @ vector_FF
        weights = (turned_FY / (np.maximum(value_F, 0.0) + penalty)[:, None] for penalty in penalties_A)
        return np.stack([turned_NF @ weight_FY + y_mean_Y for weight_FY in weights])
