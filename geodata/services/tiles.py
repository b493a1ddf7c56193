"""Slippy tiles: which ones lie under a patch, what an address and a payload mean, and how they become a patch.

Arithmetic and pixels only; fetching is another module's. Tiles are in Web Mercator (EPSG:3857), numbered by column
from 180 degrees west and by row from the north: mercantile.readthedocs.io. Columns go round the world, so a patch at
the antimeridian has tiles from both ends of a row.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import mercantile
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from rasterio.warp import reproject

from geodata.grid import patch_lonlat, transformer
from geodata.raster import Raster
from geodata.services.orthophotos import Orthophoto
from geodata.window import choose_resampling
from schemas.grid import Grid

EQUATOR_M = 2 * math.pi * 6378137.0
"""Width of the Web Mercator world: the circumference of a sphere with the semi-major axis of WGS 84 (EPSG 1024)."""
TILE_PX = 256
"""Pixels that a service's zooms are counted in; a service of larger tiles is finer than its zooms tell."""
SIZES_PX = ((256, 256), (512, 512))
"""Width and height of a tile's picture."""
COARSER_BY = 1.1
"""Pixels may be this much coarser than asked for: the next zoom would cost four times the tiles to gain so little."""


class TileError(ValueError):
    """A payload is no picture of a tile, or tiles do not fit together."""


@dataclass(frozen=True, eq=False)
class TilePicture:
    """The pixels of one tile."""

    pixels: NDArray[np.uint8]
    """sRGB, shape (256 or 512, the same, 3)."""
    valid: NDArray[np.bool_]
    """True where there is data, shape (height, width)."""


def choose_zoom(lat: float, gsd_m: float, service: Orthophoto) -> int:
    """Returns the coarsest zoom of a service that is as fine as asked for at a latitude, or else its finest one."""
    zooms = range(service.min_zoom, service.max_zoom + 1)
    fine = (zoom for zoom in zooms if ground_size_m(lat, zoom) <= COARSER_BY * gsd_m)
    return next(fine, service.max_zoom)


def ground_size_m(lat: float, zoom: int) -> float:
    """Returns the metres on the ground of a pixel of a 256-pixel tile, for instance 0.774 at 49.6 degrees, zoom 17."""
    return EQUATOR_M * math.cos(math.radians(lat)) / (TILE_PX * 2.0**zoom)


def tiles_over(grid: Grid, zoom: int) -> list[mercantile.Tile]:
    """Returns the tiles that `stitch` needs for a patch, sorted; none where the patch lies beyond 85.05 degrees."""
    columns, rows = _span(grid, zoom)
    return sorted({mercantile.Tile(column % 2**zoom, row, zoom) for column in columns for row in rows})


def tile_url(template: str, tile: mercantile.Tile) -> str:
    """Returns a tile's address; {-y} counts rows from the south (TMS)."""
    places = {"{z}": tile.z, "{x}": tile.x, "{y}": tile.y, "{-y}": 2**tile.z - 1 - tile.y}
    for place, number in places.items():
        template = template.replace(place, str(number))
    return template


def decode_tile(payload: bytes) -> TilePicture:
    """Reads a tile in any format of Pillow's; where it is fully transparent there is no data.

    Raises:
        TileError: if it is no picture, or one of another size.
    """
    try:
        with Image.open(io.BytesIO(payload)) as image:
            size = image.size
            rgba = np.asarray(image.convert("RGBA")) if size in SIZES_PX else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TileError(f"{len(payload)} bytes that start with {payload[:12]!r} are no picture of a tile.") from error
    if rgba is None:
        raise TileError(f"A tile is 256 or 512 pixels wide and high, not {size[0]} x {size[1]}.")
    return TilePicture(rgba[..., :3], rgba[..., 3] > 0)


def is_placeholder(payload: bytes) -> bool:
    """True for a picture of any size in one single colour, such as one transparent pixel: there is nothing here."""
    try:
        with Image.open(io.BytesIO(payload)) as image:
            pixels = np.asarray(image.convert("RGBA"))
            return bool((pixels == pixels[0, 0]).all())
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def is_blank(pixels: NDArray[np.uint8]) -> bool:
    """True for one single colour, by which many services say that they have no picture here; shape (H, W, bands)."""
    return bool((pixels == pixels[0, 0]).all())


