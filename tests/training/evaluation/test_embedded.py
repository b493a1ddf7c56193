from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.training.worlds import make_places
from training.data.batch import SPOTS, VIEWS, Batch
from training.evaluation.embedded import Embedded, embed_split, join_splits


def make_batch(keys, present_MB, lonlat_B2):
    b = len(keys)
    return Batch(
        list(keys), torch.as_tensor(present_MB), torch.zeros(b, 12, 2, 2, dtype=torch.int16),
        torch.zeros(b, 6, 6, 3, dtype=torch.uint8), torch.zeros(b, 1, 2, 2), torch.zeros(b, 6, 6, 3, dtype=torch.uint8),
        torch.zeros(b, 4, dtype=torch.int64), torch.as_tensor(lonlat_B2, dtype=torch.float64),
        torch.zeros(b, 2, 2), torch.zeros(b, 2, 2), torch.zeros(2, b, dtype=torch.bool), torch.zeros(0, 2, dtype=torch.int64),
    )  # fmt: skip


def location_model(batch):
    """Embeds every view as its batch's position, so that a test sees which position came in."""
    z = batch.lonlat_B2.float()[None].expand(len(VIEWS), -1, -1) * batch.present_MB[..., None]
    spots = torch.stack([z[VIEWS.index(name)] for name in SPOTS])  # what it finds at the spot of what is present
    return SimpleNamespace(z_MBD=z, present_MB=batch.present_MB, spots_SBD=spots)


def test_the_location_that_is_embedded_is_the_centre_and_never_the_photos_own():
    present = np.ones((6, 3), bool)
    present[VIEWS.index("street"), 1] = False
    batches = [make_batch(["a", "b"], present[:, :2], [[10, 1], [20, 2]]), make_batch(["c"], present[:, 2:], [[30, 3]])]
    centres = {"a": (11, 1.5), "b": (21, 2.5), "c": (31, 3.5)}
    places = embed_split(location_model, batches, centres, "cpu")
    assert places.keys == ["a", "b", "c"]
    np.testing.assert_array_equal(places.z("location"), [[11, 1.5], [21, 2.5], [31, 3.5]])
    np.testing.assert_array_equal(places.lonlat_N2, [[11, 1.5], [21, 2.5], [31, 3.5]])
    np.testing.assert_array_equal(places.query_lonlat("street"), [[10, 1], [21, 2.5], [30, 3]])
    np.testing.assert_array_equal(places.query_lonlat("text"), places.lonlat_N2)
    assert places.rows("street").tolist() == [0, 2]
    np.testing.assert_array_equal(batches[0].lonlat_B2, [[10, 1], [20, 2]])


def test_batches_may_be_written_over_by_the_next():
    shared = make_batch(["a"], np.ones((6, 1), bool), [[1, 1]])

    def reuse():
        for key, value in (("a", 1.0), ("b", 2.0)):
            shared.keys[:] = [key]
            shared.lonlat_B2[:] = value
            yield shared

    places = embed_split(location_model, reuse(), {"a": (1, 1), "b": (2, 2)}, "cpu")
    np.testing.assert_array_equal(places.photo_N2, [[1, 1], [2, 2]])


def test_what_cannot_be_measured_is_refused():
    places = make_places(np.ones((6, 3, 4)))
    values = {name: getattr(places, name) for name in ("z_MND", "present_MN", "lonlat_N2", "photo_N2")}
    with pytest.raises(ValueError, match="The place x occurs twice"):
        Embedded(["x", "y", "x"], **values)
    with pytest.raises(ValueError, match="not all finite"):
        Embedded(["x", "y", "z"], **(values | {"z_MND": np.full((6, 3, 4), np.nan, np.float32)}))
    with pytest.raises(ValueError, match=r"Expected 2 spots of 3 places, found embeddings \(1, 3, 4\)"):
        Embedded(["x", "y", "z"], **values, spots_SND=np.zeros((1, 3, 4), np.float32))
    with pytest.raises(ValueError, match="the split is empty"):
        embed_split(location_model, [], {}, "cpu")


def test_sentinel2_at_a_spot_stands_where_the_whole_patch_stood():
    present = np.ones((6, 3), bool)
    present[VIEWS.index("street"), 1] = present[VIEWS.index("sentinel2"), 2] = False
    lonlat = [[10, 1], [20, 2], [30, 3]]
    places = embed_split(
        location_model, [make_batch(["a", "b", "c"], present, lonlat)], dict(zip("abc", lonlat, strict=True)), "cpu"
    )
    moved = places.at_spot("street")
    assert moved.rows("sentinel2").tolist() == [0]  # no photo at b, no patch at c
    np.testing.assert_array_equal(moved.z("sentinel2"), [[10, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(moved.z("aerial"), places.z("aerial"))
    assert places.rows("sentinel2").tolist() == [0, 1]  # and the places themselves are as they were


def test_without_a_query_there_is_no_spot():
    places = make_places(np.ones((6, 3, 4)))
    assert places.at_spot("street") is None and places.at_spot("text") is None


def test_splits_that_are_joined_keep_their_spots_where_all_have_them():
    parts = [
        embed_split(location_model, [make_batch([key], np.ones((6, 1), bool), [[1, n]])], {key: (1, n)}, "cpu")
        for n, key in enumerate("ab", 2)
    ]
    np.testing.assert_array_equal(join_splits(parts).at_spot("text").z("sentinel2"), [[1, 2], [1, 3]])
    assert join_splits([parts[0], make_places(np.ones((6, 3, 2)))]).spots_SND is None
