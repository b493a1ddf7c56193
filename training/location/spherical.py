"""Position encodings on the sphere: Cartesian coordinates, NeRF, Sphere2Vec, and SatCLIP's versions of them.

TorchSpatial's (arXiv 2406.15658), Sphere2Vec's formulas from Mai et al. 2023 (arXiv 2306.17624), section 4; orders of
the columns are those of their code. All take (N, 2) degrees east and north, and compute in the type they are given.

With one frequency of 1, sphereC is the point on the unit sphere; with any other the phases are no longer periodic in
longitude, and the poles no longer points.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from training.location.planar import list_frequencies


def encode_xyz(lonlat_N2: Tensor) -> Tensor:
    """Returns the point on the unit sphere: cos lat cos lon, cos lat sin lon, sin lat; (N, 3)."""
    (sin_lon, sin_lat), (cos_lon, cos_lat) = _sine_and_cosine(lonlat_N2.deg2rad())
    return torch.stack([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat], 1)


def encode_nerf(lonlat_N2: Tensor, *, frequency_num: int = 16, freq_init: str = "nerf") -> Tensor:
    """NeRF's: sines of x, y, z at F frequencies pi 2^k each, then the cosines, (N, 6 F).

    Its frequencies are whole turns from -1 to 1: both poles have the same values, and on the equator longitudes 0
    and 180, -90 and 90. The last of 32 frequencies multiplies the rounding of float64 to 3e-6.
    """
    frequencies_F = lonlat_N2.new_tensor(list_frequencies(frequency_num, 1.0, 1.0, freq_init))
    phase_N3F = encode_xyz(lonlat_N2)[:, :, None] * frequencies_F
    return torch.cat([phase_N3F.sin(), phase_N3F.cos()], 1).flatten(1)


def encode_sphere_c(
    lonlat_N2: Tensor, *, frequency_num: int = 16, max_radius: float = 10_000, min_radius: float = 10,
    freq_init: str = "geometric",
) -> Tensor:  # fmt: skip
    """sphereC, (N, 3 F).

    Args:
        lonlat_N2: degrees.
        frequency_num: F.
        max_radius: radians in which the slowest phase goes on by 1.
        min_radius: radians in which the fastest phase goes on by 1.
        freq_init: see `list_frequencies`.
    """
    return _sphere_c(lonlat_N2.deg2rad(), list_frequencies(frequency_num, max_radius, min_radius, freq_init)).flatten(1)


def encode_sphere_c_plus(
    lonlat_N2: Tensor, *, frequency_num: int = 16, max_radius: float = 10_000, min_radius: float = 10,
    freq_init: str = "geometric",
) -> Tensor:  # fmt: skip
    """sphereC+: sphereC with sines and cosines of both angles, (N, 6 F); parameters as `encode_sphere_c`."""
    frequencies = list_frequencies(frequency_num, max_radius, min_radius, freq_init)
    return _sphere_c_plus(lonlat_N2.deg2rad(), frequencies).flatten(1)


def encode_sphere_m(
    lonlat_N2: Tensor, *, frequency_num: int = 16, max_radius: float = 10_000, min_radius: float = 10,
    freq_init: str = "geometric",
) -> Tensor:  # fmt: skip
    """sphereM: in each product one angle is scaled and the other not, (N, 5 F); parameters as `encode_sphere_c`."""
    return _sphere_m(lonlat_N2.deg2rad(), list_frequencies(frequency_num, max_radius, min_radius, freq_init)).flatten(1)


def encode_sphere_m_plus(
    lonlat_N2: Tensor, *, frequency_num: int = 16, max_radius: float = 10_000, min_radius: float = 10,
    freq_init: str = "geometric",
) -> Tensor:  # fmt: skip
    """sphereM+: sphereM with the grid, (N, 8 F).

    As in the code the frequencies are max_radius^(-k / (F - 1)), whatever `min_radius`: the first is 1, and a
    max_radius below 1 makes the others faster.
    """
    frequencies = _falling_from_one(frequency_num, max_radius, min_radius, freq_init)
    return _sphere_m_plus(lonlat_N2.deg2rad(), frequencies).flatten(1)


def encode_sphere_dfs(
    lonlat_N2: Tensor, *, frequency_num: int = 8, max_radius: float = 10_000, min_radius: float = 10,
    freq_init: str = "geometric",
) -> Tensor:  # fmt: skip
    """Sphere2Vec-dfs: all products of longitude's and latitude's sines and cosines, then these, (N, 4 F^2 + 4 F).

    Frequencies as `encode_sphere_m_plus`.
    """
    frequencies = _falling_from_one(frequency_num, max_radius, min_radius, freq_init)
    (sin_lon, sin_lat), (cos_lon, cos_lat) = _sine_and_cosine(_scale(lonlat_N2.deg2rad(), frequencies))
    lon_NG, lat_NG = torch.cat([sin_lon, cos_lon], 1), torch.cat([sin_lat, cos_lat], 1)
    products_NGG = lon_NG[:, :, None] * lat_NG[:, None]
    singles_NF4 = torch.stack([sin_lat, cos_lat, sin_lon, cos_lon], -1)
    return torch.cat([products_NGG.flatten(1), singles_NF4.flatten(1)], 1)


def encode_satclip_wrap(lonlat_N2: Tensor) -> Tensor:
    """SatCLIP's wrap: cos lon, sin lon, cos lat, sin lat; (N, 4)."""
    (sin_lon, sin_lat), (cos_lon, cos_lat) = _sine_and_cosine(lonlat_N2.deg2rad())
    return torch.stack([cos_lon, sin_lon, cos_lat, sin_lat], 1)


