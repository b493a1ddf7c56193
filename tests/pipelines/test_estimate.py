import json
import math
from dataclasses import replace

import numpy as np
import pytest

from geodata import cells
from geodata.grid import make_grid, patch_centres, transformer
from geodata.judge import Thresholds
from geodata.observe import Encoding
from geodata.services.session import HttpSettings
from geodata.services.tiles import choose_zoom, tiles_over
from geodata.sources.scenes import FINEST
from pipelines.cost.estimate import CostEstimate
from pipelines.cost.measures import WEIGHTS, Block, Measures, Weight
from pipelines.cost.reads import CHUNK_BYTES, OPENING_BYTES, OPENING_REQUESTS, File, FileReader, add_blocks, files_of
from pipelines.plan.recipe import Recipe
from schemas.modality import SENTINEL2, SENTINEL2_BANDS
from schemas.reference import Item, Reference

RECIPE = Recipe(Thresholds(), Encoding())
BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2"
S3 = "https://sentinel-cogs.s3.us-west-2.amazonaws.com"
LEFT, TOP = 300_000.0, 5_500_020.0
"""Corner of a scene in UTM 32 north, around 49.2 north, 7 east."""


def estimate_cost(shards, items, recipe, **how):
    estimate = CostEstimate(recipe, **how)
    for references in shards:
        estimate.add(references, items)
    return estimate.as_dict()


def lay_out(number):
    """Cells in a row through the scene."""
    return [cells.cell_at(7.0 + 0.01 * n, 49.2, 10) for n in range(number)]


def make_scene(root=BLOB, source="planetary-computer", name="S2A"):
    bands = {band: f"{root}/{name}/{band}.tif" for band in SENTINEL2_BANDS}
    part = {"id": name, "bands": bands, "classes": f"{root}/{name}/SCL.tif", "offset": -1000, "doubtful": False}
    bounds = (LEFT, TOP - 109_800, LEFT + 109_800, TOP)
    href = json.dumps({"parts": [part]})
    return Item(source, name, "sentinel2", href, 7, 49, licence="Copernicus", crs="EPSG:32632", bounds=bounds)


def make_tile(root):
    part = {"id": "N49E007", "href": f"{root}/dem.tif", "label": "GLO-30", "square": [7, 49]}
    return Item("copernicus-dem", "N49E007", "dem", json.dumps({"parts": [part]}), 7.5, 49.5)


def refer(item, keys, rank=0):
    return [Reference(key, item.modality, rank, item.source, item.item_id) for key in keys]


def index(*items):
    return {(item.source, item.modality, item.item_id): item for item in items}


