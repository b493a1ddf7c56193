"""A source whose items are files that can be listed beforehand: a folder, or a static STAC catalogue."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import transform_bounds

from geodata import cells
from geodata.article import ArticleError, parse_article, parse_header
from geodata.grid import footprint, is_geographic, make_grid, transformer
from geodata.raster import Raster
from geodata.sources.belong import NEAR_RESOLUTION, assign_articles, blocks_near, bucket, longest_first
from geodata.sources.source import Finding, ReadError
from geodata.window import BandError, read_bands, read_window
from schemas.drop import Drop, Reason, Stage
from schemas.grid import Grid
from schemas.modality import AERIAL, DEM, MODALITIES, SENTINEL2
from schemas.reference import Item, Place, Reference
from schemas.sample import parse_time

YEAR_DEG = 45.0
"""A year between two photos of a cell makes them as unlike as so many degrees between their headings (a guess)."""
OPEN_DATASETS = 16
"""Rasters kept open; reopening one for each sample costs 20 ms (a Sentinel-2 item may hold twelve)."""


@dataclass(frozen=True)
class Limits:
    """How many observations of a modality one cell gets."""

    scene_tries: int = 3
    """Rasters planned for a cell: the next is read where the first is judged bad."""
    photos_per_cell: int = 1
    """Photos kept for a cell."""
    photo_spares: int = 2
    """Further photos planned for a cell, read where one of the first is judged bad."""
    texts_per_cell: int = 1
    """Articles kept for a cell, the longest first."""
    text_spares: int = 2
    """Further articles planned for a cell where only their lengths are known, read where the first are stubs."""
    min_covered_share: float = 0.0
    """A raster whose bounds cover less of the hexagon is not even tried, 0 ... 1."""


class FileSource:
    """Finds the items of a catalogue and reads their files."""

    def __init__(self, name: str, root: str, items: Sequence[Item], *, limits: Limits | None = None) -> None:
        self.name = name
        self._root = Path(root)
        self._limits = limits or Limits()
        self._rasters = [item for item in items if MODALITIES[item.modality].is_raster]
        self._texts = bucket([item for item in items if item.modality == "text"], NEAR_RESOLUTION)
        self._photos = [item for item in items if item.modality == "street"]
        self._photos_at: dict[int, dict[int, list[Item]]] = {}
        self._open: OrderedDict[str, DatasetReader] = OrderedDict()
        self._columns: dict[str, tuple[str, ...]] = {}
        self._raster_tree: shapely.STRtree | None = None

    def find(self, places: Sequence[Place], halo: Sequence[Place]) -> Iterator[Finding | Drop]:
        """Yields references for the cells of one unit; see `Source.find`."""
        for place in places:
            for layout in (SENTINEL2, AERIAL, DEM):
                covering = list(self._cover(place, layout.name))
                usable = [entry for entry in covering if entry[1] >= self._limits.min_covered_share]
                for item, share, _ in covering if not usable else ():
                    detail = f"covers {share:.3f} of the hexagon, and no other raster covers enough"
                    yield _drop(place, item, Reason.NODATA, round(share, 6), detail)
                yield from self._take(place, _rank(usable), self._limits.scene_tries)
        resolution = cells.resolution_of(cells.to_cell(places[0].key))
        by_key = {place.key: place for place in places}
        yield from self._find_photos(by_key, resolution)
        yield from self._find_texts(by_key, halo)

    def prepare(self, items: Sequence[Item]) -> None:
        """Does nothing: files need no asking."""

    def read_raster(self, item: Item, grid: Grid) -> Raster:
        """Returns an item's pixels on a grid; the other bands of an item follow the phase of its first.

        Raises:
            ReadError: if a file is gone, broken, or lacks bands.
        """
        try:
            if not item.href.startswith("{"):
                return read_window(self._dataset(item.href), grid, item.modality)
            return self._read_stack(json.loads(item.href), grid, item.modality)
        except (BandError, RasterioError, OSError) as error:
            reason = Reason.WRONG_BANDS if isinstance(error, BandError) else Reason.UNREADABLE
            raise ReadError(reason, f"{item.item_id}: {error}") from error

    def read_bytes(self, item: Item) -> bytes:
        """Returns a photo's file, or an article's line. Raises ReadError."""
        try:
            with (self._root / item.href).open("rb") as file:
                file.seek(item.offset or 0)
                return file.read(-1 if item.offset is None or item.size is None else item.size)
        except OSError as error:
            raise ReadError(Reason.MISSING_FILE, f"{item.item_id}: {error.strerror}") from error

    def read_text(self, item: Item) -> str:
        """Returns an article's plain text. Raises ReadError."""
        raw, path = self.read_bytes(item), str(self._root / item.href)
        try:
            if item.href not in self._columns:
                self._columns[item.href] = parse_header(path)
            article = parse_article(raw, self._columns[item.href], is_json=path.endswith(".jsonl"))
            if item.item_id != f"{item.href}#{article.id}":
                raise ArticleError(f"the file was changed after planning: here stands now {article.id!r}")
            return article.text
        except (ArticleError, OSError) as error:
            raise ReadError(Reason.UNREADABLE, f"{item.item_id}: {error}") from error

    def close(self) -> None:
        """Closes all rasters."""
        while self._open:
            self._open.popitem()[1].close()

    def _read_stack(self, files: dict[str, object], grid: Grid, modality: str) -> Raster:
        """Reads an item of one file a band; 20 m and 60 m bands are interpolated onto the grid of the first."""
        layout = MODALITIES[modality]
        paths: dict[str, str] = files["bands"]  # type: ignore[assignment]
        finest_first = sorted(layout.bands, key=lambda name: (name not in ("B02", "B03", "B04", "B08"), name))
        values: dict[str, NDArray[np.generic]] = {}
        valid = np.ones(grid.shape, dtype=bool)
        for name in finest_first:
            raster = read_bands(self._dataset(paths[name]), grid, [1], layout, add=int(str(files.get("offset", 0))))
            grid, valid = raster.grid, valid & raster.valid
            values[name] = raster.values[0]
        return Raster(np.stack([values[name] for name in layout.bands]), valid, grid)

    def _dataset(self, href: str) -> DatasetReader:
        if href in self._open:
            self._open.move_to_end(href)
            return self._open[href]
        if len(self._open) >= OPEN_DATASETS:
            self._open.popitem(last=False)[1].close()
        self._open[href] = rasterio.open(self._root / href)
        return self._open[href]

    def _cover(self, place: Place, modality: str) -> Iterator[tuple[Item, float, float]]:
        """Yields the rasters over a cell with the shares of its hexagon and of its patch that their bounds cover."""
        hexagon, patch = cells.hexagon(place.key), footprint(make_grid(place.key, modality))
        for number in self._tree().query(shapely.Polygon(hexagon), predicate="intersects").tolist():
            item = self._rasters[number]
            if item.modality == modality and (share := covered_share(hexagon, item)) > 0:
                yield item, share, covered_share(patch, item)

    def _tree(self) -> shapely.STRtree:
        if self._raster_tree is None:
            self._raster_tree = shapely.STRtree([outline(item) for item in self._rasters])
        return self._raster_tree

    def _find_photos(self, by_key: dict[str, Place], resolution: int) -> Iterator[Finding | Drop]:
        if resolution not in self._photos_at:
            self._photos_at[resolution] = bucket(self._photos, resolution)
        for key in sorted(by_key):
            found = self._photos_at[resolution].get(cells.to_cell(key), [])
            most = self._limits.photos_per_cell + self._limits.photo_spares
            yield from self._take(by_key[key], order_photos(found, most), most)

    def _find_texts(self, by_key: dict[str, Place], halo: Sequence[Place]) -> Iterator[Finding | Drop]:
        places = list(by_key.values())
        nearby = [item for block in sorted(blocks_near(places) & self._texts.keys()) for item in self._texts[block]]
        found = assign_articles(nearby, places, halo)
        for key in sorted(found):
            yield from self._take(by_key[key], longest_first(found[key]), self._limits.texts_per_cell)

    def _take(self, place: Place, ranked: list[Item], limit: int) -> Iterator[Finding | Drop]:
        for rank, item in enumerate(ranked):
            if rank < limit:
                reference = Reference(place.key, item.modality, rank, item.source, item.item_id)
                yield Finding(reference, item)
            else:
                yield _drop(place, item, Reason.NOT_CHOSEN, len(ranked), f"{len(ranked)} candidates, {limit} taken")


