"""Real spherical harmonics by the three-term recurrence of the normalised Legendre functions.

Written out as polynomials, as SatCLIP's code has them, they lose digits with the degree: at 40 the error in float64 is
0.6, and in float32 every seventh value is not finite. The recurrence (Holmes and Featherstone 2002, J. Geodesy 76,
eqs. 11 to 13) stays within 1e-12 there.
"""

import math

import torch
from torch import Tensor

CONVENTIONS = ("north", "reference", "analytic", "closedform")


def encode_harmonics(lonlat_N2: Tensor, *, L: int = 8, convention: str = "north") -> Tensor:
    """Returns the real harmonics of the degrees l = 0 ... L - 1, each with m = -l ... l; (N, L^2).

    Args:
        lonlat_N2: degrees east and north.
        L: number of degrees.
        convention: `north`: orthonormal on the unit sphere, without the Condon-Shortley sign, angles from the north
            pole and from Greenwich. `reference`: the same from the south pole and the antimeridian, as SatCLIP turns
            the sphere: (-1)^l times `north`. `analytic`: SatCLIP's generated code, where m = 0 is also larger by pi,
            for a pair of brackets is missing. `closedform`: SatCLIP's other code, `reference` with (-1)^m.

    Raises:
        ValueError: for an unknown convention or L below 1.
    """
    if convention not in CONVENTIONS or L < 1:
        raise ValueError(
            f"There are no {convention!r} harmonics with L {L}: choose {', '.join(CONVENTIONS)} and L > 0."
        )
    lon_N, lat_N = lonlat_N2.deg2rad().unbind(1)
    is_north = convention == "north"
    legendre = _legendre(lat_N.sin() if is_north else -lat_N.sin(), lat_N.cos(), L)
    order_M1 = torch.arange(1, L, dtype=lonlat_N2.dtype, device=lonlat_N2.device)[:, None]
    root_2_M1 = order_M1.new_full(order_M1.shape, math.sqrt(2))
    if convention in ("reference", "analytic"):  # cos(m (lon + pi)); in closedform the two signs cancel
        root_2_M1[::2] *= -1
    cos_MN, sin_MN = root_2_M1 * (order_M1 * lon_N).cos(), root_2_M1 * (order_M1 * lon_N).sin()
    rows = []
    for degree, p_MN in enumerate(legendre):
        middle = p_MN[:1] * math.pi if convention == "analytic" else p_MN[:1]
        rows += [(p_MN[1:] * sin_MN[:degree]).flip(0), middle, p_MN[1:] * cos_MN[:degree]]
    return torch.cat(rows).T


def _legendre(x_N: Tensor, u_N: Tensor, count: int) -> list[Tensor]:
    """Returns for each degree l below `count` the functions of order 0 ... l at cosine x and sine u, (l + 1, N).

    They are normalised so that with sqrt(2) cos and sin of the longitude they are orthonormal on the sphere.
    """
    rows = [torch.full_like(x_N, math.sqrt(0.25 / math.pi))[None]]
    for degree in range(1, count):
        below = rows[-1]
        step_M, back_M = _factors(degree)
        inner = x_N * below * below.new_tensor(step_M)[:, None]
        if degree > 1:
            older = rows[-2] * below.new_tensor(back_M)[:, None]
            inner = torch.cat([inner[:-1] - older, inner[-1:]])
        rows.append(torch.cat([inner, math.sqrt((2 * degree + 1) / (2 * degree)) * u_N * below[-1:]]))
    return rows


def _factors(degree: int) -> tuple[list[float], list[float]]:
    """Returns a of the recurrence for m = 0 ... l - 1, and a b for m = 0 ... l - 2."""
    square, last = degree * degree, (degree - 1) ** 2
    step = [math.sqrt((4 * square - 1) / (square - m * m)) for m in range(degree)]
    back = [step[m] * math.sqrt((last - m * m) / (4 * last - 1)) for m in range(degree - 1)]
    return step, back
