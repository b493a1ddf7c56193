import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from schemas.grid import Grid
from schemas.modality import MODALITIES, find_modality, member_name
from schemas.sample import Observation, Sample, check_lonlat, decode_metadata, encode_metadata, parse_time

KEY = "8a1fa4a4a4a7fff"


def observe(modality="street", **changes):
    fields = {
        "modality": modality, "member": member_name(KEY, modality), "payload": b"x", "lon": 6.1, "lat": 49.6,
        "captured_at": datetime(2024, 5, 1, 12, tzinfo=UTC), "source": "mine", "item_id": "a", "licence": "CC0-1.0",
        "attribution": "Zoë", "distance_m": 3.0, "synthetic": False,
    }  # fmt: skip
    return Observation(**{**fields, **changes})


def sample_of(*observations):
    return Sample(KEY, "train", 6.1, 49.6, "LU", observations)


def test_metadata_round_trips():
    grid = Grid("EPSG:32632", 300000.0, 5500000.0, 10.0, 128, 128)
    one = observe("sentinel2", grid=grid, valid_share=1.0, cloud_share=0.0, captured_at=None)
    two = observe(heading_deg=10.0, is_pano=False)
    before = sample_of(one, two)
    after = decode_metadata(encode_metadata(before), {o.member: o.payload for o in before.observations})
    for a, b in zip(before.observations, after.observations, strict=True):
        assert vars(a) == vars(b)
    assert (after.sentinel2.item_id, after.street.heading_deg, after.text) == ("a", 10.0, None)


def test_equal_samples_have_equal_metadata():
    assert encode_metadata(sample_of(observe())) == encode_metadata(sample_of(observe()))


def test_a_newer_schema_is_refused():
    record = json.loads(encode_metadata(sample_of()))
    record["schema_version"] += 1
    with pytest.raises(ValueError, match="install a newer sameplace"):
        decode_metadata(json.dumps(record).encode(), {})


@pytest.mark.parametrize(
    ("lonlat", "words"),
    [((6, 91), "must lie in"), ((49, 150), "look swapped"), ((181, 0), "must lie in"), ((float("nan"), 0), "nan")],
)
def test_positions_off_the_earth_are_refused(lonlat, words):
    with pytest.raises(ValueError, match=words):
        check_lonlat(*lonlat)
    with pytest.raises(ValueError, match=words):
        observe(lon=lonlat[0], lat=lonlat[1])


def test_a_naive_time_is_refused():
    with pytest.raises(ValueError, match="aware UTC"):
        observe(captured_at=datetime(2024, 5, 1))


def test_times_are_brought_to_utc():
    assert parse_time("2024-05-01T12:00:00+02:00") == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert parse_time("2024-05-01T12:00:00") == parse_time("2024-05-01T12:00:00Z")
    east = observe(captured_at=datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    assert b"2024-05-01T10:00:00Z" in encode_metadata(sample_of(east))


def test_members_are_named_by_modality_and_number():
    assert member_name(KEY, "dem") == f"{KEY}.dem.geotiff"
    assert [member_name(KEY, "street", n, 2) for n in range(2)] == [f"{KEY}.street0.jpg", f"{KEY}.street1.jpg"]


def test_there_are_five_modalities_and_no_sixth():
    assert list(MODALITIES) == ["sentinel2", "aerial", "dem", "street", "text"]
    with pytest.raises(ValueError, match="choose from sentinel2"):
        find_modality("radar")
    with pytest.raises(ValueError, match="Unknown modality"):
        replace(observe(), modality="radar")


def test_a_grid_without_pixels_is_refused():
    with pytest.raises(ValueError, match="positive pixel size"):
        Grid("EPSG:32632", 0, 0, 0.0, 128, 128)
