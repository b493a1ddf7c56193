"""The street photo of a place: rays marched over the country around the camera, near to far.

For each column of the picture a ray passes over a height field of ground, trees and houses; what rises above all that
is nearer is seen. Below a crown there is no gap: the field has one height at a point.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodata.demo.cover import Cover, cover_at
from geodata.demo.fields import LATENTS, Landscape, Latents
from geodata.demo.scene import Country, hillshade, interpolate
from geodata.demo.spectra import Material, from_srgb, reflect_rgb, stain_rgb, to_srgb
from geodata.demo.waves import Array, Lattice, Points, sine, to_lattice
from schemas.grid import Grid

PHOTO_PX = (256, 341)
"""Height and width."""
VIEW_DEG = 72.0
"""Horizontal angle of view."""
EYE_M = 2.0
"""Height of the camera above ground or water."""
NEAR_M, FAR_M = 3.5, 32_000.0
"""Rays begin and end at these distances."""
CLEAR_M = 7.0
"""No tree or house is drawn nearer than this."""
OPEN_M = 30.0
"""Under crowns nearer than this one sees the stem and what is behind it."""
_RINGS = ((50.0, 260), (420.0, 160))
"""Pixel in metres and size of the coarser rasters around the scene."""
_STEPS = 290
_RUN = 12 * PHOTO_PX[1]
"""Positions that are looked up at once: a dozen steps of all rays, as many as fit into the cache."""
_WALLS = np.array([[0.30, 0.27, 0.20], [0.33, 0.32, 0.30], [0.22, 0.12, 0.09], [0.24, 0.23, 0.22], [0.31, 0.24, 0.15]])

_SKY = ((0.24, 0.44, 0.78), (0.80, 0.87, 0.93), (0.96, 0.96, 0.97))
"""Of the zenith, the horizon and clouds: shown in red, green, blue."""


@dataclass(frozen=True)
class Camera:
    """Where a photo is taken and how."""

    x: float
    """Metres in the plane of the region."""
    y: float
    """Metres in the plane of the region."""
    stretch: float
    """Metres of the plane to a metre eastwards on the ground."""
    heading_deg: float
    """Clockwise from north."""
    hour: float
    """Of the local solar day, 0 ... 24."""


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Latents and illumination around a cluster, fine near it and coarse to the horizon."""

    rings: list[tuple[Lattice, Array]]
    """Lattice and fields, shape (height, width, LATENTS + 1), the nearest first; the last field is the light."""

    def look_up(self, places: Points) -> tuple[Latents, Array]:
        """Returns latents and illumination at positions, shape (N,): each run from the finest raster that holds it."""
        found = np.empty((LATENTS + 1, places.x.size))
        for start in range(0, places.x.size, _RUN):
            run = slice(start, start + _RUN)
            some = Points(places.x[run], places.y[run])
            lattice, fields = next((ring for ring in self.rings if _holds(ring[0], some)), self.rings[-1])
            found[:, run] = interpolate(fields, *lattice.find(some))
        return Latents(*found[:LATENTS]), found[LATENTS]


def look_around(landscape: Landscape, country: Country) -> Surroundings:
    """Surveys the rings around a country."""
    rim = country.grid.gsd_m
    near = Grid(
        country.grid.crs,
        country.grid.left - rim,
        country.grid.top + rim,
        rim,
        country.grid.height + 2,
        country.grid.width + 2,
    )
    rings = [(to_lattice(near), _with_light(country.latents, rim))]
    x, y = country.grid.centre
    for gsd_m, size in _RINGS:
        lattice = to_lattice(Grid(country.grid.crs, x - size / 2 * gsd_m, y + size / 2 * gsd_m, gsd_m, size, size))
        rings.append((lattice, _with_light(landscape.at(lattice), gsd_m)))
    return Surroundings(rings)


