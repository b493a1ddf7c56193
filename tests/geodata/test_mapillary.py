from dataclasses import replace
from datetime import UTC, datetime

import pytest

from geodata.services.mapillary import BATCH, LIMIT, Mapillary, parse_heading, parse_milliseconds, parse_photo
from geodata.services.session import HttpSettings, ServiceError, Session
from tests.services.mapillary import ENVELOPES, TOKEN, MapillaryDouble, Shot, envelope, grid_of_shots
from tests.services.server import Fault

PLACE = (6.13, 49.61)
BIG = str(2**53 + 1)
SHOTS = [
    Shot(BIG, *PLACE, heading=10.0, computed=(6.1301, 49.6101), computed_heading=-15.5),
    Shot(str(2**53 + 2), 6.131, 49.611, heading=370.0, is_pano=True, camera="spherical", creator=None, sequence=None),
    Shot(
        str(2**53 + 3), 6.132, 49.612, camera="fisheye", has_thumb=False, captured_at=datetime(2019, 1, 2, tzinfo=UTC)
    ),
]
IDS = [shot.id for shot in SHOTS]
BOX = (6.129, 49.609, 6.134, 49.613)


@pytest.fixture
def double():
    with MapillaryDouble(SHOTS) as double:
        yield double
        assert not double.offences


def connect(double, token=TOKEN, *, read_s=0.3, **more):
    waits = []
    settings = HttpSettings(endpoints=double.endpoints, patience_s=0, backoff_s=0.001, read_s=read_s, **more)
    return Mapillary(Session(settings, sleep=waits.append), token), waits


def test_a_box_gives_its_photos_with_exact_identifiers_positions_and_times(double):
    photos = connect(double)[0].search_box(*BOX)
    assert [photo.id for photo in photos] == IDS
    first, pano, fisheye = photos
    assert (first.lon, first.lat, first.is_computed, first.heading_deg) == (6.1301, 49.6101, True, 344.5)
    assert (first.creator, first.sequence, first.width, first.quality) == ("mapper", "run", 4000, 0.745)
    assert first.captured_at == SHOTS[0].captured_at
    assert (pano.lon, pano.is_computed, pano.heading_deg, pano.is_pano) == (6.131, False, 10.0, True)
    assert (pano.creator, pano.sequence) == (None, None)
    assert (fisheye.heading_deg, fisheye.is_pano, fisheye.captured_at) == (None, False, SHOTS[2].captured_at)


def test_a_wide_box_is_asked_for_in_small_ones_without_gap(double):
    shots = grid_of_shots(400, (6.101, 49.601), 0.00193)
    double.shots = {shot.id: shot for shot in shots}
    found = connect(double)[0].search_box(6.1, 49.6, 6.14, 49.64)
    assert [photo.id for photo in found] == sorted(shot.id for shot in shots)
    assert len(double.graph.requests) == 25


@pytest.mark.parametrize("lon", [179.999, -179.999])
def test_a_box_across_the_antimeridian_has_both_sides(double, lon):
    double.shots = {"7": Shot("7", lon, -17.0)}
    assert [photo.id for photo in connect(double)[0].search_box(179.998, -17.001, 180.002, -16.999)] == ["7"]


@pytest.mark.parametrize("number", [LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT])
def test_a_full_answer_counts_as_cut_off(double, number):
    shots = grid_of_shots(number, (6.1301, 49.6101), 0.00006)
    double.shots = {shot.id: shot for shot in shots}
    found = connect(double)[0].search_box(*BOX)
    assert [photo.id for photo in found] == sorted(double.shots)
    assert (len(double.graph.requests) == 1) == (number < LIMIT)


def test_pages_are_followed_at_our_own_host(double):
    double.paging = True
    double.shots = {shot.id: shot for shot in grid_of_shots(2500, (6.1301, 49.6101), 0.00005)}
    assert len(connect(double, read_s=10.0)[0].search_box(*BOX)) == 2500
    assert [request.query.get("after") for request in double.graph.requests] == [None, "1000", "2000"]
    assert not double.asked("not-yours")


