"""Position encodings that take longitude and latitude as the axes of a plane.

TorchSpatial's (arXiv 2406.15658, methods of several papers) and, where they are the same formula, SatCLIP's. Orders of
the columns are those of their code. All take (N, 2) degrees east and north, and compute in the type they are given.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

TorchSpatialExtent = Sequence[float]
"""West, east, south, north in degrees, as TorchSpatial has it: not the order of `Extent`."""
EARTH: TorchSpatialExtent = (-180.0, 180.0, -90.0, 90.0)

_ROOT_3_2 = math.sqrt(3) / 2


def list_frequencies(count: int, max_radius: float, min_radius: float, freq_init: str = "geometric") -> list[float]:
    """Returns frequencies: `geometric` from 1 / min_radius down to 1 / max_radius, or NeRF's `nerf`, pi 2^k.

    Space2Vec (Mai et al. 2020, arXiv 2003.00824), eq. 3; NeRF (Mildenhall et al. 2020), eq. 4.

    Raises:
        ValueError: for another `freq_init`, no frequency, or a radius that is not above 0.
    """
    if count < 1 or not (max_radius > 0 and min_radius > 0):
        raise ValueError(
            f"No frequencies follow from frequency_num {count}, max_radius {max_radius}, min_radius {min_radius}: "
            "give numbers above 0."
        )
    if freq_init == "nerf":
        return [math.pi * 2.0**k for k in range(count)]
    if freq_init != "geometric":
        raise ValueError(f"Unknown freq_init {freq_init!r}: choose from geometric, nerf.")
    return [1 / (min_radius * (max_radius / min_radius) ** (k / max(count - 1, 1))) for k in range(count)]


def encode_grid(
    lonlat_N2: Tensor, *, frequency_num: int = 16, max_radius: float = 10_000, min_radius: float = 10,
    freq_init: str = "geometric",
) -> Tensor:  # fmt: skip
    """Space2Vec-grid: for each coordinate and frequency sine and cosine, (N, 4 F).

    Args:
        lonlat_N2: degrees; the phase is degrees times frequency, without pi / 180.
        frequency_num: F.
        max_radius: degrees in which the slowest phase goes on by 1.
        min_radius: degrees in which the fastest phase goes on by 1.
        freq_init: see `list_frequencies`.
    """
    frequencies_F = lonlat_N2.new_tensor(list_frequencies(frequency_num, max_radius, min_radius, freq_init))
    phase_N2F = lonlat_N2[:, :, None] * frequencies_F
    return _sine_and_cosine(phase_N2F)


def encode_theory(
    lonlat_N2: Tensor, *, frequency_num: int = 16, max_radius: float = 10_000, min_radius: float = 10,
    freq_init: str = "geometric",
) -> Tensor:  # fmt: skip
    """Space2Vec-theory: as `encode_grid` along three directions 120 degrees apart, frequency by frequency, (N, 6 F)."""
    directions_23 = lonlat_N2.new_tensor([[1.0, -0.5, -0.5], [0.0, _ROOT_3_2, -_ROOT_3_2]])
    frequencies_F = lonlat_N2.new_tensor(list_frequencies(frequency_num, max_radius, min_radius, freq_init))
    phase_NF3 = frequencies_F[:, None] * (lonlat_N2 @ directions_23)[:, None]
    return _sine_and_cosine(phase_NF3)


def encode_wrap(
    lonlat_N2: Tensor, *, loc_encode: str = "encode_cos_sin", do_pos_enc: bool = True, do_global_pos_enc: bool = True
) -> Tensor:
    """Mac Aodha et al. 2019 (arXiv 1906.05272): sines, then cosines, of pi lon / 180 and pi lat / 90.

    The latitude's period is 180 degrees: both poles have the same values.

    Args:
        lonlat_N2: degrees.
        loc_encode: `encode_cos_sin` (N, 4); `encode_3D` (N, 3) is no point of the sphere either, for its latitude is
            doubled.
        do_pos_enc: only True is known.
        do_global_pos_enc: only True is known.
    """
    if not (do_pos_enc and do_global_pos_enc):
        raise ValueError("wrap has no other form than the global one: leave do_pos_enc and do_global_pos_enc True.")
    angle_N2 = lonlat_N2 * lonlat_N2.new_tensor([math.pi / 180, math.pi / 90])
    sin_N2, cos_N2 = angle_N2.sin(), angle_N2.cos()
    if loc_encode == "encode_cos_sin":
        return torch.cat([sin_N2, cos_N2], 1)
    if loc_encode != "encode_3D":
        raise ValueError(f"Unknown loc_encode {loc_encode!r}: choose from encode_cos_sin, encode_3D.")
    (sin_lon, sin_lat), (cos_lon, cos_lat) = sin_N2.unbind(1), cos_N2.unbind(1)
    return torch.stack([cos_lon * cos_lat, sin_lon * cos_lat, sin_lat], 1)


def encode_rff(
    lonlat_N2: Tensor, *, dirvec: Tensor, shift: Tensor, extent: TorchSpatialExtent = EARTH, frequency_num: int = 0
) -> Tensor:
    """Random Fourier features (Rahimi and Recht 2007), sqrt(2 / F) cos(W' x + b) with x from -1 to 1 over the extent.

    Args:
        lonlat_N2: degrees.
        dirvec: W, (2, F); TorchSpatial draws it with `rbf_kernel_size` as the variance, not the deviation. Where it is
            float32, as published, all is computed in float32, as published: phases are then off by up to 1e-7.
        shift: b, (F,), uniform in 0 ... 2 pi.
        extent: west, east, south, north in degrees.
        frequency_num: F, where it is to be checked.
    """
    dirvec, shift = torch.as_tensor(dirvec), torch.as_tensor(shift)
    if frequency_num not in (0, dirvec.shape[1]):
        raise ValueError(f"dirvec has {dirvec.shape[1]} columns, and frequency_num is {frequency_num}: give F of both.")
    west, east, south, north = extent
    low_2, size_2 = lonlat_N2.new_tensor([west, south]), lonlat_N2.new_tensor([east - west, north - south])
    scaled_N2 = (2 * (lonlat_N2 - low_2) / size_2 - 1).to(dirvec.dtype)
    phase_NF = scaled_N2 @ dirvec + shift.to(dirvec.dtype)
    return math.sqrt(2 / dirvec.shape[1]) * phase_NF.cos()


def encode_rbf(
    lonlat_N2: Tensor, *, anchors_lonlat_deg: Tensor, rbf_kernel_size: float = 1.0, num_rbf_anchor_pts: int = 0
) -> Tensor:
    """Radial basis functions: exp(-d^2 / (2 s^2)) with the planar distance d in degrees to each of M anchors, (N, M).

    Longitudes do not wrap at the antimeridian.

    Args:
        lonlat_N2: degrees.
        anchors_lonlat_deg: (M, 2), degrees east and north; TorchSpatial draws them from the points of training.
        rbf_kernel_size: s, degrees.
        num_rbf_anchor_pts: M, where it is to be checked.
    """
    if num_rbf_anchor_pts not in (0, len(anchors_lonlat_deg)):
        raise ValueError(
            f"There are {len(anchors_lonlat_deg)} anchors, and num_rbf_anchor_pts is {num_rbf_anchor_pts}."
        )
    anchors_2M = torch.as_tensor(anchors_lonlat_deg).to(lonlat_N2.dtype).T
    east_NM, north_NM = lonlat_N2[:, :1] - anchors_2M[0], lonlat_N2[:, 1:] - anchors_2M[1]
    return ((east_NM * east_NM + north_NM * north_NM) * (-0.5 / rbf_kernel_size**2)).exp()


def find_tile(lonlat_N2: Tensor, *, interval: float, extent: TorchSpatialExtent = EARTH) -> Tensor:
    """Returns the number of the tile in which each point lies, (N,) int64: rows from the south, columns from the west.

    Points outside the extent (west, east, south, north) count to the tiles at its edge. `interval` is degrees.
    TorchSpatial's encoder never hands its interval on and so has one tile for the whole Earth; this one does.
    """
    west, _, south, _ = extent
    columns, rows = count_tiles(interval, extent)
    column_N = ((lonlat_N2[:, 0] - west) / interval).floor().clamp(0, columns - 1)
    row_N = ((lonlat_N2[:, 1] - south) / interval).floor().clamp(0, rows - 1)
    return (row_N * columns + column_N).long()


def count_tiles(interval: float, extent: TorchSpatialExtent) -> tuple[int, int]:
    """Returns the columns and rows of tiles of `interval` degrees that cover the extent (west, east, south, north)."""
    west, east, south, north = extent
    return max(1, math.ceil((east - west) / interval)), max(1, math.ceil((north - south) / interval))


def _sine_and_cosine(phase: Tensor) -> Tensor:
    return torch.stack([phase.sin(), phase.cos()], -1).flatten(1)