def draw_photo(
    around: Surroundings, camera: Camera, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Returns a photo, sRGB, shape (height, width, 3), and the material that each pixel shows, -1 for the sky."""
    height, width = PHOTO_PX
    focal_px = width / 2 / math.tan(math.radians(VIEW_DEG / 2))
    across = ((np.arange(width) + 0.5 - width / 2) / focal_px).astype(np.float64)
    up = ((height * 0.5 - np.arange(height) - 0.5) / focal_px).astype(np.float64)
    distance_m = np.geomspace(NEAR_M, FAR_M, _STEPS).astype(np.float64)
    places = _march(camera, across, distance_m)
    latents, light = around.look_up(places)
    cover = cover_at(places, latents)
    per_ray = distance_m.repeat(width)
    object_m = np.where((per_ray < CLEAR_M) & (cover.object_m > 1), 0, cover.object_m)
    here = around.look_up(Points(np.array([camera.x]), np.array([camera.y])))[0]
    eye_m = float(here.height_m[0]) + EYE_M
    rise = (latents.height_m + object_m - eye_m) / per_ray
    seen = _first_above(rise, np.broadcast_to(up[:, None], PHOTO_PX), np.arange(width))
    pick = np.maximum(seen, 0) * width + np.arange(width)
    above_m = eye_m + up[:, None] * per_ray[pick] - latents.height_m[pick]
    open_m = np.where(cover.material == Material.CONIFER, 0.1, 0.26) * object_m
    open_m[(per_ray > OPEN_M) | (object_m < 3) | ~np.isfinite(cover.stem_m)] = 0
    row, column = np.nonzero((seen >= 0) & (above_m < open_m[pick]))
    stem_m = np.where(cover.stem_m < 0.13 + 0.009 * per_ray, open_m, 0)
    rise = (latents.height_m + np.where(open_m > 0, stem_m, object_m) - eye_m) / per_ray
    seen[row, column] = _first_above(rise, up[row], column)
    is_sky = seen < 0
    pick = np.maximum(seen, 0) * width + np.arange(width)
    above_m = eye_m + up[:, None] * per_ray[pick] - latents.height_m[pick]
    sky = _draw_sky(camera, across, up, float(here.moisture[0]), rng)
    shown = _paint(cover, pick, above_m, open_m, places, latents, light, rng)
    shown = _reflect(shown, cover.material[pick], up, sky)
    haze = np.exp(-per_ray[pick] / (9000 + 26000 * (1 - latents.moisture[pick])))
    horizon = sky[:, height // 2 - 1].mean(axis=1)[:, None, None]
    shown = shown * haze + horizon * 0.95 * (1 - haze)
    shown = np.where(is_sky, sky, shown) * _daylight(camera.hour)[:, None, None]
    return np.ascontiguousarray(np.moveaxis(to_srgb(shown), 0, -1)), np.where(is_sky, -1, cover.material[pick])


def _with_light(latents: Latents, gsd_m: float) -> Array:
    fields = np.concatenate([latents.stack(), hillshade(latents.height_m, gsd_m)[None]])
    return np.ascontiguousarray(np.moveaxis(fields, 0, -1))


def _holds(lattice: Lattice, places: Points) -> bool:
    row, column = lattice.find(places)
    is_after = min(row.min(), column.min()) >= 0
    return bool(is_after and row.max() < lattice.height - 1 and column.max() < lattice.width - 1)


def _march(camera: Camera, across: Array, distance_m: Array) -> Points:
    """Positions along every ray, shape (steps * columns,)."""
    heading = math.radians(camera.heading_deg)
    east = math.sin(heading) + across * math.cos(heading)
    north = math.cos(heading) - across * math.sin(heading)
    x, y = np.outer(distance_m, east * camera.stretch), np.outer(distance_m, north)
    return Points((camera.x + x).ravel(), (camera.y + y).ravel())


def _first_above(rise: Array, up: Array, column: NDArray[np.intp]) -> NDArray[np.intp]:
    """The first step of a column that reaches a slope, -1 where none does; shape of `up`."""
    rise = rise.reshape(_STEPS, -1)
    lanes = 8 * np.arange(rise.shape[1])  # each column in a range of its own: one search serves all
    highest = np.clip(np.maximum.accumulate(rise, axis=0), -2, 2) + lanes
    found = np.searchsorted(highest.T.ravel(), up + 8 * column) - _STEPS * column
    return np.where(found < _STEPS, found, -1)


def _paint(
    cover: Cover, pick: NDArray[np.intp], above_m: Array, open_m: Array, places: Points, latents: Latents,
    light: Array, rng: np.random.Generator,
) -> Array:  # fmt: skip
    """Reflected light of what each pixel shows, shape (3, height, width)."""
    material, object_m = cover.material[pick], cover.object_m[pick]
    noise = rng.standard_normal(pick.shape)
    noise = (noise + np.roll(noise, 1, axis=1) + 0.6 * np.roll(noise, 1, axis=0)) / 1.5
    shade = light[pick] * np.clip(cover.tone[pick], 0.6, 1.4) * (1 + 0.06 * noise)
    share = np.clip(above_m / np.maximum(object_m, 0.1), 0, 1)
    is_tree = (object_m > 1.2) & ~cover.is_house[pick] & (above_m > 0.15)
    shade *= np.where(is_tree, (0.42 + 0.65 * share) * (1 + 0.16 * noise), 1)
    shown = reflect_rgb(material, latents.iron[pick], latents.lime[pick]) * shade
    trunk = is_tree & (above_m < open_m[pick])
    shown[:, trunk] = np.outer([0.05, 0.04, 0.03], 1 + 0.2 * noise[trunk])
    stripe = (np.abs(latents.road_m[pick]) < 0.12) & (material == Material.ASPHALT)
    shown[:, stripe] = 0.26
    wall = cover.is_house[pick] & (above_m < object_m - 0.5)
    shown[:, wall] = _paint_walls(cover, pick[wall], above_m[wall], places, latents)
    return shown


def _paint_walls(cover: Cover, pick: NDArray[np.intp], above_m: Array, places: Points, latents: Latents) -> Array:
    """House fronts with a row of windows on each floor, shape (3, walls)."""
    crosses_u = cover.edge_m[pick] > 0
    along = np.where(crosses_u, places.y[pick] + latents.v_m[pick], places.x[pick] + latents.u_m[pick])
    colour = _WALLS.T[:, (cover.tone[pick] * 997 % 1 * len(_WALLS)).astype(np.intp)]
    colour = stain_rgb(colour, latents.iron[pick], latents.lime[pick], 0.8)  # of the stone from near by
    lit = np.where(crosses_u, 0.72, 1.0)
    floor = above_m % 2.8
    window = (floor > 0.9) & (floor < 2.2) & (along % 2.6 > 0.9) & (along % 2.6 < 2.0)
    return np.where(window, np.array([[0.04], [0.05], [0.065]]), colour * lit)


def _draw_sky(camera: Camera, across: Array, up: Array, moisture: float, rng: np.random.Generator) -> Array:
    """Blue above, pale at the horizon, clouds in a flat layer; below the horizon the same upside down.

    Shape (3, height, width).
    """
    slope = up[: up.size // 2, None]
    depth = 1 / (slope + 0.06)
    share = np.exp(-slope / 0.22)
    blue, pale, white = (np.array(rgb)[:, None, None] for rgb in _SKY)
    colour = blue * (1 - share) + pale * share
    x, y = across[None, :] * depth, np.broadcast_to(depth, (slope.size, across.size))
    noise = np.zeros(y.shape)
    for octave in range(7):
        angle, phase = rng.uniform(0, 2 * math.pi, 2)
        k = 1.1 * 1.5**octave
        fade = np.exp(-((k * 0.02 * depth) ** 2))
        noise += 0.74**octave * fade * sine(k * (math.cos(angle) * x + math.sin(angle) * y) + phase)
    cloud = np.clip((noise - 1.7 + 2.6 * moisture * rng.uniform(0.3, 1)) / 1.2, 0, 1) * (1 - 0.5 * share)
    above = from_srgb(colour) * (1 - cloud) + from_srgb(white) * cloud
    return np.concatenate([above, above[:, ::-1]], axis=1)


def _reflect(shown: Array, material: NDArray[np.intp], up: Array, sky: Array) -> Array:
    """Water shows the sky above, the more the flatter one looks upon it."""
    is_water = material <= Material.SHALLOW_WATER
    mirror = np.broadcast_to(np.clip(0.75 - 1.6 * np.abs(up), 0.15, 0.75)[:, None], shown.shape)
    return np.where(is_water, shown * (1 - mirror) + 0.75 * sky * mirror, shown)


def _daylight(hour: float) -> Array:
    """Brighter and whiter at noon, dim and warm in the evening."""
    noon = math.sin(math.pi * min(max((hour - 4) / 16, 0), 1))
    return np.array([0.62, 0.52, 0.42]) + np.array([0.36, 0.46, 0.56]) * noon