def test_a_next_link_in_a_circle_ends(double, monkeypatch):
    page = {"data": [{"id": "5", "geometry": {"coordinates": [6.13, 49.61]}}]}
    page["paging"] = {"next": "https://elsewhere.example/images?after=x"}
    mapillary, _ = connect(double)
    asked = []
    monkeypatch.setattr(mapillary, "_get", lambda params: asked.append(params) or page)
    records, is_whole = mapillary._search_part((6.13, 49.61, 6.131, 49.611))
    assert len(asked) == 2 and len(records) == 2 and not is_whole


def test_many_photos_at_one_point_are_taken_as_they_come(double):
    shots = grid_of_shots(LIMIT + 200, PLACE, 0.0)
    double.shots = {shot.id: shot for shot in shots}
    assert len(connect(double)[0].search_box(*BOX)) == LIMIT


def test_what_is_too_much_is_asked_for_in_quarters(double):
    shots = grid_of_shots(300, (6.1301, 49.6101), 0.0001)
    double.shots, double.too_much = {shot.id: shot for shot in shots}, 50
    assert len(connect(double)[0].search_box(*BOX)) == 300


def test_records_without_identifier_or_position_are_reported_once_each(double):
    nan = {"id": "8", "geometry": {"type": "Point", "coordinates": [float("nan"), 1]}}
    swapped = {"id": "9", "geometry": {"type": "Point", "coordinates": [6, 149]}}
    double.extra = [{"geometry": {"coordinates": [6, 49]}}, {"id": "12"}, nan, swapped, "text", None, {"id": "1e5"}]
    bad = []
    assert [photo.id for photo in connect(double)[0].search_box(*BOX, bad=bad)] == IDS
    assert len(bad) == len(double.extra)


def test_described_photos_are_those_that_are_there(double):
    double.deleted = {IDS[1]}
    known = connect(double)[0].describe([*IDS, "404", IDS[0]])
    assert known.keys() == {IDS[0], IDS[2]}
    assert all(photo.id == id_ for id_, photo in known.items())


def test_descriptions_are_asked_for_by_the_batch(double):
    shots = grid_of_shots(2 * BATCH + 1, PLACE, 0.0001)
    double.shots = {shot.id: shot for shot in shots}
    assert len(connect(double)[0].describe(double.shots)) == len(shots)
    assert len(double.graph.requests) == 3


@pytest.mark.parametrize("fault", ["gone", "too much"])
def test_a_batch_that_fails_is_asked_for_in_halves(double, fault):
    reply = envelope(fault)
    double.graph.faults.append(Fault("status", 1, status=reply.status, body=reply.body))
    assert connect(double)[0].describe(IDS).keys() == set(IDS)
    assert len(double.graph.requests) == 3


def test_links_are_for_the_width_asked_for_and_are_not_kept(double, tmp_path):
    mapillary, _ = connect(double, cache=str(tmp_path))
    assert "stp=s1024x768" in mapillary.image_urls(IDS, 512)[IDS[0]]
    assert "stp=s2048x1536" in mapillary.image_urls(IDS, 1025)[IDS[0]]
    assert "stp=s4000x3000" in mapillary.image_urls(IDS, 5000)[IDS[0]]
    assert mapillary.image_urls(IDS, 512).keys() == set(IDS[:2]), "the third has no picture"
    assert len(double.graph.requests) == 4 and not list(tmp_path.rglob("*"))


def test_descriptions_are_kept(double, tmp_path):
    for _ in range(2):
        assert len(connect(double, cache=str(tmp_path))[0].describe(IDS)) == 3
        assert len(connect(double, cache=str(tmp_path))[0].search_box(*BOX)) == 3
    assert len(double.graph.requests) == 2


