import numpy as np
import pytest

from training.locbench.folds import FOLDS, split
from training.locbench.probes import PENALTIES, Sums, predict_constant, probe_linear, probe_neighbours
from training.locbench.tasks import Task
from training.sphere import unit_vectors

RNG = np.random.default_rng(0)
LONLAT = np.stack([RNG.uniform(-180, 180, 600), np.degrees(np.arcsin(RNG.uniform(-1, 1, 600)))], 1)
XYZ = unit_vectors(LONLAT)
LINEAR = Task("linear", LONLAT, XYZ @ [300.0, -200.0, 50.0] + 1000, "")
OCTANTS = Task("octants", LONLAT, (XYZ > 0) @ np.array([1, 2, 4]), "")
FOLD = split(LONLAT, "random", 0).fold_N


def test_what_is_linear_is_found():
    assert LINEAR.score(probe_linear(LINEAR, XYZ, FOLD)) > 0.999999
    assert (
        OCTANTS.score(
            probe_linear(OCTANTS, np.concatenate([XYZ, np.sign(XYZ), np.prod(XYZ, 1, keepdims=True)], 1), FOLD)
        )
        > 0.8
    )
    assert LINEAR.score(probe_linear(LINEAR, RNG.normal(size=(600, 20)), FOLD)) < 0.05


def test_a_prediction_does_not_see_the_targets_of_its_fold():
    other = Task("other", LONLAT, np.where(FOLD == 2, LINEAR.target_N[::-1], LINEAR.target_N), "")
    for one in (
        lambda task: probe_linear(task, XYZ, FOLD),
        lambda task: probe_neighbours(task, FOLD),
        lambda task: predict_constant(task, FOLD),
    ):
        assert np.allclose(one(other)[FOLD == 2], one(LINEAR)[FOLD == 2], rtol=1e-12)
        assert not np.allclose(one(other)[FOLD == 1], one(LINEAR)[FOLD == 1])


@pytest.mark.parametrize("penalty", [1e-4, 1.0, 1e3])
def test_sums_of_folds_give_the_ridge_regression_of_all(penalty):
    x_NF, y_NY = RNG.normal(size=(90, 4)) + 3, RNG.normal(size=(90, 2))
    found_NY = Sums.add([Sums.of(x_NF[i::3], y_NY[i::3]) for i in range(3)]).predict(x_NF, np.array([penalty]))[0]
    x_NF, mean_Y = x_NF - x_NF.mean(0), y_NY.mean(0)
    weight_FY = np.linalg.solve(x_NF.T @ x_NF + penalty * np.eye(4), x_NF.T @ (y_NY - mean_Y))
    assert np.allclose(found_NY, x_NF @ weight_FY + mean_Y, rtol=1e-9)


def test_the_penalties_are_those_of_the_protocol():
    assert (
        len(PENALTIES) == 21
        and np.allclose(PENALTIES[[0, -1]], [1e-4, 1e6])
        and np.allclose(np.diff(np.log10(PENALTIES)), 0.5)
    )


def test_the_nearest_positions_vote_and_average():
    smooth = Task("smooth", LONLAT, XYZ[:, 0].copy(), "")
    assert smooth.score(probe_neighbours(smooth, FOLD)) > 0.95
    assert OCTANTS.score(probe_neighbours(OCTANTS, FOLD)) > 0.75


def test_the_constant_is_that_of_the_other_folds():
    predicted_N = predict_constant(LINEAR, FOLD)
    for fold in range(FOLDS):
        assert np.allclose(predicted_N[fold == FOLD], LINEAR.target_N[fold != FOLD].mean())
    lopsided = Task("lopsided", LONLAT, np.where(np.arange(600) % 3 == 0, 4, 1), "")
    assert set(predict_constant(lopsided, FOLD)) == {1} and np.isclose(
        lopsided.score(predict_constant(lopsided, FOLD)), 2 / 3
    )


def test_scores_are_accuracy_and_the_share_of_variance():
    assert np.isclose(LINEAR.score(np.full(600, LINEAR.target_N.mean())), 0) and LINEAR.score(LINEAR.target_N) == 1
    noisy_N = LINEAR.target_N + RNG.normal(0, 50, 600)
    sizes = np.bincount(FOLD)
    parts = [LINEAR.score(noisy_N, np.nonzero(fold == FOLD)[0]) for fold in range(FOLDS)]
    assert np.isclose(LINEAR.score(noisy_N), np.average(parts, weights=sizes)) and LINEAR.score(noisy_N) < 1
    assert OCTANTS.score(OCTANTS.target_N) == 1 and OCTANTS.metric == "accuracy" and OCTANTS.classes == 8
