"""Which cell an article belongs to: the nearest sampled one whose Sentinel-2 patch footprint holds its position."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TypeVar

from geodata import cells
from geodata.grid import distance_m, holds, make_grid
from schemas.modality import SENTINEL2
from schemas.reference import Item, Place

_Placed = TypeVar("_Placed", Item, Place)

ARTICLE_REACH_M = 1600.0
"""An article lies at most this far from the centre of a cell whose patch holds it: half a patch and its offset."""
_REACH_DEG = ARTICLE_REACH_M / 110_000
"""More than that in latitude: no degree of it is shorter than 110.5 km."""
NEAR_RESOLUTION, _NEAR_RINGS = 7, 2
"""Two res-7 steps reach farther than that."""


def assign_articles(items: Iterable[Item], places: Sequence[Place], halo: Sequence[Place]) -> dict[str, list[Item]]:
    """Returns the articles of each of the places that owns any, by key.

    Args:
        items: articles; those far from all places cost little.
        places: the cells that are asked for.
        halo: other sampled cells, which may own an article instead.
    """
    near = bucket([*places, *halo], NEAR_RESOLUTION)
    mine = {place.key for place in places}
    found: defaultdict[str, list[Item]] = defaultdict(list)
    for block, group in sorted(bucket(items, NEAR_RESOLUTION).items()):
        around = [place for b in cells.disk(block, _NEAR_RINGS) for place in near.get(b, ())]
        for item in group:
            beside = [p for p in around if abs(p.lat - item.lat) < _REACH_DEG]
            holding = [p for p in beside if holds(make_grid(p.key, SENTINEL2.name), item.lon, item.lat)]
            if holding:
                owner = min(holding, key=partial(_rank_owner, item=item)).key
                if owner in mine:
                    found[owner].append(item)
    return dict(found)


def blocks_near(places: Iterable[Place]) -> set[int]:
    """Returns the res-7 cells in which every article lies that may belong to one of the places."""
    blocks = {cells.cell_number(place.lon, place.lat, NEAR_RESOLUTION) for place in places}
    return {near for block in blocks for near in cells.disk(block, _NEAR_RINGS)}


def longest_first(items: Iterable[Item]) -> list[Item]:
    """Returns articles in the order in which they are kept."""
    return sorted(items, key=lambda item: (-(item.size or 0), item.item_id))


def bucket(entries: Iterable[_Placed], resolution: int) -> dict[int, list[_Placed]]:
    """Returns places or items by the H3 cell that holds them."""
    buckets: defaultdict[int, list[_Placed]] = defaultdict(list)
    for entry in entries:
        buckets[cells.cell_number(entry.lon, entry.lat, resolution)].append(entry)
    return dict(buckets)


def _rank_owner(place: Place, item: Item) -> tuple[float, str]:
    """The nearest centre owns an article; equal distances are settled by the key."""
    return distance_m(place.lon, place.lat, item.lon, item.lat), place.key
