"""Copernicus DEM from a STAC API: GLO-30, GLO-90 where a tile is missing, sea level over water where there is none.

Tiles are one degree wide and shifted by half a pixel, so the pixels at a seam belong to two of them; a patch takes all
tiles that it touches, and they are put together before they are warped. Their pixels are square in degrees only up to
50 degrees: sizes come from each file, never from the latitude.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.fill import fillnodata
from rasterio.io import DatasetReader
from scipy.ndimage import binary_dilation
from shapely.geometry import shape

from geodata.boxes import Box, box_over, unwrap
from geodata.grid import footprint, make_grid, transformer
from geodata.raster import Raster
from geodata.regions import find_country
from geodata.services.stac_api import StacSearch
from geodata.sources.patches import PatchCache
from geodata.sources.rasters import Rasters
from geodata.sources.remote import RemoteSource
from geodata.sources.sentinel2 import REACH_M
from geodata.sources.source import Finding
from geodata.window import Piece, join_pieces, read_piece
from schemas.drop import Drop, Reason
from schemas.grid import Grid
from schemas.modality import DEM
from schemas.reference import Item, Place, Reference

FINE, COARSE = "cop-dem-glo-30", "cop-dem-glo-90"
"""Collections, of the same name at both providers."""
LABELS = {FINE: "GLO-30", COARSE: "GLO-90"}
SEA_LABEL = "sea level"
KERNEL_DEG = 0.003
"""A patch also needs the pixels around it: two of GLO-90."""
SEAM_PX = 5
"""Widest gap at such a seam: half a pixel of GLO-90 less half a pixel of GLO-30, and the kernel's edge."""
LICENCE = "Copernicus DEM licence (free, worldwide)"
ATTRIBUTION = (
    "© DLR e.V. 2010-2014 and © Airbus Defence and Space GmbH 2014-2018 provided under COPERNICUS by the European "
    "Union and ESA; all rights reserved"
)
SEA_LICENCE = "Public domain"
"""Of 0 m where there is neither tile nor land: nobody measured it."""
CAPTURED_AT = None
"""Many passes of 2011 to 2015 make one tile: no single time is true."""
_CORNER = re.compile(r"_([NS])(\d\d)_00_([EW])(\d\d\d)_00_DEM$")


class ElevationSource(RemoteSource):
    """Finds tiles and reads patches."""

    modality = DEM.name

    def __init__(self, stac: StacSearch, rasters: Rasters, *, cache: str = "") -> None:
        super().__init__("copernicus-dem")
        self._patches = PatchCache(cache)
        self._stac, self._rasters = stac, rasters

    def find(self, places: Sequence[Place], halo: Sequence[Place]) -> Iterator[Finding | Drop]:
        """Yields references for the cells of one unit; see `Source.find`."""
        box = box_over(places[0].unit, REACH_M + 500)
        fine = {square_of(item): item for item in self._stac.find([FINE], box)}
        needed = {place.key: squares_of(place) for place in places}
        is_whole = all(square in fine for squares in needed.values() for square in squares)
        coarse = {} if is_whole else {square_of(item): item for item in self._stac.find([COARSE], box)}
        for place in places:
            parts = [_choose(square, place, fine, coarse) for square in needed[place.key]]
            lacking = [square for square, part in zip(needed[place.key], parts, strict=True) if part is None]
            if lacking:
                detail = f"no tile at {lacking[0][1]} N {lacking[0][0]} E, and it is not all sea"
                yield self._drop(place.key, Reason.NODATA, detail)
            else:
                yield self._describe(place, [part for part in parts if part is not None])

    def read_raster(self, item: Item, grid: Grid) -> Raster:
        """Returns heights in metres, mosaicked; 0 where there is no tile over the sea. Raises ReadError."""
        return self._patches.read(item, grid, self._read)

    def close(self) -> None:
        """Closes all rasters."""
        self._rasters.close()

    def _read(self, item: Item, grid: Grid) -> Raster:
        parts = json.loads(item.href)["parts"]
        pieces = [self._rasters.read(part["href"], partial(_look, grid=grid)) for part in parts if part["href"]]
        raster = join_pieces([piece for piece in pieces if piece is not None], grid, 1)
        values, valid = raster.values.astype(np.float32), raster.valid
        if len({part["label"] for part in parts if part["href"]}) > 1 and not valid.all():
            values, valid = _close_seam(values, valid)
        sea = np.zeros(grid.shape, dtype=bool)
        for part in parts:
            if not part["href"]:
                sea |= ~valid & _inside(grid, part["square"])
        values = np.where(sea, 0, np.where(valid, values, np.float32(DEM.nodata or 0))).astype(np.float32)
        return Raster(values, valid | sea, grid)

    def _describe(self, place: Place, parts: Sequence[dict[str, Any]]) -> Finding:
        labels = list(dict.fromkeys(part["label"] for part in parts))
        item_id = "+".join(part["id"] for part in parts)
        lon = float(np.mean([part["square"][0] for part in parts])) + 0.5
        lat = float(np.mean([part["square"][1] for part in parts])) + 0.5
        is_sea = labels == [SEA_LABEL]
        item = Item(
            self.name, item_id, self.modality, json.dumps({"parts": parts}, sort_keys=True),
            (lon + 180) % 360 - 180, lat, CAPTURED_AT, SEA_LICENCE if is_sea else LICENCE,
            "" if is_sea else ATTRIBUTION, note=f"Copernicus DEM {' + '.join(labels)}" if not is_sea else SEA_LABEL,
        )  # fmt: skip
        return Finding(Reference(place.key, self.modality, 0, self.name, item_id), item)


