import json

import pyarrow.parquet as pq
import pytest
import shapely

from geodata.grid import footprint, make_grid
from geodata.sources.scenes import SceneError, decide_offset, drop_duplicates, parse_scene, rank_scenes, season_of
from schemas.modality import SENTINEL2_BANDS
from schemas.sample import parse_time
from tests.runs import SHARED

RECORDINGS = SHARED / "recordings"
pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/data is not beside this checkout")


def features(name):
    document = json.loads((RECORDINGS / name).read_text())
    found = document["features"] if document["type"] == "FeatureCollection" else [document]
    return [f for f in found if f.get("collection", "").startswith("sentinel-2") and "l1c" not in f["collection"]]


FILES = [
    "planetary-computer/s2l2a-item-20220612-baseline0400.json", "planetary-computer/s2l2a-search-datetime-10s.json",
    "planetary-computer/s2l2a-item-20150704-reprocessed-2021.json", "planetary-computer/sentinel-2-l2a-items-limit1.json",
    "planetary-computer/odc-S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json",
    "earth-search/cql2-filter-cloud-0.json", "earth-search/cql2-filter-cloud-1.json",
    "earth-search/s2-landsat-point-search-0.json",
]  # fmt: skip


def denver():
    """100 recorded items of tile 13TDE."""
    table = pq.read_table(RECORDINGS / "planetary-computer/rustac-100-sentinel-2-items.parquet").to_pylist()
    items = []
    for row in table:
        geometry = shapely.from_wkb(row["geometry"])
        properties = {
            k: v for k, v in row.items() if k not in ("assets", "geometry", "bbox", "links") and v is not None
        }
        properties["datetime"] = row["datetime"].isoformat()
        assets = {name: asset for name, asset in row["assets"].items() if asset is not None}
        items.append({
            "id": row["id"], "collection": row["collection"], "geometry": shapely.geometry.mapping(geometry),
            "properties": properties, "assets": assets,
        })  # fmt: skip
    return items


@pytest.mark.parametrize("name", FILES)
def test_every_recorded_scene_is_read(name):
    found = features(name)
    assert found
    for feature in found:
        scene = parse_scene(feature)
        assert [band for band, _ in scene.bands] == list(SENTINEL2_BANDS)
        assert all(
            href.startswith("https://") and "?" not in href and not href.endswith("jp2") for _, href in scene.bands
        )
        assert scene.classes.endswith(("SCL_20m.tif", "SCL.tif"))
        left, bottom, right, top = scene.bounds
        assert (round(right - left), round(top - bottom)) == (109_800, 109_800)
        assert scene.crs.startswith("EPSG:32")
        assert scene.captured_at.tzinfo is not None


def test_the_offset_follows_the_baseline_not_the_date():
    new, old = (
        features(f"planetary-computer/{name}")[0]
        for name in ("s2l2a-item-20220612-baseline0400.json", "s2l2a-item-20150704-reprocessed-2021.json")
    )
    assert decide_offset(new) == (-1000, False)
    assert decide_offset(old) == (0, False)
    old["properties"]["s2:processing_baseline"] = "05.00"
    assert decide_offset(old) == (-1000, False)


def test_earth_search_says_both_and_the_flag_wins():
    item = next(f for f in features("earth-search/s2-landsat-point-search-0.json"))
    assert item["properties"]["earthsearch:boa_offset_applied"] is True
    assert item["assets"]["red"]["raster:bands"][0]["offset"] == -0.1
    assert decide_offset(item) == (0, False)
    item["properties"]["earthsearch:boa_offset_applied"] = False
    assert decide_offset(item) == (-1000, True)


def test_collection_1_states_its_offset():
    item = next(f for f in features("earth-search/cql2-filter-cloud-0.json") if f["collection"] == "sentinel-2-c1-l2a")
    assert decide_offset(item) == (-1000, False)
    item["assets"]["blue"]["raster:bands"][0]["offset"] = 0
    assert decide_offset(item) == (0, False)


def test_a_scene_without_a_band_or_with_a_torn_footprint_is_refused():
    item = features(FILES[0])[0]
    del item["assets"]["B8A"]
    with pytest.raises(SceneError, match="lacks 'B8A'"):
        parse_scene(item)
    item = features(FILES[0])[0]
    item["geometry"]["coordinates"] = [[[-179, 0], [179, 0], [179, 1], [-179, 1], [-179, 0]]]
    with pytest.raises(SceneError, match="358 degrees wide"):
        parse_scene(item)


