import math

import pytest
import torch

from training.location import encode_position
from training.sphere import EARTH_RADIUS_M, distance_m

EDGES = torch.tensor([[180.0, 10.0], [-180.0, 10.0]], dtype=torch.float64)
POLES = torch.tensor([[lon, lat] for lat in (90.0, -90.0) for lon in (0.0, 77.7)], dtype=torch.float64)
ONE = {"frequency_num": 1, "max_radius": 1.0, "min_radius": 1.0}
"""One frequency, and that is 1."""
ROUND = [
    ("xyz", {}), ("nerf", {"frequency_num": 12}), ("sphereC", ONE), ("sphereCplus", ONE), ("sphereM", ONE),
    ("sphereMplus", {"max_radius": 1.0}), ("sphereDFS", {"max_radius": 1.0}), ("spherical_harmonics", {}),
    ("sh_analytic_L40", {}), ("satclip_cartesian3d", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "params"), ROUND)
def test_the_antimeridian_is_no_edge(name, params):
    a, b = encode_position(name, EDGES, **params)
    assert torch.allclose(a, b, atol=1e-9)


@pytest.mark.parametrize(("name", "params"), [row for row in ROUND if "plus" not in row[0] and row[0] != "sphereDFS"])
def test_a_pole_is_one_point(name, params):
    north, north_too, south, south_too = encode_position(name, POLES, **params)
    assert torch.allclose(north, north_too, atol=1e-9)
    assert torch.allclose(south, south_too, atol=1e-9)
    if name != "nerf":  # whose frequencies are whole turns from pole to pole
        assert not torch.allclose(north, south, atol=0.1)


def test_other_frequencies_break_the_sphere():
    params = {"frequency_num": 4, "max_radius": 1.0, "min_radius": 0.013}
    a, b = encode_position("sphereC", EDGES, **params)
    assert not torch.allclose(a, b, atol=0.1)


def test_products_of_sphere_c_are_cosines_of_great_circles():
    generator = torch.Generator().manual_seed(0)
    lonlat = (2 * torch.rand(50, 2, generator=generator, dtype=torch.float64) - 1) * torch.tensor([180.0, 90.0])
    z_N3 = encode_position("sphereC", lonlat, **ONE)
    angle = torch.tensor(distance_m(lonlat.numpy()[:, None], lonlat.numpy()[None])) / EARTH_RADIUS_M
    assert torch.allclose(z_N3 @ z_N3.T, angle.cos(), atol=1e-12)


def test_the_radius_of_sphere_m_plus_is_the_smallest_where_it_is_below_one():
    lonlat = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    out = encode_position("sphereMplus", lonlat, frequency_num=2, max_radius=0.01, min_radius=123.0)
    assert out[0, 8].item() == pytest.approx(math.sin(math.radians(1) / 0.01))


def test_satclip_takes_degrees_for_radians_and_says_all_twice():
    lonlat = torch.tensor([[10.0, 20.0]], dtype=torch.float64)
    out = encode_position("satclip_spherec", lonlat, frequency_num=1, max_radius=1, min_radius=1)
    expected = [math.sin(20), math.cos(20) * math.cos(10), math.cos(20) * math.sin(10)]
    assert out[0].tolist() == pytest.approx([value for value in expected for _ in range(2)])
