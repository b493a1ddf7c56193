"""Turns and mirrors the patches of a training batch, and what lies in them with them; moves positions.

A batch is turned as a whole by one of the eight symmetries of the square, Sentinel-2, elevation and aerial image alike,
so that they still show the same ground in the same direction; photos are mirrored one by one. Which, is a pure function
of (seed, step).
"""

from dataclasses import replace

import torch
from torch import Tensor

from training.data.batch import Batch
from training.location.moving import shift_positions


def turn(batch: Batch, *, seed: int, step: int) -> Batch:
    """Returns the batch of a step, turned and mirrored; its own tensors stay as they are."""
    generator = torch.Generator().manual_seed((seed << 32) ^ step)
    turns, is_mirrored = int(torch.randint(4, (), generator=generator)), bool(torch.randint(2, (), generator=generator))
    mirrored_B = torch.randint(2, (len(batch),), generator=generator, dtype=torch.bool)
    street_BHWC = batch.street_BHWC
    where = mirrored_B.to(street_BHWC.device)[:, None, None, None]
    return replace(
        batch,
        sentinel2_BCHW=_turn(batch.sentinel2_BCHW, turns, is_mirrored, (2, 3)),
        dem_BCHW=_turn(batch.dem_BCHW, turns, is_mirrored, (2, 3)),
        aerial_BHWC=_turn(batch.aerial_BHWC, turns, is_mirrored, (1, 2)),
        street_BHWC=torch.where(where, street_BHWC.flip(2), street_BHWC),
        spots_BS2=turn_points(batch.spots_BS2, turns, is_mirrored),
        focus_BR2=turn_points(batch.focus_BR2, turns, is_mirrored),
    )


def move(lonlat_B2: Tensor, noise_m: float) -> Tensor:
    """Returns positions (degrees east and north) with a normal error of that size in metres along each axis.

    Draws from torch's default generator. Longitudes stay within 180 degrees, latitudes within 90.
    """
    return shift_positions(lonlat_B2, torch.randn(lonlat_B2.shape).to(lonlat_B2) * noise_m)


def turn_points(xy: Tensor, turns: int, is_mirrored: bool) -> Tensor:
    """Returns where points of a patch (..., 2), x to the right, y down, -1 ... 1, lie in the turned patch."""
    if is_mirrored:
        xy = xy * xy.new_tensor([-1.0, 1.0])
    for _ in range(turns):  # a quarter turn anticlockwise takes the right edge to the top
        xy = torch.stack([xy[..., 1], -xy[..., 0]], dim=-1)
    return xy


def _turn(pixels: Tensor, turns: int, is_mirrored: bool, axes: tuple[int, int]) -> Tensor:
    if is_mirrored:
        pixels = pixels.flip(axes[1])
    return torch.rot90(pixels, turns, axes).contiguous()
