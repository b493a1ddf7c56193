import itertools
from datetime import UTC, datetime

import mercantile
import numpy as np
import pytest
import shapely

from geodata.grid import distance_m
from geodata.services.coverage import LOW_ZOOM, TOLERANCE, covered_tiles, read_points, read_sequences
from geodata.services.session import HttpSettings, ServiceError, Session
from tests.services.mapillary import TOKEN, MapillaryDouble, Shot, envelope
from tests.services.server import Fault, LoopbackServer, Reply

PLACES = {
    "luxembourg": (6.13, 49.61), "quito": (-78.5, -0.2), "svalbard": (15.6, 78.2), "ushuaia": (-68.3, -54.8),
    "fiji": (179.9991, -17.0), "fiji west": (-179.9991, -17.0),
}  # fmt: skip


def shots_at(lon, lat, number=12):
    rng = np.random.default_rng(3)
    steps = rng.uniform(-0.002, 0.002, (number, 2))
    return [
        Shot(str(2**53 + 1 + n), lon + east * 0.2, lat + north, datetime(2022, 5, 1, 8, n, tzinfo=UTC), 30.0 * n, n % 3 == 0)
        for n, (east, north) in enumerate(steps.tolist())
    ]  # fmt: skip


def connect(double, **more):
    return Session(
        HttpSettings(endpoints=double.endpoints, patience_s=0, backoff_s=0.001, read_s=0.3, **more),
        sleep=lambda _: None,
    )


@pytest.mark.parametrize("name", PLACES)
def test_points_lie_within_a_metre_of_the_truth(name):
    shots = shots_at(*PLACES[name])
    with MapillaryDouble(shots) as double:
        session = connect(double)
        tiles = {mercantile.tile(shot.lon, shot.lat, 14) for shot in shots}
        found = {photo.id: photo for tile in tiles for photo in read_points(session, TOKEN, tile)}
        assert not double.offences
    assert found.keys() == {shot.id for shot in shots}
    for shot in shots:
        photo = found[shot.id]
        assert distance_m(photo.lon, photo.lat, shot.lon, shot.lat) < 1
        assert (photo.captured_at, photo.heading_deg) == (shot.captured_at, shot.heading % 360)
        assert (photo.is_pano, photo.sequence, photo.is_computed) == (shot.is_pano, "run", False)


def test_a_tile_written_by_hand_from_the_specification_has_y_downwards():
    """Command 9 is MoveTo once, 50 and 34 are 25 and 17 in zigzag: Vector Tile Specification 2.1, 4.3.5.1."""
    feature = bytes([0x12, 2, 0, 0, 0x18, 1, 0x22, 3, 9, 50, 34])
    key, value = b"\x1a\x02id", b"\x22\x02\x28\x07"
    layer = b"\x0a\x05image" + b"\x12" + bytes([len(feature)]) + feature + key + value + b"\x28\x80\x20\x78\x02"
    body = b"\x1a" + bytes([len(layer)]) + layer
    tile = mercantile.tile(6.13, 49.61, 14)
    with LoopbackServer(lambda request: Reply(200, body)) as server:
        session = Session(HttpSettings(endpoints={"mapillary_tiles": server.root}))
        (photo,) = read_points(session, TOKEN, tile)
        assert server.paths() == [f"/mly1_public/2/14/{tile.x}/{tile.y}"]
    upper_left = mercantile.ul(tile)
    lower_right = mercantile.ul(tile.x + 1, tile.y + 1, 14)
    lon = upper_left.lng + (lower_right.lng - upper_left.lng) * 25 / 4096
    lat = upper_left.lat + (lower_right.lat - upper_left.lat) * 17 / 4096
    assert photo.id == "7" and distance_m(photo.lon, photo.lat, lon, lat) < 0.1


def test_lines_lead_to_every_tile_that_holds_a_photo():
    rng = np.random.default_rng(0)
    shots = []
    for run in range(30):
        track = np.cumsum(rng.normal(0, 0.002, (40, 2)), axis=0) + rng.uniform(-0.1, 0.1, 2) + PLACES["luxembourg"]
        shots += [
            Shot(str(10**15 + 100 * run + n), lon, lat, datetime(2022, 5, 1, 8, n, tzinfo=UTC), sequence=f"run{run}")
            for n, (lon, lat) in enumerate(track[: 1 + 3 * run].tolist())
        ]  # fmt: skip
    with MapillaryDouble(shots) as double:
        session = connect(double)
        lows = {mercantile.tile(shot.lon, shot.lat, LOW_ZOOM) for shot in shots}
        lines = [line for low in lows for line in read_sequences(session, TOKEN, low)]
    covered, needed = covered_tiles(lines), {mercantile.tile(shot.lon, shot.lat, 14) for shot in shots}
    assert needed <= covered
    assert len(covered) < 4 * len(needed), "low zooms are of no use if they name too many"


