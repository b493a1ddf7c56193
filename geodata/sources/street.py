"""Street-level photos from Mapillary: found by coverage tiles or by boxes, read by links that are asked for in batches.

Coverage tiles know the position that a device reported, the Graph API one that was computed from the photos
themselves; a photo belongs to the cell of the latter. A tile of zoom 14 serves all cells in it, and only those are read
that hold a line at a low zoom; a box serves few cells, and asks once for each even where there is nothing.
"""

import math
import re
import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import mercantile
import numpy as np
import shapely

from geodata import cells
from geodata.boxes import Box, box_around, split_at_antimeridian
from geodata.grid import distance_m
from geodata.services.cache import AnswerCache
from geodata.services.coverage import LOW_ZOOM, POINT_ZOOM, covered_tiles, read_points, read_sequences
from geodata.services.mapillary import BATCH, Mapillary, Photo
from geodata.services.session import ServiceError, Session
from geodata.sources.files import Limits, order_photos
from geodata.sources.remote import RemoteSource
from geodata.sources.source import Finding, ReadError
from schemas.drop import Drop, Reason
from schemas.reference import Item, Place, Reference
from schemas.sample import format_time

TILES_PER_UNIT = 16
"""Tiles of a unit that are opened in search of places: a tile of a dense city weighs 10 MB."""
APART_M, APART_DEG = 10.0, 30.0
"""Frames of one sequence nearer than both show the same."""
GROUP_DEG = 0.006
"""Cells whose centres lie in one square of this size are searched for by one box."""
KEPT_LOW_TILES, KEPT_LINKS, KEPT_WANTED = 64, 5000, 50_000
"""Bounds of what a process remembers."""
LICENCE = "CC-BY-SA-4.0"

_LINK_IS_OLD = (403, 404, 410)
_DETAILS = {
    Reason.PANORAMA: "360-degree photos, and --pano drop leaves these out",
    Reason.DUPLICATE: f"nearer than {APART_M:.0f} m and {APART_DEG:.0f} degrees to another photo of their sequence",
    Reason.NOT_CHOSEN: "other photos of the cell were taken",
    Reason.MISSING_FILE: "in the coverage tiles, but the service has no record of them",
    Reason.MOVED: "their computed position lies in a cell that is not wanted",
}

_Found = dict[str, list[Photo]]
_Lost = Counter[tuple[str, Reason]]


