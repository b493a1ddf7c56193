from dataclasses import replace
from datetime import UTC, datetime, timedelta

import mercantile
import numpy as np
import pytest

from geodata import cells
from geodata.grid import distance_m
from geodata.services.mapillary import Photo
from geodata.services.session import ServiceError
from geodata.sources import street
from geodata.sources.files import Limits, order_photos
from geodata.sources.source import Finding
from geodata.sources.street import thin_out
from schemas.drop import Drop, Reason
from schemas.reference import Item, Place
from tests.services.mapillary import MapillaryDouble, Shot, envelope
from tests.services.mapillary import open_street as connect
from tests.services.server import Fault

LUXEMBOURG = (6.13, 49.61)
UNIT = cells.cell_at(*LUXEMBOURG, 6)
KEYS = sorted(cells.to_key(cell) for cell in cells.disk(cells.cell_number(*LUXEMBOURG, 10), 2))
START = datetime(2022, 5, 1, 8, tzinfo=UTC)
METRE = 1 / 111_320
SEARCHES = ("tiles", "boxes")


def place(key):
    return Place(
        key,
        cells.to_key(cells.ancestors(np.array([cells.to_cell(key)], np.uint64), 6)[0]),
        "train",
        *cells.centre(key),
        "LU",
    )


def shot(number, key, *, north_m=0.0, **more):
    """A photo so far from a cell's centre."""
    lon, lat = cells.centre(key)
    more = {"sequence": f"run{number}", "captured_at": START + timedelta(minutes=number), **more}
    return Shot(str(10**16 + number), lon, lat + north_m * METRE, **more)


def one_each(keys=KEYS):
    return [shot(n, key, heading=float(n)) for n, key in enumerate(keys)]


def find(source, keys=KEYS):
    entries = list(source.find([place(key) for key in keys], []))
    findings = [entry for entry in entries if isinstance(entry, Finding)]
    return findings, [entry for entry in entries if isinstance(entry, Drop)]


def as_pairs(findings):
    return {(finding.reference.key, finding.item.item_id) for finding in findings}


def count(drops):
    return {(drop.key, drop.reason): drop.count for drop in drops}


@pytest.mark.parametrize("search", SEARCHES)
def test_each_cell_gets_the_photos_within_its_hexagon_and_no_others(search):
    rng = np.random.default_rng(1)
    shots = [
        Shot(str(10**16 + n), *(LUXEMBOURG + rng.uniform(-0.008, 0.008, 2)).tolist(), sequence=f"run{n}")
        for n in range(300)
    ]
    wanted = KEYS[::2]
    expected = {(key, s.id) for s in shots if (key := cells.cell_at(s.lon, s.lat, 10)) in wanted}
    with MapillaryDouble(shots) as double:
        findings, drops = find(connect(double, limits=Limits(photos_per_cell=300), search=search), wanted)
        assert not double.offences
    assert as_pairs(findings) == expected and len(expected) > 10
    assert not drops


def test_both_searches_find_the_same():
    rng = np.random.default_rng(2)
    shots = [
        replace(shot(n, KEYS[n % len(KEYS)], north_m=float(rng.uniform(-60, 60))), heading=float(rng.uniform(0, 360)))
        for n in range(200)
    ]
    with MapillaryDouble(shots) as double:
        by_tiles, by_boxes = (find(connect(double, search=search)) for search in SEARCHES)
    assert by_tiles == by_boxes and len(by_tiles[0]) == 3 * len(KEYS)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_is_the_same_whenever_it_is_made_and_asks_nothing_twice(search, tmp_path):
    with MapillaryDouble(one_each()) as double:
        first = find(connect(double, cache=tmp_path, search=search))
        asked = len(double.graph.requests)
        assert find(connect(double, cache=tmp_path, search=search), KEYS[::-1]) == first
        assert len(double.graph.requests) == asked


