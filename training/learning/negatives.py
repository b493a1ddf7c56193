"""Positions that are no place of the batch but further negatives of its views: past ones, and random ones.

They are embedded anew at every step, with the weights of that step. Every process knows all of them and embeds its
share; behind its places its rows of the batch hold that share, with a location and nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.data.batch import LOCATION, Batch
from training.data.draw import find_near
from training.learning import distributed
from training.location.spherical import encode_xyz
from training.sphere import EARTH_RADIUS_M

Extent = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Negatives:
    """The further negatives of one batch."""

    lonlat_E2: Tensor
    """float64, degrees east and north: this process's share, on the device of the batch."""
    near_K2: Tensor
    """int64: pairs of rows, both orders, that are no negatives of each other. All processes' rows one after the other,
    each with its B places first, then its E positions."""


class Queue:
    """The last positions that were learnt from. It starts empty, so that no invented place is ever a negative."""

    def __init__(self, size: int) -> None:
        self._lonlat_Q2 = torch.zeros(size, 2, dtype=torch.float64)
        self._pushed = 0

    def positions(self) -> Tensor:
        """Returns those that are filled, degrees east and north, (min(pushed, Q), 2)."""
        return self._lonlat_Q2[: self._pushed]

    def push(self, lonlat_B2: Tensor) -> None:
        """Overwrites the oldest."""
        size = len(self._lonlat_Q2)
        slots = torch.arange(self._pushed, self._pushed + len(lonlat_B2))[-size:] % size
        self._lonlat_Q2[slots] = lonlat_B2[-size:].cpu()
        self._pushed += len(lonlat_B2)

    def state(self) -> dict[str, Tensor]:
        """Returns what a checkpoint keeps."""
        return {"lonlat_Q2": self._lonlat_Q2, "pushed": torch.tensor(self._pushed)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Puts back what `state` gave."""
        self._lonlat_Q2.copy_(state["lonlat_Q2"])
        self._pushed = int(state["pushed"])


def gather_positions(batch: Batch) -> Tensor:
    """Returns the positions of the places of all processes, (world B, 2), float64."""
    one_MB2, there_MB = batch.lonlat_B2[None], batch.present_MB[:1]
    return distributed.gather(one_MB2, there_MB)[0][0]


def mask_near(batch: Batch, within_m: float) -> Batch:
    """Returns a batch whose `near_K2` knows the places of all processes, where each could only look at its own."""
    if distributed.world() == 1:
        return batch
    near_K2 = find_near(gather_positions(batch).cpu().numpy(), within_m)
    return replace(batch, near_K2=torch.from_numpy(near_K2).to(batch.lonlat_B2.device))


def collect(lonlat_N2: Tensor, others_E2: Tensor, near_K2: Tensor, within_m: float) -> Negatives:
    """Returns this process's share of further negatives for a batch.

    Args:
        lonlat_N2: positions of all places of the batch, of all processes.
        others_E2: the further ones, in the same order in all processes; of those at the beginning so many are left out
            that processes share the others equally.
        near_K2: pairs of places of the batch, as `Batch.near_K2`.
        within_m: great-circle distance within which places are no negatives of each other.
    """
    world, rank = distributed.world(), distributed.rank()
    others_E2 = others_E2[len(others_E2) % world :].to(lonlat_N2)
    share, more = len(lonlat_N2) // world, len(others_E2) // world
    if not more:
        return Negatives(others_E2, near_K2)

    def at(number_K: Tensor, size: int, first: int) -> Tensor:
        return number_K // size * (share + more) + first + number_K % size

    chord = 2 * math.sin(min(within_m / EARTH_RADIUS_M, math.pi) / 2)
    place_K, other_K = (torch.cdist(encode_xyz(lonlat_N2), encode_xyz(others_E2)) < chord).nonzero().T
    forth_K2 = torch.stack([at(place_K, share, 0), at(other_K, more, share)], dim=-1)
    known_K2 = at(near_K2.to(forth_K2), share, 0)
    return Negatives(others_E2[rank * more : (rank + 1) * more], torch.cat([known_K2, forth_K2, forth_K2.flip(1)]))


def draw_positions(count: int, extent: Extent, *, seed: int, step: int) -> Tensor:
    """Returns positions (count, 2), uniform on the sphere between west, south, east, north; degrees, float64."""
    west, south, east, north = extent
    generator = torch.Generator().manual_seed((seed << 32) ^ step)
    luck_E2 = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    low, high = (math.sin(math.radians(lat)) for lat in (south, north))
    lat_E = (low + (high - low) * luck_E2[:, 1]).asin().rad2deg()
    return torch.stack([west + (east - west) * luck_E2[:, 0], lat_E.clamp(south, north)], dim=-1)


def widen(z_RBD: Tensor, present_RB: Tensor, extra_ED: Tensor, rows: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Returns embeddings and presence with E more places that have a location alone: (R, B + E, D) and (R, B + E)."""
    if not len(extra_ED):
        return z_RBD, present_RB
    row = rows.index(LOCATION)
    at = torch.tensor([row], device=z_RBD.device)
    extra_RED = z_RBD.new_zeros(len(z_RBD), *extra_ED.shape).index_copy(0, at, extra_ED[None].to(z_RBD))
    there_RE = present_RB.new_zeros(len(z_RBD), len(extra_ED))
    there_RE[row] = True
    return torch.cat([z_RBD, extra_RED], 1), torch.cat([present_RB, there_RE], 1)
