"""Aerial images: the open orthophotos of each country as map tiles, and NAIP in the United States as files."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import mercantile
import numpy as np
import shapely
from rasterio.io import DatasetReader
from shapely.geometry import shape

from geodata.boxes import box_over
from geodata.grid import footprint, make_grid
from geodata.raster import Raster
from geodata.regions import find_region
from geodata.services.orthophotos import Orthophoto, find_orthophoto
from geodata.services.session import Answer, ServiceError, Session, Transient
from geodata.services.stac_api import StacSearch
from geodata.services.tiles import (
    TileError,
    TilePicture,
    choose_zoom,
    decode_tile,
    is_blank,
    is_placeholder,
    stitch,
    tile_url,
    tiles_over,
)  # fmt: skip
from geodata.sources.files import Limits
from geodata.sources.patches import PatchCache
from geodata.sources.rasters import Rasters
from geodata.sources.remote import RemoteSource
from geodata.sources.sentinel2 import REACH_M
from geodata.sources.source import Finding, ReadError
from geodata.window import Piece, join_pieces, read_piece
from schemas.drop import Drop, Reason
from schemas.grid import Grid
from schemas.modality import AERIAL
from schemas.reference import Item, Place, Reference

TILE_THREADS = 4
"""Tiles of one patch asked for at once."""
NAIP = "naip"
"""Collection of the National Agriculture Imagery Program."""


class AerialSource(RemoteSource):
    """Finds which service covers a cell, and reads its tiles."""

    modality = AERIAL.name

    def __init__(
        self, session: Session, stac: StacSearch | None, rasters: Rasters, *, limits: Limits, gsd_m: float
    ) -> None:
        super().__init__("orthophotos")
        self._patches = PatchCache(session.settings.cache)
        self._session, self._stac, self._rasters = session, stac, rasters
        self._limits, self._gsd_m = limits, gsd_m
        self._pool = ThreadPoolExecutor(TILE_THREADS)

    def find(self, places: Sequence[Place], halo: Sequence[Place]) -> Iterator[Finding | Drop]:
        """Yields references for the cells of one unit; see `Source.find`."""
        american = [place for place in places if place.country == "US"]
        if american and self._stac is not None:
            yield from self._find_naip(american)
        for place in places:
            service = find_orthophoto(place.country)
            if service is not None:
                yield self._describe(place, service)
            elif place.country != "US":
                where = f"the country {place.country}" if place.country else "the sea"
                yield self._drop(place.key, Reason.NO_SERVICE, f"{where} has no open orthophoto service")

    def read_raster(self, item: Item, grid: Grid) -> Raster:
        """Returns red, green and blue on a grid. Raises ReadError."""
        if item.href.startswith("{"):
            return self._patches.read(item, grid, self._read_files)
        service = find_orthophoto(item.item_id.partition(" ")[0])
        if service is None:
            raise ReadError(Reason.NO_SERVICE, f"{item.item_id} is no service of this version's catalogue")
        return self._read_tiles(service, grid)

    def close(self) -> None:
        """Closes all rasters and ends the threads."""
        self._rasters.close()
        self._pool.shutdown()

    def _read_files(self, item: Item, grid: Grid) -> Raster:
        hrefs = json.loads(item.href)["parts"]
        pieces = [self._rasters.read(href, partial(_read_colours, grid=grid)) for href in hrefs]
        raster = join_pieces([piece for piece in pieces if piece is not None], grid, 3)
        return Raster(np.clip(np.rint(raster.values), 0, 255).astype(np.uint8), raster.valid, grid)

    def _find_naip(self, places: Sequence[Place]) -> Iterator[Finding | Drop]:
        assert self._stac is not None
        features = self._stac.find([NAIP], box_over(places[0].unit, REACH_M))
        features = [feature for feature in features if feature.get("geometry")]
        used: set[str] = set()
        for place in places:
            patch = shapely.Polygon(footprint(make_grid(place.key, AERIAL.name, gsd_m=self._gsd_m)))
            rank = 0
            for parts in _by_year(features, patch):
                if rank == self._limits.scene_tries:
                    break
                used |= {part["id"] for part in parts}
                yield self._describe_naip(place, rank, parts)
                rank += 1
            if rank == 0:
                yield self._drop(place.key, Reason.NO_SCENE, f"no year of {len(features)} NAIP images holds the patch")
        if unused := [feature for feature in features if feature["id"] not in used]:
            detail = "no cell of the unit uses these NAIP images"
            yield self._drop(places[0].unit, Reason.NOT_CHOSEN, detail, count=len(unused))

    def _describe_naip(self, place: Place, rank: int, parts: Sequence[dict[str, Any]]) -> Finding:
        item_id = "+".join(part["id"] for part in parts)
        middle = shape(parts[0]["geometry"]).centroid
        hrefs = json.dumps({"parts": [part["assets"]["image"]["href"] for part in parts]}, sort_keys=True)
        item = Item(
            self.name, item_id, self.modality, hrefs, middle.x, middle.y, parts[0]["properties"]["datetime"],
            "Public domain", "USDA Farm Service Agency, National Agriculture Imagery Program",
            note=f"NAIP {parts[0]['properties'].get('naip:year', '')}".strip(),
        )  # fmt: skip
        return Finding(Reference(place.key, self.modality, rank, self.name, item_id), item)

    def _describe(self, place: Place, service: Orthophoto) -> Finding:
        country = str(place.country)
        lon, lat = _middle_of(country)
        item_id = f"{country} {service.id}"
        item = Item(
            self.name, item_id, self.modality, service.template, lon, lat, None, service.licence,
            service.attribution, note=service.note,
        )  # fmt: skip
        return Finding(Reference(place.key, self.modality, 0, self.name, item_id), item)

    def _read_tiles(self, service: Orthophoto, grid: Grid) -> Raster:
        lat = float(footprint(grid)[:, 1].mean())
        zoom = choose_zoom(lat, grid.gsd_m, service)
        tiles = tiles_over(grid, zoom)
        template = service.template
        if (endpoint := self._session.settings.endpoints.get("aerial")) is not None:
            template = f"{endpoint}/{service.id}/{{z}}/{{x}}/{'{-y}' if '{-y}' in template else '{y}'}"
        try:
            found = list(self._pool.map(lambda tile: self._read_tile(template, tile), tiles))
        except ServiceError as error:
            raise ReadError(Reason.SERVICE, f"{service.id}: {error.detail}", retryable=True) from error
        sent = {tile: picture for tile, picture in zip(tiles, found, strict=True) if picture is not None}
        there = {tile: picture for tile, picture in sent.items() if not is_blank(picture.pixels)}
        if not there:
            blank = len(sent)
            detail = f"{service.id}: {blank} of {len(tiles)} tiles are blank, {len(tiles) - blank} are not there"
            raise ReadError(Reason.NODATA, f"{detail} at zoom {zoom}")
        try:
            return stitch(there, zoom, grid)
        except TileError as error:
            raise ReadError(Reason.UNREADABLE, f"{service.id}: {error}") from error

    def _read_tile(self, template: str, tile: mercantile.Tile) -> TilePicture | None:
        """Returns a tile's pixels and where they are valid; None where the service has none."""
        url = tile_url(template, tile)
        return self._session.request("aerial", url, parse=_parse_tile, accept=(200, 204, 404))


