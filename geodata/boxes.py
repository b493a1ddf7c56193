"""Boxes of degrees: west, south, east, north."""

import math

import numpy as np
from numpy.typing import NDArray

from geodata import cells

Box = tuple[float, float, float, float]
"""west, south, east, north in degrees; longitudes may pass +-180 so that west < east."""

METRES_PER_DEGREE = 111_320.0
"""Of latitude, and of longitude at the equator, to half a per cent."""


def box_around(key: str, reach_m: float) -> Box:
    """Returns the box of a cell's hexagon, grown by a distance on each side."""
    outline = cells.hexagon(key)
    west, south = outline.min(axis=0).tolist()
    east, north = outline.max(axis=0).tolist()
    return grow((west, south, east, north), reach_m)


def box_over(unit: str, reach_m: float) -> Box:
    """Returns the box of all cells below a coarse one, grown by a distance.

    Descendants lie beyond the outline of their ancestor by up to 0.11 of its edge (measured); 0.15 is allowed for.
    """
    return box_around(unit, reach_m + 0.15 * cells.edge_m(cells.resolution_of(cells.to_cell(unit))))


def grow(box: Box, reach_m: float) -> Box:
    """Returns a box grown by a distance on each side; near a pole it becomes the cap."""
    west, south, east, north = box
    dlat = reach_m / METRES_PER_DEGREE
    south, north = max(-90.0, south - dlat), min(90.0, north + dlat)
    shrink = math.cos(math.radians(min(89.9, max(abs(south), abs(north)))))
    dlon = dlat / shrink
    if dlon > 90 or east - west + 2 * dlon >= 360:
        return -180.0, south, 180.0, north
    return west - dlon, south, east + dlon, north


def split_at_antimeridian(box: Box) -> list[Box]:
    """Returns one or two boxes within -180 ... 180, which services insist on."""
    west, south, east, north = box
    turn = 360.0 * math.floor((west + 180) / 360)
    west, east = west - turn, east - turn
    if east <= 180:
        return [(west, south, east, north)]
    return [(west, south, 180.0, north), (-180.0, south, east - 360, north)]


def unwrap(lon: NDArray[np.float64], near: float) -> NDArray[np.float64]:
    """Returns longitudes turned by multiples of 360 to within 180 degrees of one."""
    return near + (lon - near + 180) % 360 - 180
