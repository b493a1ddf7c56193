"""Whether anything of one split can be seen from another: by what is in the corpus, not by the rule that made it."""

import math
from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geodata import cells
from geodata.grid import make_grid, patch_centres, transformer
from geodata.splits import POLAR_EXCLUSION_M
from pipelines.verification.fault import Fault
from schemas.grid import Grid
from schemas.modality import SENTINEL2
from schemas.reference import SPLITS


def find_shared_items(
    items: NDArray[np.uint64], cells_: cells.Cells, shards: NDArray[np.int64], names: list[str]
) -> Iterator[Fault]:
    """Yields the samples that show a photo or an article that a sample of another split shows too.

    Args:
        items: hash of each photo's or article's identity, shape (N,).
        cells_: the cell that shows it, shape (N,).
        shards: number of that cell's shard in `names`, shape (N,).
        names: all shards.
    """
    splits = _splits(names)[shards]
    order = np.argsort(items, kind="stable")
    same = items[order][1:] == items[order][:-1]
    for run in np.split(order, np.flatnonzero(~same) + 1) if same.any() else []:
        if len(run) > 1 and len(set(splits[run].tolist())) > 1:
            for one in run.tolist():
                other = next(o for o in run.tolist() if splits[o] != splits[one])
                what = f"shows the photo or article of {cells.to_key(cells_[other])} in {SPLITS[splits[other]]}"
                yield Fault("leakage", names[shards[one]], cells.to_key(cells_[one]), what)


def find_touching_patches(cells_: cells.Cells, shards: NDArray[np.int64], names: list[str]) -> Iterator[Fault]:
    """Yields the samples whose Sentinel-2 patch touches one of another split."""
    splits = _splits(names)[shards]
    few = np.flatnonzero(splits != SPLITS.index("train"))
    if not len(few) or len(set(splits.tolist())) < 2:
        return
    points = cells.to_xyz(patch_centres(cells_, SENTINEL2))
    near = cKDTree(points).query_ball_point(points[few], r=math.sqrt(2) * POLAR_EXCLUSION_M / cells.EARTH_RADIUS_M)
    for one, others in zip(few.tolist(), near, strict=True):
        for other in others:
            if splits[other] < splits[one] and _touch(cells.to_key(cells_[one]), cells.to_key(cells_[other])):
                for a, b in ((one, other), (other, one)):
                    what = f"its patch touches that of {cells.to_key(cells_[b])} in {SPLITS[splits[b]]}"
                    yield Fault("leakage", names[shards[a]], cells.to_key(cells_[a]), what)


def _splits(names: list[str]) -> NDArray[np.int64]:
    return np.array([SPLITS.index(name.partition("/")[0]) for name in names], dtype=np.int64)


def _touch(key: str, other: str) -> bool:
    mine, theirs = make_grid(key, SENTINEL2.name), make_grid(other, SENTINEL2.name)
    return bool(shapely.intersects(_outline(mine, mine.crs), _outline(theirs, mine.crs)))


def _outline(grid: Grid, crs: str) -> shapely.Polygon:
    left, bottom, right, top = grid.bounds
    x, y = transformer(grid.crs, crs).transform([left, right, right, left], [bottom, bottom, top, top])
    return shapely.Polygon(np.stack([x, y], axis=-1))
