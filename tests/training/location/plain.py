"""The position encodings once more, in numpy and written out as in the papers: an oracle, and what speed is held against.

Each takes (N, 2) degrees east and north and computes in their type, so that float32 shows what float32 costs.
"""

import math
from functools import partial

import numpy as np

from training.location import PUBLISHED_ROOT_3
from training.location.projection import SCALE


def list_frequencies(p, like):
    k = np.arange(p["frequency_num"]) / max(p["frequency_num"] - 1, 1)
    smallest = p.get("min_radius", 1.0)
    return (1 / (smallest * (p["max_radius"] / smallest) ** k)).astype(like.dtype)


def grid(x, **p):
    phase = x[:, :, None] * list_frequencies(p, x)
    return np.stack([np.sin(phase), np.cos(phase)], -1).reshape(len(x), -1)


def theory(x, **p):
    turns = np.radians([0, 120, 240])
    along = x @ np.stack([np.cos(turns), np.sin(turns)]).astype(x.dtype)
    phase = along[:, None] * list_frequencies(p, x)[:, None]
    return np.stack([np.sin(phase), np.cos(phase)], -1).reshape(len(x), -1)


def sphere(x, *, kind, **p):
    lon, lat = np.radians(x).T[:, :, None]
    f = list_frequencies({**p, "min_radius": 1.0} if kind == "Mplus" else p, x)
    a, b = lon * f, lat * f
    grid_part = [np.sin(b), np.cos(b), np.sin(a), np.cos(a)] if "plus" in kind else [np.sin(b)]
    if "C" in kind:
        parts = [np.cos(b) * np.cos(a), np.cos(b) * np.sin(a)]
    else:
        parts = [np.cos(b) * np.cos(lon), np.cos(lat) * np.cos(a), np.cos(b) * np.sin(lon), np.cos(lat) * np.sin(a)]
    return np.stack([*grid_part, *parts], -1).reshape(len(x), -1)


def dfs(x, **p):
    lon, lat = np.radians(x).T
    f = list_frequencies({**p, "min_radius": 1.0}, x)
    a, b = lon[:, None] * f, lat[:, None] * f
    rows, columns = np.concatenate([np.sin(a), np.cos(a)], 1), np.concatenate([np.sin(b), np.cos(b)], 1)
    products = np.einsum("nr,nc->nrc", rows, columns).reshape(len(x), -1)
    singles = np.stack([np.sin(b), np.cos(b), np.sin(a), np.cos(a)], -1).reshape(len(x), -1)
    return np.concatenate([products, singles], 1)


def xyz(x):
    lon, lat = np.radians(x).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)


def nerf(x, *, frequency_num):
    phase = (xyz(x)[:, :, None] * (np.pi * 2.0 ** np.arange(frequency_num)).astype(x.dtype)).reshape(len(x), -1)
    return np.concatenate([np.sin(phase), np.cos(phase)], 1)


def wrap(x):
    angle = x * np.array([np.pi / 180, np.pi / 90], x.dtype)
    return np.concatenate([np.sin(angle), np.cos(angle)], 1)


def rff(x, *, dirvec, shift, extent):
    west, east, south, north = extent
    scaled = 2 * (x - np.array([west, south], x.dtype)) / np.array([east - west, north - south], x.dtype) - 1
    phase = scaled @ np.asarray(dirvec, x.dtype) + np.asarray(shift, x.dtype)
    return np.sqrt(2 / dirvec.shape[1]).astype(x.dtype) * np.cos(phase)


def rbf(x, *, anchors_lonlat_deg, rbf_kernel_size):
    away = x[:, None] - np.asarray(anchors_lonlat_deg, x.dtype)
    return np.exp(-(away**2).sum(-1) / (2 * rbf_kernel_size**2))


def tile_index(x, *, interval, extent):
    west, east, south, north = extent
    columns, rows = math.ceil((east - west) / interval), math.ceil((north - south) / interval)
    column = np.clip(np.floor((x[:, 0] - west) / interval), 0, columns - 1)
    return np.clip(np.floor((x[:, 1] - south) / interval), 0, rows - 1) * columns + column


def harmonics(x, *, L, at_north=False):
    """SatCLIP's: from the south pole and the antimeridian, m = 0 larger by pi; or the usual ones."""
    lon, polar = (
        np.radians(x[:, 0] + (0 if at_north else 180)),
        np.radians((90 - x[:, 1]) if at_north else x[:, 1] + 90),
    )
    c, s = np.cos(polar), np.sin(polar)
    columns = {}
    for m in range(L):
        older, p = (
            np.zeros_like(c),
            np.full_like(c, math.sqrt(math.prod((2 * k + 1) / (2 * k) for k in range(1, m + 1)))),
        )
        p = p * s**m / math.sqrt(4 * math.pi)
        for degree in range(m, L):
            if degree > m:
                a = math.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
                b = math.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1))
                older, p = p, a * (c * p - b * older)
            if m:
                columns[degree, m] = math.sqrt(2) * p * np.cos(m * lon)
                columns[degree, -m] = math.sqrt(2) * p * np.sin(m * lon)
            else:
                columns[degree, 0] = p if at_north else p * math.pi
    return np.stack([columns[degree, m] for degree in range(L) for m in range(-degree, degree + 1)], 1)


def equal_earth(x):
    lon, lat = np.radians(x).T
    root_3 = x.dtype.type(PUBLISHED_ROOT_3)
    t = np.arcsin(root_3 / 2 * np.sin(lat))
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    east = 2 * root_3 * lon * np.cos(t) / (3 * (9 * a4 * t**8 + 7 * a3 * t**6 + 3 * a2 * t**2 + a1))
    return np.stack([east, a4 * t**9 + a3 * t**7 + a2 * t**3 + a1 * t], 1) * SCALE


def geoclip(x, *, matrices):
    parts, xy = [], equal_earth(x)
    for matrix in matrices:
        phase = 2 * np.pi * (xy @ np.asarray(matrix, x.dtype).T)
        parts += [np.cos(phase), np.sin(phase)]
    return np.concatenate(parts, 1)


PLAIN = {
    "tile_index": tile_index,
    "wrap": wrap,
    "wrap_ffn": wrap,
    "rbf": rbf,
    "rff": rff,
    "space2vec_grid": grid,
    "space2vec_theory": theory,
    "xyz": xyz,
    "nerf": nerf,
    "sphereC": partial(sphere, kind="C"),
    "sphereCplus": partial(sphere, kind="Cplus"),
    "sphereM": partial(sphere, kind="M"),
    "sphereMplus": partial(sphere, kind="Mplus"),
    "sphereDFS": dfs,
    "spherical_harmonics": partial(harmonics, L=8, at_north=True),
    "sh_analytic_L10": partial(harmonics, L=10),
    "sh_analytic_L40": partial(harmonics, L=40),
    "geoclip": geoclip,
}
"""By the names of `training.location.POSITIONS`."""
