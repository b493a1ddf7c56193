import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from geodata.photo import decode_photo, open_photo
from geodata.services.mapillary import BATCH, Mapillary
from geodata.services.session import HttpSettings, Session
from geodata.sources import street
from geodata.sources.files import Limits
from geodata.sources.source import ReadError
from geodata.sources.street import StreetSource, is_expired
from schemas.drop import Reason
from schemas.reference import Item
from tests.folders import make_photo
from tests.services.mapillary import TOKEN, MapillaryDouble, Shot
from tests.services.mapillary import open_street as connect
from tests.services.server import Fault

LONLAT = (6.13, 49.61)


def make_items(number):
    return [
        Item("mapillary", str(10**16 + n), "street", f"mapillary:{10**16 + n}", *LONLAT, is_pano=False)
        for n in range(number)
    ]


def make_shots(number):
    return [Shot(str(10**16 + n), *LONLAT, jpeg=make_photo(seed=n, size=(80, 60))) for n in range(number)]


def test_a_photo_is_read_and_links_are_asked_for_by_the_batch():
    items = make_items(2 * BATCH + 5)
    with MapillaryDouble(make_shots(len(items))) as double:
        source = connect(double)
        source.prepare(items)
        with ThreadPoolExecutor(8) as pool:
            images = list(pool.map(source.read_bytes, items))
        assert images == [double.shots[item.item_id].jpeg for item in items]
        assert 3 <= len(double.graph.requests) <= 4 and len(double.images.requests) == len(items)
        assert not double.offences
    assert decode_photo(images[0], open_photo(images[0]), 256).shape == (60, 80, 3)


def test_a_photo_that_was_not_prepared_is_read_too():
    with MapillaryDouble(make_shots(1)) as double:
        assert connect(double).read_bytes(make_items(1)[0]) == double.shots[str(10**16)].jpeg


def test_the_larger_picture_is_read_where_it_is_needed():
    item = replace(make_items(1)[0], is_pano=True)
    with MapillaryDouble(make_shots(1)) as double:
        settings = HttpSettings(endpoints=double.endpoints)
        session = Session(settings)
        for photo_px, pano, expected in (
            (256, "crop", "s1024"),
            (512, "keep", "s1024"),
            (512, "crop", "s2048"),
            (1024, "crop", "s4000"),
        ):
            source = StreetSource(Mapillary(session, TOKEN), session, limits=Limits(), photo_px=photo_px, pano=pano)
            source.read_bytes(item)
            assert f"stp={expected}" in double.images.requests[-1].line


def test_a_second_run_asks_nothing(tmp_path):
    items = make_items(3)
    with MapillaryDouble(make_shots(3)) as double:
        images = [connect(double, cache=tmp_path).read_bytes(item) for item in items]
        asked = len(double.graph.requests), len(double.images.requests)
        again = connect(double, cache=tmp_path)
        again.prepare(items)
        assert [again.read_bytes(item) for item in items] == images
        assert (len(double.graph.requests), len(double.images.requests)) == asked
    secret = TOKEN.rpartition("|")[2].encode()
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) == 3 and not any(secret in answer or b"signature" in answer for answer in kept)


def test_a_link_that_grew_old_unseen_is_renewed_once():
    items = make_items(4)
    with MapillaryDouble(make_shots(4), lifetime_s=-5) as double:
        source = connect(double)
        source.prepare(items)
        with pytest.raises(ReadError) as caught:
            source.read_bytes(items[0])
        assert (caught.value.reason, caught.value.retryable) == (Reason.SERVICE, True)
        assert len(double.images.requests) == len(double.graph.requests) == 2
        double.lifetime_s = 3600
        assert [source.read_bytes(item) for item in items] == [s.jpeg for s in double.shots.values()]
        assert len(double.images.requests) == 6, "what is known to be old is not tried"
        assert len(double.graph.requests) == 3, "one batch renews all"


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refused_link_is_renewed(status):
    with MapillaryDouble(make_shots(1)) as double:
        double.images.faults.append(Fault("status", 1, status=status))
        assert connect(double).read_bytes(make_items(1)[0]) == double.shots[str(10**16)].jpeg
        assert len(double.graph.requests) == 2


@pytest.mark.parametrize(
    ("status", "reason"), [(403, Reason.SERVICE), (404, Reason.MISSING_FILE), (410, Reason.MISSING_FILE)]
)
def test_an_image_that_is_refused_twice_is_lost(status, reason):
    with MapillaryDouble(make_shots(1)) as double:
        double.images.faults.append(Fault("status", 9, status=status))
        with pytest.raises(ReadError) as caught:
            connect(double).read_bytes(make_items(1)[0])
        assert (caught.value.reason, caught.value.retryable) == (reason, reason is Reason.SERVICE)
        assert len(double.images.requests) == 2


@pytest.mark.parametrize("lack", ["deleted", "no picture"])
def test_a_photo_that_is_gone_is_a_missing_file(lack):
    items = make_items(3)
    with MapillaryDouble(make_shots(3)) as double:
        gone = items[1].item_id
        double.shots[gone] = replace(double.shots[gone], has_thumb=lack != "no picture")
        double.deleted = {gone} if lack == "deleted" else set()
        source = connect(double)
        source.prepare(items)
        assert source.read_bytes(items[0]) and source.read_bytes(items[2])
        with pytest.raises(ReadError) as caught:
            source.read_bytes(items[1])
    assert caught.value.reason is Reason.MISSING_FILE and not caught.value.retryable


@pytest.mark.parametrize(
    ("host", "action"), [("graph", "status"), ("images", "reset"), ("images", "html"), ("images", "truncated")]
)
def test_a_service_that_fails_while_reading_can_be_asked_again_later(host, action):
    with MapillaryDouble(make_shots(1)) as double:
        getattr(double, host).faults.append(Fault(action, 99))
        with pytest.raises(ReadError) as caught:
            connect(double, attempts=2).read_bytes(make_items(1)[0])
    assert (caught.value.reason, caught.value.retryable) == (Reason.SERVICE, True)
    assert "signature" not in caught.value.detail


def test_a_refused_token_while_reading_names_the_remedy_and_not_the_token():
    with MapillaryDouble(make_shots(1)) as double, pytest.raises(ReadError, match="MAPILLARY_TOKEN") as caught:
        connect(double, token="MLY|1|wrong").read_bytes(make_items(1)[0])
    assert "wrong" not in str(caught.value)


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(street, "KEPT_WANTED", 10)
    monkeypatch.setattr(street, "KEPT_LINKS", 5)
    items = make_items(40)
    with MapillaryDouble(make_shots(40)) as double:
        source = connect(double)
        source.prepare(items)
        assert all(source.read_bytes(item) for item in items)
        assert len(source._links._wanted) <= 10 and len(source._links._links) <= 5


def test_rasters_and_texts_are_not_its_own():
    item = make_items(1)[0]
    with MapillaryDouble([]) as double:
        source = connect(double)
        for read in (lambda: source.read_text(item), lambda: source.read_raster(item, None)):
            with pytest.raises(ReadError):
                read()
        source.close()


def test_a_link_tells_when_it_grows_old():
    assert is_expired(f"https://h/x?oh=1&oe={int(time.time()) - 1:X}&_nc_sid=0")
    assert not is_expired(f"https://h/x?oh=1&oe={int(time.time()) + 60:x}")
    assert not is_expired("https://h/x?oh=1") and not is_expired("https://h/x?oe=never")
