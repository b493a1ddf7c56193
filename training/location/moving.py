"""Positions moved by metres to the east and to the north."""

import torch
from torch import Tensor

METRES_PER_DEGREE = 111_195.0
"""Of latitude, on the sphere of the mean radius."""


def shift_positions(lonlat_B2: Tensor, metres_B2: Tensor) -> Tensor:
    """Moves along the parallel and along the meridian, as is exact for what is small beside the Earth.

    Args:
        lonlat_B2: (B, 2), degrees east and north, WGS 84.
        metres_B2: (B, 2), to the east and to the north.

    Returns:
        (B, 2): longitudes -180 ... 180, latitudes -90 ... 90, which end at a pole.
    """
    moved_B2 = metres_B2 / METRES_PER_DEGREE
    east_B = moved_B2[:, 0] / lonlat_B2[:, 1].deg2rad().cos().clamp(min=1e-3)
    lon_B, lat_B = lonlat_B2[:, 0] + east_B, lonlat_B2[:, 1] + moved_B2[:, 1]
    return torch.stack([(lon_B + 180) % 360 - 180, lat_B.clamp(-90, 90)], dim=1)