@pytest.mark.parametrize("search", SEARCHES)
def test_an_item_says_where_it_is_from(search):
    lon, lat = cells.centre(KEYS[0])
    shots = [
        shot(1, KEYS[0], heading=12.5, computed=(lon + METRE, lat), computed_heading=14.0, is_pano=True),
        shot(2, KEYS[1], creator=None),
    ]
    with MapillaryDouble(shots) as double:
        findings, _ = find(connect(double, search=search))
    first, second = sorted((finding.item for finding in findings), key=lambda item: item.item_id)
    assert first == Item(
        "mapillary", shots[0].id, "street", f"mapillary:{shots[0].id}", lon + METRE, lat, "2022-05-01T08:01:00Z", "CC-BY-SA-4.0",
        f"Mapillary, @mapper (https://www.mapillary.com/app/?pKey={shots[0].id})", heading_deg=14.0, is_pano=True, note="computed position",
    )  # fmt: skip
    assert second.attribution == f"Mapillary (https://www.mapillary.com/app/?pKey={shots[1].id})"
    assert (second.note, second.heading_deg, second.is_pano) == ("position of the device", None, False)


def test_only_tiles_with_coverage_are_opened():
    far = cells.cell_at(LUXEMBOURG[0] + 0.3, LUXEMBOURG[1], 10)
    with MapillaryDouble([shot(1, KEYS[0])]) as double:
        findings, _ = find(connect(double), [KEYS[0], far])
        opened = {request.path for request in double.asked("/2/14/")}
    assert len(findings) == 1
    near, bare = (mercantile.tile(*cells.centre(key), 14) for key in (KEYS[0], far))
    assert f"/maps/vtp/mly1_public/2/14/{near.x}/{near.y}" in opened and len(opened) <= 4
    assert f"/maps/vtp/mly1_public/2/14/{bare.x}/{bare.y}" not in opened


@pytest.mark.parametrize("search", SEARCHES)
def test_as_many_photos_as_wanted_are_taken_and_the_others_are_counted_once(search):
    shots = [shot(n, KEYS[0], north_m=2.0 * n, heading=40.0 * n) for n in range(9)]
    with MapillaryDouble(shots) as double:
        findings, drops = find(connect(double, search=search, limits=Limits(photos_per_cell=2, photo_spares=1)))
    assert [finding.reference.rank for finding in findings] == [0, 1, 2]
    assert count(drops) == {(KEYS[0], Reason.NOT_CHOSEN): 6}
    assert drops[0].item_id == "" and drops[0].source == "mapillary" and drops[0].modality == "street"


@pytest.mark.parametrize("search", SEARCHES)
def test_frames_of_one_sequence_that_show_the_same_are_counted(search):
    shots = [shot(n, KEYS[0], north_m=3.0 * n - 20, heading=90.0, sequence="drive") for n in range(12)]
    with MapillaryDouble(shots) as double:
        findings, drops = find(connect(double, search=search, limits=Limits(photos_per_cell=9)))
    assert len(findings) == 3
    assert count(drops) == {(KEYS[0], Reason.DUPLICATE): 9}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(("pano", "kept"), [("keep", 2), ("crop", 2), ("drop", 1)])
def test_panoramas_are_left_out_where_they_are_not_wanted(search, pano, kept):
    shots = [shot(1, KEYS[0], is_pano=True, camera="spherical"), shot(2, KEYS[0])]
    with MapillaryDouble(shots) as double:
        findings, drops = find(connect(double, search=search, pano=pano))
    assert len(findings) == kept
    assert count(drops) == ({(KEYS[0], Reason.PANORAMA): 1} if kept == 1 else {})


def test_a_photo_belongs_to_the_cell_of_its_computed_position():
    """The coverage tiles know the position of the device only."""
    far = cells.centre(cells.cell_at(LUXEMBOURG[0] + 0.02, LUXEMBOURG[1], 10))
    shots = [
        shot(1, KEYS[0], computed=cells.centre(KEYS[1])), shot(2, KEYS[1]), shot(3, KEYS[2], computed=far),
        shot(4, KEYS[2], north_m=5, computed=far),
    ]  # fmt: skip
    with MapillaryDouble(shots) as double:
        findings, drops = find(connect(double), KEYS[:3])
        assert len(double.asked("image_ids")) == 1
    assert as_pairs(findings) == {(KEYS[1], shots[0].id), (KEYS[1], shots[1].id)}
    assert count(drops) == {(KEYS[2], Reason.MOVED): 2}


