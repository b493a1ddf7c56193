"""Where and when the photos of a place are taken, and what goes wrong with some of them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from geodata import cells
from geodata.demo.cover import cover_at
from geodata.demo.spectra import Material
from geodata.demo.street import Camera, Surroundings, draw_photo
from geodata.demo.waves import Array, to_plane

MISSING_SHARE = 0.08
"""Share of places without a photo."""
SECOND_SHARE = 0.15
"""Share of places with two."""
FAULTY_SHARE = 0.01
"""Share of photos that are blurred or far too dark."""
_RESOLUTION = 10
_CANDIDATES = 24
"""A photographer looks at so many spots and takes the one with a road under it and nothing before the lens."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo and how it was taken."""

    pixels: NDArray[np.uint8]
    """SRGB, shape (height, width, 3)."""
    lon: float
    """Degrees."""
    lat: float
    """Degrees."""
    heading_deg: float
    """Clockwise from north."""
    hour: float
    """Of the local solar day."""


def take_photos(key: str, around: Surroundings, rng: np.random.Generator) -> list[Photo]:
    """Returns no photo of a cell, one, or two."""
    missing, second = rng.random(2)
    if missing < MISSING_SHARE:
        return []
    return [_take(key, around, rng) for _ in range(2 if second < SECOND_SHARE else 1)]


def scatter(key: str, count: int, rng: np.random.Generator) -> Array:
    """Returns random positions inside a cell: degrees (lon, lat), shape (count, 2)."""
    outline = cells.hexagon(key)
    found: list[tuple[float, float]] = []
    while len(found) < count:
        lon, lat = np.round(rng.uniform(outline.min(axis=0), outline.max(axis=0)), 7).tolist()
        if cells.cell_at(lon, lat, _RESOLUTION) == key:
            found.append((lon, lat))
    return np.array(found)


def aim(lon: float, lat: float, heading_deg: float, hour: float) -> Camera:
    """Returns a camera at a position in degrees."""
    place, beside = to_plane(np.array([lon, lon + 1e-3]), np.array([lat, lat])), math.radians(1e-3)
    ground_m = cells.EARTH_RADIUS_M * math.cos(math.radians(lat)) * beside
    return Camera(float(place.x[0]), float(place.y[0]), float(place.x[1] - place.x[0]) / ground_m, heading_deg, hour)


def _take(key: str, around: Surroundings, rng: np.random.Generator) -> Photo:
    spots = scatter(key, _CANDIDATES, rng)
    places = to_plane(*spots.T)
    cover = cover_at(places, around.look_up(places)[0])
    is_paved = (cover.material == Material.ASPHALT) | (cover.material == Material.GRAVEL)
    is_water = cover.material <= Material.SHALLOW_WATER
    lon, lat = spots[int(np.argmax(is_paved + 2.0 * (cover.object_m < 1) - 1.0 * is_water))].tolist()
    heading_deg, hour = round(float(rng.uniform(0, 360)), 1) % 360, float(rng.uniform(8, 18))
    pixels, _ = draw_photo(around, aim(lon, lat, heading_deg, hour), rng)
    fault, which = rng.random(2)
    if fault < FAULTY_SHARE:
        pixels = (pixels // 12) if which < 0.3 else _blur(pixels)
    return Photo(pixels, lon, lat, heading_deg, hour)


def _blur(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    soft = uniform_filter(pixels.astype(np.float64), size=(15, 15, 1), mode="nearest")
    softer = uniform_filter(soft, size=(15, 15, 1), mode="nearest")
    return np.asarray(np.rint(softer).astype(np.uint8))