def test_of_one_acquisition_and_tile_the_newest_baseline_stands():
    item = features(FILES[0])[0]
    older = json.loads(json.dumps(item))
    older["id"] += "-old"
    older["properties"] |= {"s2:processing_baseline": "03.01", "s2:datatake_id": "GS2B_20220612T182919_027509_N03.01"}
    kept, dropped = drop_duplicates([parse_scene(older), parse_scene(item)])
    assert [s.id for s in kept] == [item["id"]]
    assert [s.id for s in dropped] == [older["id"]]


def test_an_acquisition_split_in_two_keeps_both_halves():
    scenes = [parse_scene(item) for item in denver()]
    kept, dropped = drop_duplicates(scenes)
    split = [s.id for s in kept if s.id.startswith("S2B_MSIL2A_20240530T174909")]
    assert len(scenes) == 100
    assert len(split) + len([s for s in dropped if s.id.startswith("S2B_MSIL2A_20240530T174909")]) == 2
    footprints = [s.geometry for s in scenes if s.id.startswith("S2B_MSIL2A_20240530T174909")]
    is_split = min(a.difference(b).area / a.area for a, b in (footprints, footprints[::-1])) > 0.01
    assert (len(split) == 2) == is_split


def test_the_footprint_must_hold_the_patch_not_the_box_around_it():
    scenes, _ = drop_duplicates([parse_scene(item) for item in denver()])
    half = next(s for s in scenes if s.nodata_percent > 70)
    corner = shapely.box(*half.geometry.bounds).difference(half.geometry).representative_point()
    grid = make_grid(_cell(corner.x, corner.y), "sentinel2")
    patch = shapely.Polygon(footprint(grid))
    chains = rank_scenes(scenes, patch, grid)
    assert chains
    assert shapely.box(*half.geometry.bounds).intersects(patch)
    assert half.id not in {chain[0].id for chain in chains if len(chain) == 1}
    for chain in chains:
        assert shapely.union_all([scene.geometry for scene in chain]).buffer(1e-9).covers(patch)


def test_clear_scenes_come_first_and_equal_ones_by_time():
    scenes, _ = drop_duplicates([parse_scene(item) for item in denver()])
    key = _cell(-105.6, 40.2)
    grid = make_grid(key, "sentinel2")
    ranked = [chain[0] for chain in rank_scenes(scenes, shapely.Polygon(footprint(grid)), grid)]
    assert [s.cloud_percent // 5 for s in ranked] == sorted(s.cloud_percent // 5 for s in ranked)
    first = [s for s in ranked if s.cloud_percent < 5 and s.nodata_percent < 20]
    assert [s.captured_at for s in first] == sorted((s.captured_at for s in first), reverse=True)


def test_seasons_are_those_of_the_meteorologists():
    months = [season_of(parse_time(f"2024-{month:02d}-15"), 4) for month in range(1, 13)]
    assert months == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0]
    assert {season_of(parse_time(f"2024-{month:02d}-15"), 1) for month in range(1, 13)} == {0}


def _cell(lon, lat):
    from geodata import cells

    return cells.cell_at(lon, lat, 10)


def test_a_footprint_that_was_cut_at_the_antimeridian_is_whole_again():
    item = features(FILES[0])[0]
    west, east = shapely.box(179.4, 10, 180, 11), shapely.box(-180, 10, -179.4, 11)
    item["geometry"] = shapely.geometry.mapping(shapely.MultiPolygon([west, east]))
    scene = parse_scene(item)
    assert scene.geometry.bounds == (179.4, 10, 180.6, 11)
    for lon in (179.9, -179.9, 180.0):
        grid = make_grid(_cell(lon, 10.5), "sentinel2")
        corners = footprint(grid)
        corners[:, 0] = lon + (corners[:, 0] - lon + 180) % 360 - 180
        assert [chain[0].id for chain in rank_scenes([scene], shapely.Polygon(corners), grid)] == [item["id"]]


def test_tries_are_not_spent_on_tiles_of_one_acquisition():
    scenes, _ = drop_duplicates([parse_scene(item) for item in denver()])
    grid = make_grid(_cell(-105.6, 40.2), "sentinel2")
    twins = [
        s.__class__(**{**{k: v for k, v in vars(s).items() if k != "middle"}, "id": f"{s.id}-twin", "tile": "13TDF"})
        for s in scenes
    ]
    ranked = rank_scenes([*scenes, *twins], shapely.Polygon(footprint(grid)), grid)
    acquisitions = [chain[0].acquisition for chain in ranked]
    assert len(acquisitions) == len(set(acquisitions)) > 10


def test_an_item_without_a_footprint_is_refused():
    item = features(FILES[0])[0]
    item["geometry"] = None
    with pytest.raises(SceneError):
        parse_scene(item)
