"""The regular background around a centre, and who is nearest to whom once observed places are put into it.

In the frame of its centre the background depends on the number of observed places alone, so it and its nearest
neighbours are found once for all centres with as many.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_TIE = 1e-9  # squared distances that differ by less of themselves are equal


@dataclass(frozen=True, eq=False)
class Background:
    """Rings of points around a centre that lies at the north pole and is the origin."""

    local_Q3: Tensor
    """(Q, 3) float64, from the centre, in radii of the sphere."""
    neighbour_Qk: Tensor
    """(Q, k) int64: for each point its nearest others, nearest first."""
    square_Qk: Tensor
    """(Q, k) float64: their squared chords."""

    @classmethod
    def around(cls, observed: int, radius: float, *, density: float, k: int) -> "Background":
        """Lays the rings for that many observed places.

        Rings are 1 / sqrt(rho) apart, rho = ceil(density x observed / (pi radius^2)) points in a square radian, the
        last one at the radius or past it; ring t has ceil(2 pi t) points from the azimuth -180 degrees on.

        Args:
            observed: number of observed places.
            radius: of the neighbourhood, radians.
            density: background points per observed place.
            k: neighbours of a point.
        """
        step = 1 / math.sqrt(math.ceil(density * observed / (math.pi * radius**2)))
        rings = [_ring(t, t * step) for t in range(1, math.ceil(radius / step) + 1)]
        local_Q3 = torch.cat(rings)
        square_QQ = _squares(local_Q3[None], local_Q3[None])[0].fill_diagonal_(torch.inf)
        neighbour_CQk, square_CQk = _smallest(square_QQ[None], k)
        return cls(local_Q3, neighbour_CQk[0], square_CQk[0])

    def __len__(self) -> int:
        return len(self.local_Q3)

    def join(self, local_CP3: Tensor) -> Tensor:
        """Returns the k nearest others of each member once P observed places are put in: (C, P + Q, k) int64.

        Members 0 ... P - 1 are the observed places, the others the background. Where an observed place and one of the
        background are equally far (rings are as far from each other as the first from the centre), the observed one
        is nearer; so the result does not hang on rounding.

        Args:
            local_CP3: observed places around C centres in the frames of these (`to_frames`).
        """
        (C, P, _), (Q, k) = local_CP3.shape, self.neighbour_Qk.shape
        all_CN3 = torch.cat([local_CP3, self.local_Q3.expand(C, Q, 3)], 1)
        square_CPN = _squares(local_CP3, all_CN3)
        square_CPN.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        square_CPN[:, :, P:] *= 1 + _TIE
        near_CPk, _ = _smallest(square_CPN, k)
        place_CQj, square_CQj = _smallest(_squares(all_CN3[:, P:], local_CP3), min(k, P))
        both_CQx = torch.cat([square_CQj, self.square_Qk.expand(C, Q, k) * (1 + _TIE)], 2)
        member_CQx = torch.cat([place_CQj, self.neighbour_Qk.expand(C, Q, k) + P], 2)
        return torch.cat([near_CPk, member_CQx.gather(2, both_CQx.argsort(dim=2, stable=True)[:, :, :k])], 1)


def to_frames(xyz_CP3: Tensor, centre_C3: Tensor) -> Tensor:
    """Turns the globe for each centre so that it becomes the north pole, its south the azimuth 0, and the origin.

    Args:
        xyz_CP3: unit vectors of P places for each centre.
        centre_C3: unit vectors of the centres.

    Returns:
        (C, P, 3) float64, in radii of the sphere.
    """
    lon_C = torch.atan2(centre_C3[:, 1], centre_C3[:, 0])
    sin, cos = lon_C.sin(), lon_C.cos()
    south_C3 = torch.stack([cos * centre_C3[:, 2], sin * centre_C3[:, 2], -centre_C3[:, :2].norm(dim=1)], 1)
    east_C3 = torch.stack([-sin, cos, torch.zeros_like(sin)], 1)
    axes_C33 = torch.stack([south_C3, east_C3, centre_C3], 2)
    return (xyz_CP3 - centre_C3[:, None]) @ axes_C33


def _ring(number: int, angle: float) -> Tensor:
    count = math.ceil(2 * math.pi * number)
    azimuth = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count) - math.pi
    depth = torch.full_like(azimuth, -2 * math.sin(angle / 2) ** 2)
    return torch.stack([math.sin(angle) * azimuth.cos(), math.sin(angle) * azimuth.sin(), depth], 1)


def _squares(a_CP3: Tensor, b_CQ3: Tensor) -> Tensor:
    """Returns squared chords (C, P, Q), exact to 1e-15 of the squared reach as the origin is the centre."""
    left = torch.cat([-2 * a_CP3, a_CP3.square().sum(2, keepdim=True), torch.ones_like(a_CP3[:, :, :1])], 2)
    right = torch.cat([b_CQ3, torch.ones_like(b_CQ3[:, :, :1]), b_CQ3.square().sum(2, keepdim=True)], 2)
    return left @ right.mT


def _smallest(square_CXY: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Returns where the k smallest of each row stand, smallest first, and these: (C, X, k) int64 and float64.

    Writes over its argument: k times the minimum of a row is an order of magnitude faster than a partial sort.
    """
    square = square_CXY.numpy()
    picks, found = [], []
    for _ in range(k):
        picks.append(square.argmin(2)[..., None])
        found.append(np.take_along_axis(square, picks[-1], 2))
        np.put_along_axis(square, picks[-1], np.inf, 2)
    return torch.from_numpy(np.concatenate(picks, 2)), torch.from_numpy(np.concatenate(found, 2))
