import pytest
import torch

from training.learning.augment import _turn, move, turn_points
from training.location.moving import METRES_PER_DEGREE


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
