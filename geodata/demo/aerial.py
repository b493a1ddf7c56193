"""The aerial image of a place: every crown, roof and furrow of its cover at 0.75 m, lit and shaded."""

import math

import numpy as np
from numpy.typing import NDArray

from geodata.demo.cover import cover_at
from geodata.demo.fields import Landscape
from geodata.demo.scene import SUN, finer_grid, hillshade, refine, survey
from geodata.demo.spectra import Material, reflect_rgb, to_srgb
from geodata.demo.waves import Array, sine, to_lattice
from geodata.grid import make_grid
from schemas.grid import Grid

AERIAL_PX = 272
"""Height and width: the corpus patch and a rim."""
MISSING_SHARE = 0.06
"""Share of places without an aerial image."""
WHITE_SHARE = 0.01
"""Share of aerial images that are all white, as services give them beyond their border."""
_COARSE = 4
"""Latents are surveyed at so many pixels: no wave is shorter than 30 m."""


def take_aerial(key: str, landscape: Landscape, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Grid] | None:
    """Returns the aerial image around a cell with its grid, which is off the lattice; None where there is none."""
    patch = make_grid(key, "aerial")
    rim_m = (AERIAL_PX - patch.width) // 2 * patch.gsd_m
    east_m, north_m = np.round(rng.uniform(-0.37, 0.37, 2), 2).tolist()
    missing, white = rng.random(2)
    if missing < MISSING_SHARE:
        return None
    grid = Grid(patch.crs, patch.left - rim_m + east_m, patch.top + rim_m + north_m, patch.gsd_m, AERIAL_PX, AERIAL_PX)
    if white < WHITE_SHARE:
        return np.full((3, AERIAL_PX, AERIAL_PX), 255, dtype=np.uint8), grid
    return draw_aerial(landscape, grid, rng), grid


def draw_aerial(landscape: Landscape, grid: Grid, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns an aerial image, sRGB, shape (3, height, width); the grid's sides are multiples of four pixels."""
    coarse = Grid(grid.crs, grid.left, grid.top, grid.gsd_m * _COARSE, grid.height // _COARSE, grid.width // _COARSE)
    country = survey(landscape, coarse)
    latents = refine(country, _COARSE)
    places = to_lattice(finer_grid(coarse, _COARSE)).positions()
    cover = cover_at(places, latents)
    surface_m = latents.height_m + cover.object_m
    light = hillshade(surface_m, grid.gsd_m) * (1 - 0.55 * _shadow(cover.object_m, grid.gsd_m))
    is_water = cover.material <= Material.SHALLOW_WATER
    light[is_water] = (1 + 0.25 * _ripples(places.x, places.y))[is_water]
    speckle = 1 + 0.05 * rng.standard_normal(grid.shape)
    shown = reflect_rgb(cover.material, latents.iron, latents.lime)
    return to_srgb(shown * light * np.clip(cover.tone, 0.6, 1.4) * speckle)


def _shadow(object_m: Array, gsd_m: float) -> Array:
    """Share of the sun that trees and houses keep off: the ground is taken for level."""
    azimuth, height = np.radians(SUN)
    shadow = np.zeros(object_m.shape)
    reach_px = int(np.max(object_m) / math.tan(height) / gsd_m)
    padded = np.pad(object_m, reach_px + 1)
    rows, columns = object_m.shape
    for step in range(1, reach_px + 1):
        row = reach_px + 1 - round(math.cos(azimuth) * step)
        column = reach_px + 1 + round(math.sin(azimuth) * step)
        ray_m = object_m + step * gsd_m * math.tan(height)
        np.maximum(shadow, np.clip(padded[row : row + rows, column : column + columns] - ray_m, 0, 1), out=shadow)
    return shadow


def _ripples(x: Array, y: Array) -> Array:
    return sine(1.1 * x + 0.4 * y + sine(0.07 * y)) * sine(0.31 * y - 0.2 * x)
