"""The country around a cluster of places: latents on a 10 m raster, and the Sentinel-2 scene drawn from them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geodata.demo.cover import cover_at
from geodata.demo.fields import LATENTS, Landscape, Latents
from geodata.demo.spectra import REFLECTANCE, reflect
from geodata.demo.waves import Array, Points, to_lattice
from schemas.grid import Grid

FAULT_EVERY = 17
"""One scene of so many (6 %) lies under broken cloud, and the edge of the swath runs through another; the first early,
so that a small demo has both."""
_CLOUDY, _EDGED = 5, 8
SUN = (155.0, 52.0)
"""Azimuth and height of the sun over scenes and aerial images, degrees: late morning in summer."""
RUN = 4096
"""Positions that are interpolated at once: as many as fit into the cache."""
_FINE = 2
"""Each pixel of a scene is the mean of so many samples squared."""


@dataclass(frozen=True, eq=False)
class Country:
    """The latents around one cluster."""

    grid: Grid
    """Of the scene: 10 m, local UTM, maybe off the lattice by part of a pixel."""
    latents: Latents
    """On the scene's grid and one pixel more on each side, shape (height + 2, width + 2)."""

    @property
    def height_m(self) -> Array:
        """Surface of land and water on the scene's grid, metres, without trees and houses."""
        return self.latents.height_m[1:-1, 1:-1]


def survey(landscape: Landscape, grid: Grid) -> Country:
    """Returns the latents on a grid and its rim."""
    wide = Grid(grid.crs, grid.left - grid.gsd_m, grid.top + grid.gsd_m, grid.gsd_m, grid.height + 2, grid.width + 2)
    return Country(grid, landscape.at(to_lattice(wide)))


def refine(country: Country, factor: int) -> Latents:
    """Returns the latents on a grid so many times finer, without the rim, by linear interpolation."""
    fields = np.ascontiguousarray(np.moveaxis(country.latents.stack(), 0, -1))
    row, column = ((np.arange(size * factor) + 0.5) / factor + 0.5 for size in country.grid.shape)
    places = np.broadcast_arrays(row[:, None], column)
    return Latents(*interpolate(fields, *(a.ravel() for a in places)).reshape(LATENTS, row.size, column.size))


def interpolate(fields: Array, row: Array, column: Array) -> Array:
    """Returns fields, shape (F, N), of a raster (height, width, F) at rows and columns, shape (N,).

    Linear between the middles of four pixels; beyond the last pixel its own value. A sparse matrix of four shares to a
    position is several times as fast as the sum of four picked pixels.
    """
    height, width, count = fields.shape
    found = np.empty((count, row.size))
    for start in range(0, row.size, RUN):
        run = slice(start, start + RUN)
        r, c = (np.clip(np.floor(a[run]), 0, n - 2).astype(np.int32) for a, n in ((row, height), (column, width)))
        down, right = np.clip(row[run] - r, 0, 1), np.clip(column[run] - c, 0, 1)
        up, left = 1 - down, 1 - right
        first = r * width + c
        pixel = np.stack([first, first + 1, first + width, first + width + 1], axis=1)
        share = np.stack([up * left, up * right, down * left, down * right], axis=1)
        starts = np.arange(0, pixel.size + 1, 4, dtype=np.int32)
        shares = sparse.csr_array((share.ravel(), pixel.ravel(), starts), shape=(r.size, height * width))
        found[:, run] = (shares @ fields.reshape(-1, count)).T
    return found


def finer_grid(grid: Grid, factor: int) -> Grid:
    """Returns the grid of `refine`."""
    return Grid(grid.crs, grid.left, grid.top, grid.gsd_m / factor, grid.height * factor, grid.width * factor)


def hillshade(height_m: Array, gsd_m: float) -> Array:
    """Returns the illumination of a surface: about 1 on level ground, 0.35 in its own shadow."""
    south, east = np.gradient(height_m, gsd_m)
    azimuth, height = np.radians(SUN)
    cosine = math.sin(height) + math.cos(height) * (south * math.cos(azimuth) - east * math.sin(azimuth))
    cosine /= np.sqrt(1 + south**2 + east**2)
    return np.asarray(0.35 + 0.65 * np.maximum(cosine, 0) / math.sin(height))


def find_faults(number: int) -> tuple[bool, bool]:
    """Returns whether a cluster's scene has clouds, and whether it has an edge."""
    return number % FAULT_EVERY == _CLOUDY, number % FAULT_EVERY == _EDGED