def test_an_image_comes_from_its_host_without_the_token(double):
    mapillary, _ = connect(double)
    link = mapillary.image_urls(IDS, 512)[IDS[0]]
    assert mapillary.read_image(link) == SHOTS[0].jpeg
    (request,) = double.images.requests
    assert "authorization" not in request.headers


def test_the_image_host_can_be_replaced(double):
    settings = HttpSettings(endpoints={"mapillary_images": double.images.root}, read_s=0.3, patience_s=0)
    mapillary = Mapillary(Session(settings, sleep=lambda _: None), TOKEN)
    assert mapillary.read_image(f"https://elsewhere.example/m1/{IDS[0]}?oe=FFFFFFFF&oh=x") == SHOTS[0].jpeg


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_link_that_is_no_longer_good_is_told_by_its_status(double, status):
    mapillary, _ = connect(double)
    link = mapillary.image_urls(IDS, 512)[IDS[0]]
    double.images.faults.append(Fault("status", 1, status=status))
    with pytest.raises(ServiceError) as caught:
        mapillary.read_image(link)
    assert (caught.value.status, len(double.images.requests)) == (status, 1)
    assert "signature" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"GIF89a", b"\xff\xd8\xff\xda scan", b"\xff\xd8\xff preview \xff\xd9 \xff\xda scan", b"\x89PNG\r\n\x1a\n...."],
    ids=["nothing", "GIF", "cut JPEG", "cut JPEG with a preview", "cut PNG"],
)  # fmt: skip
def test_what_is_no_whole_picture_is_asked_for_again(double, body):
    mapillary, _ = connect(double)
    link = mapillary.image_urls(IDS, 512)[IDS[0]]
    double.images.faults.append(Fault("status", 1, status=200, body=body))
    assert mapillary.read_image(link) == SHOTS[0].jpeg
    assert len(double.images.requests) == 2


