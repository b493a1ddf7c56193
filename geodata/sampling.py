"""Which cells become places: seeded, stable when their number grows, and without ever listing a region's cells.

A strategy is a stream of candidate cells in a fixed order; the chooser takes from it until it has enough. Because the
order does not depend on the number wanted, the first N of a longer corpus are the N of a shorter one.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geodata import cells
from geodata.regions import Region
from geodata.splits import SplitRule
from schemas.drop import Drop, Reason, Stage

CHUNK = 4096
"""Candidates judged at once."""
MAX_BARREN_CHUNKS = 2000
"""The uniform stream is given up after so many chunks in a row without a new cell: the region is full."""

MAX_BARREN_UNIT_CHUNKS = 8
"""The stream of units ends after so many chunks in a row without a new unit."""

_DETAIL = {
    Reason.OUTSIDE_REGION: "the place lies outside the region",
    Reason.SPLIT_BUFFER: "its patch could touch a patch of another split",
    Reason.TOO_CLOSE: "a place chosen earlier is nearer than min_spacing_m",
    Reason.NOT_SAMPLED: "enough places had been chosen",
}


@dataclass(frozen=True)
class SamplingRule:
    """How many places and how far apart."""

    samples: int | None
    """Number wanted; None takes every candidate."""
    resolution: int = 10
    """H3 level of a place."""
    min_spacing_m: float = 0.0
    """Least distance of cell centres."""


@dataclass
class Choice:
    """What the chooser found."""

    cells: cells.Cells
    """Chosen cells, in order of choice."""
    splits: NDArray[np.str_]
    """Split of each."""
    drops: list[Drop] = field(default_factory=list)
    """Cells of a finite stream that were not chosen."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Number of candidates by reason, for finite and endless streams."""
    asked: dict[str, dict[str, int]] = field(default_factory=dict)
    """Requests and received bytes of the services that were asked for anchors."""


def uniform_stream(region: Region, *, seed: int, resolution: int) -> Iterator[cells.Cells]:
    """Yields cells of points uniform by area on the region's land, without end; barren chunks are empty.

    Points are uniform in longitude and in the sine of the latitude over the region's boxes. Chunk i is drawn from a
    generator of its own, keyed by seed and i.
    """
    boxes = np.array(region.boxes)
    heights = np.sin(np.radians(boxes[:, 3])) - np.sin(np.radians(boxes[:, 1]))
    areas = (boxes[:, 2] - boxes[:, 0]) * heights
    number = 0
    while True:
        rng = np.random.Generator(np.random.Philox(key=[seed, number]))
        share = rng.random((3, CHUNK))
        box = boxes[np.minimum(np.searchsorted(np.cumsum(areas) / areas.sum(), share[0]), len(boxes) - 1)]
        lon = box[:, 0] + share[1] * (box[:, 2] - box[:, 0])
        low, high = np.sin(np.radians(box[:, 1])), np.sin(np.radians(box[:, 3]))
        lat = np.degrees(np.arcsin(low + share[2] * (high - low)))
        on_land = region.contains_land(lon, lat)
        yield cells.cells_at(np.stack([lon, lat], axis=-1)[on_land], resolution)
        number += 1


def unit_stream(region: Region, *, seed: int, resolution: int) -> Iterator[int]:
    """Yields the units that hold land of the region, each once, in seeded order; large ones tend to come first.

    It ends when many points in a row have met no new unit.
    """
    seen: set[int] = set()
    barren = 0
    for chunk in uniform_stream(region, seed=seed, resolution=resolution):
        fresh = [unit for unit in dict.fromkeys(chunk.tolist()) if unit not in seen]
        seen.update(fresh)
        yield from fresh
        barren = 0 if fresh else barren + 1
        if barren >= MAX_BARREN_UNIT_CHUNKS:
            return