def test_a_cell_that_others_move_to_keeps_no_more_than_its_number():
    shots = [shot(n, key, heading=20.0 * n, computed=cells.centre(KEYS[0])) for n, key in enumerate(KEYS[:6])]
    with MapillaryDouble(shots) as double:
        findings, drops = find(connect(double))
    assert {finding.reference.key for finding in findings} == {KEYS[0]}
    assert [finding.reference.rank for finding in findings] == [0, 1, 2]
    assert count(drops) == {(KEYS[0], Reason.NOT_CHOSEN): 3}


def test_a_photo_that_was_deleted_since_is_counted():
    with MapillaryDouble(one_each(KEYS[:4])) as double:
        double.deleted = {next(iter(double.shots))}
        findings, drops = find(connect(double))
    assert len(findings) == 3
    assert count(drops) == {(KEYS[0], Reason.MISSING_FILE): 1}


def test_broken_records_are_counted_for_the_unit():
    with MapillaryDouble(one_each(KEYS[:2])) as double:
        double.extra = [{"id": "12"}, {"id": "13"}]
        findings, drops = find(connect(double, search="boxes"))
    assert len(findings) == 2
    assert count(drops) == {(UNIT, Reason.BAD_COORDINATES): 2}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("lon", [179.9995, -179.9995])
def test_cells_at_the_antimeridian_are_searched(search, lon):
    key = cells.cell_at(lon, -17.0, 10)
    ring = [cells.to_key(cell) for cell in cells.disk(cells.to_cell(key), 2)]
    shots = one_each(ring)
    with MapillaryDouble(shots) as double:
        findings, _ = find(connect(double, search=search), ring)
    assert {finding.reference.key for finding in findings} == set(ring)


def test_a_service_that_fails_is_an_error():
    with MapillaryDouble(one_each()) as double:
        double.graph.faults.append(Fault("status", 99, status=500, body=envelope("busy").body))
        with pytest.raises(ServiceError) as caught:
            find(connect(double, attempts=2))
        assert caught.value.retryable


def test_an_unknown_search_is_refused():
    with MapillaryDouble([]) as double, pytest.raises(ValueError, match="'stars'"):
        connect(double, search="stars")


def test_anchors_are_positions_of_photos_within_the_unit():
    around = [cells.to_key(cell) for cell in cells.disk(cells.to_cell(UNIT), 1)]
    rng = np.random.default_rng(0)
    shots = [
        Shot(
            str(10**16 + n),
            *(np.array(cells.centre(around[n % 7])) + rng.uniform(-0.01, 0.01, 2)).tolist(),
            sequence=f"run{n}",
        )
        for n in range(140)
    ]
    inside = [shot for shot in shots if cells.cell_at(shot.lon, shot.lat, 6) == UNIT]
    with MapillaryDouble(shots) as double:
        found = connect(double).anchors(UNIT, 1)
        assert connect(double).anchors(UNIT, 1) == found
    assert len(found) == len(inside) > 10
    for one in inside:
        assert min(distance_m(one.lon, one.lat, *other) for other in found) < 1


def test_anchors_open_so_many_tiles_and_others_for_another_seed(monkeypatch):
    monkeypatch.setattr(street, "TILES_PER_UNIT", 2)
    bounds = cells.hexagon(UNIT)
    lons, lats = np.meshgrid(
        np.linspace(*bounds[:, 0][[0, 3]], 12), np.linspace(bounds[:, 1].min(), bounds[:, 1].max(), 12)
    )
    shots = [
        Shot(str(10**16 + n), lon, lat, sequence=f"run{n}")
        for n, (lon, lat) in enumerate(zip(lons.ravel().tolist(), lats.ravel().tolist(), strict=True))
    ]
    opened = []
    with MapillaryDouble(shots) as double:
        for seed in range(6):
            double.graph.requests.clear()
            connect(double).anchors(UNIT, seed)
            opened.append(tuple(request.path for request in double.asked("/2/14/")))
    assert all(len(paths) == 2 for paths in opened) and len(set(opened)) > 2