FAULTS = {
    "429": Fault("status", 2, status=429), "429 with Retry-After": Fault("status", 1, status=429, headers={"Retry-After": "7"}),
    "burst of 500": Fault("status", 3, status=500), "burst of 503": Fault("status", 3, status=503),
    "busy": Fault("status", 3, status=500, body=envelope("busy").body),
    "limit": Fault("status", 2, status=403, body=envelope("limit").body, headers={"Retry-After": "7"}),
    "error in a 200": Fault("status", 2, status=200, body=envelope("busy").body),
    "reset": Fault("reset", 2), "time-out": Fault("timeout", 1), "truncated": Fault("truncated", 2),
    "wrong length": Fault("wrong_length", 2), "HTML": Fault("html", 2),
    "no list": Fault("status", 1, status=200, body=b'{"data": {}}'), "a number": Fault("status", 1, status=200, body=b"3"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_transient_is_asked_again(double, name):
    fault = Fault(**vars(FAULTS[name]))
    times, asks_to_wait = fault.times, "Retry-After" in fault.headers
    double.graph.faults.append(fault)
    mapillary, waits = connect(double)
    assert [photo.id for photo in mapillary.search_box(*BOX)] == IDS
    assert len(double.graph.requests) == times + 1
    assert (max(waits) >= 7) == asks_to_wait


@pytest.mark.parametrize("name", ["unknown field", "bad box"])
def test_a_wrong_request_is_not_repeated(double, name):
    double.graph.faults.append(Fault("status", 9, status=ENVELOPES[name][0], body=envelope(name).body))
    with pytest.raises(ServiceError) as caught:
        connect(double)[0].search_box(*BOX)
    assert not caught.value.retryable and len(double.graph.requests) == 1


@pytest.mark.parametrize("token", ["", "abc", "MLY|1|wrong"], ids=["none", "malformed", "unknown"])
def test_a_refused_token_is_not_tried_again_and_the_remedy_is_named(double, token):
    with pytest.raises(ServiceError, match=r"MAPILLARY_TOKEN in the environment.*dashboard/developers") as caught:
        connect(double, token)[0].search_box(*BOX)
    assert not caught.value.retryable and len(double.graph.requests) == 1
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize("token", ["MLY|1|two words", "MLY|1|line\nbreak", "MLY|1|ü"])
def test_what_is_no_token_is_refused_without_being_shown(double, token):
    with pytest.raises(ServiceError) as caught:
        connect(double, token)
    assert token not in str(caught.value)


def test_a_token_read_from_a_file_loses_its_line_end(double):
    assert len(connect(double, f"{TOKEN}\n")[0].search_box(*BOX)) == 3


def test_the_token_is_in_no_request_line_error_or_kept_answer(double, tmp_path, caplog):
    mapillary, _ = connect(double, cache=str(tmp_path), attempts=2)
    mapillary.search_box(*BOX)
    mapillary.describe(IDS)
    mapillary.read_image(mapillary.image_urls(IDS, 512)[IDS[0]])
    secret = TOKEN.rpartition("|")[2]
    echo = f'{{"error": {{"message": "{"x" * 150} {TOKEN}", "code": CODE}}}}'
    bodies = [echo.replace("CODE", code).encode() for code in ("190", "100", "2", "1")] + [
        f"<b>OAuth {TOKEN}</b>".encode()
    ]
    texts = [repr(mapillary), repr(vars(mapillary._session.settings))]
    for number, body in enumerate(bodies):
        for status in (200, 400, 401, 500):
            double.graph.faults.append(Fault("status", 2, status=status, body=body))
            with pytest.raises(ServiceError) as caught:
                connect(double, attempts=2)[0].search_box(6.1 + number / 100, 49.6, 6.101 + number / 100, 49.601)
            texts += [str(caught.value), caught.value.detail]
            double.graph.faults.clear()
    texts += [request.line + str(request.query) for request in [*double.graph.requests, *double.images.requests]]
    texts += [path.read_bytes().decode() for path in tmp_path.rglob("*") if path.is_file()]
    texts.append(caplog.text)
    assert len(list(tmp_path.rglob("*"))) >= 4
    assert not any(secret[:4] in text for text in texts)
    assert all("authorization" not in request.headers for request in double.images.requests)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(0, 0), (359.5, 359.5), (360, 0), (-90, 270), (-1e-20, 0), (725.5, 5.5), (None, None), ("north", None), (True, None),
     (float("nan"), None), (float("inf"), None)],
)  # fmt: skip
def test_headings_lie_from_0_to_360(given, expected):
    assert parse_heading(given) == expected


@pytest.mark.parametrize("value", [None, "2020", True, float("inf"), 1e17, -1e30])
def test_what_is_no_time_is_none(value):
    assert parse_milliseconds(value) is None


def test_times_before_1970_are_read():
    assert parse_milliseconds(-1000) == datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_a_broken_computed_position_gives_way_to_that_of_the_device():
    record = {"id": 12, "geometry": {"coordinates": [6.0, 49.0]}, "computed_geometry": {"coordinates": [None, 3]}}
    photo = parse_photo(record)
    assert photo is not None and (photo.id, photo.lon, photo.is_computed) == ("12", 6.0, False)


def test_the_double_answers_only_what_was_asked_for_in_the_service_s_own_way(double):
    double.shots = {shot.id: replace(shot, creator="a/b") for shot in SHOTS}
    session = Session(HttpSettings(endpoints=double.endpoints))
    answer = session.request(
        "mapillary", f"{double.graph.root}/images", params={"image_ids": IDS[0], "fields": "creator"},
        headers={"Authorization": f"OAuth {TOKEN}"}, parse=lambda answer: answer,
    )  # fmt: skip
    assert answer.json() == {"data": [{"id": IDS[0], "creator": {"username": "a/b", "id": "1"}}]}
    assert b"a\\/b" in answer.body