def anchored_stream(anchors: NDArray[np.float64], *, seed: int, resolution: int) -> Iterator[cells.Cells]:
    """Yields the cells that hold an anchor, each once, in the order of their seeded hash.

    Args:
        anchors: positions of photos, articles, raster centres: degrees (lon, lat), shape (N, 2).
    """
    found = np.unique(cells.cells_at(anchors, resolution))
    yield found[np.argsort(cells.hash64(found, f"anchor {seed}"), kind="stable")]


def listed_stream(lonlat: NDArray[np.float64], *, resolution: int) -> Iterator[cells.Cells]:
    """Yields the cells of listed points in the order of the list."""
    yield cells.cells_at(lonlat, resolution)


def choose_places(
    stream: Iterator[cells.Cells], region: Region | None, splits: SplitRule, rule: SamplingRule, *, finite: bool
) -> Choice:
    """Takes cells from a stream: inside the region, outside the split buffer, not twice, not too close.

    Args:
        region: None takes every place on Earth.
        finite: True writes a drop for each cell not chosen; of an endless stream they are only counted.
    """
    chooser = _Chooser(rule)
    choice = Choice(np.empty(0, np.uint64), np.empty(0, "<U5"))
    chosen: list[int] = []
    chosen_splits: list[str] = []
    barren = 0
    for chunk in stream:
        fresh = chooser.unseen(chunk)
        barren = 0 if len(fresh) else barren + 1
        if barren > MAX_BARREN_CHUNKS:
            break
        lonlat = cells.centres(fresh)
        outside = np.zeros(len(fresh), bool) if region is None else ~region.contains(lonlat[:, 0], lonlat[:, 1])
        for i, split in enumerate(splits.assign(fresh).tolist()):
            reason = chooser.reject(lonlat[i], bool(outside[i]) and finite, split)
            if reason is None:
                chosen.append(int(fresh[i]))
                chosen_splits.append(split)
                continue
            choice.rejected[reason] += 1
            if finite:
                choice.drops.append(Drop(cells.to_key(fresh[i]), "", Stage.FIND, reason, detail=_DETAIL[reason]))
        if chooser.is_full and not finite:
            break
    choice.cells, choice.splits = np.array(chosen, dtype=np.uint64), np.array(chosen_splits, dtype="<U5")
    return choice


class _Chooser:
    """Keeps what has been taken, so that the next candidate can be compared with it."""

    def __init__(self, rule: SamplingRule) -> None:
        self._rule = rule
        self._seen: set[int] = set()
        self._taken = 0
        self._boxes: dict[tuple[int, ...], list[NDArray[np.float64]]] = {}

    @property
    def is_full(self) -> bool:
        return self._rule.samples is not None and self._taken >= self._rule.samples

    def unseen(self, chunk: cells.Cells) -> cells.Cells:
        """Returns the cells that come for the first time, in their order."""
        fresh = [cell for cell in dict.fromkeys(chunk.tolist()) if cell not in self._seen]
        self._seen.update(fresh)
        return np.array(fresh, dtype=np.uint64)

    def reject(self, lonlat: NDArray[np.float64], is_outside: bool, split: str) -> Reason | None:
        """Returns why the next cell is not taken; None where it is."""
        if is_outside:
            return Reason.OUTSIDE_REGION
        if split == "":
            return Reason.SPLIT_BUFFER
        if self.is_full:
            return Reason.NOT_SAMPLED
        if self._rule.min_spacing_m > 0 and not self._take_apart(lonlat):
            return Reason.TOO_CLOSE
        self._taken += 1
        return None

    def _take_apart(self, lonlat: NDArray[np.float64]) -> bool:
        """Notes a position unless one within the spacing is there; positions lie in cubes of that size."""
        spacing = self._rule.min_spacing_m
        here = cells.to_xyz(lonlat[None])[0] * cells.EARTH_RADIUS_M
        box = np.floor(here / spacing).astype(int)
        for step in np.ndindex(3, 3, 3):
            for other in self._boxes.get(tuple((box + step - 1).tolist()), ()):
                if np.sum((here - other) ** 2) < spacing**2:
                    return False
        self._boxes.setdefault(tuple(box.tolist()), []).append(here)
        return True
