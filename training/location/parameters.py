"""Parameters of the position encodings for a corpus: what follows from its extent and the finest distance.

The publishers chose theirs for the whole Earth and for tasks of countries and species, or searched them for each data
set; here they follow from two numbers by the rules below. The rules are this project's own. `wrap`, `xyz` and the
spherical harmonics have nothing to choose, and say little about a small area.

| encoding | rule |
| --- | --- |
| tile | square tiles, 16,384 of them or as many as there are of the finest distance |
| rbf | 256 anchors spread over the extent, the deviation is their mean spacing |
| rff | 256 waves; two points have the similarity 1/2 at the geometric mean of the finest distance and half the side |
| space2vec_grid, space2vec_theory | 32 wavelengths: the phase goes on by 1 at the finest distance ... at the side |
| sphereC, sphereCplus, sphereM | the same in radians, the slowest at most the published 1 |
| sphereMplus, sphereDFS | 32 and 8, from the radius of the Earth (the code leaves no choice) to the finest distance |
| nerf | doublings until the phase goes on by 1 at the finest distance: 16 at 100 m, as published |
| geoclip, gair, scaled | `choose_sigmas`, with 256 waves for each |
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.location.fourier import choose_sigmas, draw_matrices
from training.location.planar import TorchSpatialExtent
from training.location.projection import Extent
from training.sphere import EARTH_RADIUS_M

PUBLISHED_SIGMAS = {"geoclip": (1.0, 16.0, 256.0), "unigeoclip": (1.0, 16.0, 256.0, 4096.0)}
TILES, ANCHORS, WAVES, FREQUENCIES, DFS_FREQUENCIES = 16_384, 256, 256, 32, 8

Parameters = dict[str, object]


@dataclass(frozen=True)
class Span:
    """What a corpus covers, and the smallest distance that is to be told apart in it."""

    extent: Extent = (-180.0, -90.0, 180.0, 90.0)
    finest_m: float = 100.0

    @property
    def box(self) -> TorchSpatialExtent:
        """West, east, south, north in degrees, each side at least twice the finest distance."""
        west, south, east, north = self.extent
        if west > east:
            west, east = -180.0, 180.0
        least = self.finest_deg
        if east - west < 2 * least:
            west, east = (west + east) / 2 - least, (west + east) / 2 + least
        if north - south < 2 * least:
            south, north = (south + north) / 2 - least, (south + north) / 2 + least
        return west, east, south, north

    @property
    def side_deg(self) -> float:
        """The longer side of the box."""
        west, east, south, north = self.box
        return max(east - west, north - south)

    @property
    def finest_rad(self) -> float:
        """The finest distance as an angle at the centre of the Earth."""
        return self.finest_m / EARTH_RADIUS_M

    @property
    def finest_deg(self) -> float:
        """The same in degrees."""
        return math.degrees(self.finest_rad)


def choose_tiles(span: Span) -> Parameters:
    """Returns the parameters of `tile_index`."""
    west, east, south, north = span.box
    interval = math.sqrt((east - west) * (north - south) / TILES)
    return {"interval": max(span.finest_deg, interval), "extent": span.box}


def choose_anchors(span: Span) -> Parameters:
    """Returns the parameters of `rbf`."""
    west, east, south, north = span.box
    spacing = math.sqrt((east - west) * (north - south) / ANCHORS)
    return {"anchors_lonlat_deg": spread_anchors(span.box, ANCHORS), "rbf_kernel_size": max(span.finest_deg, spacing)}


def choose_waves(span: Span) -> Parameters:
    """Returns the parameters of `rff`: the waves are drawn with a fixed seed."""
    half_similarity = math.sqrt(span.finest_deg / (span.side_deg / 2))  # where half the longer side is 1
    deviation = math.sqrt(2 * math.log(2)) / half_similarity
    generator = torch.Generator().manual_seed(0)
    dirvec = deviation * torch.randn(2, WAVES, generator=generator, dtype=torch.float64, device="cpu")
    shift = 2 * math.pi * torch.rand(WAVES, generator=generator, dtype=torch.float64, device="cpu")
    return {"dirvec": dirvec, "shift": shift, "extent": span.box}


def choose_degrees(span: Span) -> Parameters:
    """Returns the parameters of `space2vec_grid` and `space2vec_theory`."""
    return {"frequency_num": FREQUENCIES, "max_radius": span.side_deg, "min_radius": span.finest_deg}


def choose_radians(span: Span) -> Parameters:
    """Returns the parameters of `sphereC`, `sphereCplus` and `sphereM`."""
    slowest = min(1.0, math.radians(span.side_deg))
    return {"frequency_num": FREQUENCIES, "max_radius": slowest, "min_radius": min(slowest, span.finest_rad)}


def choose_rising(span: Span) -> Parameters:
    """Returns the parameters of `sphereMplus`: below 1, its max_radius is that of the fastest phase."""
    return {"frequency_num": FREQUENCIES, "max_radius": min(1.0, span.finest_rad)}


def choose_products(span: Span) -> Parameters:
    """Returns the parameters of `sphereDFS`."""
    return {**choose_rising(span), "frequency_num": DFS_FREQUENCIES}


def choose_doublings(span: Span) -> Parameters:
    """Returns the parameters of `nerf`."""
    return {"frequency_num": 1 + max(0, math.ceil(math.log2(1 / (math.pi * span.finest_rad))))}


def choose_matrices(span: Span) -> Parameters:
    """Returns the parameters of `geoclip` and `gair`: (K, 256, 2), drawn with a fixed seed."""
    return {"matrices": torch.stack(draw_matrices(choose_sigmas(span.extent, span.finest_m), WAVES))}


def spread_anchors(box: TorchSpatialExtent, count: int) -> Tensor:
    """Returns points spread evenly over the area of a box, (M, 2) degrees east and north, float64.

    The additive recurrence with the plastic number (Roberts 2018, "The unreasonable effectiveness of quasirandom
    sequences") in longitude and the sine of latitude: they stand in place of TorchSpatial's points of training, which
    are not known when a tower is made.
    """
    west, east, south, north = box
    plastic = 1.324717957244746
    number_M = torch.arange(1, count + 1, dtype=torch.float64, device="cpu")
    x_M, y_M = ((0.5 + number_M / plastic**power) % 1 for power in (1, 2))
    low, high = math.sin(math.radians(max(south, -90.0))), math.sin(math.radians(min(north, 90.0)))
    return torch.stack([west + (east - west) * x_M, torch.asin(low + (high - low) * y_M).rad2deg()], 1)
