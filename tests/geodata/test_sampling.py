import itertools

import numpy as np
import pytest
import shapely

from geodata import cells
from geodata.grid import distance_m
from geodata.regions import find_region
from geodata.sampling import SamplingRule, anchored_stream, choose_places, listed_stream, uniform_stream
from geodata.splits import SplitRule
from schemas.drop import Reason


def choose_uniform(region, samples, *, seed=0, spacing_m=0.0):
    rule = SamplingRule(samples, min_spacing_m=spacing_m)
    stream = uniform_stream(region, seed=seed, resolution=10)
    return choose_places(stream, region, SplitRule(), rule, finite=False)


@pytest.mark.parametrize("spacing_m", [0.0, 20_000.0])
def test_growing_keeps_the_cells_already_chosen(spacing_m):
    region = find_region("FR")
    few, many = (choose_uniform(region, n, spacing_m=spacing_m).cells for n in (40, 90))
    assert len(few) == 40 and len(many) == 90
    assert many[:40].tolist() == few.tolist()


def test_another_seed_chooses_others():
    region = find_region("FR")
    assert not set(choose_uniform(region, 50).cells) & set(choose_uniform(region, 50, seed=1).cells)


def test_uniform_is_uniform_by_area():
    region = find_region("-10,0,10,60")
    found = np.concatenate(list(itertools.islice(uniform_stream(region, seed=3, resolution=10), 30)))
    lat = cells.centres(found)[:, 1]
    land = region.land.intersection(shapely.box(-10, 0, 10, 60))
    south, north = (_area(land.intersection(shapely.box(-10, a, 10, b))) for a, b in ((0, 30), (30, 60)))
    assert (lat < 30).mean() == pytest.approx(south / (south + north), abs=0.02)


def _area(geometry):
    """Area on the sphere by the cylindrical equal-area projection, any unit."""
    return shapely.transform(
        geometry, lambda xy: np.stack([np.radians(xy[:, 0]), np.sin(np.radians(xy[:, 1]))], -1)
    ).area


@pytest.mark.parametrize("name", ["FJ", "NZ", "RU", "AQ", "LU"])
def test_uniform_places_lie_on_the_land_of_hard_regions(name):
    region = find_region(name)
    choice = choose_uniform(region, 60)
    lonlat = cells.centres(choice.cells)
    assert len(choice.cells) == 60
    assert region.contains_land(lonlat[:, 0], lonlat[:, 1]).mean() > 0.9  # a centre may lie off the coast


def test_fiji_is_sampled_on_both_sides_of_the_antimeridian():
    lon = cells.centres(choose_uniform(find_region("FJ"), 200).cells)[:, 0]
    assert (lon > 0).any() and (lon < 0).any()


def test_spacing_is_kept_across_the_antimeridian():
    choice = choose_uniform(find_region("170,-20,-170,-10"), 25, spacing_m=3000)
    lonlat = cells.centres(choice.cells).tolist()
    for (a, b), (c, d) in itertools.combinations(lonlat, 2):
        assert distance_m(a, b, c, d) > 2980  # the sphere's radius differs by up to half a per cent


def test_a_full_region_ends_with_fewer_places(monkeypatch):
    monkeypatch.setattr("geodata.sampling.MAX_BARREN_CHUNKS", 5)
    choice = choose_uniform(find_region("11.30,48.20,11.31,48.21"), 10_000)
    assert 20 < len(choice.cells) < 300
    assert len(set(choice.cells.tolist())) == len(choice.cells)


def test_anchors_give_each_cell_once_and_every_loss_a_reason():
    rng = np.random.default_rng(0)
    anchors = rng.uniform((5.9, 49.5), (6.5, 50.0), (500, 2))
    rule = SamplingRule(100, min_spacing_m=1000)
    region = find_region("6.0,49.5,6.5,50.0")
    choice = choose_places(anchored_stream(anchors, seed=0, resolution=10), region, SplitRule(), rule, finite=True)
    asked = set(cells.cells_at(anchors, 10).tolist())
    dropped = {cells.to_cell(drop.key) for drop in choice.drops}
    assert len(choice.cells) == 100
    assert set(choice.cells.tolist()) | dropped == asked
    assert not set(choice.cells.tolist()) & dropped
    assert {d.reason for d in choice.drops} >= {Reason.OUTSIDE_REGION, Reason.TOO_CLOSE, Reason.NOT_SAMPLED}


def test_listed_places_keep_their_order():
    lonlat = np.array([[6.3, 49.8], [6.1, 49.6], [6.3, 49.8], [6.2, 49.7]])
    choice = choose_places(listed_stream(lonlat, resolution=10), None, SplitRule(), SamplingRule(None), finite=True)
    expected = list(dict.fromkeys(cells.cells_at(lonlat, 10).tolist()))
    assert [c for c in expected if c in choice.cells.tolist()] == choice.cells.tolist()
    assert len(choice.cells) + len(choice.drops) == 3
