"""Where the places of the demo lie: clusters of cells that all belong to one split.

Each cluster has a resolution-5 cell of its own, or shares that of a cluster of val but lies apart from it, so that no
two can share a place, whatever the number of clusters.
"""

import math
from dataclasses import dataclass, field, replace
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

PLACES_PER_CLUSTER = 20
PHASE_SHARE = 0.2
"""Share of scenes whose pixels lie off the common lattice."""
_TERRITORY, _CELL = 5, 10
_CHOICES = 6
"""So many usable middles are compared."""
_SETTLED = 0.35
"""Share of settled land that is wished for where places lie dense."""
_APART_M = 3000.0
"""Scenes whose middles are so far apart, east or north, cover no place of each other."""
_MAX_WATER = 0.5
_RING_M = 100.0
"""No ring of cells around another is narrower."""


@dataclass(frozen=True)
class Layout:
    """How the places of a world are strewn."""

    round: tuple[str, ...]
    """What cluster i is wished to be is the (i mod their number)th: train, val, test, or near: train beside val."""
    places: int
    """Of one cluster."""
    scene_px: int
    """Side of its Sentinel-2 scene."""
    reach_m: float
    """Largest distance of a scene's middle from that of a block of its split, along each axis."""
    territories: int = 1
    """A cluster chooses among so many, and takes the most settled: what is photographed and written of closely lies
    where people live. Of one, it takes any that is dry."""
    is_last_first: bool = False
    """Takes territories from the end of the list, where those of another layout begin with its first."""
    rule: SplitRule = field(default_factory=SplitRule)
    """Which cells belong to which split: that with which its corpus is built."""
    grouped: float = 1 / 3
    """Share of the places that lie in one tight group; the others are scattered."""

    @property
    def inner_m(self) -> float:
        """A cell this near to the middle of a scene along both axes has its whole patch inside."""
        return 10.0 * (self.scene_px // 2 - SENTINEL2.size_px // 2) - SENTINEL2.offset_m - 10


DEMO = Layout(
    ("train", "val", "test", "near", "train", "near", "train", "near", "train", "near"), PLACES_PER_CLUSTER,
    scene_px=400, reach_m=700,
)  # fmt: skip
"""The demo: many clusters, few places in each. Round each one of val lie some of train, as they would in a corpus of a
whole country; those of test are far from everything."""
DENSE = Layout(
    ("val", "test"), places=280, scene_px=830, reach_m=100, territories=12, is_last_first=True,
    rule=SplitRule(4, 6), grouped=0,
)  # fmt: skip
"""Few clusters with so many places within a few kilometres that one alone makes a gallery: who can tell neighbours
apart? Blocks of val at resolution 7 are too small for that."""


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


def find_cluster(number: int, seed: int, layout: Layout = DEMO) -> Cluster:
    """Returns a cluster: a pure function of its number, the seed and the layout.

    Raises:
        ValueError: if the region holds no more clusters.
    """
    wish, turn = layout.round[number % len(layout.round)], number // len(layout.round)
    split = "train" if wish == "near" else wish
    rank = turn * layout.round.count(wish) + layout.round[: number % len(layout.round)].count(wish)
    rng = np.random.Generator(np.random.Philox(key=[seed, number]))
    if wish == "near":
        lon, lat, found = _beside(turn, rank % layout.round.count(wish), seed, layout)
    else:
        lon, lat, found = _middle(split, rank, seed, layout, rng)
    east_m, north_m = (np.round(rng.uniform(-4.9, 4.9, 2), 1) * (rng.random() < PHASE_SHARE)).tolist()
    dem_grid = _scene_grid(lon, lat, layout.scene_px)
    grid = replace(dem_grid, left=dem_grid.left + east_m, top=dem_grid.top + north_m)
    dry = _prefer_land(Landscape(seed), found, layout.places)
    keys = tuple(cells.to_key(cell) for cell in _choose(dry, layout, rng).tolist())
    return Cluster(number, split, keys, grid, dem_grid)


def most_places(seed: int, layout: Layout = DEMO) -> int:
    """Returns how many places the region holds."""
    wishes, found = layout.round, _territories(seed, layout.rule)
    train = wishes.count("train") + wishes.count("near")  # a cluster that finds no room beside val goes elsewhere
    need = {"train": train, "val": wishes.count("val"), "test": wishes.count("test")}
    rounds = min(len(found[split]) // layout.territories // count for split, count in need.items() if count)
    return rounds * len(wishes) * layout.places


def _middle(
    split: str, rank: int, seed: int, layout: Layout, rng: np.random.Generator
) -> tuple[float, float, cells.Cells]:
    """Middle and usable cells of the rank-th cluster of a split, which has a territory of its own."""
    territories = _territories(seed, layout.rule)[split][:: -1 if layout.is_last_first else 1]
    mine = territories[rank * layout.territories : (rank + 1) * layout.territories].tolist()
    if not mine:
        raise ValueError(f"The demo region has no such room: ask for at most {most_places(seed, layout)} places.")
    usable: list[tuple[float, float, cells.Cells]] = []
    for territory in mine:
        fitting = (
            (lon, lat, found)
            for lon, lat in _draw_centres(territory, split, layout, rng).tolist()
            if len(found := _cells_of(split, lon, lat, territory, layout)) >= layout.places
        )
        usable += islice(fitting, _CHOICES)
    return (_driest if layout.territories == 1 else _most_settled)(Landscape(seed), usable)


def _beside(turn: int, rank: int, seed: int, layout: Layout) -> tuple[float, float, cells.Cells]:
    """Middle and usable cells of the rank-th cluster of train beside the cluster of val of the same round."""
    found = _neighbours(turn, seed, layout)
    if rank < len(found):
        return found[rank]
    number = turn * layout.round.count("near") + rank
    rng = np.random.Generator(np.random.Philox(key=[seed, number], counter=[0, 0, 0, 1 << 32]))
    return _middle("train", number, seed, replace(layout, is_last_first=True), rng)


@lru_cache(maxsize=64)
def _neighbours(turn: int, seed: int, layout: Layout) -> list[tuple[float, float, cells.Cells]]:
    """The nearest middles to that of val in its territory, whose scenes keep apart from it and from each other."""
    number = turn * len(layout.round) + layout.round.index("val")
    val = find_cluster(number, seed, layout)
    territory = int(cells.ancestors(np.array([cells.to_cell(val.keys[0])], np.uint64), _TERRITORY)[0])
    rng = np.random.Generator(np.random.Philox(key=[seed, number], counter=[0, 0, 0, 1 << 32]))
    middles = _draw_centres(territory, "train", layout, rng)
    x, y = transformer("EPSG:4326", val.grid.crs).transform(*middles.T)
    nearest = np.argsort(np.hypot(np.subtract(x, val.grid.centre[0]), np.subtract(y, val.grid.centre[1])))
    taken, usable = [val.grid.centre], []
    for at in nearest.tolist():
        lon, lat = middles[at].tolist()
        if any(max(abs(x[at] - there[0]), abs(y[at] - there[1])) < _APART_M for there in taken):
            continue
        found = _cells_of("train", lon, lat, territory, layout)
        water = Landscape(seed).at(to_plane(*cells.centres(found).T)).water if len(found) >= layout.places else 1.0
        if np.mean(water) < _MAX_WATER:
            usable.append((lon, lat, found))
            taken.append((x[at], y[at]))
        if len(usable) == layout.round.count("near"):
            break
    return usable


@lru_cache(maxsize=4)
def _territories(seed: int, rule: SplitRule) -> dict[str, cells.Cells]:
    """Resolution-5 cells by the split that a cluster in them can have, in the order in which they are used.

    Left out are those near the edge of the box, near the border of two UTM zones, out at sea, on lasting ice, and those
    of another split by the demo's own rule: there its clusters of train begin with the first.
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
        splits = {_usual_split(cell, one) for one in {rule, DEMO.rule}}
        if len(splits) == 1:
            by_split[splits.pop()].append(cell)
    return {split: np.array(members, dtype=np.uint64) for split, members in by_split.items()}


def _usual_split(territory: int, rule: SplitRule) -> str:
    """The split of which a territory has the rarest blocks."""
    drawn = set(_drawn(cells.descendants(territory, rule.val_resolution), rule).tolist())
    return "test" if "test" in drawn else "val" if "val" in drawn else "train"


def _drawn(blocks: cells.Cells, rule: SplitRule) -> NDArray[np.str_]:
    """Where to look: the split rule without its buffers; what counts is what `SplitRule.assign` says of the cells."""
    is_test = cells.hash_unit(cells.ancestors(blocks, rule.test_resolution), TEST_SALT) < TEST_SHARE
    is_val = cells.hash_unit(blocks, VAL_SALT) < VAL_SHARE
    return np.where(is_test, "test", np.where(is_val, "val", "train"))


def _draw_centres(territory: int, split: str, layout: Layout, rng: np.random.Generator) -> NDArray[np.float64]:
    """Candidate middles of a scene, best first: in blocks of the wished split, off their middle by up to `reach_m`."""
    blocks = cells.descendants(territory, layout.rule.val_resolution)
    blocks = blocks[_drawn(blocks, layout.rule) == split]
    lonlat = cells.centres(rng.permutation(blocks).repeat(4))
    step_deg = layout.reach_m / 111_195
    reach = np.array([step_deg / math.cos(math.radians(lonlat[0, 1])), step_deg])
    return np.asarray(lonlat + rng.uniform(-1, 1, lonlat.shape) * reach)


def _scene_grid(lon: float, lat: float, scene_px: int) -> Grid:
    crs = local_crs(lon, lat)
    x, y = transformer("EPSG:4326", crs).transform(lon, lat)
    half_m = scene_px // 2 * 10
    return Grid(crs, round(x / 10) * 10.0 - half_m, round(y / 10) * 10.0 + half_m, 10.0, scene_px, scene_px)


def _driest(landscape: Landscape, usable: list[tuple[float, float, cells.Cells]]) -> tuple[float, float, cells.Cells]:
    """The first choice that is not mostly water, else that with least of it."""
    shares = []
    for _, _, found in usable:
        shares.append(float(landscape.at(to_plane(*cells.centres(found).T)).water.mean()))
        if shares[-1] < _MAX_WATER:
            break
    return usable[int(np.argmin(shares))]


def _most_settled(
    landscape: Landscape, usable: list[tuple[float, float, cells.Cells]]
) -> tuple[float, float, cells.Cells]:
    """The choice of which a third is settled and nothing is water, or what comes nearest to it."""
    off = []
    for _, _, found in usable:
        land = landscape.at(to_plane(*cells.centres(found).T))
        off.append(abs(float(land.built.mean()) - _SETTLED) + float(land.water.mean()))
    return usable[int(np.argmin(off))]


def _cells_of(split: str, lon: float, lat: float, territory: int, layout: Layout) -> cells.Cells:
    """Cells of a split and territory whose middle lies in the inner part of a scene, in H3 order."""
    grid = _scene_grid(lon, lat, layout.scene_px)
    rings = math.ceil(layout.inner_m * math.sqrt(2) / _RING_M)
    disk = np.array(sorted(h3.grid_disk(h3.latlng_to_cell(lat, lon, _CELL), rings)), dtype=np.uint64)
    disk = disk[cells.ancestors(disk, _TERRITORY) == territory]
    x, y = transformer("EPSG:4326", grid.crs).transform(*cells.centres(disk).T)
    x_mid, y_mid = grid.centre
    disk = disk[(np.abs(x - x_mid) < layout.inner_m) & (np.abs(y - y_mid) < layout.inner_m)]
    return np.asarray(disk[layout.rule.assign(disk) == split])


def _prefer_land(landscape: Landscape, found: cells.Cells, places: int) -> cells.Cells:
    """Leaves out cells whose middle is water as long as there are enough others: nobody writes of open water."""
    is_wet = landscape.at(to_plane(*cells.centres(found).T)).water > 0
    return np.asarray(np.sort(found[np.argsort(is_wet, kind="stable")[: max(places, int((~is_wet).sum()))]]))


def _choose(found: cells.Cells, layout: Layout, rng: np.random.Generator) -> cells.Cells:
    """Takes some in one tight group and the rest scattered, so that both near and far neighbours occur."""
    xyz = cells.to_xyz(cells.centres(found))
    nearness = xyz @ xyz[int(rng.integers(len(found)))]
    group = np.argsort(-nearness, kind="stable")[: int(layout.places * layout.grouped)]
    rest = rng.permutation(np.setdiff1d(np.arange(len(found)), group))[: layout.places - len(group)]
    return np.asarray(found[rng.permutation(np.concatenate([group, rest]))])
