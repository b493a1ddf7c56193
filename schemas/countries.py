"""The countries of Natural Earth 1:50m as the maps of pages draw them: outlines and names, nothing to compute with.

`geodata.natural_earth` made the table and says from what; `geodata.regions` answers what lies where.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

TABLE = Path(__file__).with_name("natural_earth.parquet")
"""GeoParquet: names, ISO codes, continent, and multipolygons in degrees (lon, lat), cut at the antimeridian."""
_POLYGON, _MULTIPOLYGON = 3, 6
"""Kinds of well-known binary: OGC 06-103r4, table 7."""


@dataclass(frozen=True, eq=False)
class Outline:
    """One country."""

    name: str
    """Short, English."""
    polygons: tuple[tuple[NDArray[np.float64], ...], ...]
    """Of each polygon the rings, the outer one first: (N, 2), degrees (lon, lat), the first point again as the last."""

    @property
    def label_lonlat(self) -> tuple[float, float]:
        """A point inside the largest polygon for the name: in the middle of the widest part of its middle latitude."""
        rings = self.largest
        south, north = rings[0][:, 1].min(), rings[0][:, 1].max()
        middle = (south + north) / 2
        crossings = np.sort(np.concatenate([_cross(ring, middle) for ring in rings]))
        west, east = crossings[0::2], crossings[1::2]
        widest = int(np.argmax(east - west))
        return float(west[widest] + east[widest]) / 2, float(middle)

    @property
    def largest(self) -> tuple[NDArray[np.float64], ...]:
        """The polygon with the greatest outer ring, by square degrees."""
        return max(self.polygons, key=lambda rings: abs(_area(rings[0])))


def read_outlines() -> list[Outline]:
    """Returns all countries in the order of the table."""
    rows = pq.read_table(TABLE, columns=["short_name", "geometry"])
    return [
        Outline(name.as_py(), tuple(_parse(memoryview(shape.as_buffer()))))
        for name, shape in zip(rows["short_name"], rows["geometry"], strict=True)
    ]


def _parse(shape: memoryview) -> Iterator[tuple[NDArray[np.float64], ...]]:
    """Yields the polygons of a little-endian multipolygon, as GeoPandas writes it."""
    kind, number = np.frombuffer(shape, "<u4", 2, offset=1).tolist()
    assert shape[0] == 1 and kind == _MULTIPOLYGON, "geodata.natural_earth writes multipolygons, little-endian"
    at = 9
    for _ in range(number):
        kind, rings = np.frombuffer(shape, "<u4", 2, offset=at + 1).tolist()
        assert shape[at] == 1 and kind == _POLYGON
        at += 9
        polygon = []
        for _ in range(rings):
            points = int(np.frombuffer(shape, "<u4", 1, offset=at)[0])
            polygon.append(np.frombuffer(shape, "<f8", 2 * points, offset=at + 4).reshape(points, 2))
            at += 4 + 16 * points
        yield tuple(polygon)


def _area(ring: NDArray[np.float64]) -> float:
    lon, lat = (ring - ring[0]).T
    return float(lon[:-1] @ lat[1:] - lon[1:] @ lat[:-1]) / 2


def _cross(ring: NDArray[np.float64], lat: float) -> NDArray[np.float64]:
    """Returns the longitudes at which a ring crosses a latitude."""
    is_below = ring[:, 1] <= lat
    edges = np.flatnonzero(is_below[1:] != is_below[:-1])
    (lon, start), (to_lon, end) = ring[edges].T, ring[edges + 1].T
    crossings: NDArray[np.float64] = lon + (lat - start) / (end - start) * (to_lon - lon)
    return crossings
