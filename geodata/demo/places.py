"""Where the places of the demo lie: clusters of cells that all belong to one split.

Each cluster has a resolution-5 cell of its own, so that no two can share a place, whatever the number of clusters.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

from geodata import cells
from geodata.demo.fields import Landscape
from geodata.demo.waves import DEMO_BOX, to_plane
from geodata.grid import local_crs, transformer
from geodata.splits import TEST_SALT, TEST_SHARE, VAL_SALT, VAL_SHARE, SplitRule
from schemas.grid import Grid
from schemas.modality import SENTINEL2

PLACES_PER_CLUSTER = 30
SCENE_PX = 400
SPLITS = ("train", "val", "test", "train", "train", "train", "train", "train", "train", "train")
"""The wished split of cluster i is the (i mod 10)th."""
PHASE_SHARE = 0.2
"""Share of scenes whose pixels lie off the common lattice."""
_TERRITORY, _CELL = 5, 10
_INNER_M = 10.0 * (SCENE_PX // 2 - SENTINEL2.size_px // 2) - SENTINEL2.offset_m - 10
"""A cell this near to the middle of a scene along both axes has its whole patch inside."""
_CHOICES = 6
"""So many usable middles are compared."""
_MAX_WATER = 0.5


@dataclass(frozen=True)
class Cluster:
    """A scene and its places."""

    number: int
    split: str
    """train, val or test."""
    keys: tuple[str, ...]
    """Cells of the places, in the order in which they are listed."""
    grid: Grid
    """Of the Sentinel-2 scene."""
    dem_grid: Grid
    """The same on the common lattice."""


def find_cluster(number: int, seed: int) -> Cluster:
    """Returns a cluster: a pure function of its number and the seed.

    Raises:
        ValueError: if the region holds no more clusters.
    """
    split = SPLITS[number % len(SPLITS)]
    rank = number // len(SPLITS) * SPLITS.count(split) + SPLITS[: number % len(SPLITS)].count(split)
    territories = _territories(seed)[split]
    if rank >= len(territories):
        raise ValueError(
            f"The demo region has no room for cluster {number}: ask for at most {most_places(seed)} places."
        )
    territory, rng = int(territories[rank]), np.random.Generator(np.random.Philox(key=[seed, number]))
    usable = (
        (lon, lat, found)
        for lon, lat in _draw_centres(territory, split, rng).tolist()
        if len(found := _cells_of(split, lon, lat, territory)) >= PLACES_PER_CLUSTER
    )
    lon, lat, found = _driest(Landscape(seed), list(islice(usable, _CHOICES)))
    east_m, north_m = (np.round(rng.uniform(-4.9, 4.9, 2), 1) * (rng.random() < PHASE_SHARE)).tolist()
    dem_grid = _scene_grid(lon, lat)
    grid = Grid(dem_grid.crs, dem_grid.left + east_m, dem_grid.top + north_m, 10.0, SCENE_PX, SCENE_PX)
    keys = tuple(cells.to_key(cell) for cell in _choose(found, rng).tolist())
    return Cluster(number, split, keys, grid, dem_grid)


def most_places(seed: int) -> int:
    """Returns how many places the region holds."""
    rounds = min(len(found) // SPLITS.count(split) for split, found in _territories(seed).items())
    return rounds * len(SPLITS) * PLACES_PER_CLUSTER


@lru_cache(maxsize=4)
def _territories(seed: int) -> dict[str, cells.Cells]:
    """Resolution-5 cells by the split that a cluster in them can have, in the order in which they are used.

    Left out are those near the edge of the box, near the border of two UTM zones, out at sea, and on lasting
    ice.
    """
    west, south, east, north = DEMO_BOX
    box = h3.LatLngPoly([(south, west), (south, east), (north, east), (north, west)])
    found = np.array(sorted(h3.polygon_to_cells(box, _TERRITORY)), dtype=np.uint64)
    lonlat = cells.centres(found)
    inside = (np.abs(lonlat[:, 0] - (west + east) / 2) < (east - west) / 2 - 0.3) & (
        np.abs(lonlat[:, 1] - (south + north) / 2) < (north - south) / 2 - 0.3
    )
    inside &= np.abs((lonlat[:, 0] + 3) % 6 - 3) > 0.3
    latents = Landscape(seed).at(to_plane(*lonlat.T))
    inside &= (latents.depth_m < np.where(latents.height_m == 0, 20, 60)) & (latents.temperature_c > -2)
    found = found[inside]
    found = found[np.argsort(cells.hash64(found, f"demo territories {seed}"))]
    by_split: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for cell in found.tolist():
        by_split[_usual_split(cell)].append(cell)
    return {split: np.array(members, dtype=np.uint64) for split, members in by_split.items()}


def _usual_split(territory: int) -> str:
    """The split of which a territory has the rarest blocks."""
    drawn = set(_drawn(cells.descendants(territory, SplitRule().val_resolution)).tolist())
    return "test" if "test" in drawn else "val" if "val" in drawn else "train"


def _drawn(blocks: cells.Cells) -> NDArray[np.str_]:
    """Where to look: the split rule without its buffers; what counts is what `SplitRule.assign` says of the cells."""
    is_test = cells.hash_unit(cells.ancestors(blocks, SplitRule().test_resolution), TEST_SALT) < TEST_SHARE
    is_val = cells.hash_unit(blocks, VAL_SALT) < VAL_SHARE
    return np.where(is_test, "test", np.where(is_val, "val", "train"))


def _draw_centres(territory: int, split: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Candidate middles of a scene, best first: in blocks of the wished split, off their middle by up to 700 m."""
    blocks = cells.descendants(territory, SplitRule().val_resolution)
    blocks = blocks[_drawn(blocks) == split]
    lonlat = cells.centres(rng.permutation(blocks).repeat(4))
    step_deg = 700 / 111_195
    reach = np.array([step_deg / math.cos(math.radians(lonlat[0, 1])), step_deg])
    return np.asarray(lonlat + rng.uniform(-1, 1, lonlat.shape) * reach)