def stitch(tiles: Mapping[mercantile.Tile, TilePicture], zoom: int, grid: Grid) -> Raster:
    """Returns a patch of the tiles of one zoom: uint8 (3, height, width); not valid where tiles are missing.

    Raises:
        TileError: if the tiles have different sizes.
    """
    columns, rows = _span(grid, zoom)
    n = 2**zoom
    found = {(c, r): tiles[key] for c in columns for r in rows if (key := mercantile.Tile(c % n, r, zoom)) in tiles}
    values = np.full((3, *grid.shape), np.nan, dtype=np.float32)
    if found:
        mosaic = _join(found, columns, rows)
        pixel = EQUATOR_M / n * len(rows) / mosaic.shape[1]
        # The mosaic's own meridian is its left edge, so that no mosaic is cut by the antimeridian.
        crs = f"+proj=webmerc +lon_0={columns.start * 360 / n - 180!r} +datum=WGS84 +units=m +no_defs"
        lat = patch_lonlat(grid)[1]
        reproject(
            mosaic, values,
            src_transform=Affine(pixel, 0, 0, 0, -pixel, EQUATOR_M * (0.5 - rows.start / n)), src_crs=crs,
            src_nodata=np.nan, dst_transform=Affine(*grid.affine), dst_crs=grid.crs, dst_nodata=np.nan,
            resampling=choose_resampling(pixel * math.cos(math.radians(lat)), grid.gsd_m), tolerance=0,
        )  # fmt: skip
    valid: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=0))
    return Raster(np.rint(np.where(valid, values, 0)).clip(0, 255).astype(np.uint8), valid, grid)


def _span(grid: Grid, zoom: int) -> tuple[range, range]:
    """Columns and rows of the tiles under a patch and the kernel's margin; columns may lie beyond both ends."""
    n = 2**zoom
    left, bottom, right, top = grid.bounds
    points = np.meshgrid(np.linspace(left, right, 9), np.linspace(bottom, top, 9))
    to_mercator = transformer(grid.crs, "EPSG:3857")
    x, y = to_mercator.transform(*points)
    x = x - EQUATOR_M * np.rint((x - to_mercator.transform(*grid.centre)[0]) / EQUATOR_M)
    # A kernel reaches two pixels of the source and two of the patch. Beyond 85.05 degrees there is nothing to reach.
    lat = min(abs(patch_lonlat(grid)[1]), 85.06)
    margin = (2 + 2 * grid.gsd_m / ground_size_m(lat, zoom)) / TILE_PX
    column, row = (0.5 + x / EQUATOR_M) * n, np.clip((0.5 - y / EQUATOR_M) * n, -2, n + 2)
    first_row, last_row = max(0, math.floor(row.min() - margin)), min(n - 1, math.floor(row.max() + margin))
    first_column, last_column = math.floor(column.min() - margin), math.floor(column.max() + margin)
    return range(first_column, last_column + 1), range(first_row, last_row + 1)


def _join(found: Mapping[tuple[int, int], TilePicture], columns: range, rows: range) -> NDArray[np.float32]:
    """Puts tiles beside each other: float32 (3, height, width), NaN where there is no data."""
    sizes = {picture.pixels.shape[0] for picture in found.values()}
    if len(sizes) > 1:
        raise TileError(f"The tiles of one patch have different sizes: {sorted(sizes)} pixels.")
    size = sizes.pop()
    mosaic = np.full((3, size * len(rows), size * len(columns)), np.nan, dtype=np.float32)
    for (column, row), picture in found.items():
        top, left = size * (row - rows.start), size * (column - columns.start)
        pixels = np.where(picture.valid[..., None], picture.pixels, np.nan)
        mosaic[:, top : top + size, left : left + size] = pixels.transpose(2, 0, 1)
    return mosaic
