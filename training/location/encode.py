"""The table of position encodings, by name."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from training.location import harmonics, planar, spherical
from training.location.fourier import fourier_features
from training.location.projection import PUBLISHED_ROOT_3, SCALE, project_equal_earth


def encode_position(name: str, lonlat_deg: Tensor, **params: object) -> Tensor:
    """Returns the position encoding of that name, computed in float64 whatever comes in.

    Args:
        name: a row of `POSITIONS`.
        lonlat_deg: (N, 2), degrees east and north; float64 in gives float64 out, and the values that float32 out has
            are those of float64 rounded.
        params: what the encoding takes, by the names of its publishers (`frequency_num`, `max_radius` ...); its
            function documents them. Arrays may carry the encoding's name (`rff_dirvec`, `rbf_anchors_lonlat_deg`).

    Returns:
        (N, F); of `tile_index` (N,), and of `rff_tokens` (N, K, F).

    Raises:
        ValueError: for an unknown name, another shape, or a position that is none.
        TypeError: for a parameter that the encoding does not take, or lacks.
    """
    if name not in POSITIONS:
        raise ValueError(f"Unknown position encoding {name!r}: choose from {', '.join(POSITIONS)}.")
    lonlat_N2 = torch.as_tensor(lonlat_deg)
    if lonlat_N2.ndim != 2 or lonlat_N2.shape[1] != 2:
        raise ValueError(f"Positions have the shape {tuple(lonlat_N2.shape)}: expected (N, 2), degrees east and north.")
    if not bool((lonlat_N2[:, 1].abs() <= 90).all() & lonlat_N2.isfinite().all()):
        raise ValueError("A latitude is beyond 90 degrees or not a number: give east first, then north.")
    known = {_SYNONYMS.get(key, key): value for key, value in params.items()}
    with torch.autocast(lonlat_N2.device.type, enabled=False):
        return POSITIONS[name](lonlat_N2.double(), **known).to(lonlat_N2.dtype)


def _encode_scales(lonlat_N2: Tensor, *, matrices: Sequence[Tensor]) -> Tensor:
    """GeoCLIP's features, scale by scale: `matrices` holds one (F, 2) for each of K scales; (N, 2 F K)."""
    return fourier_features(lonlat_N2, matrices).flatten(1)


def _encode_one_scale(lonlat_N2: Tensor, *, B: Tensor) -> Tensor:
    """GeoCLIP's features of one scale with the matrix B (F, 2); (N, 2 F)."""
    return fourier_features(lonlat_N2, [B]).flatten(1)


def _project_as_published(lonlat_N2: Tensor) -> Tensor:
    return project_equal_earth(lonlat_N2, root_3=PUBLISHED_ROOT_3)


def _project_to_radii(lonlat_N2: Tensor) -> Tensor:
    """Equal Earth in radii of the sphere, as map projections are stated; (N, 2)."""
    return project_equal_earth(lonlat_N2) / SCALE


_harmonics = harmonics.encode_harmonics

POSITIONS: dict[str, Callable[..., Tensor]] = {
    # TorchSpatial
    "tile_index": planar.find_tile,
    "wrap": planar.encode_wrap,
    "wrap_ffn": planar.encode_wrap,
    "rbf": planar.encode_rbf,
    "rff": planar.encode_rff,
    "space2vec_grid": planar.encode_grid,
    "space2vec_theory": planar.encode_theory,
    "xyz": spherical.encode_xyz,
    "nerf": spherical.encode_nerf,
    "sphereC": spherical.encode_sphere_c,
    "sphereCplus": spherical.encode_sphere_c_plus,
    "sphereM": spherical.encode_sphere_m,
    "sphereMplus": spherical.encode_sphere_m_plus,
    "sphereDFS": spherical.encode_sphere_dfs,
    "spherical_harmonics": _harmonics,
    # SatCLIP
    **{
        f"sh_{name}{ending}": partial(_harmonics, convention=convention, L=degrees)
        for name, convention in (
            ("analytic", "analytic"), ("closedform", "closedform"), ("reference_orthonormal", "reference"),
        )
        for ending, degrees in (("", 10), ("_L10", 10), ("_L40", 40))
    },
    "satclip_wrap": spherical.encode_satclip_wrap,
    "satclip_cartesian3d": spherical.encode_xyz,
    "satclip_direct": spherical.encode_satclip_direct,
    "satclip_grid": partial(planar.encode_grid, max_radius=360, min_radius=0.1),
    "satclip_theory": partial(planar.encode_theory, max_radius=360, min_radius=0.1),
    "satclip_spherec": spherical.encode_satclip_sphere_c,
    "satclip_spherecplus": spherical.encode_satclip_sphere_c_plus,
    "satclip_spherem": spherical.encode_satclip_sphere_m,
    "satclip_spheremplus": spherical.encode_satclip_sphere_m_plus,
    # GeoCLIP, GAIR, UniGeoCLIP
    "equal_earth": project_equal_earth,
    "equal_earth_scaled": _project_as_published,
    "equal_earth_unit_sphere": _project_to_radii,
    "pyproj_eqearth_R1": _project_to_radii,
    "geoclip": _encode_scales,
    "gair": _encode_scales,
    "unigeoclip": _encode_scales,
    "rff_sigma1": _encode_one_scale,
    "rff_sigma16": _encode_one_scale,
    "rff_sigma256": _encode_one_scale,
    "rff_tokens": fourier_features,
}  # fmt: skip
"""A position encoding is one row: (N, 2) degrees in float64 and its parameters to (N, F) float64."""

_SYNONYMS = {
    "rff_dirvec": "dirvec", "W": "dirvec", "rff_shift": "shift", "b": "shift",
    "rbf_anchors_lonlat_deg": "anchors_lonlat_deg", "anchors": "anchors_lonlat_deg", "legendre_polys": "L",
    **{f"rff_B_sigma{sigma}": "B" for sigma in (1, 16, 256)},
}  # fmt: skip
"""Other names under which parameters are published."""
