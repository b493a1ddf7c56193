"""Reading one cell's window out of an open raster.

Where CRS and pixel size agree, pixels are copied, never interpolated: a source whose lattice is off ours by part of a
pixel is read in its own phase, and the grid that comes back says so. Everything else is warped with stated resampling.
Windows are clipped and padded (`boundless=True` costs sixteen times as much).
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import DatasetReader
from rasterio.transform import array_bounds
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from geodata.raster import Raster
from schemas.grid import Grid
from schemas.modality import MODALITIES, Modality

# rasterio wraps our arrays in datasets of its own, and then warns that these have no georeference yet
warnings.filterwarnings("ignore", message="Dataset has no geotransform", module="rasterio.warp")

PHASE_TOLERANCE_PX = 1e-3
"""A lattice off ours by less counts as ours: such a difference is rounding of the affine in a file."""


_ACCEPTED = {
    "sentinel2": ("uint16", "int16", "int32", "uint32"), "aerial": ("uint8",),
    "dem": ("float32", "float64", "int16", "int32", "uint8", "uint16"),
}  # fmt: skip
"""Types that hold a modality's values in its unit; others would need a scale that the file does not state."""


class BandError(ValueError):
    """The raster does not have the bands of its modality, or not in its unit."""


def read_window(dataset: DatasetReader, grid: Grid, modality: str) -> Raster:
    """Returns a cell's patch as float or integer values of the modality's bands.

    Args:
        dataset: an open raster in any CRS.
        grid: where the patch is wanted.

    Returns:
        The raster on `grid`, or on the source's own phase of it; pixels outside the source are not valid.

    Raises:
        BandError: if the source lacks bands.
    """
    layout = MODALITIES[modality]
    return read_bands(dataset, grid, find_bands(dataset, layout), layout)


def read_bands(
    dataset: DatasetReader, grid: Grid, bands: list[int], modality: Modality, *, add: int = 0,
    nodata: float | None = None,
) -> Raster:  # fmt: skip
    """Returns some bands (1-based) of a patch; see `read_window`.

    Args:
        add: added to every valid value before it is stored, in the source's units.
        nodata: value of a gap, where the file does not say it itself.
    """
    raster = read_source(dataset, grid, bands, nodata=nodata)
    values = raster.values if add == 0 else raster.values.astype(np.float32) + add
    return Raster(_to_stored(values, raster.valid, modality), raster.valid, raster.grid)


def read_source(dataset: DatasetReader, grid: Grid, bands: list[int], *, nodata: float | None = None) -> Raster:
    """Returns some bands of a patch in the source's own unit: copied where the lattices agree, else warped."""
    if _same_lattice(dataset, grid):
        return _copy(dataset, grid, bands, nodata)
    piece = read_piece(dataset, grid, bands, nodata=nodata)
    return join_pieces([] if piece is None else [piece], grid, len(bands))


def read_classes(dataset: DatasetReader, grid: Grid) -> NDArray[np.uint8]:
    """Returns the first band of a classification on a grid, by the nearest pixel; 0 outside the source."""
    piece = read_piece(dataset, grid, [1])
    if piece is None:
        return np.zeros(grid.shape, dtype=np.uint8)
    classes = np.zeros((1, *grid.shape), dtype=np.float32)
    _reproject(np.where(piece.valid, piece.values, 0), piece, grid, classes, Resampling.nearest)
    found: NDArray[np.uint8] = np.nan_to_num(classes[0]).astype(np.uint8)
    return found


@dataclass(frozen=True, eq=False)
class Piece:
    """The part of a raster under a patch, with a margin for the kernel."""

    values: NDArray[np.generic]
    """Shape (bands, height, width), source's unit."""
    valid: NDArray[np.bool_]
    """Shape (height, width)."""
    transform: Affine
    """Pixels to the source's CRS; turned to the patch's side of the antimeridian."""
    crs: CRS
    """Of the source."""
    gsd_m: float
    """Height of a pixel on the ground."""


def read_piece(dataset: DatasetReader, grid: Grid, bands: list[int], *, nodata: float | None = None) -> Piece | None:
    """Reads the part of a raster that lies under a patch; None where there is none."""
    bounds = array_bounds(grid.height, grid.width, Affine(*grid.affine))
    turn = _turn(dataset, grid, bounds)
    window = _source_window(dataset, grid, bounds, turn)
    if window is None:
        return None
    values, valid = _read(dataset, window, bands, nodata)
    transform = Affine.translation(-turn, 0) @ dataset.window_transform(window)
    return Piece(values, valid, transform, dataset.crs, _ground_size_m(dataset))


