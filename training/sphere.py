"""Great circles: distances between places, the places around one, and a lattice of points over an area.

The Earth is a sphere of its mean radius here: against the ellipsoid distances are wrong by up to 0.6 %.
"""

import numpy as np
from numpy.typing import NDArray

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius (2 a + b) / 3 of WGS 84 (Moritz, Geodetic Reference System 1980)."""

LonLat = NDArray[np.float64]
"""(..., 2): degrees east and north, WGS 84."""

_MOST_POINTS = 4_000_000


def distance_m(a_N2: LonLat, b_N2: LonLat) -> NDArray[np.float64]:
    """Returns great-circle distances by the haversine formula.

    Args:
        a_N2: (..., 2), degrees east and north, WGS 84.
        b_N2: the same; leading axes are broadcast against those of the first.

    Returns:
        The broadcast leading shape, float64, metres.
    """
    a, b = np.radians(a_N2), np.radians(b_N2)
    half = np.sin((b - a) / 2) ** 2
    chord = half[..., 1] + np.cos(a[..., 1]) * np.cos(b[..., 1]) * half[..., 0]
    distance: NDArray[np.float64] = 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))
    return distance


def unit_vectors(lonlat_N2: LonLat) -> NDArray[np.float64]:
    """Returns x, y, z of positions (N, 2) on the sphere of radius 1: (N, 3)."""
    lon, lat = np.radians(lonlat_N2).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)


def find_nearest(lonlat_N2: LonLat, seed: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Returns the rows of the `count` places nearest to one of them, itself first, and their distances in metres."""
    away_N = distance_m(lonlat_N2, lonlat_N2[seed])
    away_N[seed] = -1.0  # also before its exact doubles
    rows = np.argsort(away_N, kind="stable")[:count]
    return rows, np.maximum(away_N[rows], 0.0)


def lattice(lonlat_N2: LonLat, *, step_m: float, reach_m: float) -> LonLat:
    """Returns the points of one fixed lattice over the Earth that lie within reach of any of the places.

    Its rows run along parallels `step_m` apart, and in a row points are as nearly `step_m` apart as fits the full
    circle: where the points lie does not depend on the places, only which of them are taken.

    Raises:
        ValueError: if that were more than four million points.
    """
    row_deg = np.degrees(step_m / EARTH_RADIUS_M)
    if len(lonlat_N2) * (2 * reach_m / step_m) ** 2 > 100 * _MOST_POINTS:
        raise _too_many(step_m)
    near: set[tuple[int, int]] = set()
    for lon, lat in lonlat_N2:
        reach = np.arange(-np.ceil(reach_m / step_m) - 1, np.ceil(reach_m / step_m) + 2)
        rows = round(lat / row_deg) + reach
        rows = rows[np.abs(rows * row_deg) < 90]
        columns = np.round(lon / 360 * _points_in_row(rows, row_deg))[:, None] + reach
        grid_R2 = np.stack(np.broadcast_arrays(rows[:, None], columns), -1).reshape(-1, 2)
        is_near = distance_m(_to_lonlat(grid_R2, row_deg), np.array([lon, lat])) <= reach_m
        near.update(map(tuple, grid_R2[is_near].astype(int).tolist()))
        if len(near) > _MOST_POINTS:
            raise _too_many(step_m)
    return np.unique(_to_lonlat(np.array(sorted(near), float).reshape(-1, 2), row_deg), axis=0)


def _to_lonlat(index_N2: NDArray[np.float64], row_deg: float) -> LonLat:
    lon = index_N2[:, 1] * 360 / _points_in_row(index_N2[:, 0], row_deg)
    return np.stack([(lon + 180) % 360 - 180, index_N2[:, 0] * row_deg], -1)


def _points_in_row(rows: NDArray[np.float64], row_deg: float) -> NDArray[np.float64]:
    full: NDArray[np.float64] = np.round(360 / row_deg * np.cos(np.radians(rows * row_deg)))
    return np.maximum(full, 1.0)


def _too_many(step_m: float) -> ValueError:
    return ValueError(f"A lattice of {step_m:g} m has over {_MOST_POINTS:,} points there: give larger steps.")
