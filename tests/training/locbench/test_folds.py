import numpy as np
import pytest

from training.locbench.folds import FOLDS, RANDOM, find_nearest, split
from training.options import OptionError
from training.sphere import distance_m


def draw(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-180, 180, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))], 1)


def test_places_of_one_block_stay_together_and_folds_are_used_evenly():
    lonlat_N2 = draw(2000)
    parts = split(lonlat_N2, "20", 0)
    block_N2 = np.floor((lonlat_N2 + [180, 90]) / 20)
    fold_of: dict[tuple[float, ...], set[int]] = {}
    for block, fold in zip(map(tuple, block_N2), parts.fold_N, strict=True):
        fold_of.setdefault(block, set()).add(int(fold))
    assert len(fold_of) > 100 and all(len(folds) == 1 for folds in fold_of.values())
    assert set(parts.fold_N) == set(range(FOLDS))
    assert np.bincount(split(lonlat_N2, RANDOM, 0).fold_N).tolist() == [400] * FOLDS


def test_distances_are_those_to_the_nearest_place_of_another_fold():
    lonlat_N2 = draw(300)
    parts = split(lonlat_N2, "30", 1)
    away_NN = distance_m(lonlat_N2[:, None], lonlat_N2)
    away_NN[parts.fold_N[:, None] == parts.fold_N] = np.inf
    assert np.allclose(parts.away_m_N, away_NN.min(1), rtol=1e-9)
    assert np.allclose(parts.distances_km, [np.median(parts.away_m_N) / 1000, parts.away_m_N.min() / 1000])


def test_random_folds_lie_nearer_than_blocks():
    lonlat_N2 = draw(3000)
    assert 2 * split(lonlat_N2, RANDOM, 0).distances_km[0] < split(lonlat_N2, "30", 0).distances_km[0]


def test_the_nearest_are_those_of_the_haversine_formula():
    query_Q2, place_N2 = draw(40, 1), np.concatenate([draw(500, 2), [[180.0, 10.0], [-180.0, -10.0], [50.0, 90.0]]])
    away_QN = distance_m(query_Q2[:, None], place_N2)
    row_QK, away_QK = find_nearest(query_Q2, place_N2, 7)
    assert np.array_equal(row_QK, np.argsort(away_QN, axis=1)[:, :7])
    assert np.allclose(away_QK, np.sort(away_QN, axis=1)[:, :7], rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "said"), [("blocks", "Unknown split"), ("0", "0.001"), ("180", "0.001"), ("90", "do not make")]
)
def test_refuses_a_split_that_cannot_be_made(name, said):
    with pytest.raises(OptionError, match=said):
        split(draw(50)[:, :] * [0.1, 0.1], name, 0)