class StreetSource(RemoteSource):
    """Finds photos by cell and reads them; threads may share one."""

    modality = "street"

    def __init__(
        self, mapillary: Mapillary, session: Session, *, limits: Limits, photo_px: int, search: str = "tiles",
        pano: str = "keep",
    ) -> None:  # fmt: skip
        super().__init__("mapillary")
        if search not in ("tiles", "boxes"):
            raise ValueError(f"Photos are searched for by tiles or by boxes, not by {search!r}.")
        self._mapillary, self._session = mapillary, session
        self._photo_px, self._search, self._pano = photo_px, search, pano
        self._most = limits.photos_per_cell + limits.photo_spares
        self._links = PhotoLinks(mapillary)
        self._kept = AnswerCache(session.settings.cache) if session.settings.cache else None
        self._covered: OrderedDict[mercantile.Tile, set[mercantile.Tile]] = OrderedDict()
        self._lock = threading.Lock()

    def anchors(self, unit: str, seed: int) -> list[tuple[float, float]]:
        """Returns positions (lon, lat) of photos in a coarse cell, of at most `TILES_PER_UNIT` tiles in seeded order.

        Raises:
            ServiceError: if the service fails.
        """
        outline = shapely.Polygon(cells.hexagon(unit))
        tiles = [tile for tile in self._tiles([unit]) if _bounds_near(tile, outline).intersects(outline)]
        numbers = np.array([tile.x << 32 | tile.y for tile in tiles], dtype=np.uint64)
        shuffled = np.argsort(cells.hash64(numbers, f"street tiles {seed}"), kind="stable").tolist()
        cell, resolution = cells.to_cell(unit), cells.resolution_of(cells.to_cell(unit))
        found: dict[str, tuple[float, float]] = {}
        for number in shuffled[:TILES_PER_UNIT]:
            for photo in read_points(self._session, self._mapillary.token, tiles[number]):
                is_wanted = not (photo.is_pano and self._pano == "drop")
                if is_wanted and cells.cell_number(photo.lon, photo.lat, resolution) == cell:
                    found[photo.id] = (photo.lon, photo.lat)
        return list(found.values())

    def find(self, places: Sequence[Place], halo: Sequence[Place]) -> Iterator[Finding | Drop]:
        """Yields references for the cells of one unit; see `Source.find`. Raises ServiceError."""
        keys = sorted(place.key for place in places)
        lost: _Lost = Counter()
        bad: list[str] = []
        found = self._find_in_tiles(keys, lost) if self._search == "tiles" else self._find_in_boxes(places, bad)
        for key, photos in sorted(self._choose(found, lost).items()):
            for rank, photo in enumerate(photos):
                yield Finding(Reference(key, self.modality, rank, self.name, photo.id), self._describe(photo))
        for (key, reason), count in sorted(lost.items()):
            yield self._drop(key, reason, _DETAILS[reason], count=count)
        if bad:
            yield self._drop(places[0].unit, Reason.BAD_COORDINATES, f"such as: {min(bad)}", count=len(set(bad)))

    def prepare(self, items: Sequence[Item]) -> None:
        """Remembers what will be read, so that links are asked for in batches."""
        self._links.want((item.item_id, self._width(item)) for item in items)

    def read_bytes(self, item: Item) -> bytes:
        """Returns a photo as the service stores it, at least as large as needed. Raises ReadError."""
        width = self._width(item)
        key = f"image {item.item_id} {width}"
        kept = self._kept.read(key) if self._kept else None
        if kept is not None:
            return kept[2]
        try:
            image = self._read(item.item_id, width)
        except ServiceError as error:
            raise ReadError(Reason.SERVICE, f"{item.item_id}: {error.detail}", retryable=True) from error
        if self._kept:
            self._kept.write(key, 200, {}, image)
        return image

    def _read(self, id_: str, width: int) -> bytes:
        refused: ServiceError | None = None
        link: str | None = None
        for _ in range(2):  # a link that was good when it was asked for may have grown old
            link = self._links.find(id_, width, refused=link)
            if link is None:
                raise ReadError(Reason.MISSING_FILE, f"{id_}: the service has no such photo, or no picture of it")
            try:
                return self._mapillary.read_image(link)
            except ServiceError as error:
                if error.status not in _LINK_IS_OLD:
                    raise
                refused = error
        assert refused is not None
        if refused.status == 403:
            raise refused
        raise ReadError(Reason.MISSING_FILE, f"{id_}: {refused.detail}") from refused

    def _find_in_tiles(self, keys: Sequence[str], lost: _Lost) -> _Found:
        wanted = {cells.to_cell(key): key for key in keys}
        resolution = cells.resolution_of(next(iter(wanted)))
        seen: set[str] = set()
        near: _Found = defaultdict(list)
        for tile in self._tiles(keys):
            for photo in read_points(self._session, self._mapillary.token, tile):
                key = wanted.get(cells.cell_number(photo.lon, photo.lat, resolution))
                if key is not None and photo.id not in seen:
                    seen.add(photo.id)
                    near[key].append(photo)
        chosen = self._choose(near, lost)
        known = self._mapillary.describe(photo.id for photos in chosen.values() for photo in photos)
        found: _Found = defaultdict(list)
        for near_key, photo_id in [(key, photo.id) for key in sorted(chosen) for photo in chosen[key]]:
            if photo_id not in known:
                lost[near_key, Reason.MISSING_FILE] += 1
                continue
            photo = known[photo_id]
            home = wanted.get(cells.cell_number(photo.lon, photo.lat, resolution))
            if home is None:
                lost[near_key, Reason.MOVED] += 1
            else:
                found[home].append(photo)
        return found

    def _find_in_boxes(self, places: Sequence[Place], bad: list[str]) -> _Found:
        wanted = {cells.to_cell(place.key): place.key for place in places}
        resolution = cells.resolution_of(next(iter(wanted)))
        photos: dict[str, Photo] = {}
        for box in _group(places):
            photos |= {photo.id: photo for photo in self._mapillary.search_box(*box, bad=bad)}
        found: _Found = defaultdict(list)
        for photo in photos.values():
            key = wanted.get(cells.cell_number(photo.lon, photo.lat, resolution))
            if key is not None:
                found[key].append(photo)
        return found

    def _choose(self, found: Mapping[str, list[Photo]], lost: _Lost) -> _Found:
        """Returns the photos of each cell that are kept, in order; counts the others."""
        chosen: _Found = {}
        for key, photos in found.items():
            flat = [photo for photo in photos if not (photo.is_pano and self._pano == "drop")]
            thin = thin_out(flat)
            by_id = {photo.id: photo for photo in thin}
            ordered = order_photos([self._describe(photo) for photo in thin], self._most)
            chosen[key] = [by_id[item.item_id] for item in ordered[: self._most]]
            counts = {
                Reason.PANORAMA: len(photos) - len(flat), Reason.DUPLICATE: len(flat) - len(thin),
                Reason.NOT_CHOSEN: len(thin) - len(chosen[key]),
            }  # fmt: skip
            lost.update({(key, reason): count for reason, count in counts.items() if count})
        return chosen

    def _describe(self, photo: Photo) -> Item:
        named = f"Mapillary, @{photo.creator}" if photo.creator else "Mapillary"
        return Item(
            self.name, photo.id, self.modality, f"mapillary:{photo.id}", photo.lon, photo.lat,
            format_time(photo.captured_at), LICENCE, f"{named} (https://www.mapillary.com/app/?pKey={photo.id})",
            heading_deg=photo.heading_deg, is_pano=photo.is_pano,
            note="computed position" if photo.is_computed else "position of the device",
        )  # fmt: skip

    def _width(self, item: Item) -> int:
        """Pixels of the picture whose short side is large enough: photos are up to 2 : 1, a crop takes a quarter."""
        return self._photo_px * (4 if item.is_pano and self._pano == "crop" else 2)

    def _tiles(self, keys: Iterable[str]) -> list[mercantile.Tile]:
        """Returns the tiles of zoom 14 over some cells that may hold photos, sorted."""
        boxes = [part for key in keys for part in split_at_antimeridian(box_around(key, 0))]
        over = {tile for box in boxes for tile in mercantile.tiles(*box, zooms=POINT_ZOOM)}
        lows = {mercantile.parent(tile, zoom=LOW_ZOOM) for tile in over}
        return sorted(over & {tile for low in sorted(lows) for tile in self._cover(low)})

    def _cover(self, low: mercantile.Tile) -> set[mercantile.Tile]:
        with self._lock:
            if low in self._covered:
                self._covered.move_to_end(low)
                return self._covered[low]
        covered = covered_tiles(read_sequences(self._session, self._mapillary.token, low))
        with self._lock:
            self._covered[low] = covered
            while len(self._covered) > KEPT_LOW_TILES:
                self._covered.popitem(last=False)
        return covered


