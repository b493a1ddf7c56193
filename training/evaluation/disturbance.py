"""Disturbs what a run is shown: positions that are wrong, rasters that are not where they should be, views that lack.

Distances are exact, directions drawn for each place. What moves into a raster from outside is a gap.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.modality import AERIAL, DEM, SENTINEL2
from training.data.batch import VIEWS, Batch
from training.location.moving import shift_positions

GROUND_M = {one.name: one.size_px * one.gsd_m for one in (SENTINEL2, AERIAL, DEM)}
"""Side on the ground of the rasters that can be misregistered, metres."""


@dataclass(frozen=True, eq=False)
class Moves:
    """How far each place is moved, by the same distance in a direction of its own."""

    metres_B2: NDArray[np.float64]
    """(B, 2): to the east and to the north."""

    @classmethod
    def draw(cls, count: int, distance_m: float, rng: np.random.Generator) -> "Moves":
        """Returns moves of one length in directions drawn evenly from the circle."""
        angle_B = rng.uniform(0, 2 * np.pi, count)
        return cls(distance_m * np.stack([np.cos(angle_B), np.sin(angle_B)], -1))

    def of_positions(self, lonlat_B2: Tensor) -> Tensor:
        """Returns positions (B, 2), degrees east and north, moved along the sphere's meridians and parallels."""
        return shift_positions(lonlat_B2, torch.from_numpy(self.metres_B2).to(lonlat_B2))

    def of_spots(self, spots_BS2: Tensor) -> Tensor:
        """Returns positions inside the Sentinel-2 patch (B, S, 2), x east, y south, -1 ... 1, moved."""
        east_south_B2 = self.metres_B2 * [1, -1] * 2 / GROUND_M["sentinel2"]
        return spots_BS2 + torch.from_numpy(east_south_B2).to(spots_BS2)[:, None]

    def of_raster(self, view: str, values: Tensor) -> Tensor | None:
        """Returns the rasters of a view, each as if its ground lay that far off, to whole pixels.

        Args:
            view: sentinel2, aerial or dem.
            values: its field of `Batch`, (B, ...).

        Returns:
            The same shape; what comes in from outside is a gap, in an aerial image its mean colour. None where hardly
            anything of the ground would be left.
        """
        is_picture = view == AERIAL.name
        side_px = values.shape[1] if is_picture else values.shape[2]
        pixels_B2 = np.rint(self.metres_B2 * [1, -1] / GROUND_M[view] * side_px).astype(int)
        if np.abs(pixels_B2).max(initial=0) > 0.9 * side_px:
            return None
        moved = [
            _shift(value, across, down, 0 if is_picture else 1, _gap(view, value))
            for value, (across, down) in zip(values, pixels_B2.tolist(), strict=True)
        ]
        return torch.stack(moved) if moved else values


def only(batch: Batch, view: str) -> Batch:
    """Returns the batch as if its places had no other view."""
    present_MB = torch.zeros_like(batch.present_MB)
    present_MB[VIEWS.index(view)] = batch.present_MB[VIEWS.index(view)]
    return replace(batch, present_MB=present_MB)


def draw_missing(views: int, places: int, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Returns which views (M, N) are left when each lacks with that probability; every place keeps one at least."""
    left_MN = rng.random((views, places)) >= share
    left_MN[rng.integers(views, size=places), np.arange(places)] |= ~left_MN.any(0)
    return left_MN


def _gap(view: str, value: Tensor) -> Tensor:
    if view == AERIAL.name:
        return value.float().mean((0, 1)).to(value.dtype)
    return value.new_tensor(DEM.nodata if view == DEM.name else SENTINEL2.nodata)


def _shift(value: Tensor, across: int, down: int, axis: int, gap: Tensor) -> Tensor:
    """Returns one raster whose rows (from `axis` on) and columns are moved, positive to the right and down."""
    rolled = value.roll((down, across), (axis, axis + 1))
    for step, along in ((down, axis), (across, axis + 1)):
        size = value.shape[along]
        start, stop = (0, step) if step >= 0 else (size + step, size)
        rolled.narrow(along, start, stop - start)[...] = gap
    return rolled