def encode_satclip_direct(lonlat_N2: Tensor) -> Tensor:
    """SatCLIP's direct: radians less pi, of the latitude too; (N, 2)."""
    return lonlat_N2.deg2rad() - math.pi


def twice_in_degrees(formula: Callable[[Tensor, list[float]], Tensor]) -> Callable[..., Tensor]:
    """Returns SatCLIP's version of a Sphere2Vec formula: degrees are taken as radians, and each column stands twice."""

    def encode(
        lonlat_N2: Tensor, *, frequency_num: int = 16, max_radius: float = 360, min_radius: float = 0.1,
        freq_init: str = "geometric",
    ) -> Tensor:  # fmt: skip
        frequencies = list_frequencies(frequency_num, max_radius, min_radius, freq_init)
        return formula(lonlat_N2, frequencies).repeat_interleave(2, -1).flatten(1)

    return encode


def _sphere_c(angle_N2: Tensor, frequencies: list[float]) -> Tensor:
    (sin_lon, sin_lat), (cos_lon, cos_lat) = _sine_and_cosine(_scale(angle_N2, frequencies))
    return torch.stack([sin_lat, cos_lat * cos_lon, cos_lat * sin_lon], -1)


def _sphere_c_plus(angle_N2: Tensor, frequencies: list[float]) -> Tensor:
    (sin_lon, sin_lat), (cos_lon, cos_lat) = _sine_and_cosine(_scale(angle_N2, frequencies))
    return torch.stack([sin_lat, cos_lat, sin_lon, cos_lon, cos_lat * cos_lon, cos_lat * sin_lon], -1)


def _sphere_m(angle_N2: Tensor, frequencies: list[float]) -> Tensor:
    columns = _mix(angle_N2, frequencies)
    return torch.stack([columns[0], *columns[4:]], -1)


def _sphere_m_plus(angle_N2: Tensor, frequencies: list[float]) -> Tensor:
    return torch.stack(_mix(angle_N2, frequencies), -1)


def _mix(angle_N2: Tensor, frequencies: list[float]) -> list[Tensor]:
    """Returns the eight columns (N, F) of sphereM+."""
    (sin_lon, sin_lat), (cos_lon, cos_lat) = _sine_and_cosine(_scale(angle_N2, frequencies))
    (sin_lon_N1, _), (cos_lon_N1, cos_lat_N1) = _sine_and_cosine(angle_N2[:, :, None])
    return [
        sin_lat, cos_lat, sin_lon, cos_lon,
        cos_lat * cos_lon_N1, cos_lat_N1 * cos_lon, cos_lat * sin_lon_N1, cos_lat_N1 * sin_lon,
    ]  # fmt: skip


def _falling_from_one(count: int, max_radius: float, min_radius: float, freq_init: str) -> list[float]:
    return list_frequencies(count, max_radius, min_radius if freq_init == "nerf" else 1.0, freq_init)


def _scale(angle_N2: Tensor, frequencies: list[float]) -> Tensor:
    """Returns (N, 2, F)."""
    return angle_N2[:, :, None] * angle_N2.new_tensor(frequencies)


def _sine_and_cosine(angle: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Returns the sines of longitude and latitude, and the cosines; the coordinate is the second axis."""
    (sin_lon, sin_lat), (cos_lon, cos_lat) = angle.sin().unbind(1), angle.cos().unbind(1)
    return (sin_lon, sin_lat), (cos_lon, cos_lat)


encode_satclip_sphere_c = twice_in_degrees(_sphere_c)
encode_satclip_sphere_c_plus = twice_in_degrees(_sphere_c_plus)
encode_satclip_sphere_m = twice_in_degrees(_sphere_m)
encode_satclip_sphere_m_plus = twice_in_degrees(_sphere_m_plus)