def draw_sentinel2(
    country: Country, rng: np.random.Generator, *, has_cloud: bool = False, has_edge: bool = False
) -> NDArray[np.uint16]:
    """Returns a scene: reflectance x 10000, 0 where there is no data, shape (12, height, width)."""
    bands = _mix(country) * hillshade(country.height_m, country.grid.gsd_m)
    if has_cloud:
        _cover_with_cloud(bands, rng)
    bands *= 1 + rng.normal(0, 0.006, bands.shape[1:])
    for band in range(12):
        bands[band] = _coarsen(bands[band], _NATIVE_PX[band])
    stored = np.clip(np.rint(bands * 1e4), 1, 12000).astype(np.uint16)
    if has_edge:
        stored[:, _beyond_swath(country.grid, rng)] = 0
    return stored


_NATIVE_PX = (6, 1, 1, 1, 2, 2, 2, 1, 2, 6, 2, 2)
"""Pixels of 10 m to a native pixel: 60 m, 10 m or 20 m."""


def _mix(country: Country) -> Array:
    """Mean reflectance of the materials in each pixel, shape (12, height, width)."""
    height, width = country.grid.shape
    latents = refine(country, _FINE)
    places = to_lattice(finer_grid(country.grid, _FINE)).positions()
    mixed = np.zeros((REFLECTANCE.shape[1], height, width))
    for top in range(0, height, 100):  # strips fit into the cache
        rows = slice(top * _FINE, (top + 100) * _FINE)
        strip = latents.part(rows)
        cover = cover_at(Points(places.x[rows], places.y[rows]), strip)
        for row in range(_FINE):
            for column in range(_FINE):
                part = (slice(row, None, _FINE), slice(column, None, _FINE))
                shown = reflect(cover.material[part], strip.iron[part], strip.lime[part])
                mixed[:, top : top + 100] += shown * cover.tone[part]
    return mixed / _FINE**2


def _coarsen(band: Array, pixels: int) -> Array:
    """Block means, repeated; a part block at the rim takes the mean of what there is."""
    if pixels == 1:
        return band
    height, width = band.shape
    padded = np.pad(band, ((0, -height % pixels), (0, -width % pixels)), mode="edge")
    means = padded.reshape(padded.shape[0] // pixels, pixels, -1, pixels).mean(axis=(1, 3))
    return np.asarray(means.repeat(pixels, 0).repeat(pixels, 1)[:height, :width])


def _cover_with_cloud(bands: Array, rng: np.random.Generator) -> None:
    """Soft white heaps and their shadow to the north-west, the sun standing in the south-east."""
    height, width = bands.shape[1:]
    rows, columns = np.mgrid[0 : height + 60, 0 : width + 60] * 1.0
    noise = np.zeros(rows.shape)
    for octave in range(20):
        wavelength_px, angle, phase = 260 * 0.8**octave, *rng.uniform(0, 2 * math.pi, 2)
        noise += 0.8**octave * np.sin(
            2 * math.pi / wavelength_px * (math.cos(angle) * columns + math.sin(angle) * rows) + phase
        )
    lowest = np.quantile(noise, rng.uniform(0.35, 0.75))
    opacity = np.clip((noise - lowest) / 1.1, 0, 1)
    over, below = opacity[:height, :width], opacity[44 : 44 + height, 20 : 20 + width]
    white = np.array([0.62, 0.62, 0.61, 0.61, 0.62, 0.62, 0.63, 0.63, 0.63, 0.5, 0.45, 0.35])
    light = 0.75 + 0.35 * over
    for band in range(len(bands)):
        bands[band] = bands[band] * (1 - 0.6 * below) * (1 - over) + white[band] * light * over


def _beyond_swath(grid: Grid, rng: np.random.Generator) -> NDArray[np.bool_]:
    """True on one side of a slanting line that passes within 600 m of the middle."""
    rows, columns = np.arange(grid.height)[:, None], np.arange(grid.width)[None, :]
    slant, offset_px, side = math.radians(rng.uniform(8, 22)), rng.uniform(-60, 60), rng.choice([-1, 1])
    across = (columns - grid.width / 2) * math.cos(slant) + (rows - grid.height / 2) * math.sin(slant)
    return np.asarray(side * (across - offset_px) > 0)
