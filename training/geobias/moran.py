"""Moran's numerator, its distribution without spatial pattern, and the surprisal of what was found.

A neighbourhood has P observed values, followed by background of the value 0 to N in all, and each member has k
neighbours. Nothing here knows about positions.
"""

import math

import torch
from torch import Tensor

CONVENTIONS = ("pdf", "two_sided")
"""`pdf` as TorchSpatial and all released tables have it, `two_sided` as PyGBS has it today."""
NULLS = ("analytic", "permutation")
"""`analytic` as published, `permutation` with the exact moments over all permutations of the values."""

_FLOOR = 1e-256
_ROOK = 4  # the published moments take this degree, whatever the number of neighbours


def numerator(value_CN: Tensor, neighbour_CNk: Tensor) -> Tensor:
    """Returns Moran's numerator, the sum over members and their neighbours of (x_i - mean) (x_j - mean): (C,) float64.

    Args:
        value_CN: values of C neighbourhoods, background included.
        neighbour_CNk: int64, the members that each member has as neighbours.
    """
    a_CN = value_CN - value_CN.mean(1, keepdim=True)
    return (a_CN * _gather(a_CN, neighbour_CNk).sum(2)).sum(1)


def analytic_moments(value_CP: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Returns mean and variance of Moran's numerator as published: (C,) and (C,) float64.

    Wang, Wu et al., "Probing the Information Theoretical Roots of Spatial Dependence Measures", as PyGBS and
    TorchSpatial compute it (methods.md, 3.5, step 6): distinct values c_a with counts n_a, the commonest as reference;
    a pair of values counts in both orders, and the degree is 4 whatever k is. The variance is not positive where a
    value is too common (n_a above about 3 N / 8) or stands once; it is NaN where there is one distinct value.

    Args:
        value_CP: the observed values.
        count: N, the observed values and the background of the value 0.
    """
    value_CA, n_CA, once_CA = _tally(value_CP, count)
    mean_C1 = value_CP.sum(1, keepdim=True) / count
    a_CA = value_CA - mean_C1
    mean_C = -(once_CA * a_CA**2 * (_ROOK * n_CA / count + 1)).sum(1)
    rows_C1 = n_CA.argmax(1, keepdim=True)
    a_r_C11, n_r_C1 = a_CA.gather(1, rows_C1)[..., None], n_CA.gather(1, rows_C1)
    once_CA = once_CA * (value_CA != value_CA.gather(1, rows_C1))
    pair_CAA = a_CA[:, :, None] * a_CA[:, None] - 2 * a_CA[:, :, None] * a_r_C11 + a_r_C11**2
    least_CAA = torch.minimum(n_CA[:, :, None], n_CA[:, None])
    share_CAA = _ROOK * torch.maximum(n_CA[:, :, None], n_CA[:, None]) / count
    unlike_CAA = once_CA[:, :, None] * once_CA[:, None] * (value_CA[:, :, None] != value_CA[:, None])
    var_C = (unlike_CAA * pair_CAA**2 * least_CAA * share_CAA * (1 - share_CAA)).sum((1, 2))
    like_CA = 2 * (n_CA - 1) * _ROOK * n_CA / count * (1 - _ROOK * (2 * n_CA - 1) / (3 * count))
    var_C = var_C + (once_CA * (a_CA - a_r_C11[..., 0]) ** 4 * like_CA).sum(1)
    return mean_C, var_C.masked_fill(n_r_C1[:, 0] == count, torch.nan)


def permutation_moments(value_CN: Tensor, neighbour_CNk: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and variance of Moran's numerator over all N! orders of the values: (C,) and (C,) float64.

    Cliff and Ord 1981, "Spatial Processes", section 1.4 (randomisation), for weights 0 and 1 that need not be
    symmetric. The variance is NaN where there is one distinct value.
    """
    (C, N, k) = neighbour_CNk.shape
    flat_CK = neighbour_CNk.reshape(C, N * k)
    used_CN = torch.zeros(C, N, dtype=torch.float64).scatter_add_(1, flat_CK, torch.ones(C, N * k, dtype=torch.float64))
    back_CNkk = _gather(neighbour_CNk, neighbour_CNk) == torch.arange(N)[None, :, None, None]
    s0, s1_C = float(N * k), N * k + back_CNkk.sum((1, 2, 3))
    s2_C = ((used_CN + k) ** 2).sum(1)
    a_CN = value_CN - value_CN.mean(1, keepdim=True)
    m2_C, m4_C = (a_CN**2).mean(1), (a_CN**4).mean(1)
    mean_C = -s0 * m2_C / (N - 1)
    first_C = m2_C**2 * N * ((N * N - 3 * N + 3) * s1_C - N * s2_C + 3 * s0**2)
    second_C = m4_C * ((N * N - N) * s1_C - 2 * N * s2_C + 6 * s0**2)
    square_C = (first_C - second_C) / ((N - 1) * (N - 2) * (N - 3))
    return mean_C, (square_C - mean_C**2).masked_fill(m2_C == 0, torch.nan)


def surprisal(numerator_C: Tensor, mean_C: Tensor, var_C: Tensor, convention: str) -> Tensor:
    """Returns -ln of how likely the numerator is under a normal distribution: (C,) float64, NaN where undefined.

    `pdf`: the density at the numerator; it needs a variance above 0, and ends at 589.46 = -ln 1e-256.
    `two_sided`: twice the smaller tail, with 1 added to the deviation; it needs a variance of at least 0.
    """
    if convention == "pdf":
        var_C = var_C.masked_fill(~(var_C > 0), torch.nan)
        likely_C = (-((numerator_C - mean_C) ** 2) / (2 * var_C)).exp() / (2 * math.pi * var_C).sqrt()
    else:
        var_C = var_C.masked_fill(~(var_C >= 0), torch.nan)
        likely_C = torch.special.erfc((numerator_C - mean_C).abs() / (var_C.sqrt() + 1) / math.sqrt(2))
    return -(likely_C + _FLOOR).log()


def _gather(value_CNx: Tensor, row_CNk: Tensor) -> Tensor:
    """Returns value_CNx at the rows: (C, N, k, ...)."""
    return value_CNx[torch.arange(len(value_CNx))[:, None, None], row_CNk]


def _tally(value_CP: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns distinct values with the background's as the first, how often each occurs, and what a column counts.

    (C, A) float64 each. With few values in all, a column is a value and counts 0 or 1; else it is a place, and the m
    places of one value count 1 / m each. Observed values of 0 belong to the background.
    """
    kinds_A = value_CP.unique()
    kinds_A = torch.cat([torch.zeros(1, dtype=torch.float64), kinds_A[kinds_A != 0]])
    if len(kinds_A) <= value_CP.shape[1]:
        value_CA = kinds_A.expand(len(value_CP), -1)
    else:
        value_CA = torch.nn.functional.pad(value_CP, (1, 0))
    n_CA = (value_CA[:, :, None] == value_CP[:, None]).sum(2).double()
    n_CA = n_CA + (value_CA == 0) * (count - value_CP.shape[1])
    if len(kinds_A) <= value_CP.shape[1]:
        return value_CA, n_CA, (n_CA > 0).double()
    share_CA = (value_CA != 0) / n_CA
    share_CA[:, 0] = 1.0
    return value_CA, n_CA, share_CA