class PhotoLinks:
    """Links to photos, asked for by the batch when the first of it is needed; threads may share one."""

    def __init__(self, mapillary: Mapillary) -> None:
        self._mapillary = mapillary
        self._wanted: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._links: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._lock = threading.Lock()

    def want(self, keys: Iterable[tuple[str, int]]) -> None:
        """Remembers identifiers and widths that will be needed, in that order."""
        with self._lock:
            for key in keys:
                self._wanted[key] = None
                self._wanted.move_to_end(key)
            while len(self._wanted) > KEPT_WANTED:
                self._wanted.popitem(last=False)

    def find(self, id_: str, width: int, *, refused: str | None = None) -> str | None:
        """Returns a link that should be good now, None where the service has none.

        Args:
            refused: the link that was just refused.

        Raises:
            ServiceError: if the service fails.
        """
        key = (id_, width)
        with self._lock:  # one thread asks, the others wait for its batch
            link = self._links.get(key)
            if link is None or link == refused or is_expired(link):
                self._ask(key)
                link = self._links.get(key)
            return link

    def _ask(self, key: tuple[str, int]) -> None:
        """Asks for a link, and for those that other threads wait for, that will be needed next, or have grown old."""
        old = [other for other, link in self._links.items() if is_expired(link)]
        others = (other[0] for other in (*self._wanted, *old) if other[1] == key[1] and other != key)
        batch = [key[0], *islice(dict.fromkeys(others), BATCH - 1)]
        found = self._mapillary.image_urls(batch, key[1])
        for id_ in reversed(batch):  # what is needed first is forgotten last
            self._wanted.pop((id_, key[1]), None)
            self._links.pop((id_, key[1]), None)
            if id_ in found:
                self._links[id_, key[1]] = found[id_]
        while len(self._links) > KEPT_LINKS:
            self._links.popitem(last=False)


def is_expired(link: str) -> bool:
    """True where a link's own date, `oe` in hexadecimal Unix time, is past."""
    found = re.search(r"[?&]oe=([0-9A-Fa-f]{8})(?:&|$)", link)
    return found is not None and int(found[1], 16) <= time.time()


def thin_out(photos: Sequence[Photo]) -> list[Photo]:
    """Returns photos without near duplicates: of each sequence those, in the order of time, that are apart."""
    kept: defaultdict[str, list[Photo]] = defaultdict(list)
    for photo in sorted(photos, key=lambda p: (p.captured_at.timestamp() if p.captured_at else math.inf, p.id)):
        run = kept[photo.sequence or photo.id]
        if all(_are_apart(photo, other) for other in run):
            run.append(photo)
    return [photo for run in kept.values() for photo in run]


def _are_apart(photo: Photo, other: Photo) -> bool:
    if photo.heading_deg is not None and other.heading_deg is not None:
        turn = abs((photo.heading_deg - other.heading_deg + 180) % 360 - 180)
        if turn >= APART_DEG:
            return True
    return distance_m(photo.lon, photo.lat, other.lon, other.lat) >= APART_M


def _group(places: Sequence[Place]) -> Iterator[Box]:
    """Yields boxes that hold the hexagons of cells near each other."""
    groups: defaultdict[tuple[int, int], list[Box]] = defaultdict(list)
    for place in places:
        square = math.floor(place.lon / GROUP_DEG), math.floor(place.lat / GROUP_DEG)
        groups[square].append(box_around(place.key, 0))
    for square in sorted(groups):
        west, south, east, north = zip(*groups[square], strict=True)
        yield min(west), min(south), max(east), max(north)


def _bounds_near(tile: mercantile.Tile, outline: shapely.Geometry) -> shapely.Geometry:
    """A tile's box of degrees on the side of the antimeridian where an outline lies."""
    west, south, east, north = mercantile.bounds(tile)
    turn = 360 * round((outline.centroid.x - (west + east) / 2) / 360)
    return shapely.box(west + turn, south, east + turn, north)
