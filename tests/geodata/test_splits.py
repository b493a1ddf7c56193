import numpy as np
import pytest
import shapely

from geodata import cells
from geodata.grid import footprint, make_grid, transformer
from geodata.splits import EXCLUSION_M, SplitRule
from schemas.modality import SENTINEL2

RULE = SplitRule()


def random_cells(number, box=(-10, 40, 25, 60), seed=0):
    rng = np.random.default_rng(seed)
    return cells.cells_at(rng.uniform(box[:2], box[2:], (number, 2)), 10)


def dense_cells_around(split, number):
    """All cells of a few blocks around one of a split: the hardest case for the buffer."""
    found = random_cells(3000)
    block = cells.ancestors(found[RULE.assign(found) == split][:1], 7)[0]
    return np.concatenate([cells.descendants(b, 10) for b in cells.disk(int(block), number)])


def test_split_is_a_pure_function_of_the_cell():
    found = random_cells(300)
    together = RULE.assign(found)
    apart = np.concatenate([RULE.assign(found[i : i + 1]) for i in range(len(found))])
    assert (together == apart).all()


@pytest.mark.parametrize("split", ["val", "test"])
def test_no_footprint_of_one_split_overlaps_one_of_another(split):
    found = dense_cells_around(split, 2)
    splits = RULE.assign(found)
    assert {split, "train", ""} <= set(splits.tolist())
    frame = make_grid(cells.to_key(found[0]), "sentinel2").crs
    polygons = np.array([_footprint(cells.to_key(cell), frame) for cell in found.tolist()])
    tree = shapely.STRtree(polygons)
    left, right = tree.query(polygons, predicate="intersects")
    differs = (splits[left] != splits[right]) & (splits[left] != "") & (splits[right] != "")
    assert not differs.any()
    assert (splits[left] == splits[right]).sum() > len(found)  # the same patches do overlap within a split


def _footprint(key, frame):
    corners = footprint(make_grid(key, "sentinel2"))
    return shapely.Polygon(np.stack(transformer("EPSG:4326", frame).transform(*corners.T), axis=-1))


@pytest.mark.parametrize(("resolution", "rings"), [(9, 2), (10, 2), (11, 1)])
def test_exclusion_distance_holds_between_all_cells_of_two_splits(resolution, rings):
    coarse = dense_cells_around("val", rings)
    blocks = np.unique(cells.ancestors(coarse, 7)).tolist()
    found = np.concatenate([cells.descendants(block, resolution) for block in blocks])
    splits = SplitRule(resolution=resolution).assign(found)
    frame = make_grid(cells.to_key(found[0]), "sentinel2").crs
    to_metres = transformer("EPSG:4326", frame).transform
    centres = np.stack(to_metres(*cells.centres(found).T), axis=-1)
    train, val = (np.flatnonzero(splits == split) for split in ("train", "val"))
    # a patch's middle lies within the shift, a pixel and the frame's stretch of its cell: others are farther apart
    reach_m = EXCLUSION_M + 200 + 2 * SENTINEL2.offset_m + 100
    near = np.abs(centres[train, None] - centres[None, val]).max(axis=-1) < reach_m
    train, val = train[near.any(axis=1)], val[near.any(axis=0)]
    middles = {
        cell: np.mean(_footprint(cells.to_key(found[cell]), frame).exterior.coords[:-1], axis=0)
        for cell in (*train.tolist(), *val.tolist())
    }
    apart = np.array([middles[c] for c in train])[:, None] - np.array([middles[c] for c in val])[None]
    assert EXCLUSION_M <= np.abs(apart).max(axis=-1).min() < EXCLUSION_M + 200


def test_shares_are_near_what_is_drawn():
    found = random_cells(6000, box=(-120, 30, 100, 65))
    splits = RULE.assign(found)
    assert 0.02 < (splits == "test").mean() < 0.09
    assert 0.004 < (splits == "val").mean() < 0.02
    assert (splits == "").mean() < 0.12


@pytest.mark.parametrize("lonlat", [(180.0, -17.0), (0.0, 90.0), (0.0, -90.0), (31.8315, 64.7)])
def test_every_cell_on_earth_has_a_split(lonlat):
    around = np.array(cells.disk(cells.to_cell(cells.cell_at(*lonlat, 10)), 3), dtype=np.uint64)
    assert set(RULE.assign(around).tolist()) <= {"train", "val", "test", ""}


@pytest.mark.parametrize("levels", [(7, 4), (4, 4), (-1, 7), (4, 12)])
def test_impossible_levels_are_refused(levels):
    with pytest.raises(ValueError, match="--split_resolution 4,7"):
        SplitRule(*levels)
