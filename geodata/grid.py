"""The grid of a cell: a pure function of the cell and the modality.

Local UTM (UPS at the poles), north up, snapped to the pixel size, so that windows of one lattice are exact. The
Sentinel-2 and elevation patch is shifted by a hash of the cell, so that photos and articles lie everywhere in it:
without the shift every photo would fall into the middle hundredth, and a model that must locate it learns nothing.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from geodata import cells
from schemas.grid import Grid
from schemas.modality import MODALITIES, Modality

GEOD = Geod(ellps="WGS84")
"""The ellipsoid on which distances are measured."""


@lru_cache(maxsize=4096)
def make_grid(key: str, modality: str, *, gsd_m: float | None = None) -> Grid:
    """Returns the grid of a cell's patch.

    Args:
        gsd_m: metres per pixel where it differs from the modality's own; the pixel count stays.
    """
    layout = MODALITIES[modality]
    gsd = layout.gsd_m if gsd_m is None else gsd_m
    lon, lat = cells.centre(key)
    crs = local_crs(lon, lat)
    x, y = transformer("EPSG:4326", crs).transform(lon, lat)
    dx, dy = patch_offsets(np.array([cells.to_cell(key)], dtype=np.uint64), layout)[0]
    half = layout.size_px * gsd / 2
    left, top = round((x + dx - half) / gsd) * gsd, round((y + dy + half) / gsd) * gsd
    return Grid(crs, left, top, gsd, layout.size_px, layout.size_px)


def patch_offsets(cells_: cells.Cells, modality: Modality) -> NDArray[np.float64]:
    """Returns the shift of each cell's patch: metres east and north, multiples of the pixel, shape (N, 2)."""
    if modality.offset_m == 0:
        return np.zeros((len(cells_), 2))
    steps = modality.offset_m / modality.gsd_m
    shares = np.stack([cells.hash_unit(cells_, f"patch offset {axis}") for axis in ("east", "north")], axis=-1)
    return (np.floor(shares * (2 * steps + 1)) - steps) * modality.gsd_m


def local_crs(lon: float, lat: float) -> str:
    """Returns the EPSG code of the UTM zone (with the exceptions of Norway and Svalbard) or UPS sheet of a point.

    The exceptions matter: Sentinel-2 tiles follow them. Source: NGA.SIG.0012, Universal Grids, chapter 3.
    """
    if lat >= 84:
        return "EPSG:32661"
    if lat < -80:
        return "EPSG:32761"
    zone = int((lon + 180) // 6) % 60 + 1
    if 56 <= lat < 64 and 3 <= lon < 12:
        zone = 32
    elif lat >= 72 and 0 <= lon < 42:
        zone = 31 + 2 * int((lon + 3) // 12)
    return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"


@lru_cache(maxsize=512)
def transformer(source: str, target: str) -> Transformer:
    """Returns a cached transformer; both ends are east, north or lon, lat."""
    return Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=512)
def is_geographic(crs: str) -> bool:
    """True for a CRS in degrees."""
    return bool(CRS.from_user_input(crs).is_geographic)


def patch_centres(cells_: cells.Cells, modality: Modality) -> NDArray[np.float64]:
    """Returns the middle of each cell's shifted patch to half a pixel: degrees (lon, lat), shape (N, 2)."""
    lonlat, offsets = cells.centres(cells_), patch_offsets(cells_, modality)
    squares = np.floor(lonlat) @ (1.0, 1j)  # zones end at whole degrees
    codes = {square: local_crs(square.real, square.imag) for square in np.unique(squares).tolist()}
    crs = np.array([codes[square] for square in squares.tolist()])
    result = np.empty_like(lonlat)
    for code in np.unique(crs).tolist():
        here = crs == code
        x, y = transformer("EPSG:4326", code).transform(*lonlat[here].T)
        result[here] = np.stack(
            transformer(code, "EPSG:4326").transform(x + offsets[here, 0], y + offsets[here, 1]), axis=-1
        )
    return result


def patch_lonlat(grid: Grid) -> tuple[float, float]:
    """Returns the middle of a grid: lon, lat in degrees."""
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(*grid.centre)
    return lon, lat


def footprint(grid: Grid) -> NDArray[np.float64]:
    """Returns the corners of a grid: degrees (lon, lat), counter-clockwise from the south-west, shape (4, 2)."""
    left, bottom, right, top = grid.bounds
    lon, lat = transformer(grid.crs, "EPSG:4326").transform([left, right, right, left], [bottom, bottom, top, top])
    return np.stack([lon, lat], axis=-1)


def pixel_position(grid: Grid, lon: float, lat: float) -> tuple[float, float]:
    """Returns where a point lies in a patch: column and row in pixels from the outer corner of the first pixel."""
    x, y = transformer("EPSG:4326", grid.crs).transform(lon, lat)
    return (x - grid.left) / grid.gsd_m, (grid.top - y) / grid.gsd_m


def holds(grid: Grid, lon: float, lat: float) -> bool:
    """True where the point lies inside the patch."""
    column, row = pixel_position(grid, lon, lat)
    return 0 <= column < grid.width and 0 <= row < grid.height


def hexagon_mask(key: str, grid: Grid) -> NDArray[np.bool_]:
    """Returns True for the pixels whose middle lies in the cell's hexagon, shape (height, width)."""
    x, y = transformer("EPSG:4326", grid.crs).transform(*cells.hexagon(key).T)
    columns = (np.arange(grid.width) + 0.5)[None, :]
    rows = (np.arange(grid.height) + 0.5)[:, None]
    corner_columns, corner_rows = (x - grid.left) / grid.gsd_m, (grid.top - y) / grid.gsd_m
    mask = np.ones(grid.shape, dtype=bool)
    for i in range(len(x)):
        c0, r0, c1, r1 = corner_columns[i - 1], corner_rows[i - 1], corner_columns[i], corner_rows[i]
        mask &= (c1 - c0) * (rows - r0) - (r1 - r0) * (columns - c0) <= 0
    return mask


def distance_m(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    """Returns the geodesic distance of two points on WGS 84, metres."""
    return float(GEOD.inv(lon_a, lat_a, lon_b, lat_b)[2])