def test_a_photo_in_two_tiles_is_one():
    """Tiles hold a little of what lies around them."""
    south = mercantile.bounds(mercantile.tile(*cells.centre(KEYS[0]), 14)).south
    one = Shot("7", cells.centre(KEYS[0])[0], south + METRE)
    key = cells.cell_at(one.lon, one.lat, 10)
    with MapillaryDouble([one, replace(one, id="8", sequence="other")]) as double:
        findings, drops = find(connect(double), [key])
        assert len(double.asked("/2/14/")) == 2
    assert as_pairs(findings) == {(key, "7"), (key, "8")} and not drops


@pytest.mark.parametrize("lon", [179.99, -179.99])
def test_anchors_are_found_on_both_sides_of_the_antimeridian(lon, monkeypatch):
    monkeypatch.setattr(street, "TILES_PER_UNIT", 1000)
    near = [cells.cell_at(lon, lat, 5) for lat in range(-60, 60)]
    unit = next(key for key in near if len(set((np.abs(cells.hexagon(key)[:, 0]) > 180).tolist())) == 2)
    west, south, east, north = *cells.hexagon(unit).min(axis=0), *cells.hexagon(unit).max(axis=0)
    rng = np.random.default_rng(4)
    lonlat = np.stack([(rng.uniform(west, east, 60) + 180) % 360 - 180, rng.uniform(south, north, 60)], axis=-1)
    inside = lonlat[cells.cells_at(lonlat, 5) == cells.to_cell(unit)]
    assert (inside[:, 0] > 0).any() and (inside[:, 0] < 0).any() and len(inside) < 60
    with MapillaryDouble([Shot(str(n), *at, sequence=f"run{n}") for n, at in enumerate(inside.tolist())]) as double:
        assert len(connect(double).anchors(unit, 0)) == len(inside)


def test_anchors_pass_over_panoramas_that_are_not_wanted():
    with MapillaryDouble([shot(1, KEYS[0], is_pano=True), shot(2, KEYS[1])]) as double:
        assert len(connect(double, pano="drop").anchors(UNIT, 0)) == 1
        assert len(connect(double, pano="crop").anchors(UNIT, 0)) == 2


def photo(number, *, east_m=0.0, heading=0.0, sequence="drive"):
    lon = LUXEMBOURG[0] + east_m * METRE / np.cos(np.radians(LUXEMBOURG[1]))
    return Photo(
        str(number),
        float(lon),
        LUXEMBOURG[1],
        True,
        START + timedelta(seconds=number),
        heading,
        False,
        sequence=sequence,
    )


@pytest.mark.parametrize("seed", range(10))
def test_what_is_left_of_a_sequence_is_apart_and_what_is_dropped_is_not(seed):
    rng = np.random.default_rng(seed)
    photos = [photo(n, east_m=float(rng.uniform(0, 60)), heading=float(rng.uniform(0, 360))) for n in range(60)]
    left = thin_out(photos)
    assert left == thin_out(photos[::-1])

    def are_apart(a, b):
        turn = abs((a.heading_deg - b.heading_deg + 180) % 360 - 180)
        return turn >= 30 or distance_m(a.lon, a.lat, b.lon, b.lat) >= 10

    assert all(are_apart(a, b) for a in left for b in left if a != b)
    assert all(any(not are_apart(a, b) for b in left) for a in photos if a not in left)


def test_photos_of_different_sequences_are_no_duplicates():
    assert len(thin_out([photo(n, sequence=f"run{n}") for n in range(5)])) == 5
    assert len(thin_out([photo(n, sequence=None) for n in range(5)])) == 5
    assert len(thin_out([replace(photo(n), heading_deg=None, captured_at=None) for n in range(5)])) == 1


def test_photos_years_apart_come_before_those_of_one_day():
    days = [0, 0.001, 0.002, 800, 0.003]
    blank = Item("mapillary", "", "street", "", *LUXEMBOURG, heading_deg=90.0)
    items = [replace(blank, item_id=str(n), captured_at=str(START + timedelta(days=day))) for n, day in enumerate(days)]
    first, second = order_photos(items, 5)[:2]
    assert items[3] in (first, second)
