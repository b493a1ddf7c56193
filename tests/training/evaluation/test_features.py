import numpy as np
import pytest

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
    (found,) = describe_bands(stored)
    assert found.shape == (30,)
    np.testing.assert_allclose(found[:12], [0.1] * 7 + [0.3] + [0.1] * 4)
    np.testing.assert_allclose(found[12:15], [0.5, -0.5, -0.5], atol=1e-4)  # NDVI, NDWI, NDBI
    np.testing.assert_allclose(found[15:], 0, atol=1e-12)


def test_a_patch_of_gaps_alone_is_finite():
    assert np.isfinite(describe_bands(np.zeros((1, 12, 4, 4), np.uint16))).all()
    assert np.isfinite(describe_heights(np.full((1, 8, 8), -32768, np.float32))).all()


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
    (found,) = describe_heights(np.broadcast_to(ramp, (1, 8, 8)))
    np.testing.assert_allclose(found[:6], [17.5, ramp.std(), 0, 35, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(found[10], np.log1p(50), atol=1e-6)


def test_positions_go_smoothly_over_the_antimeridian():
    over = (178.0, -10.0, -178.0, 10.0)
    found = describe_positions(np.array([[179.999, 0.0], [-179.999, 0.0], [178.0, 0.0]]), over)
    assert np.abs(found[0] - found[1]).max() < 0.02 < np.abs(found[0] - found[2]).max()
    assert found.shape == (3, 9 + 32)
