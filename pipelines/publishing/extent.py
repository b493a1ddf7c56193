"""Where and when the records of a corpus lie, added up shard by shard."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from geodata.boxes import Box, grow
from geodata.grid import local_crs

REACH_M = 1600.0
"""From a cell's centre to the farthest corner of its patch, rounded up: half a patch and its shift, both ways."""
BINS = 720
"""Longitudes are remembered as the least and largest in each half degree."""


class Extent:
    """Box, period and zones of what was added; as large for a million places as for one."""

    def __init__(self) -> None:
        self._least, self._most = np.full(BINS, np.inf), np.full(BINS, -np.inf)
        self._south, self._north = np.inf, -np.inf
        self._first, self._last = "", ""
        self._crs: set[str] = set()

    def add_places(self, lonlat: NDArray[np.float64]) -> None:
        """Adds the centres of cells, degrees, shape (N, 2)."""
        if not len(lonlat):
            return
        lon, lat = lonlat.T
        bins = np.clip((lon + 180) * BINS / 360, 0, BINS - 1).astype(np.int64)
        np.minimum.at(self._least, bins, lon)
        np.maximum.at(self._most, bins, lon)
        self._south, self._north = min(self._south, float(lat.min())), max(self._north, float(lat.max()))
        self._crs |= {local_crs(*point) for point in lonlat.tolist()}

    def add_times(self, times: Iterable[str | None]) -> None:
        """Adds capture times, ISO 8601 in UTC; None says nothing."""
        for time in times:
            if time:
                self._first = min(self._first or time, time)
                self._last = max(self._last, time)

    @property
    def box(self) -> Box:
        """West, south, east, north of all patches, degrees; west > east where it crosses the antimeridian."""
        filled = np.flatnonzero(np.isfinite(self._least))
        west, east = float(self._least[filled[0]]), float(self._most[filled[-1]])
        if east - west > 180:
            gaps = self._least[filled[1:]] - self._most[filled[:-1]]
            widest = int(np.argmax(gaps))
            if gaps[widest] > 180:
                west, east = float(self._least[filled[widest + 1]]), float(self._most[filled[widest]]) + 360
        west, south, east, north = grow((west, self._south, east, self._north), REACH_M)
        west, east = (lon if -180 <= lon <= 180 else (lon + 180) % 360 - 180 for lon in (west, east))
        return round(west, 5), round(south, 5), round(east, 5), round(north, 5)

    @property
    def period(self) -> tuple[str | None, str | None]:
        """First and last capture time, ISO 8601; None where no record has one."""
        return self._first or None, self._last or None

    @property
    def crs(self) -> list[str]:
        """Authority codes of the zones in which the patches lie."""
        return sorted(self._crs)