def _rank(covering: list[tuple[Item, float, float]]) -> list[Item]:
    """Orders rasters: most of the hexagon, then most of the patch, then the newest."""
    newest = sorted(covering, key=lambda entry: (entry[0].captured_at or "", entry[0].item_id), reverse=True)
    return [entry[0] for entry in sorted(newest, key=lambda entry: (-round(entry[1], 2), -round(entry[2], 2)))]


def _drop(place: Place, item: Item, reason: Reason, value: float, detail: str) -> Drop:
    return Drop(place.key, item.modality, Stage.CHOOSE, reason, value, detail, item.source, item.item_id)


def outline(item: Item) -> shapely.Geometry:
    """Returns the box of degrees around a raster, on both sides of the antimeridian where it crosses it."""
    assert item.crs is not None and item.bounds is not None
    west, south, east, north = transform_bounds(item.crs, "EPSG:4326", *item.bounds, densify_pts=21)
    east += 360 if east < west else 0
    turns = (-360, 0, 360) if west < -179 or east > 179 else (0,)
    return shapely.union_all([shapely.box(west + turn, south, east + turn, north) for turn in turns])


def covered_share(lonlat: NDArray[np.float64], item: Item) -> float:
    """Returns the share of a polygon (degrees, shape (N, 2)) that a raster's bounds cover, 0 ... 1."""
    assert item.crs is not None and item.bounds is not None
    x, y = transformer("EPSG:4326", item.crs).transform(lonlat[:, 0], lonlat[:, 1])
    if abs(item.bounds[0]) <= 540 and abs(item.bounds[2]) <= 540 and is_geographic(item.crs):
        x = x + 360 * round((sum(item.bounds[::2]) / 2 - float(np.mean(x))) / 360)
    polygon = shapely.Polygon(np.stack([x, y], axis=-1))
    return float(polygon.intersection(shapely.box(*item.bounds)).area / polygon.area)


def order_photos(items: list[Item], most: int) -> list[Item]:
    """Returns photos in the order in which they are kept.

    A hashed first, then always the one most unlike those before, until there are as many as needed; the rest by hash.
    """
    left = sorted(items, key=lambda item: (hashlib.blake2b(item.item_id.encode()).digest(), item.item_id))
    for number in range(1, min(most, len(left))):
        nearest = [min(_unlike(item, other) for other in left[:number]) for item in left[number:]]
        left.insert(number, left.pop(number + nearest.index(max(nearest))))
    return left


def _unlike(item: Item, other: Item) -> float:
    """Angle between two photos' headings, and up to `YEAR_DEG` for a year between them; 0 where one is unknown."""
    unlike = 0.0
    if item.heading_deg is not None and other.heading_deg is not None:
        unlike = abs((item.heading_deg - other.heading_deg + 180) % 360 - 180)
    if item.captured_at and other.captured_at:
        days = abs((parse_time(item.captured_at) - parse_time(other.captured_at)).total_seconds()) / 86_400
        unlike += YEAR_DEG * min(1.0, days / 365)
    return unlike
