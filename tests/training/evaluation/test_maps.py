import numpy as np
import pytest
import torch

from training.evaluation.canvas import new_figure
from training.evaluation.maps import (
    Heat,
    draw_errors,
    draw_hexagons,
    draw_query,
    draw_true_colour,
    map_patch,
    map_region,
)


class Compass:
    """Embeds a position as its own direction from a corner: what is looked for is known."""

    def encode(self, view, values):
        assert view == "location"
        return torch.nn.functional.normalize(values.float(), dim=-1)

    def localise(self, stored_BCHW, xy_BQ2):
        assert stored_BCHW.shape[0] == xy_BQ2.shape[0] == 1
        return torch.stack([xy_BQ2[..., 0], xy_BQ2[..., 1]], -1).float()


def test_a_region_has_north_above_and_east_to_the_right():
    heat = map_region(Compass(), np.array([1, 0], np.float32), (1.0, 1.0, 2.0, 2.0), columns=50)
    assert heat.similarity_HW.shape == (50, 50)
    best = np.unravel_index(heat.similarity_HW.argmax(), heat.similarity_HW.shape)
    assert best == (49, 49)  # the most eastern of directions: south-east
    assert heat.similarity_HW[0, 0] == pytest.approx(1.01 / np.hypot(1.01, 1.99), abs=1e-4)


def test_cells_of_a_region_are_about_square_far_north():
    heat = map_region(Compass(), np.array([0, 1], np.float32), (10.0, 59.0, 14.0, 61.0), columns=100)
    assert heat.similarity_HW.shape == (100, 100)


def test_a_patch_is_asked_at_the_centres_of_its_cells_row_by_row_from_the_north():
    east = map_patch(Compass(), np.array([1, 0], np.float32), torch.zeros(12, 128, 128, dtype=torch.int16), cells=4)
    south = map_patch(Compass(), np.array([0, 1], np.float32), torch.zeros(12, 128, 128, dtype=torch.int16), cells=4)
    assert np.allclose(east.similarity_HW, [[-0.75, -0.25, 0.25, 0.75]] * 4)
    assert np.allclose(south.similarity_HW, east.similarity_HW.T)


def test_true_colour_is_red_green_blue():
    values = np.zeros((12, 2, 2), np.uint16)
    values[3, 0, 0], values[2, 0, 1], values[1, 1, 0] = 2500, 2500, 2500
    assert draw_true_colour(values).tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 0]]]


def test_pictures_are_drawn(tmp_path):
    heat = Heat(np.random.default_rng(0).random((20, 30), np.float32), (5.0, 49.0, 7.0, 50.0))
    inside = Heat(heat.similarity_HW[:20, :20], (-1.0, 1.0, 1.0, -1.0))
    stored, photo = torch.full((12, 128, 128), 900, dtype=torch.int16), np.zeros((64, 64, 3), np.uint8)
    first = draw_query(photo, heat, inside, stored, tmp_path / "a" / "q.png", lonlat=(6.0, 49.5), spot=(0.2, -0.1))
    second = draw_errors(np.array([[6.0, 49.5], [6.2, 49.6]]), np.array([0.0, 120.0]), "Errors", tmp_path / "e.png")
    assert first.stat().st_size > 10_000 and second.stat().st_size > 10_000


def test_a_hexagon_has_the_median_of_its_places():
    lonlat = np.array([[6.0, 49.0], [6.001, 49.0], [6.0, 49.001], [7.0, 50.0]])
    axes = new_figure((4.0, 4.0)).subplots()
    drawn = draw_hexagons(axes, lonlat, np.array([0.0, 1.0, 3.0, 2.0]), (5.0, 48.0, 8.0, 51.0), (0.0, 3.0))
    assert sorted(drawn.get_array().tolist()) == [1.0, 2.0]
    middles = sorted(map(tuple, drawn.get_offsets().tolist()))
    np.testing.assert_allclose(middles, [(6, 49), (7, 50)], atol=0.12)
    assert drawn.get_clim() == (0.0, 3.0) and axes.get_xlim() == (5.0, 8.0) and axes.get_ylim() == (48.0, 51.0)
