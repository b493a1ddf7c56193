"""A step in pieces against the same step at once."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from training.learning.caching import cached_backward
from training.losses import all_to_all

M, B, INPUTS, D = 3, 12, 7, 5


class Towers(nn.Module):
    """One tower for each view, run on present rows only; dropout draws for each row alone, so that pieces agree."""

    def __init__(self, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(INPUTS, 9), nn.ReLU(), nn.Dropout(dropout), nn.Linear(9, D)) for _ in range(M)
        )
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        self.calls = 0

    def encode(self, piece):
        self.calls += 1
        values_BMI, present_MB = piece
        z_MBD = torch.zeros(M, len(values_BMI), D, dtype=values_BMI.dtype)
        for view, tower in enumerate(self.towers):
            here_B = present_MB[view]
            z = F.normalize(tower(values_BMI[here_B, view]), dim=-1).to(z_MBD.dtype)
            z_MBD[view] = z_MBD[view].masked_scatter(here_B[:, None], z)
        return z_MBD, present_MB

    def loss_of(self, z_MBD, present_MB):
        return all_to_all(z_MBD, present_MB, self.log_scale.exp())

    def slopes(self):
        return {name: p.grad for name, p in self.named_parameters()}


def _batch():
    generator = torch.Generator().manual_seed(3)
    values_BMI = torch.randn(B, M, INPUTS, generator=generator)
    present_MB = torch.rand(M, B, generator=generator) > 0.3
    present_MB[0, :3] = False  # the whole first piece of three lacks a view
    present_MB[2, -3:] = False  # and the whole last one
    return values_BMI, present_MB


def _cut(batch, *sizes):
    values_BMI, present_MB = batch
    return list(zip(values_BMI.split(sizes), present_MB.split(sizes, dim=1), strict=True))


@pytest.mark.parametrize("sizes", [(12,), (3, 6, 3), (1,) * 12])
def test_equals_the_whole_batch(sizes):
    whole, pieces = Towers().double(), Towers().double()
    values_BMI, present_MB = _batch()
    batch = values_BMI.double(), present_MB
    expected = whole.loss_of(*whole.encode(batch))
    expected.backward()
    found = cached_backward(pieces.encode, _cut(batch, *sizes), pieces.loss_of, dims=(1, 1))
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=0)
    assert pieces.slopes().keys() == whole.slopes().keys()
    for name, slope in whole.slopes().items():
        torch.testing.assert_close(pieces.slopes()[name], slope, rtol=1e-10, atol=1e-14, msg=name)
    assert pieces.calls == 2 * len(sizes) - 1


def test_equals_the_graph_of_all_pieces_under_dropout():
    whole, pieces = Towers(dropout=0.5), Towers(dropout=0.5)
    batch = _cut(_batch(), 3, 3, 3, 3)
    torch.manual_seed(5)
    outputs = [whole.encode(piece) for piece in batch]
    expected = whole.loss_of(*(torch.cat(column, 1) for column in zip(*outputs, strict=True)))
    next_number = torch.rand(())
    expected.backward()
    torch.manual_seed(5)
    found = cached_backward(pieces.encode, batch, pieces.loss_of, dims=(1, 1))
    assert torch.rand(()) == next_number, "later random numbers are those without caching"
    torch.testing.assert_close(found, expected.detach())
    for name, slope in whole.slopes().items():
        torch.testing.assert_close(pieces.slopes()[name], slope, msg=name)


def test_gradients_are_added_to_those_that_are_there():
    model = Towers()
    for _ in range(2):
        cached_backward(model.encode, _cut(_batch(), 6, 6), model.loss_of, dims=(1, 1))
    once = Towers()
    cached_backward(once.encode, _cut(_batch(), 6, 6), once.loss_of, dims=(1, 1))
    for name, slope in once.slopes().items():
        torch.testing.assert_close(model.slopes()[name], 2 * slope, msg=name)


def test_a_frozen_tower_stays_without_gradient():
    model = Towers()
    model.towers[1].requires_grad_(False)
    cached_backward(model.encode, _cut(_batch(), 6, 6), model.loss_of, dims=(1, 1))
    assert all(p.grad is None for p in model.towers[1].parameters())
    assert all(p.grad is not None for p in model.towers[0].parameters())


@pytest.mark.parametrize("outer", [False, True])
def test_autocast_is_the_same_both_times(outer):
    """Also around the whole call, where casts of weights that were made without a graph must not be reused."""
    whole, pieces = Towers(), Towers()
    batch = _batch()

    def encode(piece):
        with torch.autocast("cpu", torch.bfloat16):
            return pieces.encode(piece)

    with torch.autocast("cpu", torch.bfloat16):
        outputs = whole.encode(batch)
    whole.loss_of(*outputs).backward()
    with torch.autocast("cpu", torch.bfloat16, enabled=outer):
        cached_backward(encode, _cut(batch, 3, 6, 3), pieces.loss_of, dims=(1, 1))
    for name, slope in whole.slopes().items():
        torch.testing.assert_close(
            pieces.slopes()[name], slope, rtol=0.05, atol=0.02 * float(slope.abs().max()), msg=name
        )


def test_only_one_piece_has_a_graph_at_a_time():
    model, alive, most = Towers(), 0, 0

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z_MBD):
            nonlocal alive, most
            alive += torch.is_grad_enabled() or z_MBD.requires_grad
            most = max(most, alive)
            return z_MBD.clone()

        @staticmethod
        def backward(ctx, dz_MBD):
            nonlocal alive
            alive -= 1
            return dz_MBD

    def encode(piece):
        z_MBD, present_MB = model.encode(piece)
        return (Watched.apply(z_MBD) if torch.is_grad_enabled() else z_MBD), present_MB

    cached_backward(encode, _cut(_batch(), 3, 3, 3, 3), model.loss_of, dims=(1, 1))
    assert (alive, most) == (0, 1)
