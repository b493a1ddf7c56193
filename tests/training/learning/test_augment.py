import pytest
import torch

from tests.training.places import make_batch
from training.learning.augment import _turn, move, turn, turn_points
from training.location.moving import METRES_PER_DEGREE
from training.model import Model, ModelConfig


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_a_point_stays_on_its_pixel(turns, is_mirrored):
    size = 4
    for row in range(size):
        for column in range(size):
            image = torch.zeros(1, 1, size, size)
            image[0, 0, row, column] = 1
            xy = torch.tensor([(2 * column + 1) / size - 1, (2 * row + 1) / size - 1])
            x, y = turn_points(xy, turns, is_mirrored)
            there = _turn(image, turns, is_mirrored, (2, 3))[0, 0, int((y + 1) / 2 * size), int((x + 1) / 2 * size)]
            assert there == 1


def test_a_place_stays_where_it_lies_in_its_patches():
    batch = make_batch(Model(ModelConfig()), 3)
    pixel_BR2 = torch.tensor([[[20, 90], [100, 3]], [[64, 64], [0, 127]], [[127, 5], [31, 32]]])  # column, row
    batch.focus_BR2 = (2 * pixel_BR2 + 1) / 128 - 1
    batch.sentinel2_BCHW.zero_(), batch.dem_BCHW.zero_()
    for row in range(3):
        for number, values in enumerate((batch.sentinel2_BCHW, batch.dem_BCHW)):
            column, line = pixel_BR2[row, number].tolist()
            values[row, :, line, column] = 7
    for step in range(12):
        turned = turn(batch, seed=0, step=step)
        there = ((turned.focus_BR2 + 1) / 2 * 128).long()
        for row in range(3):
            for number, values in enumerate((turned.sentinel2_BCHW, turned.dem_BCHW)):
                column, line = there[row, number].tolist()
                assert (values[row, :, line, column] == 7).all()


def test_the_eight_turns_are_different():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    found = {
        tuple(_turn(image, turns, mirrored, (2, 3)).flatten().tolist())
        for turns in range(4)
        for mirrored in (False, True)
    }
    assert len(found) == 8


def test_positions_move_by_the_stated_error_along_both_axes():
    torch.manual_seed(0)
    here = torch.tensor([[10.0, 60.0]], dtype=torch.float64).repeat(20_000, 1)
    error_m = (move(here, 300.0) - here) * METRES_PER_DEGREE * torch.tensor([0.5, 1.0])
    assert error_m.std(0).tolist() == pytest.approx([300, 300], rel=0.03)
    assert error_m.mean(0).abs().max() < 10


def test_positions_stay_on_the_earth():
    moved = move(torch.tensor([[179.9999, 89.9999], [-179.9999, -89.9999]], dtype=torch.float64).repeat(99, 1), 5000.0)
    assert moved[:, 0].abs().max() <= 180 and moved[:, 1].abs().max() <= 90
