"""The Equal Earth map, and what an extent in degrees is on it."""

import math

import torch
from torch import Tensor

_A1, _A2, _A3, _A4 = 1.340264, -0.081106, 0.000893, 0.003796
PUBLISHED_ROOT_3 = 1.7320507764816284
"""The square root of 3 in float32, as GeoCLIP's and UniGeoCLIP's code has it: it moves a place by less than a metre."""
SCALE = 66.50336 / 180
"""Units to a radian of the equator: x of the antimeridian becomes 1 (GeoCLIP, UniGeoCLIP)."""
METRES_PER_UNIT = 20_015_087.0
"""One unit of `project_equal_earth` at the equator: half of its length."""

Extent = tuple[float, float, float, float]
"""West, south, east, north in degrees; west > east goes across the antimeridian and counts as all longitudes."""


def project_equal_earth(lonlat_deg: Tensor, *, root_3: float = math.sqrt(3)) -> Tensor:
    """Projects to the Equal Earth map, scaled so that x is -1 ... 1.

    Savric, Patterson, Jenny 2018, "The Equal Earth map projection", eqs. 8 and 9. Equal-area, not conformal: towards
    the poles a metre north is less of a unit than a metre east. The antimeridian is an edge of the map.

    Args:
        lonlat_deg: (N, 2), degrees east and north.
        root_3: `PUBLISHED_ROOT_3` gives the values of the published encoders, which their weights were trained with.

    Returns:
        (N, 2) float64: x to the east, -1 ... 1; y to the north, about -0.487 ... 0.487.
    """
    lon, lat = lonlat_deg.double().deg2rad().unbind(-1)
    theta = torch.asin(root_3 / 2 * lat.sin())
    square = theta * theta
    sixth = square**3
    slope = 9 * _A4 * sixth * square + 7 * _A3 * sixth + 3 * _A2 * square + _A1
    x = 2 * root_3 * lon * theta.cos() / (3 * slope)
    y = theta * (_A4 * sixth * square + _A3 * sixth + _A2 * square + _A1)
    return torch.stack([x, y], -1).rad2deg() * (SCALE * math.pi / 180)


def centre_and_half_size(extent: Extent) -> tuple[Tensor, float]:
    """Returns the centre (2,) of an extent on the map and half of its longer side, at least a metre; float64."""
    low_2, high_2 = project_extent(extent)
    return (low_2 + high_2) / 2, max(float((high_2 - low_2).max()) / 2, 1 / METRES_PER_UNIT)


def project_extent(extent: Extent) -> tuple[Tensor, Tensor]:
    """Returns the lower left and the upper right corner (2,) of what an extent covers of the map; float64."""
    west, south, east, north = extent
    if west > east:
        west, east = -180.0, 180.0
    widest = min(max(0.0, south), north)  # where in the extent a degree of longitude is longest
    corners = [(lon, lat) for lon in (west, east) for lat in (south, widest, north)]
    xy = project_equal_earth(torch.tensor(corners, dtype=torch.float64, device="cpu"))
    return xy.amin(0), xy.amax(0)
