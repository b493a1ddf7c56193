"""Which split a cell belongs to: a pure, seedless function of the cell, so that corpora built apart can be joined.

`test` are the cells below some coarse ancestors (does it work elsewhere?), `val` those below some finer ones elsewhere
(does it work here, at a place not seen?). Between differing splits a buffer is left out, by footprint.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geodata import cells
from geodata.grid import patch_centres
from schemas.modality import SENTINEL2

TEST_SHARE = 0.05
"""Share of the coarse ancestors that are test. A guess: 50,000 test places of a million."""
VAL_SHARE = 0.01
"""Share of the fine ancestors that are val. Each costs about four times its area in buffer, so it is small: 10,000
val places of a million."""
EXCLUSION_M = 1400.0
"""Patch centres of differing splits lie at least this far apart along east or north: the patch of 1280 m, and what a
grid convergence of up to 3 degrees between zones adds to it."""
POLAR_EXCLUSION_M = 1900.0
"""The same beyond 80 degrees, where neighbouring grids may stand at any angle (1280 m times the square root of 2)."""

TEST_SALT, VAL_SALT = "split 6 test", "split 6 val"
"""Part of the corpus format: other salts are another split. Chosen so that no raster of the test folder lies in a
buffer."""

_SPHERE_MARGIN = 1.02
"""Distances are taken on a sphere and before the grid rounds: the published distance holds on the ellipsoid."""
_RANK = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class SplitRule:
    """The split function; corpora with differing rules cannot be joined."""

    test_resolution: int = 4
    """H3 level of the ancestors that are drawn for test."""
    val_resolution: int = 7
    """H3 level of the ancestors that are drawn for val."""
    resolution: int = 10
    """H3 level of the places: the buffer keeps clear of every possible one."""

    def __post_init__(self) -> None:
        if not 0 <= self.test_resolution < self.val_resolution <= 9:
            raise ValueError(
                f"Split resolutions {self.test_resolution},{self.val_resolution} must rise and lie in 0 ... 9, "
                "for instance --split_resolution 4,7."
            )

    def describe(self) -> dict[str, float | int | str]:
        """Returns what the manifest says of the rule."""
        return {
            "resolution": self.resolution, "test_resolution": self.test_resolution, "test_share": TEST_SHARE,
            "val_resolution": self.val_resolution, "val_share": VAL_SHARE, "exclusion_m": EXCLUSION_M,
            "polar_exclusion_m": POLAR_EXCLUSION_M,
            "hash": "SplitMix64 of the ancestor",
        }  # fmt: skip

    def assign(self, cells_: cells.Cells) -> NDArray[np.str_]:
        """Returns train, val or test for each cell, and "" for cells of the buffer, shape (N,).

        A train cell is in the buffer where its patch would touch that of any possible val or test cell, a val cell
        where it would touch that of any possible test cell; whether that cell was sampled does not matter.
        """
        if not len(cells_):
            return np.empty(0, dtype="<U5")
        blocks = cells.ancestors(cells_, self.val_resolution)
        unique = np.unique(blocks)
        near = {block: _neighbourhood(block) for block in unique.tolist()}
        around = np.unique(np.fromiter((b for disk in near.values() for b in disk), np.uint64))
        split = dict(zip(around.tolist(), self._draw(around).tolist(), strict=True))
        result = np.array([split[block] for block in blocks.tolist()], dtype="<U5")
        members = np.split(np.argsort(blocks, kind="stable"), np.searchsorted(np.sort(blocks), unique[1:]))
        for block, here in zip(unique.tolist(), members, strict=True):
            foreign = [b for b in near[block] if _RANK[split[b]] > _RANK[split[block]]]
            if foreign:
                forbidden = np.concatenate([_block_centres(b, self.resolution) for b in foreign])
                result[here[_touches(cells_[here], forbidden, block)]] = ""
        return result

    def _draw(self, blocks: cells.Cells) -> NDArray[np.str_]:
        """Returns the split of each block, buffer aside."""
        is_test = cells.hash_unit(cells.ancestors(blocks, self.test_resolution), TEST_SALT) < TEST_SHARE
        is_val = cells.hash_unit(blocks, VAL_SALT) < VAL_SHARE
        return np.where(is_test, "test", np.where(is_val, "val", "train"))


@lru_cache(maxsize=1 << 12)
def _neighbourhood(block: int) -> list[int]:
    """Blocks that may hold a cell within reach."""
    reach_m = math.sqrt(2) * (POLAR_EXCLUSION_M + 2 * SENTINEL2.offset_m)
    return cells.disk(block, cells.rings_within(cells.resolution_of(block), reach_m))


@lru_cache(maxsize=512)
def _block_centres(block: int, resolution: int) -> NDArray[np.float64]:
    return patch_centres(cells.descendants(block, resolution), SENTINEL2)


def _touches(cells_: cells.Cells, forbidden: NDArray[np.float64], block: int) -> NDArray[np.bool_]:
    lonlat = cells.centres(np.array([block], dtype=np.uint64))
    up = cells.to_xyz(lonlat)[0]
    lon = math.radians(lonlat[0, 0])
    east = np.array([-math.sin(lon), math.cos(lon), 0.0])
    plane = np.stack([east, np.cross(up, east)], axis=-1) * cells.EARTH_RADIUS_M
    mine, theirs = cells.to_xyz(patch_centres(cells_, SENTINEL2)) @ plane, cells.to_xyz(forbidden) @ plane
    limit_m = (EXCLUSION_M if abs(lonlat[0, 1]) < 80 else POLAR_EXCLUSION_M) * _SPHERE_MARGIN
    theirs = theirs[((theirs > mine.min(axis=0) - limit_m) & (theirs < mine.max(axis=0) + limit_m)).all(axis=1)]
    touches = np.ones((len(mine), len(theirs)), dtype=bool)
    for axis in (0, 1):
        touches &= np.abs(mine[:, None, axis] - theirs[:, axis]) < limit_m
    return np.asarray(touches.any(axis=1))
