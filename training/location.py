"""Positions on Earth as numbers: the projection and the position encodings, without anything that learns.

Everything is computed in float64 whatever the surrounding precision: at the finest scales a phase turns a hundred
thousand times between the edges of the map, and bfloat16 would round a position by about 20 km. Positions are
(longitude, latitude) in degrees, WGS 84; peers that take (latitude, longitude) differ in that alone.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_A1, _A2, _A3, _A4 = 1.340264, -0.081106, 0.000893, 0.003796
PUBLISHED_ROOT_3 = 1.7320507764816284
"""The square root of 3 in float32, as GeoCLIP's and UniGeoCLIP's code has it: it moves a place by less than a metre."""
_SCALE = 66.50336 / 180  # x of the antimeridian becomes 1 (GeoCLIP, UniGeoCLIP)
METRES_PER_UNIT = 20_015_087.0
"""One unit of `project_equal_earth` at the equator: half of its length."""
_STEP = 16.0  # ratio of neighbouring scales in GeoCLIP and UniGeoCLIP

Extent = tuple[float, float, float, float]


def encode_position(name: str, lonlat_deg: Tensor, **params: object) -> Tensor:
    """Returns the position encoding of that name.

    Args:
        lonlat_deg: (N, 2), degrees east and north; float64 in gives float64 out.
        params: what the encoding takes; its function in `POSITIONS` documents them.

    Returns:
        (N, F).

    Raises:
        ValueError: for an unknown name.
    """
    if name not in POSITIONS:
        raise ValueError(f"Unknown position encoding {name!r}: choose from {', '.join(POSITIONS)}.")
    return POSITIONS[name](lonlat_deg, **params).to(lonlat_deg.dtype)


def project_equal_earth(lonlat_deg: Tensor, *, root_3: float = math.sqrt(3)) -> Tensor:
    """Projects to the Equal Earth map, scaled so that x is -1 ... 1.

    Savric, Patterson, Jenny 2018, "The Equal Earth map projection", eqs. 8 and 9. Equal-area, not conformal: towards
    the poles a metre north is less of a unit than a metre east. The antimeridian is an edge of the map.

    Args:
        lonlat_deg: (N, 2), degrees east and north.
        root_3: `PUBLISHED_ROOT_3` gives the values of the published encoders, which their weights were trained with.

    Returns:
        (N, 2) float64: x to the east, -1 ... 1; y to the north, about -0.487 ... 0.487.
    """
    lon, lat = lonlat_deg.double().deg2rad().unbind(-1)
    theta = torch.asin(root_3 / 2 * lat.sin())
    square = theta * theta
    sixth = square**3
    slope = 9 * _A4 * sixth * square + 7 * _A3 * sixth + 3 * _A2 * square + _A1
    x = 2 * root_3 * lon * theta.cos() / (3 * slope)
    y = theta * (_A4 * sixth * square + _A3 * sixth + _A2 * square + _A1)
    return torch.stack([x, y], -1).rad2deg() * (_SCALE * math.pi / 180)


def fourier_features(lonlat_deg: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Returns random Fourier features of positions (N, 2) on the Equal Earth map at several scales.

    Rahimi and Recht 2007 with GeoCLIP's layout: [cos(2 pi G p), sin(2 pi G p)] for each frozen matrix G of shape
    (F, 2). Whole turns are taken off before the cosine, so the result may be rounded to any precision.

    Returns:
        (N, K, 2 F) float64.
    """
    xy_N2 = project_equal_earth(lonlat_deg, root_3=PUBLISHED_ROOT_3)
    turns = torch.stack([xy_N2 @ matrix.double().T for matrix in matrices], 1)
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
    low_2, high_2 = _project_extent(extent)
    diagonal_m = float((high_2 - low_2).norm()) * METRES_PER_UNIT
    finest = half_similarity_m(1.0) / finest_m
    coarsest = min(max(1.0, half_similarity_m(1.0) / max(diagonal_m, finest_m)), finest)
    steps = math.ceil(math.log(finest / coarsest) / math.log(step) - 1e-9)
    return [coarsest * (finest / coarsest) ** (k / steps) for k in range(steps)] + [finest]


def half_similarity_m(sigma: float) -> float:
    """Returns the distance in metres at which features of that scale have the expected cosine one half."""
    return math.sqrt(math.log(2) / 2) / (math.pi * sigma) * METRES_PER_UNIT


def centre_and_half_size(extent: Extent) -> tuple[Tensor, float]:
    """Returns the centre (2,) of an extent on the map and half of its longer side, at least a metre; float64."""
    low_2, high_2 = _project_extent(extent)
    return (low_2 + high_2) / 2, max(float((high_2 - low_2).max()) / 2, 1 / METRES_PER_UNIT)


def _project_extent(extent: Extent) -> tuple[Tensor, Tensor]:
    west, south, east, north = extent
    if west > east:
        west, east = -180.0, 180.0
    widest = min(max(0.0, south), north)  # where in the extent a degree of longitude is longest
    corners = [(lon, lat) for lon in (west, east) for lat in (south, widest, north)]
    xy = project_equal_earth(torch.tensor(corners, dtype=torch.float64, device="cpu"))
    return xy.amin(0), xy.amax(0)


def _encode_geoclip(lonlat_deg: Tensor, *, matrices: Sequence[Tensor]) -> Tensor:
    """GeoCLIP's and UniGeoCLIP's features, scale by scale: `matrices` holds one (F, 2) for each of K scales."""
    return fourier_features(lonlat_deg, matrices).flatten(1)


POSITIONS: dict[str, Callable[..., Tensor]] = {
    "equal_earth": project_equal_earth,
    "geoclip": _encode_geoclip,
    "unigeoclip": _encode_geoclip,
}
"""A position encoding is one row: (N, 2) degrees and its parameters to (N, F) float64."""