def _scene_grid(lon: float, lat: float) -> Grid:
    crs = local_crs(lon, lat)
    x, y = transformer("EPSG:4326", crs).transform(lon, lat)
    half_m = SCENE_PX // 2 * 10
    return Grid(crs, round(x / 10) * 10.0 - half_m, round(y / 10) * 10.0 + half_m, 10.0, SCENE_PX, SCENE_PX)


def _driest(landscape: Landscape, usable: list[tuple[float, float, cells.Cells]]) -> tuple[float, float, cells.Cells]:
    """The first choice that is not mostly water, else that with least of it."""
    shares = []
    for _, _, found in usable:
        shares.append(float(landscape.at(to_plane(*cells.centres(found).T)).water.mean()))
        if shares[-1] < _MAX_WATER:
            break
    return usable[int(np.argmin(shares))]


def _cells_of(split: str, lon: float, lat: float, territory: int) -> cells.Cells:
    """Cells of a split and territory whose middle lies in the inner part of a scene, in H3 order."""
    grid = _scene_grid(lon, lat)
    disk = np.array(sorted(h3.grid_disk(h3.latlng_to_cell(lat, lon, _CELL), 12)), dtype=np.uint64)
    disk = disk[cells.ancestors(disk, _TERRITORY) == territory]
    x, y = transformer("EPSG:4326", grid.crs).transform(*cells.centres(disk).T)
    x_mid, y_mid = grid.centre
    disk = disk[(np.abs(x - x_mid) < _INNER_M) & (np.abs(y - y_mid) < _INNER_M)]
    return np.asarray(disk[SplitRule().assign(disk) == split])


def _choose(found: cells.Cells, rng: np.random.Generator) -> cells.Cells:
    """Takes a third in one tight group and the rest scattered, so that both near and far neighbours occur."""
    xyz = cells.to_xyz(cells.centres(found))
    nearness = xyz @ xyz[int(rng.integers(len(found)))]
    group = np.argsort(-nearness, kind="stable")[: PLACES_PER_CLUSTER // 3]
    rest = rng.permutation(np.setdiff1d(np.arange(len(found)), group))[: PLACES_PER_CLUSTER - len(group)]
    return np.asarray(found[rng.permutation(np.concatenate([group, rest]))])