@pytest.mark.parametrize("low_zoom", [10, 8, 12])
def test_covered_tiles_are_those_near_a_line_and_no_others(low_zoom):
    rng = np.random.default_rng(low_zoom)
    for _ in range(10):
        units = np.cumsum(rng.normal(0, 0.7, (12, 2)), axis=0) + (8470, 5600)
        lon = units[:, 0] / 2**14 * 360 - 180
        lat = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * units[:, 1] / 2**14))))
        found = covered_tiles([np.stack([lon, lat], axis=-1)], low_zoom=low_zoom)
        line, reach = shapely.LineString(units), TOLERANCE * 2 ** (14 - low_zoom)
        columns, rows = (range(int(a.min()) - 9, int(a.max()) + 10) for a in units.T)
        distance = {
            mercantile.Tile(x, y, 14): line.distance(shapely.box(x, y, x + 1, y + 1))
            for x, y in itertools.product(columns, rows)
        }
        assert {tile for tile, far in distance.items() if far <= reach} <= found
        assert found <= {tile for tile, far in distance.items() if far < 1.5 * reach + 0.36}


def test_a_line_of_one_point_covers_its_tile():
    assert mercantile.tile(6.13, 49.61, 14) in covered_tiles([np.array([PLACES["luxembourg"]])])


def test_a_line_across_the_antimeridian_covers_both_ends():
    found = covered_tiles([np.array([[179.99, -17.0], [-179.99, -17.0]])])
    assert {tile.x for tile in found} == {0, 2**14 - 1}


@pytest.mark.parametrize("empty", [404, 204, 200])
def test_where_there_is_no_tile_there_is_nothing(empty):
    with MapillaryDouble([], empty=empty) as double:
        session = connect(double)
        assert read_sequences(session, TOKEN, mercantile.Tile(1, 2, 10)) == []
        assert read_points(session, TOKEN, mercantile.Tile(1, 2, 14)) == []


def test_a_tile_without_the_layer_holds_nothing():
    """Mapillary has sent a tile of one layer without features where it had nothing."""
    body = bytes.fromhex("1a1678010a0f6d6170696c6c6172792d656d707479288020")
    with LoopbackServer(lambda request: Reply(200, body)) as server:
        session = Session(HttpSettings(endpoints={"mapillary_tiles": server.root}))
        assert read_points(session, TOKEN, mercantile.Tile(1, 2, 14)) == []


def test_points_without_a_whole_identifier_are_counted_and_left_out(caplog):
    shots = shots_at(*PLACES["luxembourg"], number=3)
    with MapillaryDouble(shots) as double:
        tile = mercantile.tile(shots[0].lon, shots[0].lat, 14)
        body = double.encode_tile(tile.z, tile.x, tile.y)
        assert b"\x1a\x02id" in body
        double.graph.faults.append(Fault("status", 1, status=200, body=body.replace(b"\x1a\x02id", b"\x1a\x02xd")))
        assert read_points(connect(double), TOKEN, tile) == []
    assert "have no identifier" in caplog.text


FAULTS = {
    "429": Fault("status", 2, status=429, headers={"Retry-After": "1"}), "500": Fault("status", 3, status=500),
    "busy": Fault("status", 2, status=500, body=envelope("busy").body), "reset": Fault("reset", 2),
    "time-out": Fault("timeout", 1), "truncated": Fault("truncated", 2), "wrong length": Fault("wrong_length", 2),
    "HTML": Fault("html", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_transient_is_asked_again(name):
    shots = shots_at(*PLACES["luxembourg"])
    fault = Fault(**vars(FAULTS[name]))
    times = fault.times
    with MapillaryDouble(shots) as double:
        double.graph.faults.append(fault)
        assert read_sequences(connect(double), TOKEN, mercantile.tile(*PLACES["luxembourg"], 10))
        assert len(double.graph.requests) == times + 1


def test_a_tile_cut_in_the_middle_is_not_taken_for_a_smaller_one():
    shots = shots_at(*PLACES["luxembourg"])
    tile = mercantile.tile(shots[0].lon, shots[0].lat, 14)
    with MapillaryDouble(shots) as double:
        whole = double.encode_tile(tile.z, tile.x, tile.y)
        known = read_points(connect(double), TOKEN, tile)
        for size in range(1, len(whole), 7):
            double.graph.faults.append(Fault("status", 1, status=200, body=whole[:size]))
            assert read_points(connect(double), TOKEN, tile) in (known, []), size


def test_a_refused_token_is_an_error_and_appears_nowhere(tmp_path):
    with MapillaryDouble(shots_at(*PLACES["luxembourg"])) as double:
        with pytest.raises(ServiceError, match="MAPILLARY_TOKEN") as caught:
            read_sequences(connect(double, cache=str(tmp_path)), "MLY|1|wrong", mercantile.Tile(1, 2, 10))
        assert "wrong" not in str(caught.value) and not caught.value.retryable
        read_sequences(connect(double, cache=str(tmp_path)), TOKEN, mercantile.Tile(1, 2, 10))
        kept = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
        assert len(kept) == 1 and TOKEN not in kept[0]
        assert not any("MLY" in request.line for request in double.graph.requests) and not double.offences


def test_tiles_are_kept(tmp_path):
    with MapillaryDouble(shots_at(*PLACES["luxembourg"])) as double:
        tile = mercantile.tile(*PLACES["luxembourg"], 10)
        first, second = (read_sequences(connect(double, cache=str(tmp_path)), TOKEN, tile) for _ in range(2))
        assert all((a == b).all() for a, b in zip(first, second, strict=True)) and len(double.graph.requests) == 1