def _parse_tile(answer: Answer) -> TilePicture | None:
    if answer.status != 200 or not answer.body:
        return None
    try:
        return decode_tile(answer.body)
    except TileError as error:
        if is_placeholder(answer.body):
            return None
        raise Transient(str(error)) from error


def _by_year(features: Sequence[dict[str, Any]], patch: shapely.Polygon) -> Iterator[list[dict[str, Any]]]:
    """Yields the images of each year that hold a patch, the newest year first, as few as will do."""
    years: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for feature in features:
        if shape(feature["geometry"]).intersects(patch):
            properties = feature["properties"]
            years[str(properties.get("naip:year") or properties["datetime"][:4])].append(feature)
    for year in sorted(years, reverse=True):
        left, parts = patch, []
        by_share = sorted(years[year], key=lambda f: (-shape(f["geometry"]).intersection(patch).area, f["id"]))
        for feature in by_share:
            if left.is_empty:
                break
            parts.append(feature)
            left = left.difference(shape(feature["geometry"]).buffer(1e-9))
        if left.is_empty:
            yield parts


def _read_colours(dataset: DatasetReader, grid: Grid) -> Piece | None:
    """Red, green, blue are the first three of NAIP's four bands."""
    return read_piece(dataset, grid, [1, 2, 3])


@cache
def _middle_of(country: str) -> tuple[float, float]:
    """A point in a country, for the record of its service: degrees (lon, lat)."""
    point = find_region(country).land.representative_point()
    return point.x, point.y
