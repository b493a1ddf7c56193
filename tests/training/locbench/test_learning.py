import numpy as np
import pytest
import torch

from training.locbench.encoders import span_of
from training.locbench.folds import split
from training.locbench.learning import Learner, Recipe, learn_out_of_fold
from training.locbench.probes import predict_constant
from training.locbench.tasks import Task
from training.sphere import unit_vectors
from training.towers import TowerError

RNG = np.random.default_rng(0)
LONLAT = np.stack([RNG.uniform(-180, 180, 500), np.degrees(np.arcsin(RNG.uniform(-1, 1, 500)))], 1)
XYZ = unit_vectors(LONLAT)
WAVES = Task("waves", LONLAT, np.sin(3 * XYZ[:, 0]) * XYZ[:, 1] * 50 + 7, "")
HALVES = Task("halves", LONLAT, (XYZ[:, 2] > 0).astype(np.int64), "")
FOLD = split(LONLAT, "random", 0).fold_N
QUICK = Recipe("sphereCplus", (3000.0,), epochs=10, batch=50)


def test_an_encoder_learns_values_and_classes():
    waves, halves = (learn_out_of_fold(task, FOLD, QUICK) for task in (WAVES, HALVES))
    assert WAVES.score(waves.predicted_N) > 0.7 and waves.work_s > 0 and waves.finest_km == (3000.0,) * 5
    assert HALVES.score(halves.predicted_N) > 0.9 > 0.2 + HALVES.score(predict_constant(HALVES, FOLD))


def test_a_prediction_does_not_see_the_targets_of_its_fold_and_can_be_repeated():
    recipe = Recipe("wrap", (3000.0,), epochs=1)
    other = Task("other", LONLAT, np.where(FOLD == 3, -5 * WAVES.target_N, WAVES.target_N), "")
    once, again, changed = (learn_out_of_fold(task, FOLD, recipe).predicted_N for task in (WAVES, WAVES, other))
    assert np.array_equal(once, again)
    assert np.array_equal(changed[FOLD == 3], once[FOLD == 3]) and not (changed == once)[FOLD != 3].any()


def test_the_finest_distance_that_predicts_a_held_fold_best_is_taken():
    found = learn_out_of_fold(WAVES, FOLD, Recipe("space2vec_theory", (0.001, 3000.0), epochs=4, batch=100))
    assert found.finest_km == (3000.0,) * 5


@pytest.mark.parametrize("name", ["scaled", "plain", "tile", "rff"])
def test_encoders_of_every_kind_learn(name):
    torch.manual_seed(0)
    learner = Learner(Recipe(name), span_of(LONLAT, 1000.0), 3)
    learner(learner.prepare(torch.from_numpy(LONLAT))[:4]).square().sum().backward()
    assert all(p.grad is not None for p in learner.parameters())


def test_an_unknown_encoder_is_named():
    with pytest.raises(TowerError, match="nope"):
        learn_out_of_fold(WAVES, FOLD, Recipe("nope", (1.0,)))