def square_of(item: dict[str, Any]) -> tuple[int, int]:
    """Returns a tile's south-west corner, whole degrees (lon, lat), from its name."""
    found = _CORNER.search(item["id"])
    if found is None:
        west, south, _, _ = shape(item["geometry"]).bounds
        return round(west + 0.001), round(south - 0.0001)
    north_south, lat, east_west, lon = found.groups()
    return int(lon) * (-1 if east_west == "W" else 1), int(lat) * (-1 if north_south == "S" else 1)


def squares_of(place: Place) -> list[tuple[int, int]]:
    """Returns the corners of the one-degree squares under a patch and its kernel, the one with most of it first."""
    west, south, east, north = _patch_box(place)
    lons = range(int(np.floor(west)), int(np.floor(east)) + 1)
    lats = range(int(np.floor(south)), int(np.floor(north)) + 1)
    patch = shapely.box(west, south, east, north)
    squares = [(lon, lat) for lon in lons for lat in lats]
    squares.sort(key=lambda s: (-shapely.box(s[0], s[1], s[0] + 1, s[1] + 1).intersection(patch).area, s))
    return [((lon + 180) % 360 - 180, lat) for lon, lat in squares]


def _choose(
    square: tuple[int, int], place: Place, fine: dict[tuple[int, int], Any], coarse: dict[tuple[int, int], Any]
) -> dict[str, Any] | None:
    """Returns the tile of a square, or sea level where it has none and the patch's share of it is sea."""
    for collection, tiles in ((FINE, fine), (COARSE, coarse)):
        if square in tiles:
            item = tiles[square]
            asset = item["assets"].get("data") or next(iter(item["assets"].values()))
            return {"id": item["id"], "href": asset["href"], "label": LABELS[collection], "square": square}
    if _is_sea(_patch_box(place), square):
        return {"id": f"sea {square[0]} {square[1]}", "href": "", "label": SEA_LABEL, "square": square}
    return None


def _is_sea(box: Box, square: tuple[int, int]) -> bool:
    """True where no country holds any of the points of the box that lie in the square."""
    lon, lat = (grid.ravel() for grid in np.meshgrid(np.linspace(box[0], box[2], 5), np.linspace(box[1], box[3], 5)))
    lon = (lon + 180) % 360 - 180
    here = (np.floor(lon) == square[0]) & (np.floor(lat) == square[1])
    return all(country is None for country in find_country(lon[here], lat[here]))


def _patch_box(place: Place) -> Box:
    corners = footprint(make_grid(place.key, DEM.name))
    lon = unwrap(corners[:, 0], place.lon)
    low, high = corners[:, 1].min(), corners[:, 1].max()
    return (
        float(lon.min()) - KERNEL_DEG, max(-90.0, float(low) - KERNEL_DEG),
        float(lon.max()) + KERNEL_DEG, min(89.999, float(high) + KERNEL_DEG),
    )  # fmt: skip


def _close_seam(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Fills the pixels between a fine and a coarse tile, whose half pixels differ, from their neighbours."""
    filled = fillnodata(values[0], mask=valid, max_search_distance=SEAM_PX)
    near = binary_dilation(valid, iterations=SEAM_PX)
    return np.where(near, filled, values[0])[None].astype(np.float32), np.asarray(near)


def _look(dataset: DatasetReader, grid: Grid) -> Piece | None:
    return read_piece(dataset, grid, [1])


def _inside(grid: Grid, square: Sequence[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """True for the pixels whose middle lies in a one-degree square, to half a pixel of GLO-30."""
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    x, y = grid.left + columns * grid.gsd_m, grid.top - rows * grid.gsd_m
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(x, y)
    lon = unwrap(np.asarray(lon), square[0] + 0.5)
    slack = 0.0003
    inside = (lon >= square[0] - slack) & (lon < square[0] + 1 + slack)
    return np.asarray(inside & (lat >= square[1] - slack) & (lat < square[1] + 1 + slack))
