"""Sentinel-2 from a STAC API: one search for a unit, the best scenes for each cell, windows read from their files."""

import json
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from geodata.boxes import box_over, unwrap
from geodata.grid import footprint, make_grid
from geodata.raster import Raster
from geodata.services.stac_api import StacSearch
from geodata.sources.files import Limits
from geodata.sources.patches import PatchCache
from geodata.sources.rasters import Rasters
from geodata.sources.remote import RemoteSource
from geodata.sources.scene_choice import COLLECTIONS, SceneChoice
from geodata.sources.scenes import (
    FINEST,
    Scene,
    SceneError,
    describe_chain,
    drop_duplicates,
    parse_scene,
    rank_scenes,
    season_of,
)  # fmt: skip
from geodata.sources.source import Finding
from geodata.window import read_bands, read_classes
from schemas.drop import Drop, Reason
from schemas.grid import Grid
from schemas.modality import SENTINEL2, SENTINEL2_BANDS
from schemas.reference import Item, Place, Reference
from schemas.sample import format_time

REACH_M = 1200.0
"""A patch reaches at most so far beyond its cell's unit: half a patch and its offset."""
CLOUDY_CLASSES = (3, 8, 9, 10)
"""Cloud shadow, cloud of medium and high probability, thin cirrus (ESA, Sentinel-2 L2A scene classification)."""
DARK_DN = 1000
"""With the offset of baseline 04.00 in it, a patch has hardly a pixel below this."""
LICENCE = "Copernicus Sentinel data terms (free, full and open)"


class Sentinel2Source(RemoteSource):
    """Finds scenes and reads patches."""

    modality = SENTINEL2.name

    def __init__(
        self, stac: StacSearch, rasters: Rasters, choice: SceneChoice, *, limits: Limits, cache: str = ""
    ) -> None:
        super().__init__(choice.provider)
        self._patches = PatchCache(cache)
        self._stac, self._rasters, self._choice, self._limits = stac, rasters, choice, limits

    def find(self, places: Sequence[Place], halo: Sequence[Place]) -> Iterator[Finding | Drop]:
        """Yields references for the cells of one unit; see `Source.find`."""
        unit = places[0].unit
        features = self._stac.find(
            COLLECTIONS[self._choice.provider], box_over(unit, REACH_M), period=self._choice.period,
            query={"eo:cloud_cover": {"lt": self._choice.max_cloud_percent}},
        )  # fmt: skip
        scenes: list[Scene] = []
        for feature in features:
            try:
                scenes.append(parse_scene(feature))
            except SceneError as error:
                yield self._drop(unit, Reason.WRONG_BANDS, str(error), item_id=feature["id"])
        scenes, repeated = drop_duplicates(scenes)
        if repeated:
            detail = f"newer products of the same acquisitions are there ({repeated[0].id} ...)"
            yield self._drop(unit, Reason.DUPLICATE, detail, count=len(repeated))
        used: set[str] = set()
        for place in places:
            for slot in range(self._choice.seasons):
                of_season = [s for s in scenes if season_of(s.captured_at, self._choice.seasons) == slot]
                chains = rank_scenes(of_season, _patch(place), make_grid(place.key, SENTINEL2.name))
                for rank, chain in enumerate(chains[: self._limits.scene_tries]):
                    used |= {scene.id for scene in chain}
                    yield self._describe(place, slot, rank, chain)
                if not chains:
                    season = f" of season {slot}" if self._choice.seasons > 1 else ""
                    detail = f"none of {len(of_season)} scenes{season} in {self._choice.period} holds the patch"
                    yield self._drop(place.key, Reason.NO_SCENE, detail, value=len(of_season))
        if unused := [scene for scene in scenes if scene.id not in used]:
            yield self._drop(unit, Reason.NOT_CHOSEN, "no cell of the unit uses these scenes", count=len(unused))

    def read_raster(self, item: Item, grid: Grid) -> Raster:
        """Returns twelve bands with their clouds; 20 m and 60 m bands are interpolated (bilinear). Raises ReadError."""
        return self._patches.read(item, grid, self._read)

    def close(self) -> None:
        """Closes all rasters."""
        self._rasters.close()

    def _read(self, item: Item, grid: Grid) -> Raster:
        parts = json.loads(item.href)["parts"]
        raster = self._read_part(parts[0], grid)
        for part in parts[1:]:
            if raster.valid.all():
                break
            raster = _complete(raster, self._read_part(part, raster.grid))
        return raster

    def _describe(self, place: Place, slot: int, rank: int, chain: Sequence[Scene]) -> Finding:
        item_id, href = describe_chain(chain)
        scene = chain[0]
        middle = scene.geometry.centroid
        item = Item(
            self.name, item_id, self.modality, href, middle.x, middle.y, format_time(scene.captured_at), LICENCE,
            f"Contains modified Copernicus Sentinel data {scene.captured_at.year}", crs=scene.crs, bounds=scene.bounds,
            note=f"Sentinel-2 L2A, processing baseline {scene.baseline}, offset {scene.offset}",
        )  # fmt: skip
        return Finding(Reference(place.key, self.modality, rank, self.name, item_id, slot), item)

    def _read_part(self, part: dict[str, object], grid: Grid) -> Raster:
        hrefs: dict[str, str] = part["bands"]  # type: ignore[assignment]
        offset, note = int(str(part["offset"])), ""
        values: dict[str, NDArray[np.generic]] = {}
        valid = np.ones(grid.shape, dtype=bool)
        for band in sorted(hrefs, key=lambda name: (name not in FINEST, name)):
            raster = self._rasters.read(hrefs[band], partial(_read_band, grid=grid))
            grid, valid, values[band] = raster.grid, valid & raster.valid, raster.values[0]
        stack = np.stack([values[band] for band in SENTINEL2_BANDS])
        if part.get("doubtful"):
            darkest = float(np.percentile(stack[:, valid].min(axis=0), 1)) if valid.any() else 0.0
            offset = offset if darkest >= DARK_DN else 0
            note = f"darkest pixels {darkest:.0f}: offset {offset} applied"
        stack = np.where(valid, np.clip(stack.astype(np.int32) + offset, 1, 65535), 0).astype(np.uint16)
        cloud = None
        if part["classes"]:
            classes = self._rasters.read(str(part["classes"]), partial(read_classes, grid=grid))
            cloud = np.isin(classes, CLOUDY_CLASSES)
        return Raster(stack, valid, grid, cloud, note)


def _read_band(dataset: DatasetReader, grid: Grid) -> Raster:
    """Digital numbers; the files do not all say that 0 is a gap."""
    return read_bands(dataset, grid, [1], SENTINEL2, nodata=0)


def _complete(raster: Raster, other: Raster) -> Raster:
    """Fills the gaps of a patch from another on the same grid."""
    take = other.valid & ~raster.valid
    if other.grid != raster.grid or not take.any():
        return raster
    values = np.where(take, other.values, raster.values)
    cloud = None
    if raster.cloud is not None and other.cloud is not None:
        cloud = np.where(take, other.cloud, raster.cloud)
    return Raster(values, raster.valid | take, raster.grid, cloud, raster.note)


def _patch(place: Place) -> shapely.Polygon:
    """The patch's footprint, degrees, in one piece also across the antimeridian."""
    corners = footprint(make_grid(place.key, SENTINEL2.name))
    corners[:, 0] = unwrap(corners[:, 0], place.lon)
    return shapely.Polygon(corners)
