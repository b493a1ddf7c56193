import numpy as np
import pytest

from geodata.panorama import crop_panorama


def paint(direction):
    """A smooth colour for each direction, shape (..., 3) to (..., 3): levels 27 ... 228."""
    x, y, z = np.moveaxis(direction, -1, 0)
    return 127.5 + 100 * np.stack([np.sin(3 * x + y), np.cos(2 * y - z), np.sin(2 * z + 3 * x * y)], axis=-1)


def make_panorama(width, height):
    lon = (np.arange(width) + 0.5) / width * 2 * np.pi - np.pi
    lat = np.pi / 2 - (np.arange(height) + 0.5) / height * np.pi
    lon, lat = np.meshgrid(lon, lat)
    # x ahead, y to the right, z up
    return np.rint(
        paint(np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1))
    ).astype(np.uint8)


PANORAMA = make_panorama(512, 256)


def expected_view(size, field, offset):
    """Rays of a pinhole camera, turned to the right about the vertical."""
    half = np.tan(np.radians(field / 2))
    right, down = np.meshgrid(*[half * ((np.arange(size) + 0.5) / size * 2 - 1)] * 2)
    turn = np.radians(offset)
    ahead, aside = np.cos(turn) - right * np.sin(turn), np.sin(turn) + right * np.cos(turn)
    ray = np.stack([ahead, aside, -down], axis=-1)
    return paint(ray / np.linalg.norm(ray, axis=-1, keepdims=True))


@pytest.mark.parametrize("offset", [0, 37.5, 90, 180, -135, 720])
@pytest.mark.parametrize("field", [30, 90, 150])
def test_a_view_shows_what_a_camera_at_that_place_would_see(offset, field):
    view = crop_panorama(PANORAMA, size_px=129, heading_offset_deg=offset, field_deg=field)
    assert view.shape == (129, 129, 3) and view.dtype == np.uint8
    assert np.abs(view - expected_view(129, field, offset)).max() < 1.1


def test_the_usual_view_is_level_ahead_and_a_quarter_of_the_circle():
    view = crop_panorama(PANORAMA, size_px=256)
    assert np.abs(view - expected_view(256, 90, 0)).max() < 1.1


def test_there_is_no_seam_behind():
    view = crop_panorama(PANORAMA, size_px=128, heading_offset_deg=180).astype(int)
    assert np.abs(np.diff(view, axis=1)).max() < 12


def test_a_panorama_of_one_colour_gives_a_view_of_that_colour_at_the_poles_too():
    flat = np.full((64, 128, 3), 200, dtype=np.uint8)
    assert (crop_panorama(flat, size_px=32, field_deg=179) == 200).all()


@pytest.mark.parametrize("field", [0, 180, -90, 360])
def test_a_field_that_no_plane_can_show_is_refused(field):
    with pytest.raises(ValueError, match="between 0 and 180"):
        crop_panorama(PANORAMA, size_px=8, field_deg=field)
