"""Sums of plane waves, and the positions at which they are taken.

A field is a sum of waves of random direction; so there is structure at every scale and no state. On a raster positions
are affine in column and row: each wave is a product of a function of the row and one of the column, and the whole sum
is one matrix product.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodata.cells import EARTH_RADIUS_M
from geodata.grid import transformer
from schemas.grid import Grid

Array = NDArray[np.float64]

DEMO_BOX = (-40.0, 40.0, -28.0, 48.0)
"""West, south, east, north in degrees: open North Atlantic, so that nobody takes the demo for a real place."""
WAVES_PER_OCTAVE = 11
_LON, _LAT = (DEMO_BOX[0] + DEMO_BOX[2]) / 2, (DEMO_BOX[1] + DEMO_BOX[3]) / 2


@dataclass(frozen=True, eq=False)
class Waves:
    """A field of mean 0 and variance 1; all arrays have shape (K,)."""

    kx: Array
    """Wave number eastwards, radians per metre."""
    ky: Array
    """Wave number northwards, radians per metre."""
    phase: Array
    """Radians."""
    amplitude: Array
    """Dimensionless."""

    def above(self, wavelength_m: float) -> "Waves":
        """Returns only the waves that are at least so long."""
        keep = np.hypot(self.kx, self.ky) * wavelength_m <= 2 * math.pi
        return Waves(self.kx[keep], self.ky[keep], self.phase[keep], self.amplitude[keep])


@dataclass(frozen=True, eq=False)
class Points:
    """Scattered positions in the plane of the demo region, metres, any shape."""

    x: Array
    """Metres east of the middle of the box."""
    y: Array
    """Metres north of it."""

    def total(self, waves: Waves) -> Array:
        """Returns the field at each point."""
        return np.asarray(sine(self._angles(waves)) @ waves.amplitude)

    def gradient(self, waves: Waves) -> tuple[Array, Array]:
        """Returns the field's derivatives east and north, per metre."""
        cosine = sine(self._angles(waves) + math.pi / 2) * waves.amplitude
        return cosine @ waves.kx, cosine @ waves.ky

    def _angles(self, waves: Waves) -> Array:
        return self.x[..., None] * waves.kx + self.y[..., None] * waves.ky + waves.phase


@dataclass(frozen=True)
class Lattice:
    """Positions affine in column and row: the pixels of a raster of a few kilometres.

    In the corners of a scene it is off by less than 0.8 m.
    """

    x: float
    """Of the middle of the first pixel, metres."""
    y: float
    x_column: float
    """Step from one column to the next, metres east."""
    y_column: float
    """The same, metres north."""
    x_row: float
    y_row: float
    height: int
    width: int

    def total(self, waves: Waves) -> Array:
        """Returns the field, shape (height, width)."""
        rows, columns = self._angles(waves.above(2.2 * self.step_m))
        amplitude = waves.above(2.2 * self.step_m).amplitude
        left = np.concatenate([np.sin(rows) * amplitude, np.cos(rows) * amplitude], axis=1)
        return np.asarray(left @ np.concatenate([np.cos(columns), np.sin(columns)], axis=1).T)

    def gradient(self, waves: Waves) -> tuple[Array, Array]:
        """Returns the field's derivatives east and north, per metre."""
        kept = waves.above(2.2 * self.step_m)
        rows, columns = self._angles(kept)
        right = np.concatenate([np.cos(columns), -np.sin(columns)], axis=1).T
        waves_of_rows = np.concatenate([np.cos(rows), np.sin(rows)], axis=1) * np.tile(kept.amplitude, 2)
        return (waves_of_rows * np.tile(kept.kx, 2)) @ right, (waves_of_rows * np.tile(kept.ky, 2)) @ right

    @property
    def step_m(self) -> float:
        """Metres per pixel."""
        return math.hypot(self.x_column, self.y_column)

    def positions(self) -> Points:
        """Returns every pixel's middle, shape (height, width)."""
        rows, columns = np.arange(self.height)[:, None], np.arange(self.width)[None, :]
        return Points(
            self.x + self.x_column * columns + self.x_row * rows, self.y + self.y_column * columns + self.y_row * rows
        )

    def find(self, points: Points) -> tuple[Array, Array]:
        """Returns row and column of positions, 0 at the middle of the first pixel."""
        area = self.x_column * self.y_row - self.x_row * self.y_column
        x, y = points.x - self.x, points.y - self.y
        return (self.x_column * y - self.y_column * x) / area, (self.y_row * x - self.x_row * y) / area

    def _angles(self, waves: Waves) -> tuple[Array, Array]:
        rows, columns = np.arange(self.height)[:, None], np.arange(self.width)[:, None]
        along_rows = rows * (waves.kx * self.x_row + waves.ky * self.y_row)
        along_columns = columns * (waves.kx * self.x_column + waves.ky * self.y_column)
        return along_rows + (waves.kx * self.x + waves.ky * self.y + waves.phase), along_columns


