import math

import numpy as np
import pytest
import torch

from training.location import encode_position
from training.location.harmonics import encode_harmonics


def make_quadrature(count):
    """Points and weights that integrate products of harmonics below the degree `count` over the sphere exactly."""
    sines, weights = np.polynomial.legendre.leggauss(count)
    lon = np.arange(2 * count) * 360 / (2 * count) - 180
    lonlat = np.stack(np.meshgrid(lon, np.degrees(np.arcsin(sines))), -1).reshape(-1, 2)
    return torch.tensor(lonlat), torch.tensor(np.repeat(weights, 2 * count) * math.pi / count)


@pytest.mark.parametrize("name", ["sh_reference_orthonormal_L40", "sh_closedform_L40"])
def test_harmonics_are_orthonormal(name):
    lonlat_N2, weights_N = make_quadrature(40)
    y_NF = encode_position(name, lonlat_N2)
    assert y_NF.shape[1] == 1600
    assert torch.allclose(y_NF.T @ (weights_N[:, None] * y_NF), torch.eye(1600, dtype=torch.float64), atol=1e-11)


def test_conventions_differ_by_signs_and_by_pi():
    lonlat_N2 = torch.tensor([[12.3, 45.6], [-101.0, -33.0]], dtype=torch.float64)
    order = torch.tensor([m for degree in range(10) for m in range(-degree, degree + 1)])
    degree = torch.tensor([degree for degree in range(10) for _ in range(2 * degree + 1)])
    north, reference, analytic, closed = (
        encode_harmonics(lonlat_N2, L=10, convention=name) for name in ("north", "reference", "analytic", "closedform")
    )
    assert torch.allclose(reference, north * (-1.0) ** degree, atol=1e-13)
    assert torch.allclose(closed, reference * (-1.0) ** order, atol=1e-13)
    assert torch.allclose(analytic, torch.where(order == 0, math.pi, 1.0) * reference, atol=1e-13)


def test_known_harmonics():
    lon, lat = math.radians(30), math.radians(50)
    out = encode_position("spherical_harmonics", torch.tensor([[30.0, 50.0]], dtype=torch.float64), L=3)[0].tolist()
    x, y, z = math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)
    linear = [math.sqrt(3 / (4 * math.pi)) * value for value in (y, z, x)]
    assert out[:4] == pytest.approx([0.5 / math.sqrt(math.pi), *linear])
    assert out[4] == pytest.approx(0.5 * math.sqrt(15 / math.pi) * x * y)
    assert out[6] == pytest.approx(0.25 * math.sqrt(5 / math.pi) * (3 * z * z - 1))


def test_sums_of_squares_are_the_same_everywhere():
    """Unsoeld's theorem: a degree's squares sum to (2 l + 1) / (4 pi), at the poles and at degree 100 as well."""
    lonlat_N2 = torch.tensor([[0.0, 90.0], [10.0, -90.0], [33.0, 89.999999], [-5.0, 0.0], [179.0, 45.0]]).double()
    squares = encode_position("spherical_harmonics", lonlat_N2, L=101)[:, 100 * 100 :].square().sum(1)
    assert torch.allclose(squares, torch.full((5,), 201 / (4 * math.pi), dtype=torch.float64), rtol=1e-11)


def test_unknown_conventions_are_named():
    with pytest.raises(ValueError, match="'south' harmonics"):
        encode_harmonics(torch.zeros(1, 2), convention="south")
