"""What stands and grows at a point: trees, houses, roads, parcels. One rule for all views, at any resolution.

A tree or a house is decided by a hash of the mesh in which it stands, so every view sees the same one.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodata.cells import hash64
from geodata.demo.fields import Latents
from geodata.demo.spectra import Material
from geodata.demo.waves import Array, Points, sine

BLOCK_M = (72.0, 54.0)
"""A town block with its share of two streets, along the two axes of the bent net."""
STREET_M = 8.0
PLOTS = (3, 2)
PARCEL_M = (190.0, 120.0)
_GRAIN = ((24.3, 0.4, 0.35), (14.9, 1.9, 0.3), (8.7, 3.1, 0.2), (4.6, 5.2, 0.15))
"""Wavelength in metres, direction, and weight of each wave of the smallest irregularities."""
CROPS = (
    Material.GREEN_CROP, Material.RIPE_CROP, Material.GRASS, Material.SOIL, Material.RAPE, Material.DRY_GRASS
)  # fmt: skip
_CROPS = np.array(CROPS)
_TALL_CROPS = (Material.GREEN_CROP, Material.RIPE_CROP, Material.RAPE)
ROOFS = (Material.RED_ROOF, Material.GREY_ROOF, Material.WHITE_ROOF)
_ROOFS = np.array(ROOFS)
_ROOF_HABITS, _CROP_HABITS = 2, 2
"""How often the row of roofs or crops is gone through between habits 0 and 1."""
_FREEDOM = 0.3
"""How far a farmer or builder departs from the habit, in shares of that row."""


Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Cover:
    """What is seen at some positions, all of one shape."""

    material: NDArray[np.intp]
    """Index into the spectra."""
    object_m: Array
    """Height of trees, houses and crops above the ground, metres."""
    tone: Array
    """Factor of brightness, about 1."""
    is_house: Mask
    """True on a house."""
    edge_m: Array
    """On a house the distance to its nearest wall, positive where that wall crosses u, negative where v."""
    stem_m: Array
    """On a tree the distance to its axis, metres; infinite elsewhere."""


def cover_at(places: Points, latents: Latents) -> Cover:
    """Returns what covers each position."""
    u, v = places.x + latents.u_m, places.y + latents.v_m
    grain = _grain(places.x, places.y)
    material, tone = _ground(latents, grain)
    cover = Cover(
        material, np.zeros(grain.shape), tone, np.zeros(grain.shape, dtype=bool), np.zeros(grain.shape),
        np.full(grain.shape, np.inf),
    )  # fmt: skip
    is_farm, in_town = latents.farm > 0.5, latents.built + 0.08 * grain > 0.4
    _plant_crops(cover, is_farm, u[is_farm], v[is_farm], latents.habit[is_farm])
    is_road = in_town & (
        (_fraction(u / BLOCK_M[0]) * BLOCK_M[0] < STREET_M) | (_fraction(v / BLOCK_M[1]) * BLOCK_M[1] < STREET_M)
    )
    is_road |= (np.abs(latents.road_m) < 3.5) & (latents.temperature_c > -3) & (latents.depth_m < 0.5)
    _grow_trees(cover, places, latents, is_road)
    in_town &= ~is_road
    _build_houses(cover, in_town, u[in_town], v[in_town], latents)
    _flood(cover, latents, grain, is_road)
    material[is_road], cover.object_m[is_road], tone[is_road] = Material.ASPHALT, 0, 1
    cover.is_house[cover.object_m == 0] = False
    cover.stem_m[cover.is_house | (cover.object_m == 0)] = np.inf
    return cover


def find_crop(habit: Array, whim: Array) -> NDArray[np.intp]:
    """Returns what is sown: `whim` is 0 ... 1, the usual at 0.5."""
    return _CROPS[_choose(_CROP_HABITS * habit + _FREEDOM * (whim - 0.5), len(CROPS))]


def find_roof(habit: Array, whim: Array) -> NDArray[np.intp]:
    """Returns what a house is covered with: `whim` is 0 ... 1, the usual at 0.5."""
    return _ROOFS[_choose(_ROOF_HABITS * habit + _FREEDOM * (whim - 0.5), len(ROOFS))]


def share_of_conifers(temperature_c: Array, habit: Array) -> Array:
    """Returns the share of the trees, 0 ... 1."""
    return np.clip((11 - temperature_c) / 7 + 1.2 * (habit - 0.5), 0, 1)


def _ground(latents: Latents, grain: Array) -> tuple[NDArray[np.intp], Array]:
    """Bare or grown ground by climate, slope and soil."""
    t, moisture = latents.temperature_c + 0.9 * grain, latents.moisture + 0.1 * latents.soil + 0.015 * grain
    material = np.full(grain.shape, int(Material.GRASS), dtype=np.intp)
    material[moisture < 0.5] = Material.DRY_GRASS
    is_desert = (latents.vegetation + 0.12 * grain < 0.5) & (t > 6)
    soil = latents.soil + 0.06 * grain
    material[is_desert] = np.where(soil > 0.3, Material.RED_SOIL, np.where(soil < -0.4, Material.SOIL, Material.SAND))[
        is_desert
    ]
    material[t < 4] = Material.TUNDRA
    material[latents.slope + 0.06 * latents.soil + 0.05 * grain > 0.5] = Material.ROCK
    material[t + 2 * (0.5 - np.minimum(latents.slope, 1)) < 0.3] = Material.SNOW
    return material, 1 + 0.08 * grain + 0.08 * latents.soil


def _plant_crops(cover: Cover, here: Mask, u: Array, v: Array, habit: Array) -> None:
    """Parcels in strips, each with its crop, its rows along one side, and a hedge or track at its edge."""
    strip = np.floor(v / PARCEL_M[1])
    along = u / PARCEL_M[0] + 0.37 * strip
    draw = _draw(np.floor(along), strip, "parcel")
    du, dv = (along - np.floor(along)) * PARCEL_M[0], v - strip * PARCEL_M[1]
    material = find_crop(habit, draw[0])
    furrows = 0.07 * sine(np.where(draw[1] > 0.5, dv, du) * (2 * math.pi / 3.0))
    tone = cover.tone[here] * (1 + furrows + 0.25 * (draw[2] - 0.5))
    object_m = np.where(np.isin(material, _TALL_CROPS), 0.6, 0.0)
    at_edge = np.minimum(du, dv) < 2.5
    is_hedge, is_track = at_edge & (draw[3] > 0.35), at_edge & (draw[3] < 0.2)
    material[is_hedge], object_m[is_hedge], tone[is_hedge] = Material.BROADLEAF, 2.2, 0.85
    material[is_track], object_m[is_track], tone[is_track] = Material.GRAVEL, 0, 1
    cover.material[here], cover.object_m[here], cover.tone[here] = material, object_m, tone


def _grow_trees(cover: Cover, places: Points, latents: Latents, is_road: Mask) -> None:
    """Two meshes of crowns, one turned against the other so that no pattern shows."""
    density = np.maximum(latents.forest, 0.02 * latents.vegetation * (1 - latents.farm))
    density = np.maximum(density, 0.16 * (latents.built > 0.3))
    here = np.flatnonzero((density > 0.001) & ~is_road)
    x, y, density, temperature_c, soil, habit = (
        a.reshape(-1)[here] for a in (places.x, places.y, density, latents.temperature_c, latents.soil, latents.habit)
    )
    shown = [a.reshape(-1) for a in (cover.material, cover.object_m, cover.tone, cover.stem_m)]
    material, object_m, tone, stem_m = (a[here] for a in shown)
    lush = 1.03 + 0.12 * np.clip(soil, -2, 2)
    conifer_share = share_of_conifers(temperature_c, habit)
    vigour = np.clip(temperature_c / 8, 0.4, 1)
    for number, (angle, mesh_m) in enumerate(((0.3, 7.5), (1.1, 6.1))):
        p = (math.cos(angle) * x + math.sin(angle) * y) / mesh_m
        q = (math.cos(angle) * y - math.sin(angle) * x) / mesh_m
        bits = _cast(np.floor(p), np.floor(q), f"tree {number}")
        grown = np.flatnonzero(_number(bits, 0) < density)
        p, q, draw = _fraction(p[grown]), _fraction(q[grown]), _numbers(bits[grown])
        radius = 0.3 + 0.2 * draw[1]
        along = p - radius - (1 - 2 * radius) * draw[2]
        across = q - radius - (1 - 2 * radius) * draw[3]
        out = (along**2 + across**2) / radius**2
        crown = np.flatnonzero(out < 1)
        under, out, radius, draw = grown[crown], out[crown], radius[crown], [one[crown] for one in draw]
        is_conifer = _fraction(draw[0] / density[under]) * 0.98 < conifer_share[under]
        tall_m = (4.5 + 18 * radius * (0.6 + 0.8 * draw[3])) * vigour[under]
        crown_m = tall_m * np.where(is_conifer, 1.25 - np.sqrt(out), 0.45 + 0.55 * np.sqrt(1 - out))
        higher = crown_m > object_m[under]
        seen = under[higher]
        object_m[seen] = crown_m[higher]
        material[seen] = np.where(is_conifer, Material.CONIFER, Material.BROADLEAF)[higher]
        tone[seen] = (lush[under] + 0.4 * draw[1] - 0.25 * out)[higher]
        stem_m[seen] = (mesh_m * np.sqrt(out) * radius)[higher]
    for whole, part in zip(shown, (material, object_m, tone, stem_m), strict=True):
        whole[here] = part


def _build_houses(cover: Cover, here: Mask, u: Array, v: Array, latents: Latents) -> None:
    """One house on a plot, smaller than it, with a gabled roof; blocks of flats in the core of a town."""
    index, position, built = [], [], latents.built[here]
    for along, block_m, plots in zip((u, v), BLOCK_M, PLOTS, strict=True):
        size_m = (block_m - STREET_M) / plots
        block = np.floor(along / block_m)
        inner = along - block * block_m - STREET_M
        plot = np.floor(inner / size_m)
        index.append(block * plots + plot)
        position.append(np.abs(inner - (plot + 0.5) * size_m))
    draw = _draw(index[0], index[1], "house")
    is_core = built > 0.93
    to_u = np.where(is_core, 7 + 3.5 * draw[1], 4.5 + 4 * draw[1]) - position[0]
    to_v = np.where(is_core, 7 + 4 * draw[2], 4.5 + 4 * draw[2]) - position[1]
    stands = (to_u > 0) & (to_v > 0) & (draw[0] < 0.55 + 0.4 * built)
    wall_m = np.where(is_core, 8 + 3 * np.floor(4 * draw[3]), 3.2 + 2.8 * (draw[3] > 0.5))
    roof_m = np.where(is_core, 0.3, 0.55 * np.minimum(to_u, to_v))
    roof = find_roof(latents.habit[here], _fraction(draw[3] * 997))
    roof = np.where(is_core & (roof == Material.RED_ROOF), Material.GREY_ROOF, roof)
    cover.object_m[here] = np.where(stands, wall_m + roof_m, cover.object_m[here])
    cover.material[here] = np.where(stands, roof, cover.material[here])
    cover.tone[here] = np.where(stands, 0.85 + 0.3 * draw[1], cover.tone[here])
    cover.is_house[here] = stands
    cover.edge_m[here] = np.where(to_u < to_v, to_u, -to_v)


def _flood(cover: Cover, latents: Latents, grain: Array, is_road: Mask) -> None:
    """Sea, lakes and rivers with their beaches; roads stay only where they bridge a river."""
    river_m = np.abs(latents.river_m) - latents.river_half_m
    by_sea = latents.height_m < 1.5
    is_shore = (by_sea & (latents.depth_m > -0.7 + 0.2 * grain)) | (
        (river_m < 4 + 2 * grain) & (latents.river_half_m > 1)
    )
    cover.material[is_shore] = np.where(by_sea, Material.SAND, Material.GRAVEL)[is_shore]
    is_water = (latents.depth_m > 0) | (river_m < 0)
    depth_m = np.maximum(latents.depth_m, -river_m / 6)
    water = np.where(depth_m < 2.5 + grain, Material.SHALLOW_WATER, Material.DEEP_WATER)
    cover.material[is_water] = np.where(latents.temperature_c < -4, Material.SNOW, water)[is_water]
    cover.tone[is_water] = (1 + 0.12 * grain)[is_water]
    cover.object_m[is_shore | is_water] = 0
    is_road &= ~is_water | (latents.depth_m < 0)


def _choose(turns: Array, count: int) -> NDArray[np.intp]:
    """The place in a row that is gone through once for each whole turn."""
    return np.asarray(_fraction(turns) * count).astype(np.intp) % count


def _fraction(turns: Array) -> Array:
    """What is left of whole turns, 0 ... 1: the remainder by division takes twenty times as long."""
    return turns - np.floor(turns)


def _draw(i: Array, j: Array, salt: str) -> list[Array]:
    """Four independent numbers in [0, 1) for each mesh of a net."""
    return _numbers(_cast(i, j, salt))


def _cast(i: Array, j: Array, salt: str) -> NDArray[np.uint64]:
    """64 random bits for each mesh of a net."""
    packed = i.astype(np.int64).astype(np.uint64) * np.uint64(0x9E3779B1) + j.astype(np.int64).astype(np.uint64)
    return hash64(packed, salt)


def _numbers(bits: NDArray[np.uint64]) -> list[Array]:
    return [_number(bits, part) for part in range(4)]


def _number(bits: NDArray[np.uint64], part: int) -> Array:
    return ((bits >> np.uint64(16 * part)) & np.uint64(0xFFFF)).astype(np.float64) / 65536


def _grain(x: Array, y: Array) -> Array:
    """Small irregularity of 4 to 25 m, within -1 ... 1."""
    bend = 2.2 * sine(0.021 * x + 0.017 * y) + 2.2 * sine(0.013 * x - 0.031 * y)
    total = np.zeros(x.shape)
    for wavelength_m, angle, weight in _GRAIN:
        k = 2 * math.pi / wavelength_m
        total += weight * sine(k * math.cos(angle) * x + k * math.sin(angle) * y + bend)
        bend = -0.8 * bend
    return total