_COSINE = (
    0.9999999999991, -19.73920880157, 64.93939395749, -85.45681452619, 60.24458609046, -26.42561541561, 7.899154736175,
    -1.696862051311, 0.2437498023858,
)  # fmt: skip
"""cos(2 pi x) as powers of x squared: through the Chebyshev points of 0 ... 1/4."""


def sine(angle: Array) -> Array:
    """Returns the sine of angles in radians, the same on every machine and in a quarter of the time of NumPy's.

    Of a million radians it is off by 1e-10, of one by 1e-12.
    """
    turns = angle / (2 * math.pi)
    turns -= 0.25
    turns -= np.rint(turns)
    turns *= turns
    total = turns * _COSINE[-1]
    for factor in _COSINE[-2:0:-1]:
        total += factor
        total *= turns
    return np.asarray(total + _COSINE[0])


def to_plane(lon: Array, lat: Array) -> Points:
    """Returns positions in the plane of the region for degrees."""
    return Points(
        EARTH_RADIUS_M * math.cos(math.radians(_LAT)) * np.radians(np.asarray(lon) - _LON),
        EARTH_RADIUS_M * np.radians(np.asarray(lat) - _LAT),
    )


def to_lattice(grid: Grid) -> Lattice:
    """Returns the affine that fits the pixels' middles best along the grid's two middle lines."""
    x_mid, y_mid = grid.centre
    reach_x, reach_y = (grid.width - 1) / 2 * grid.gsd_m, (grid.height - 1) / 2 * grid.gsd_m
    x = [x_mid, x_mid - reach_x, x_mid + reach_x, x_mid, x_mid]
    y = [y_mid, y_mid, y_mid, y_mid + reach_y, y_mid - reach_y]
    p = to_plane(*(np.asarray(a) for a in transformer(grid.crs, "EPSG:4326").transform(x, y)))
    columns, rows = grid.width - 1, grid.height - 1
    x_column, y_column = float(p.x[2] - p.x[1]) / columns, float(p.y[2] - p.y[1]) / columns
    x_row, y_row = float(p.x[4] - p.x[3]) / rows, float(p.y[4] - p.y[3]) / rows
    x_first = float(p.x[0]) - (x_column * columns + x_row * rows) / 2
    y_first = float(p.y[0]) - (y_column * columns + y_row * rows) / 2
    return Lattice(x_first, y_first, x_column, y_column, x_row, y_row, grid.height, grid.width)


def draw_waves(rng: np.random.Generator, longest_m: float, shortest_m: float, exponent: float) -> Waves:
    """Returns a field whose amplitude grows with the wavelength by a power."""
    octaves = np.arange(0, math.log2(longest_m / shortest_m), 1 / WAVES_PER_OCTAVE)
    octaves += rng.uniform(0, 1 / WAVES_PER_OCTAVE, octaves.size)
    wavelength_m = np.maximum(longest_m * 2.0**-octaves, shortest_m)
    direction, phase = rng.uniform(0, 2 * math.pi, (2, octaves.size))
    amplitude = wavelength_m**exponent
    amplitude *= math.sqrt(2) / np.linalg.norm(amplitude)
    k = 2 * math.pi / wavelength_m
    return Waves(k * np.cos(direction), k * np.sin(direction), phase, amplitude)
