import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.runs import SHARED
from training.location import (
    PUBLISHED_ROOT_3,
    centre_and_half_size,
    choose_sigmas,
    draw_matrices,
    encode_position,
    fourier_features,
    half_similarity_m,
    project_equal_earth,
)

EARTH = (-180.0, -90.0, 180.0, 90.0)


@pytest.fixture(scope="module")
def geoclip():
    path = SHARED / "golden" / "geoclip.npz"
    if not path.is_file():
        pytest.skip("../shared/data/golden is not beside this checkout")
    with np.load(path) as stored:
        return {name: torch.tensor(stored[name]) for name in stored}


def test_projection_is_that_of_proj(geoclip):
    ours = project_equal_earth(geoclip["lonlat_deg"])
    assert torch.allclose(ours, geoclip["pyproj_eqearth_R1"] * 66.50336 / 180, atol=1e-15, rtol=0)


def test_published_constant_gives_the_published_projection(geoclip):
    ours = project_equal_earth(geoclip["lonlat_deg"], root_3=PUBLISHED_ROOT_3)
    assert torch.allclose(ours, geoclip["equal_earth_scaled"], atol=1e-15, rtol=0)


@pytest.mark.parametrize("sigma", [1, 16, 256])
def test_geoclip_features_are_those_of_its_code(geoclip, sigma):
    expected_NF = geoclip[f"rff_sigma{sigma}"][
        ::2, ::2
    ]  # of the first 64 points and 256 frequencies the even ones are kept
    ours_NF = encode_position("geoclip", geoclip["lonlat_deg"][:32], matrices=[geoclip[f"rff_B_sigma{sigma}"]])
    assert torch.allclose(ours_NF, expected_NF, atol=1e-9, rtol=0)


def test_antimeridian_and_poles_are_edges_of_the_map():
    xy = project_equal_earth(torch.tensor([[180.0, 0.0], [-180.0, 0.0], [0.0, 90.0], [0.0, -90.0], [0.0, 0.0]]))
    assert xy[0].tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    assert xy[1].tolist() == pytest.approx([-1.0, 0.0], abs=1e-6)
    assert xy[2].tolist() == pytest.approx([0.0, 0.487], abs=1e-3)
    assert torch.equal(xy[3], -xy[2])
    assert not xy[4].any()


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


def test_extents_hold_their_corners():
    extent = (-75.0, -35.0, -34.0, 6.0)
    centre_2, half_size = centre_and_half_size(extent)
    corners = torch.tensor([(lon, lat) for lon in (-75.0, -34.0) for lat in (-35.0, 0.0, 6.0)], dtype=torch.float64)
    relative = (project_equal_earth(corners) - centre_2) / half_size
    assert float(relative.abs().max()) <= 1 + 1e-12


def test_features_keep_their_phase_at_the_finest_scale():
    lonlat = torch.tensor([[151.2, -33.9]], dtype=torch.float64)
    matrices = [matrix.double() for matrix in draw_matrices([2.0**16], 64)]
    xy = project_equal_earth(lonlat, root_3=PUBLISHED_ROOT_3)[0].tolist()
    expected = [
        math.cos(2 * math.pi * math.fmod(sum(a * b for a, b in zip(row, xy, strict=True)), 1.0))
        for row in matrices[0].tolist()
    ]
    assert fourier_features(lonlat, matrices)[0, 0, :64].tolist() == pytest.approx(expected, abs=1e-8)


def test_float64_stays_and_float32_returns():
    for dtype in (torch.float64, torch.float32):
        assert encode_position("equal_earth", torch.zeros(2, 2, dtype=dtype)).dtype == dtype


def test_unknown_encodings_are_named():
    with pytest.raises(ValueError, match=r"Unknown position encoding 'gridd': choose from .*geoclip"):
        encode_position("gridd", torch.zeros(1, 2))
