import numpy as np
import pytest

from schemas.modality import DEM
from training.evaluation.features import (
    LENGTH,
    WORDS,
    count_words,
    describe_bands,
    describe_colours,
    describe_heights,
    describe_positions,
    hash_words,
)  # fmt: skip

MIDDLE = np.zeros((1, 2), np.float32)


def test_words_are_counted_whatever_their_case_and_order():
    first, second, other = count_words(hash_words(["A mill, a weir.", "WEIR a Mill a", "a mill"]).numpy())
    np.testing.assert_array_equal(first, second)
    assert sorted(first[first > 0]) == pytest.approx([np.log(2), np.log(2), np.log(3)])
    assert (other != first).any() and first.shape == (WORDS,)


def test_texts_without_words_and_overlong_ones_have_the_same_shape():
    tokens = hash_words(["", "word " * 1000])
    assert tokens.shape == (2, LENGTH) and tokens[0].sum() == 0 and (tokens[1] > 0).all()


def test_band_statistics_of_a_patch_by_hand():
    stored = np.full((1, 12, 4, 4), 1000, np.uint16)
    stored[0, 7] = 3000  # B08
    stored[0, :, 0] = 0  # a gap says nothing
    stored[0, 0, 3, 3] = 0
    (found,) = describe_bands(stored, MIDDLE)
    assert found.shape == (45,)
    np.testing.assert_allclose(found[:12], [0.1] * 7 + [0.3] + [0.1] * 4)
    np.testing.assert_allclose(found[12:15], [0.5, -0.5, -0.5], atol=1e-4)  # NDVI, NDWI, NDBI
    np.testing.assert_allclose(found[15:30], 0, atol=1e-12)
    np.testing.assert_allclose(found[30:], found[:15], atol=1e-12)


def test_a_patch_of_gaps_alone_is_finite():
    assert np.isfinite(describe_bands(np.zeros((1, 12, 4, 4), np.uint16), MIDDLE)).all()
    assert np.isfinite(describe_heights(np.full((1, 8, 8), -32768, np.float32), MIDDLE)).all()


def test_colour_moments_of_a_picture_by_hand():
    picture = np.zeros((1, 6, 6, 3), np.uint8)
    picture[0, :2, :, 2] = 255  # blue above
    (found,) = describe_colours(picture)
    np.testing.assert_allclose(found[:3], [0, 0, 1 / 3])
    np.testing.assert_allclose(found[3:6], [0, 0, np.sqrt(2 / 9)])
    np.testing.assert_allclose(found[6:9], [0, 0, np.cbrt(2 / 27)])
    np.testing.assert_allclose(found[9:], [0, 0, 1] + [0] * 6)


def test_heights_of_a_plane_by_hand():
    ramp = np.arange(8, dtype=np.float32) * 5  # 5 m in 10 m
    (found,) = describe_heights(np.broadcast_to(ramp, (1, 8, 8)), MIDDLE)
    np.testing.assert_allclose(found[:8], [17.5, ramp.std(), 0, 35, 0.5, 0, 17.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(found[12], np.log1p(50), atol=1e-6)


def test_what_lies_about_the_place_is_told_by_itself():
    stored = np.full((2, 12, 64, 64), 1000, np.uint16)
    stored[:, 7, :20, 44:] = 3000  # B08 in the north-east
    height = np.full((2, 64, 64), 100.0, np.float32)
    height[:, :20, 44:] = 300
    corner_and_middle = np.array([[0.75, -0.75], [0.0, 0.0]], np.float32)
    bands, heights = describe_bands(stored, corner_and_middle), describe_heights(height, corner_and_middle)
    np.testing.assert_allclose(bands[0, 30:42], [0.1] * 7 + [0.3] + [0.1] * 4)
    np.testing.assert_allclose(bands[1, 30:42], 0.1)
    assert heights[:, 6].tolist() == [300, 100]
    np.testing.assert_array_equal(bands[0, :30], bands[1, :30])


def test_positions_go_smoothly_over_the_antimeridian():
    over = (178.0, -10.0, -178.0, 10.0)
    found = describe_positions(np.array([[179.999, 0.0], [-179.999, 0.0], [178.0, 0.0]]), over)
    assert np.abs(found[0] - found[1]).max() < 0.02 < np.abs(found[0] - found[2]).max()
    assert found.shape == (3, 9 + 32)


def test_a_height_that_is_no_number_is_a_gap():
    height = np.linspace(0, 900, 128 * 128, dtype=np.float32).reshape(1, 128, 128)
    focus = np.zeros((1, 2), np.float32)
    stored, broken = height.copy(), height.copy()
    stored[0, 3, 5], broken[0, 3, 5] = DEM.nodata, np.nan
    np.testing.assert_array_equal(describe_heights(broken, focus), describe_heights(stored, focus))
