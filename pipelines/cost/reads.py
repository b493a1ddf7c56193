"""Which files, tiles and batches a shard asks of each service when it is read; arithmetic only.

Files are read as `geodata.sources.rasters` reads them: a worker keeps some open from shard to shard, and the blocks of
an open file are read once. A request brings the missing blocks beside each other in one row of a file, and whole
chunks of GDAL's (`CPL_VSIL_CURL_CHUNK_SIZE`).
"""

import json
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from geodata import cells
from geodata.grid import make_grid, patch_centres, transformer
from geodata.services.mapillary import BATCH
from geodata.services.mediawiki import EXTRACTS_AT_ONCE
from geodata.services.orthophotos import find_orthophoto
from geodata.services.signing import is_blob
from geodata.services.tiles import choose_zoom, tiles_over
from geodata.sources.live import LIVE_MODALITIES
from geodata.sources.rasters import OPEN_RASTERS
from geodata.sources.scenes import FINEST
from pipelines.cost.measures import Block, Measures
from pipelines.plan.recipe import Recipe
from schemas.modality import AERIAL, DEM, SENTINEL2
from schemas.reference import Item, Reference

OPENING_REQUESTS, OPENING_BYTES = 2, 32_768
"""GDAL asks for a file's size and for its header: `GDAL_INGESTED_BYTES_AT_OPEN`."""
CHUNK_BYTES = 16_384
"""GDAL reads whole chunks: half of one too much at either end."""
KERNEL_PX = 3
"""Pixels around a patch that interpolation needs."""
METRES_PER_DEG = 111_320.0
NAIP_GSD_M = 0.6
"""Pixels of NAIP: 0.6 m in most years."""

Key = tuple[str, str, str]
"""Source, modality and identifier of an item."""


@dataclass(frozen=True, eq=False)
class File:
    """One file of an item, and where patches lie in it."""

    kind: str
    """Source and name of files with blocks of one size: `planetary-computer B02`."""
    href: str
    """Unsigned address."""
    middles: NDArray[np.float64]
    """Of the patches, pixels along and down from the file's corner, shape (N, 2)."""
    width_px: float
    """Of a patch with its kernel, along."""
    height_px: float
    """Of a patch with its kernel, down."""

    @property
    def service(self) -> str:
        """Who is asked for it."""
        return "blob" if is_blob(self.href) else "s3"


class FileReader:
    """Counts what one worker asks while it reads patches one after the other."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, set[tuple[int, int]]] = OrderedDict()

    def read(self, file: File, number: int, block: Block) -> tuple[int, float]:
        """Returns requests and bytes that a patch costs, given all that were read before.

        Args:
            number: of the patch in `file.middles`.
        """
        requests, size = 0, 0.0
        if file.href not in self._open:
            self._open[file.href] = set()
            requests, size = OPENING_REQUESTS, OPENING_BYTES
        self._open.move_to_end(file.href)
        while len(self._open) > OPEN_RASTERS:
            self._open.popitem(last=False)
        if block.size_bytes:
            along, down = file.middles[number].tolist()
            side = block.side_px
            span = (file.width_px / side, file.height_px / side)
            runs, blocks = add_blocks(self._open[file.href], (along / side, down / side), span)
            requests, size = requests + runs, size + blocks * block.size_bytes + runs * CHUNK_BYTES
        return requests, size


def add_blocks(
    seen: set[tuple[int, int]], middle: tuple[float, float], span: tuple[float, float]
) -> tuple[int, int]:  # fmt: skip
    """Adds the blocks under a window to those seen; returns how many requests bring the new ones, and their number.

    Blocks beside each other lie one after the other in a file and come in one request; what was read stays.

    Args:
        middle: of the window, in blocks along and down.
        span: its width and height, in blocks.
    """
    runs = found = 0
    columns = range(_first(middle[0], span[0]), _last(middle[0], span[0]) + 1)
    for row in range(_first(middle[1], span[1]), _last(middle[1], span[1]) + 1):
        new = [column for column in columns if (column, row) not in seen]
        runs += sum(column - 1 not in new for column in new)
        found += len(new)
        seen.update((column, row) for column in new)
    return runs, found


def _first(middle: float, span: float) -> int:
    return max(0, math.floor(middle - span / 2))


def _last(middle: float, span: float) -> int:
    return max(0, math.ceil(middle + span / 2) - 1)


class ShardReader:
    """Counts what each service is asked by workers that read shard after shard."""

    def __init__(self, recipe: Recipe, measures: Measures, *, workers: int) -> None:
        self._recipe, self._measures = recipe, measures
        self._workers = [FileReader() for _ in range(max(1, workers))]
        self._containers: set[str] = set()
        self._shards = 0

    def read(
        self, references: Sequence[Reference], named: Sequence[Reference], items: Mapping[Key, Item]
    ) -> Iterator[tuple[str, int, float]]:
        """Yields service, requests and bytes, some of them several times.

        Args:
            references: what is read, in the order of the plan.
            named: all references of the shard, spares too: batches hold these as well.
        """
        worker = self._workers[self._shards % len(self._workers)]
        self._shards += 1
        weigh = self._measures.answer_bytes
        yield from self._read_files(worker, references, items)
        for reference in references:
            item = items[key_of(reference)]
            if item.modality == AERIAL.name and reference.source in LIVE_MODALITIES and not item.href.startswith("{"):
                tiles = self._count_tiles(item, reference.key)
                yield "aerial", tiles, tiles * weigh["aerial"]
        photos = sum(r.source == "mapillary" for r in references)
        links = len({r.item_id for r in named if r.source == "mapillary"})
        yield "mapillary", math.ceil(links / BATCH) if photos else 0, links * weigh["mapillary"] if photos else 0
        yield "mapillary_images", photos, photos * weigh["mapillary_images"]
        articles = {r.item_id for r in named if r.source == "wikipedia"}
        for number in Counter(id_.rpartition(":")[0] for id_ in articles).values():
            yield "wikipedia", math.ceil(number / EXTRACTS_AT_ONCE), number * weigh["wikipedia"]

    def tokens(self) -> int:
        """Returns how many containers of blobs were read: each needs a token, again and again."""
        return len(self._containers)

    def _read_files(
        self, worker: FileReader, references: Sequence[Reference], items: Mapping[Key, Item]
    ) -> Iterator[tuple[str, int, float]]:
        places: defaultdict[Key, list[str]] = defaultdict(list)
        for reference in references:
            if reference.source in LIVE_MODALITIES and items[key_of(reference)].href.startswith("{"):
                places[key_of(reference)].append(reference.key)
        files = {key: files_of(items[key], keys) for key, keys in places.items()}
        number_of = {key: {place: number for number, place in enumerate(keys)} for key, keys in places.items()}
        for reference in references:
            key = key_of(reference)
            for file in files.get(key, ()):
                requests, size = worker.read(file, number_of[key][reference.key], self._measures.block(file.kind))
                yield file.service, requests, size
        for file in (file for group in files.values() for file in group if file.service == "blob"):
            parts = urlsplit(file.href)
            self._containers.add(f"{parts.netloc}/{parts.path.split('/')[1]}")

    def _count_tiles(self, item: Item, place: str) -> int:
        service = find_orthophoto(item.item_id.partition(" ")[0])
        if service is None:
            return 0
        grid = make_grid(place, AERIAL.name, gsd_m=self._recipe.encoding.aerial_gsd_m)
        return len(tiles_over(grid, choose_zoom(cells.centre(place)[1], grid.gsd_m, service)))


def key_of(reference: Reference) -> Key:
    """Returns what names a reference's item."""
    return reference.source, reference.modality, reference.item_id