def join_pieces(pieces: list[Piece], grid: Grid, bands: int) -> Raster:
    """Returns pieces warped onto a grid, as float32 in the source's unit.

    Pieces of one lattice are put together before they are warped, so that the kernel sees across their seam; where
    lattices differ, an earlier piece comes before a later one.
    """
    values = np.full((bands, *grid.shape), np.nan, dtype=np.float32)
    left = list(pieces)
    while left:
        same = [piece for piece in left if _is_one_lattice(left[0], piece)]
        left = [piece for piece in left if piece not in same]
        whole = _stitch(same)
        warped = np.full_like(values, np.nan)
        source = np.where(whole.valid, whole.values, np.nan).astype(np.float32)
        _reproject(source, whole, grid, warped, choose_resampling(whole.gsd_m, grid.gsd_m))
        values = np.where(np.isfinite(values), values, warped)
    known: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=0))
    return Raster(np.where(known, values, 0), known, grid)


def find_bands(dataset: DatasetReader, modality: Modality) -> list[int]:
    """Returns the 1-based indexes of the modality's bands, by description, colour, or position where neither is there.

    Raises:
        BandError: if they are not all there.
    """
    accepted = _ACCEPTED[modality.name]
    if dataset.dtypes[0] not in accepted:
        raise BandError(
            f"{modality.name} needs values of type {' or '.join(accepted)} ({modality.unit}); the raster has "
            f"{dataset.dtypes[0]}."
        )
    wanted = [name.lower() for name in modality.bands]
    described = [(text or "").lower() for text in dataset.descriptions]
    if set(wanted) <= set(described):
        return [described.index(name) + 1 for name in wanted]
    colours = list(dataset.colorinterp)
    rgb = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    if modality.name == "aerial" and set(rgb) <= set(colours):
        return [colours.index(colour) + 1 for colour in rgb]
    if dataset.count == len(wanted) or (modality.name == "aerial" and dataset.count == 4):
        return list(range(1, len(wanted) + 1))
    raise BandError(
        f"{modality.name} needs the bands {', '.join(modality.bands)}; the raster has {dataset.count} "
        f"({', '.join(text for text in described if text) or 'without names'})."
    )


def choose_resampling(source_gsd_m: float, target_gsd_m: float) -> Resampling:
    """Returns average where pixels become coarser by half or more, else bilinear."""
    return Resampling.average if target_gsd_m >= 1.5 * source_gsd_m else Resampling.bilinear


def _same_lattice(dataset: DatasetReader, grid: Grid) -> bool:
    a, b, _, d, e, _ = dataset.transform[:6]
    same_size = abs(a - grid.gsd_m) < 1e-9 * grid.gsd_m and abs(e + grid.gsd_m) < 1e-9 * grid.gsd_m
    return bool(same_size and b == d == 0 and dataset.crs == grid.crs)


def _copy(dataset: DatasetReader, grid: Grid, bands: list[int], nodata: float | None) -> Raster:
    column = (grid.left - dataset.transform.c) / grid.gsd_m
    row = (dataset.transform.f - grid.top) / grid.gsd_m
    first_column, first_row = round(column), round(row)
    if max(abs(column - first_column), abs(row - first_row)) > PHASE_TOLERANCE_PX:
        left = dataset.transform.c + first_column * grid.gsd_m
        top = dataset.transform.f - first_row * grid.gsd_m
        grid = Grid(grid.crs, left, top, grid.gsd_m, grid.height, grid.width)
    rows = slice(max(0, -first_row), max(0, min(grid.height, dataset.height - first_row)))
    columns = slice(max(0, -first_column), max(0, min(grid.width, dataset.width - first_column)))
    values = np.zeros((len(bands), *grid.shape), dtype=dataset.dtypes[bands[0] - 1])
    valid = np.zeros(grid.shape, dtype=bool)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if height > 0 and width > 0:
        window = Window(first_column + columns.start, first_row + rows.start, width, height)
        values[:, rows, columns], valid[rows, columns] = _read(dataset, window, bands, nodata)
    return Raster(values, valid, grid)


def _reproject(
    source: NDArray[np.float32], piece: Piece, grid: Grid, target: NDArray[np.float32], resampling: Resampling
) -> None:
    reproject(
        source.astype(np.float32), target,
        src_transform=piece.transform, src_crs=piece.crs, src_nodata=np.nan,
        dst_transform=Affine(*grid.affine), dst_crs=grid.crs, dst_nodata=np.nan,
        resampling=resampling, tolerance=0,
    )  # fmt: skip


