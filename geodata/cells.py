"""H3 cells: the identity of a place, its centre, its hexagon, and hashes that choose for it without a seed of its own.

Cells are 64-bit integers in arrays and lowercase hexadecimal strings as keys; of one resolution both sort alike.
"""

import hashlib
import math
import re
from functools import lru_cache

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

CellId = str
Cells = NDArray[np.uint64]

EARTH_RADIUS_M = 6371007.18
"""Authalic radius of WGS 84: the sphere of equal area, on which H3 itself works."""


def cells_at(lonlat: NDArray[np.float64], resolution: int) -> Cells:
    """Returns the cell that holds each point.

    Args:
        lonlat: degrees, shape (N, 2).
        resolution: H3 level, 0 ... 15.
    """
    return np.fromiter(
        (h3.latlng_to_cell(lat, lon, resolution) for lon, lat in lonlat.tolist()), np.uint64, len(lonlat)
    )


def cell_at(lon: float, lat: float, resolution: int) -> CellId:
    """Returns the key of the cell that holds one point (degrees)."""
    return to_key(cell_number(lon, lat, resolution))


def to_key(cell: int) -> CellId:
    """Writes a cell as its key."""
    return str(h3.int_to_str(int(cell)))


def to_cell(key: CellId) -> int:
    """Reads a key."""
    return int(h3.str_to_int(key))


def is_key(text: str, resolution: int) -> bool:
    """Returns whether a text is the key of a cell of a resolution."""
    if not re.fullmatch("[0-9a-f]{15}", text):
        return False
    return bool(h3.is_valid_cell(to_cell(text)) and resolution_of(to_cell(text)) == resolution)


def centres(cells: Cells) -> NDArray[np.float64]:
    """Returns the centre of each cell: degrees (lon, lat), shape (N, 2)."""
    latlon = np.array([h3.cell_to_latlng(cell) for cell in cells.tolist()], dtype=np.float64).reshape(-1, 2)
    return latlon[:, ::-1].copy()


def centre(key: CellId) -> tuple[float, float]:
    """Returns the centre of one cell: lon, lat in degrees."""
    lat, lon = h3.cell_to_latlng(to_cell(key))
    return lon, lat


def hexagon(key: CellId) -> NDArray[np.float64]:
    """Returns the cell's outline: degrees (lon, lat), counter-clockwise, shape (V, 2); V is 5 or more for pentagons.

    Longitudes may pass +-180 so that the outline is not torn at the antimeridian.
    """
    outline = np.array([(lon, lat) for lat, lon in h3.cell_to_boundary(to_cell(key))])
    lon_centre = centre(key)[0]
    outline[:, 0] = lon_centre + (outline[:, 0] - lon_centre + 180) % 360 - 180
    return outline


def ancestors(cells: Cells, resolution: int) -> Cells:
    """Returns the ancestor of each cell at a coarser resolution."""
    return np.fromiter((h3.cell_to_parent(cell, resolution) for cell in cells.tolist()), np.uint64, len(cells))


def descendants(cell: int, resolution: int) -> Cells:
    """Returns all cells below one cell, in H3 order."""
    return np.array(h3.cell_to_children(cell, resolution), dtype=np.uint64)


def disk(cell: int, rings: int) -> list[int]:
    """Returns the cell and those within so many steps of it."""
    return list(h3.grid_disk(cell, rings))


def cell_number(lon: float, lat: float, resolution: int) -> int:
    """Returns the cell that holds one point (degrees)."""
    return int(h3.latlng_to_cell(lat, lon, resolution))


def resolution_of(cell: int) -> int:
    """Returns a cell's H3 level."""
    return int(h3.get_resolution(cell))


def edge_m(resolution: int) -> float:
    """Returns the mean edge length of a resolution's hexagons, metres."""
    return float(h3.average_hexagon_edge_length(resolution, unit="m"))


def rings_within(resolution: int, reach_m: float) -> int:
    """Returns how many rings around a cell hold every cell within reach; 0.7 allows for small ones near pentagons."""
    return math.ceil(reach_m / (1.5 * 0.7 * edge_m(resolution)))


def hash_unit(values: Cells, salt: str) -> NDArray[np.float64]:
    """Returns a number in [0, 1) for each value: uniform, the same on every machine and in every release."""
    return (hash64(values, salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def hash64(values: Cells, salt: str) -> Cells:
    """Mixes each value with the salt.

    The mixer is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
    """
    z = np.asarray(values, dtype=np.uint64) + np.uint64(_salt(salt))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def to_xyz(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns points on the unit sphere, shape (N, 3), for degrees (lon, lat), shape (N, 2)."""
    lon, lat = np.radians(lonlat).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


@lru_cache(maxsize=256)
def _salt(salt: str) -> int:
    return int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=8).digest(), "little")