def files_of(item: Item, places: Sequence[str]) -> list[File]:
    """Returns the files of a live raster and where the patches of some places lie in them; none for tiles."""
    if not item.href.startswith("{"):
        return []
    numbers = np.array([cells.to_cell(key) for key in places], dtype=np.uint64)
    parts = json.loads(item.href)["parts"]
    if item.modality == SENTINEL2.name:
        return [file for part in parts for file in _scene_files(item, part, numbers)]
    if item.modality == DEM.name:
        return [_elevation_file(part, numbers) for part in parts if part["href"]]
    return [_naip_file(item, href, numbers) for href in parts]


def _scene_files(item: Item, part: Mapping[str, object], numbers: cells.Cells) -> Iterator[File]:
    """The bands and the classes of one scene; a scene that completes another is taken to lie on its lattice."""
    assert item.crs is not None and item.bounds is not None
    centres = patch_centres(numbers, SENTINEL2)
    x, y = transformer("EPSG:4326", item.crs).transform(centres[:, 0], centres[:, 1])
    from_corner = np.stack([np.atleast_1d(x) - item.bounds[0], item.bounds[3] - np.atleast_1d(y)], axis=-1)
    hrefs: dict[str, str] = dict(part["bands"])  # type: ignore[call-overload]
    if part["classes"]:
        hrefs["SCL"] = str(part["classes"])
    for band, href in hrefs.items():
        gsd = 10 if band in FINEST else 60 if band in ("B01", "B09") else 20
        width = SENTINEL2.size_px * SENTINEL2.gsd_m / gsd + (0 if gsd == SENTINEL2.gsd_m else 2 * KERNEL_PX)
        yield File(f"{item.source} {band}", href, from_corner / gsd, width, width)


def _elevation_file(part: Mapping[str, object], numbers: cells.Cells) -> File:
    """A tile of one degree: pixels are one second high (GLO-90: three), and wider in degrees beyond 50 degrees."""
    west, south = (float(degrees) for degrees in part["square"])  # type: ignore[attr-defined]
    centres = patch_centres(numbers, DEM)
    seconds = 3 if part["label"] == "GLO-90" else 1
    down_px = 3600 / seconds
    along_px = down_px / _widening(max(abs(south), abs(south + 1)))
    lon = (centres[:, 0] - west + 180) % 360 - 180
    middles = np.stack([lon * along_px, (south + 1 - centres[:, 1]) * down_px], axis=-1)
    size_deg = DEM.size_px * DEM.gsd_m / METRES_PER_DEG
    width = size_deg / math.cos(math.radians(min(89.0, abs(south + 0.5)))) * along_px + 2 * KERNEL_PX
    return File(
        f"copernicus-dem {part['label']}", str(part["href"]), middles, width, size_deg * down_px + 2 * KERNEL_PX
    )


def _widening(lat: float) -> float:
    """Width of a pixel in its heights, by latitude (Copernicus DEM Product Handbook, table of grid spacing)."""
    steps = ((50, 1.0), (60, 1.5), (70, 2.0), (80, 3.0), (85, 5.0), (91, 10.0))
    return next(width for edge, width in steps if lat <= edge)


def _naip_file(item: Item, href: str, numbers: cells.Cells) -> File:
    """Where its corner lies the plan does not know: half a quadrangle of 6 km from the item's middle is as good."""
    centres = patch_centres(numbers, AERIAL)
    east = (centres[:, 0] - item.lon) * METRES_PER_DEG * math.cos(math.radians(item.lat))
    north = (centres[:, 1] - item.lat) * METRES_PER_DEG
    width = AERIAL.size_px * AERIAL.gsd_m / NAIP_GSD_M + 2 * KERNEL_PX
    middles = np.stack([east + 3000, 3500 - north], axis=-1) / NAIP_GSD_M
    return File("orthophotos naip", href, middles, width, width)
