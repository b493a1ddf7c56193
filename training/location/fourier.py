"""Random Fourier features on the Equal Earth map (GeoCLIP, GAIR, UniGeoCLIP), and the scales that a corpus needs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from training.location.projection import (
    METRES_PER_UNIT,
    PUBLISHED_ROOT_3,
    Extent,
    project_equal_earth,
    project_extent,
)

_STEP = 16.0  # ratio of neighbouring scales in GeoCLIP and UniGeoCLIP


def fourier_features(lonlat_deg: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Returns random Fourier features of positions (N, 2) on the Equal Earth map at several scales.

    Rahimi and Recht 2007 with GeoCLIP's layout: [cos(2 pi G p), sin(2 pi G p)] for each frozen matrix G of shape
    (F, 2). Whole turns are taken off before the cosine, so the result may be rounded to any precision.

    Returns:
        (N, K, 2 F) float64.
    """
    xy_N2 = project_equal_earth(lonlat_deg, root_3=PUBLISHED_ROOT_3)
    turns = torch.stack([xy_N2 @ matrix.double().T for matrix in map(torch.as_tensor, matrices)], 1)
    phase = 2 * math.pi * (turns - turns.round())
    return torch.cat([phase.cos(), phase.sin()], -1)


def draw_matrices(sigmas: Sequence[float], count: int, *, seed: int = 0) -> list[Tensor]:
    """Returns for each scale a matrix (count, 2) float32 of normal numbers with the deviation sigma."""
    generator = torch.Generator().manual_seed(seed)
    return [sigma * torch.randn(count, 2, generator=generator) for sigma in sigmas]


def choose_sigmas(extent: Extent, finest_m: float, *, step: float = _STEP) -> list[float]:
    """Returns the scales that a corpus of that extent needs, coarsest first.

    The features of two points at the distance d have the expected cosine exp(-2 pi^2 sigma^2 d^2). The coarsest scale
    is one half at the diagonal of the extent (but never below 1, the published coarsest), the finest at `finest_m`;
    between them stand equal ratios, none above `step`. On the whole Earth down to 100 m: 1, 14, 194, 2700, 37500.

    Args:
        extent: west, south, east, north in degrees; west > east goes across the antimeridian and counts as all
            longitudes.
        finest_m: the smallest distance that is to be told apart, metres.
    """
    low_2, high_2 = project_extent(extent)
    diagonal_m = float((high_2 - low_2).norm()) * METRES_PER_UNIT
    finest = half_similarity_m(1.0) / finest_m
    coarsest = min(max(1.0, half_similarity_m(1.0) / max(diagonal_m, finest_m)), finest)
    steps = math.ceil(math.log(finest / coarsest) / math.log(step) - 1e-9)
    return [coarsest * (finest / coarsest) ** (k / steps) for k in range(steps)] + [finest]


def half_similarity_m(sigma: float) -> float:
    """Returns the distance in metres at which features of that scale have the expected cosine one half."""
    return math.sqrt(math.log(2) / 2) / (math.pi * sigma) * METRES_PER_UNIT
