import numpy as np
import pytest
import torch

from schemas.modality import DEM
from training.evaluation.disturbance import GROUND_M, Moves, draw_missing
from training.sphere import distance_m


def straight(east_m, north_m, count=1):
    return Moves(np.tile([[float(east_m), float(north_m)]], (count, 1)))


@pytest.mark.parametrize("metres", [0.0, 10.0, 500.0])
def test_every_move_has_the_same_length_and_its_own_direction(metres):
    moves = Moves.draw(500, metres, np.random.default_rng(0)).metres_B2
    assert np.allclose(np.hypot(*moves.T), metres)
    assert np.abs(moves.mean(0)).max() <= 0.15 * metres


@pytest.mark.parametrize("lat", [-60.0, 0.0, 75.0])
def test_positions_move_by_metres_on_the_sphere(lat):
    start = torch.tensor([[179.9999, lat]], dtype=torch.float64)
    moved = straight(300, -400).of_positions(start)
    assert distance_m(start.numpy(), moved.numpy())[0] == pytest.approx(500, rel=1e-3)
    assert -180 <= float(moved[0, 0]) < -179.9 and float(moved[0, 1]) < lat


def test_spots_move_with_x_to_the_east_and_y_to_the_south():
    spots = torch.zeros(1, 2, 2)
    assert straight(64, 320).of_spots(spots)[0, 0].tolist() == pytest.approx([0.1, -0.5])


@pytest.mark.parametrize(("view", "shape", "gap"), [
    ("sentinel2", (1, 12, 128, 128), 0), ("dem", (1, 1, 128, 128), DEM.nodata),
])  # fmt: skip
def test_rasters_move_by_pixels_and_gaps_come_in(view, shape, gap):
    values = torch.arange(128 * 128).reshape(128, 128).expand(shape).to(torch.float32)
    moved = straight(20, -50).of_raster(view, values)
    assert torch.equal(moved[..., 5:, 2:], values[..., :-5, :-2])
    assert (moved[..., :5, :] == gap).all() and (moved[..., :, :2] == gap).all()
    back = straight(-20, 50).of_raster(view, values)
    assert torch.equal(back[..., :-5, :-2], values[..., 5:, 2:])
    assert torch.equal(straight(0, 0).of_raster(view, values), values)


def test_pictures_are_filled_with_their_mean_colour():
    picture = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    picture[..., 1] = 200
    moved = straight(GROUND_M["aerial"] / 2, 0).of_raster("aerial", picture)
    assert torch.equal(moved, picture)
    picture[:, :, 32:] = 100
    moved = straight(GROUND_M["aerial"] / 2, 0).of_raster("aerial", picture)
    assert (moved[0, :, 32:] == torch.tensor([0, 200, 0])).all() and (
        moved[0, :, :32] == torch.tensor([50, 150, 50])
    ).all()


def test_a_raster_of_which_nothing_is_left_is_none():
    picture = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    assert straight(0, GROUND_M["aerial"]).of_raster("aerial", picture) is None


def test_views_lack_with_their_probability_but_never_all():
    left_MN = draw_missing(4, 4000, 0.5, np.random.default_rng(0))
    assert left_MN.any(0).all() and left_MN.mean() == pytest.approx(0.5 + 0.5**4 / 4, abs=0.02)
    assert (draw_missing(4, 100, 0.99, np.random.default_rng(0)).sum(0) >= 1).all()
    assert draw_missing(4, 100, 0.0, np.random.default_rng(0)).all()
