import math
from itertools import pairwise

import pytest
import torch

from training.location import (
    PUBLISHED_ROOT_3,
    choose_sigmas,
    draw_matrices,
    fourier_features,
    half_similarity_m,
    project_equal_earth,
)

EARTH = (-180.0, -90.0, 180.0, 90.0)


def test_features_have_the_expected_similarity():
    sigma = 256.0
    lonlat = torch.tensor([[6.0, 0.0], [6.0 + half_similarity_m(sigma) / 111_194.9, 0.0]], dtype=torch.float64)
    features_NKF = fourier_features(lonlat, draw_matrices([sigma], 20_000))
    cosine = torch.nn.functional.cosine_similarity(features_NKF[0, 0], features_NKF[1, 0], dim=0)
    assert float(cosine) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("sigma", "distance_m"), [(1, 3_750_000), (16, 234_000), (256, 14_700), (4096, 920)])
def test_half_similarity_distances_are_the_published_ones(sigma, distance_m):
    assert half_similarity_m(sigma) == pytest.approx(distance_m, rel=0.01)


@pytest.mark.parametrize(
    "extent", [EARTH, (5.7, 49.4, 6.5, 50.2), (-10.0, 35.0, 30.0, 70.0), (170.0, -20.0, -170.0, -10.0)]
)
@pytest.mark.parametrize("finest_m", [100.0, 1000.0])
def test_scales_reach_from_the_extent_to_the_finest_distance(extent, finest_m):
    sigmas = choose_sigmas(extent, finest_m)
    ratios = [fine / coarse for coarse, fine in pairwise(sigmas)]
    assert half_similarity_m(sigmas[-1]) == pytest.approx(finest_m)
    assert sigmas[0] >= 1
    assert max(ratios) <= 16 + 1e-6
    assert max(ratios) == pytest.approx(min(ratios))


def test_scales_of_the_earth_and_of_a_country():
    assert [round(sigma) for sigma in choose_sigmas(EARTH, 100.0)] == [1, 14, 194, 2695, 37506]
    coarsest_m = half_similarity_m(choose_sigmas((5.7, 49.4, 6.5, 50.2), 100.0)[0])
    assert 80_000 < coarsest_m < 130_000


def test_a_single_place_has_one_scale():
    assert choose_sigmas((6.0, 49.0, 6.0, 49.0), 100.0) == [pytest.approx(37506, rel=1e-3)]


def test_features_keep_their_phase_at_the_finest_scale():
    lonlat = torch.tensor([[151.2, -33.9]], dtype=torch.float64)
    matrices = [matrix.double() for matrix in draw_matrices([2.0**16], 64)]
    xy = project_equal_earth(lonlat, root_3=PUBLISHED_ROOT_3)[0].tolist()
    expected = [
        math.cos(2 * math.pi * math.fmod(sum(a * b for a, b in zip(row, xy, strict=True)), 1.0))
        for row in matrices[0].tolist()
    ]
    assert fourier_features(lonlat, matrices)[0, 0, :64].tolist() == pytest.approx(expected, abs=1e-8)