def _is_one_lattice(a: Piece, b: Piece) -> bool:
    if a.crs != b.crs or max(abs(a.transform.a - b.transform.a), abs(a.transform.e - b.transform.e)) > 1e-9:
        return False
    steps = (b.transform.c - a.transform.c) / a.transform.a, (b.transform.f - a.transform.f) / a.transform.e
    return all(abs(step - round(step)) < 0.01 for step in steps)


def _stitch(pieces: list[Piece]) -> Piece:
    """Puts pieces of one lattice together; where they overlap, the earlier one stands."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    columns = [round((p.transform.c - first.transform.c) / first.transform.a) for p in pieces]
    rows = [round((p.transform.f - first.transform.f) / first.transform.e) for p in pieces]
    top, left = min(rows), min(columns)
    height = max(row + p.valid.shape[0] for row, p in zip(rows, pieces, strict=True)) - top
    width = max(column + p.valid.shape[1] for column, p in zip(columns, pieces, strict=True)) - left
    values = np.zeros((len(first.values), height, width), dtype=first.values.dtype)
    valid = np.zeros((height, width), dtype=bool)
    for row, column, piece in zip(rows, columns, pieces, strict=True):
        here = np.s_[row - top : row - top + piece.valid.shape[0], column - left : column - left + piece.valid.shape[1]]
        free = piece.valid & ~valid[here]
        values[:, *here] = np.where(free, piece.values, values[:, *here])
        valid[here] |= free
    return replace(first, values=values, valid=valid, transform=first.transform @ Affine.translation(left, top))


def _turn(dataset: DatasetReader, grid: Grid, bounds: tuple[float, ...]) -> float:
    """Degrees to add to the patch's longitudes so that it lies on the same side of 180 as a geographic source."""
    if not dataset.crs.is_geographic:
        return 0.0
    west, _, east, _ = transform_bounds(grid.crs, dataset.crs, *bounds, densify_pts=21)
    east += 360 if east < west else 0
    return 360.0 * round(float(dataset.bounds.left + dataset.bounds.right - west - east) / 720)


def _source_window(dataset: DatasetReader, grid: Grid, bounds: tuple[float, ...], turn: float) -> Window | None:
    """The part of the source under the patch with a margin for the kernel; None where there is none."""
    west, south, east, north = transform_bounds(grid.crs, dataset.crs, *bounds, densify_pts=21)
    west, east = west + turn, east + turn + (360 if dataset.crs.is_geographic and east < west else 0)
    inverse = ~dataset.transform
    corners = [inverse @ corner for corner in ((west, north), (east, north), (west, south), (east, south))]
    columns, rows = [c for c, _ in corners], [r for _, r in corners]
    margin = 2 + round(2 * grid.gsd_m / _ground_size_m(dataset))
    left, top = max(0, int(min(columns)) - margin), max(0, int(min(rows)) - margin)
    right = min(dataset.width, int(max(columns)) + 1 + margin)
    bottom = min(dataset.height, int(max(rows)) + 1 + margin)
    return Window(left, top, right - left, bottom - top) if right > left and bottom > top else None


def _ground_size_m(dataset: DatasetReader) -> float:
    """Pixel height on the ground; 111,320 m a degree."""
    return float(abs(dataset.transform.e)) * (111_320.0 if dataset.crs.is_geographic else 1.0)


def _read(
    dataset: DatasetReader, window: Window, bands: list[int], nodata: float | None
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    values = dataset.read(bands, window=window)
    flags = dataset.mask_flag_enums[bands[0] - 1]
    if nodata is not None:
        valid = np.bitwise_or.reduce(values != nodata, axis=0)
    elif MaskFlags.per_dataset in flags or MaskFlags.alpha in flags:
        valid = dataset.dataset_mask(window=window) > 0
    elif dataset.nodata is not None:
        valid = np.bitwise_or.reduce(values != dataset.nodata, axis=0)
    else:
        valid = np.ones(values.shape[1:], dtype=bool)
    if np.issubdtype(values.dtype, np.floating):
        valid &= np.asarray(np.isfinite(values).all(axis=0))
    return values, valid


def _to_stored(values: NDArray[np.generic], valid: NDArray[np.bool_], modality: Modality) -> NDArray[np.generic]:
    """Rounds to the stored type and fills the gaps; a valid Sentinel-2 pixel is at least 1, because 0 is the gap."""
    stored = values
    if values.dtype != modality.dtype:
        if modality.dtype != "float32":
            values = np.clip(np.rint(values), 0, np.iinfo(modality.dtype).max)
        stored = values.astype(modality.dtype)
    if modality.name == "sentinel2":
        stored = np.maximum(stored, 1)
    return stored if valid.all() else np.where(valid, stored, np.array(modality.nodata or 0, dtype=modality.dtype))
