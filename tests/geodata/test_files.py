"""The membership rules: rasters by cover, photos by hexagon, articles by the nearest footprint."""

import json
from dataclasses import replace

import numpy as np
import pytest

from geodata import cells
from geodata.grid import distance_m, holds, make_grid, patch_lonlat, transformer
from geodata.sources import Finding
from geodata.sources.files import FileSource, Limits, covered_share, order_photos
from schemas.drop import Reason
from schemas.reference import Item, Place
from tests.folders import CENTRE

KEY = cells.cell_at(*CENTRE, 10)
AROUND = [cells.to_key(cell) for cell in cells.disk(cells.to_cell(KEY), 6)]


def place(key):
    lon, lat = cells.centre(key)
    return Place(key, "u", "train", lon, lat, None)


def item(modality, name, lon, lat, **more):
    return Item("mine", name, modality, name, lon, lat, **more)


def raster(name, lon, lat, half_m=700.0, **more):
    x, y = transformer("EPSG:4326", make_grid(KEY, "dem").crs).transform(lon, lat)
    bounds = (x - half_m, y - half_m, x + half_m, y + half_m)
    return item("dem", name, lon, lat, crs=make_grid(KEY, "dem").crs, bounds=bounds, **more)


def find(items, keys, halo=(), **limits):
    source = FileSource("mine", "/nowhere", items, limits=Limits(**limits))
    found = list(source.find([place(key) for key in keys], [place(key) for key in halo]))
    return [f.reference for f in found if isinstance(f, Finding)], [f for f in found if not isinstance(f, Finding)]


def random_points(number, spread=0.01, seed=0):
    return np.array(CENTRE) + np.random.default_rng(seed).uniform(-spread, spread, (number, 2))


def test_a_photo_belongs_to_the_cell_whose_hexagon_holds_it():
    photos = [item("street", str(n), *point) for n, point in enumerate(random_points(60, 0.004).tolist())]
    references, drops = find(photos, AROUND, photos_per_cell=99)
    expected = {(cells.cell_at(p.lon, p.lat, 10), p.item_id) for p in photos}
    assert {(r.key, r.item_id) for r in references} == {pair for pair in expected if pair[0] in AROUND}
    assert not drops and len(references) > 20


def test_an_article_belongs_to_the_nearest_cell_whose_patch_holds_it():
    """Brute force over all cells, with sparse cells so that articles have to go far; units must not matter."""
    sparse = AROUND[::9]
    articles = [item("text", str(n), *point, size=100) for n, point in enumerate(random_points(80).tolist())]
    owners = {}
    for article in articles:
        holding = [k for k in sparse if holds(make_grid(k, "sentinel2"), article.lon, article.lat)]
        if holding:
            owners[article.item_id] = min(holding, key=lambda k: distance_m(*cells.centre(k), article.lon, article.lat))
    whole, _ = find(articles, sparse, texts_per_cell=99)
    assert {r.item_id: r.key for r in whole} == owners
    assert len(owners) > 20
    halves = [
        find(articles, a, b, texts_per_cell=99)[0] for a, b in ((sparse[:5], sparse[5:]), (sparse[5:], sparse[:5]))
    ]
    assert sorted((r.item_id, r.key) for half in halves for r in half) == sorted(owners.items())


def test_of_rasters_the_one_that_covers_most_comes_first_then_the_newest():
    lon, lat = patch_lonlat(make_grid(KEY, "dem"))
    old = raster("old", lon, lat, captured_at="2019-01-01T00:00:00Z")
    new = raster("new", lon, lat, captured_at="2024-01-01T00:00:00Z")
    half = raster("half", lon + 0.006, lat, captured_at="2025-01-01T00:00:00Z")
    references, drops = find([old, half, new], [KEY], scene_tries=2)
    assert [(r.item_id, r.rank) for r in references] == [("new", 0), ("old", 1)]
    assert [(d.item_id, d.reason) for d in drops] == [("half", Reason.NOT_CHOSEN)]


def test_a_raster_that_covers_too_little_of_the_hexagon_is_dropped_with_its_share():
    lon, lat = cells.centre(KEY)
    references, drops = find([raster("edge", lon + 0.0015, lat, half_m=100)], [KEY], min_covered_share=0.9)
    assert not references
    assert drops[0].reason == Reason.NODATA and 0 < drops[0].value < 0.9


def test_covered_share_is_one_inside_and_a_half_at_the_edge():
    lon, lat = cells.centre(KEY)
    outline = cells.hexagon(KEY)
    inside = raster("a", lon, lat)
    assert covered_share(outline, inside) == pytest.approx(1)
    left, bottom, right, top = inside.bounds
    middle = (left + right) / 2
    assert covered_share(outline, replace(inside, bounds=(middle, bottom, right, top))) == pytest.approx(0.5, abs=0.01)


def test_a_geographic_raster_across_the_antimeridian_covers_both_sides():
    for lon in (179.9995, -179.9995):
        key = cells.cell_at(lon, -17.0, 10)
        wide = item("dem", "w", 180.0, -17.0, crs="EPSG:4326", bounds=(179.0, -18.0, 181.0, -16.0))
        assert covered_share(cells.hexagon(key), wide) == pytest.approx(1)
        references, _ = find([wide], [key])
        assert [r.item_id for r in references] == ["w"]


@pytest.mark.parametrize("seed", range(20))
def test_photos_are_ordered_without_loss_and_by_diversity(seed):
    rng = np.random.default_rng(seed)
    headings = rng.uniform(0, 360, rng.integers(1, 9)).tolist()
    photos = [item("street", str(n), *CENTRE, heading_deg=h) for n, h in enumerate(headings)]
    ordered = order_photos(photos, 9)
    assert sorted(p.item_id for p in ordered) == sorted(p.item_id for p in photos)
    assert ordered == order_photos(photos[::-1], 9)
    if len(ordered) > 1:
        turns = [abs((p.heading_deg - ordered[0].heading_deg + 180) % 360 - 180) for p in ordered[1:]]
        assert turns[0] == max(turns)


def test_references_survive_json_names():
    """Item names from outside are data, never structure."""
    evil = '{"bands": {}}"; DROP TABLE'
    references, _ = find([item("street", evil, *CENTRE)], [KEY])
    assert json.loads(json.dumps(references[0].item_id)) == evil
