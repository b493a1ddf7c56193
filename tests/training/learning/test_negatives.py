"""Positions beside the batch: which they are, which do not count, and that processes share them out."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.data.batch import LOCATION
from training.data.draw import find_near
from training.learning import distributed
from training.learning.negatives import Queue, collect, draw_positions, widen
from training.losses import all_to_all

B, E, D, NEAR_M = 8, 6, 4, 5000.0
ROWS = ("street", LOCATION)


def positions(count, seed=0):
    """Within some 20 km."""
    luck = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.tensor([6.0, 49.6]) + luck / 5


def units(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, D, generator=generator, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("batches", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [3, 8, 10, 24])
def test_a_queue_holds_the_last_positions_in_any_order_and_no_other(size, batches):
    queue, seen = Queue(size), positions(batches * B)
    assert not len(queue.positions())
    for batch in seen.split(B):
        queue.push(batch)
    found, wanted = queue.positions(), seen[-size:]
    assert sorted(found.tolist()) == sorted(wanted.tolist())


def test_a_queue_that_is_restored_goes_on_at_its_slot():
    whole, first, second = Queue(10), Queue(10), Queue(10)
    before, after = positions(14), positions(3, seed=1)
    for queue in (whole, first):
        queue.push(before)
    second.restore({name: value.clone() for name, value in first.state().items()})
    for queue in (whole, second):
        queue.push(after)
    assert torch.equal(whole.positions(), second.positions())


def test_random_positions_fill_the_extent_evenly_and_follow_seed_and_step():
    extent = (-20.0, 0.0, 40.0, 90.0)
    found = draw_positions(20_000, extent, seed=1, step=2)
    lon, lat = found.T
    assert lon.min() >= -20 and lon.max() <= 40 and lat.min() >= 0 and lat.max() <= 90
    assert (lat < 30).double().mean() == pytest.approx(0.5, abs=0.02), "half of a hemisphere lies below 30 degrees"
    assert lon.mean() == pytest.approx(10, abs=0.5)
    assert torch.equal(found, draw_positions(20_000, extent, seed=1, step=2))
    assert not torch.equal(found, draw_positions(20_000, extent, seed=1, step=3))


def whole_loss():
    """Photos against the locations of the batch and others, by the definition."""
    places, others, z_MBD, extra_ED = positions(B), positions(E, seed=5), units(2, B), units(E, seed=1)
    near = find_near(np.concatenate([places.numpy(), others.numpy()]), NEAR_M)
    logits = 7.0 * z_MBD[0] @ torch.cat([z_MBD[1], extra_ED]).T
    for row, column in near.tolist():
        if row < B:
            logits[row, column] = -math.inf
    assert logits.isinf()[:, :B].any() and 0 < logits.isinf()[:, B:].sum() < B * E
    return places, others, z_MBD, extra_ED, F.cross_entropy(logits, torch.arange(B))


def loss_of(z, present, near_K2, rows=None):
    to_location = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    return all_to_all(z, present, 7.0, weights_MM=to_location, negatives="candidate", near_K2=near_K2, rows=rows)


def test_other_positions_are_candidates_unless_they_are_near():
    places, others, z_MBD, extra_ED, expected = whole_loss()
    near_K2 = torch.from_numpy(find_near(places.numpy(), NEAR_M))
    found = collect(places, others, near_K2, NEAR_M)
    wide = widen(z_MBD, torch.ones(2, B, dtype=torch.bool), extra_ED, ROWS)
    assert wide[0].shape == (2, B + E, D) and wide[1].sum() == 2 * B + E
    torch.testing.assert_close(loss_of(*wide, found.near_K2), expected)


def test_processes_that_share_them_out_find_the_same_loss(monkeypatch):
    places, others, z_MBD, extra_ED, expected = whole_loss()
    near_K2 = torch.from_numpy(find_near(places.numpy(), NEAR_M))
    monkeypatch.setattr(distributed, "world", lambda: 2)
    shares, parts = [], []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(collect(places, others, near_K2, NEAR_M))
        z, extra = z_MBD[:, rank * B // 2 : (rank + 1) * B // 2], extra_ED[rank * E // 2 : (rank + 1) * E // 2]
        parts.append(widen(z, torch.ones(2, B // 2, dtype=torch.bool), extra, ROWS))
    assert torch.equal(torch.cat([share.lonlat_E2 for share in shares]), others)
    assert torch.equal(shares[0].near_K2, shares[1].near_K2)
    whole = [torch.cat(part, dim=1) for part in zip(*parts, strict=True)]
    size = (B + E) // 2
    losses = [loss_of(*whole, shares[0].near_K2, (rank * size, (rank + 1) * size)) for rank in range(2)]
    torch.testing.assert_close(sum(losses), expected)


def test_what_cannot_be_shared_equally_is_left_out(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 4)
    found = collect(positions(B), positions(E, seed=5), torch.zeros(0, 2, dtype=torch.int64), 0.0)
    assert len(found.lonlat_E2) == 1 and not len(found.near_K2)


def test_gradients_reach_other_positions():
    extra_ED = units(E, seed=1).requires_grad_()
    wide = widen(units(2, B), torch.ones(2, B, dtype=torch.bool), extra_ED, ROWS)
    loss_of(*wide, torch.zeros(0, 2, dtype=torch.int64)).backward()
    assert extra_ED.grad.abs().sum(1).gt(0).all()