def make_world():
    """Two shards of eight places: scenes, photos and articles with spares."""
    scene, keys = make_scene(), lay_out(16)
    photos = [Item("mapillary", f"p{n}", "street", "", 7, 49, licence="CC-BY-SA-4.0") for n in range(32)]
    articles = [Item("wikipedia", f"en:{n}", "text", "", 7, 49, licence="CC-BY-SA-4.0") for n in range(32)]
    shards = [[], []]
    for n, key in enumerate(keys):
        mine = shards[n // 8]
        mine += refer(scene, [key])
        for rank in (0, 1):
            mine += refer(photos[2 * n + rank], [key], rank) + refer(articles[2 * n + rank], [key], rank)
    return shards, index(scene, *photos, *articles)


def test_a_window_inside_one_block_is_one_request():
    assert add_blocks(set(), (0.5, 0.5), (0.25, 0.25)) == (1, 1)


def test_blocks_beside_each_other_come_at_once_and_those_below_apart():
    assert add_blocks(set(), (1.0, 0.5), (0.25, 0.25)) == (1, 2)
    assert add_blocks(set(), (0.5, 1.0), (0.25, 0.25)) == (2, 2)
    assert add_blocks(set(), (1.0, 1.0), (0.25, 0.25)) == (2, 4)


def test_what_was_read_is_not_asked_for_again():
    seen = set()
    found = [add_blocks(seen, middle, (0.25, 0.25)) for middle in ((0.5, 0.5), (0.6, 0.5), (1.0, 0.5), (0.5, 0.6))]
    assert found == [(1, 1), (0, 0), (1, 1), (0, 0)]


def test_a_window_that_ends_with_a_block_does_not_touch_the_next():
    assert add_blocks(set(), (0.5, 0.5), (1.0, 1.0)) == (1, 1)


def test_a_worker_reads_the_header_of_a_file_once_and_again_when_it_was_closed():
    reader, block = FileReader(), Block(512, 0.0)
    files = [File("s B02", f"{BLOB}/{n}.tif", np.zeros((1, 2)), 128, 128) for n in range(97)]
    opening = (OPENING_REQUESTS, OPENING_BYTES)
    assert [reader.read(file, 0, block) for file in files] == [opening] * 97
    assert reader.read(files[96], 0, block) == (0, 0.0)
    assert reader.read(files[0], 0, block) == opening


def test_a_block_costs_its_bytes_and_a_chunk():
    file = File("s B02", f"{BLOB}/b.tif", np.full((1, 2), 256.0), 128, 128)
    requests, size = FileReader().read(file, 0, Block(512, 1e5))
    assert (requests, size) == (OPENING_REQUESTS + 1, OPENING_BYTES + 1e5 + CHUNK_BYTES)


def test_patches_lie_in_the_files_of_a_scene_where_their_grids_say():
    keys = lay_out(3)
    for file in files_of(make_scene(), keys):
        gsd = 10 if file.kind.split()[1] in FINEST else 60 if file.kind.split()[1] in ("B01", "B09") else 20
        for key, (along, down) in zip(keys, file.middles.tolist(), strict=True):
            x, y = make_grid(key, SENTINEL2.name).centre
            assert (along * gsd, down * gsd) == pytest.approx((x - LEFT, TOP - y), abs=10)


def test_patches_lie_in_an_elevation_tile_where_their_degrees_say():
    keys = lay_out(2)
    (file,) = files_of(make_tile(BLOB), keys)
    numbers = np.array([cells.to_cell(key) for key in keys], dtype=np.uint64)
    expected = (patch_centres(numbers, SENTINEL2) - (7, 50)) * (3600, -3600)
    assert file.middles == pytest.approx(expected, abs=1)
    left, right = (transformer("EPSG:32632", "EPSG:4326").transform(x, 5_450_000)[0] for x in (4e5, 4e5 + 1280))
    assert file.width_px == pytest.approx((right - left) * 3600 + 6, rel=0.05)


def test_adding_shard_by_shard_is_adding_at_once():
    shards, items = make_world()
    one = CostEstimate(RECIPE)
    for references in shards:
        one.add(references, items)
    assert one.as_dict() == estimate_cost(shards, items, RECIPE)


def test_a_scaled_estimate_is_so_many_times_as_much():
    shards, items = make_world()
    estimate = CostEstimate(RECIPE)
    for references in shards:
        estimate.add(references, items)
    one, three = estimate.as_dict(), estimate.scaled(3).as_dict()
    assert three["places"] == 3 * one["places"] == 48
    assert three["bytes"] == pytest.approx(3 * one["bytes"], abs=3)
    assert three["services"]["blob"]["requests"] == 3 * one["services"]["blob"]["requests"]
    assert three["services"]["sas"] == one["services"]["sas"]
    assert three["per_modality"]["street"]["observations"] == 48
    assert estimate.as_dict() == one


def test_a_worker_reads_what_shards_share_once_and_two_workers_twice():
    keys, scene = lay_out(4), make_scene()
    shards = [refer(scene, keys), refer(scene, keys)]
    one, two = (
        estimate_cost(shards, index(scene), RECIPE, http=HttpSettings(workers=n))["services"]["blob"] for n in (1, 2)
    )
    alone = estimate_cost(shards[:1], index(scene), RECIPE)["services"]["blob"]
    assert one == alone
    assert two["requests"] == 2 * alone["requests"]


def test_batches_hold_spares_too():
    shards, items = make_world()
    services = estimate_cost(shards, items, RECIPE)["services"]
    assert services["wikipedia"]["requests"] == 1 + 2 * math.ceil(16 / 20)
    assert services["mapillary"]["requests"] == 1 + 2 * math.ceil(16 / 50)
    assert services["mapillary_images"]["requests"] == 16


def test_spares_are_read_at_as_many_places_as_the_pilot_found():
    shards, items = make_world()
    weights = WEIGHTS | {"street": Weight(20_000, 0.002, 0.5, (1.0,), 64)}
    cost = estimate_cost(shards, items, RECIPE, measures=Measures(weights))
    assert cost["services"]["mapillary_images"]["requests"] == 32
    assert cost["per_modality"]["street"] == {"observations": 16, "bytes": 160_000}


def test_tiles_are_those_of_the_patch():
    from geodata.services.orthophotos import find_orthophoto

    keys, service = lay_out(5), find_orthophoto("LU")
    item = Item("orthophotos", f"LU {service.id}", "aerial", service.template, 6, 49)
    grids = [make_grid(key, "aerial") for key in keys]
    tiles = sum(len(tiles_over(grid, choose_zoom(49.2, grid.gsd_m, service))) for grid in grids)
    assert estimate_cost([refer(item, keys)], index(item), RECIPE)["services"]["aerial"]["requests"] == tiles


def test_the_files_of_earth_search_and_its_elevation_are_asked_of_s3_without_tokens():
    keys, scene, tile = lay_out(3), make_scene(S3, "earth-search"), make_tile(S3)
    services = estimate_cost([refer(scene, keys) + refer(tile, keys)], index(scene, tile), RECIPE)["services"]
    assert services.keys() == {"earth_search", "s3"}
    only_scenes = estimate_cost([refer(scene, keys)], index(scene), RECIPE)["services"]["s3"]
    assert services["s3"]["requests"] >= only_scenes["requests"] + OPENING_REQUESTS + 1


def test_hours_follow_the_users_rate():
    shards, items = make_world()
    slow = estimate_cost(shards, items, RECIPE, http=HttpSettings(rates={"mapillary_images": 0.01}, workers=4))
    row = slow["services"]["mapillary_images"]
    assert row["hours"] == pytest.approx(row["requests"] / 0.01 / 3600, rel=1e-3)
    assert slow["slowest"] == "mapillary_images"
    assert slow["build_hours"] == row["hours"]
    assert slow["vcpu_hours"] == pytest.approx(4 * row["hours"], rel=1e-3)


def test_more_workers_shorten_computing_and_cost_no_less():
    keys, scene = lay_out(8), make_scene()
    measures = replace(Measures(), weights={name: replace(w, cpu_s=3600.0) for name, w in WEIGHTS.items()})
    one, four = (
        estimate_cost([refer(scene, keys)], index(scene), RECIPE, http=HttpSettings(workers=n), measures=measures)
        for n in (1, 4)
    )
    assert (one["slowest"], one["build_hours"], one["vcpu_hours"]) == ("processors", 8, 8)
    assert (four["build_hours"], four["vcpu_hours"]) == (2, 8)
