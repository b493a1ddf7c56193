"""Sentinel-2 scenes as STAC items of two providers describe them: parsed, freed of duplicates, ranked for a patch."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import shapely
from shapely.affinity import translate
from shapely.geometry import shape

from geodata.grid import transformer
from geodata.sources.stac import BASELINE_OFFSET, COMMON_NAMES
from schemas.grid import Grid
from schemas.modality import SENTINEL2_BANDS
from schemas.sample import parse_time

CORRUPT_WIDTH_DEG = 20.0
"""No tile is wider: such a footprint was torn at the antimeridian."""
MIN_NEW_SHARE = 0.01
"""An older product of the same acquisition and tile is kept where at least this share of it is not in the newer."""
FINEST = ("B02", "B03", "B04", "B08")
"""The bands of 10 m."""
_HARMONISED = "sentinel-2-l2a"


class SceneError(ValueError):
    """The item is no scene that can be used."""


@dataclass(frozen=True)
class Scene:
    """One Sentinel-2 tile of one acquisition."""

    id: str
    """STAC identifier."""
    acquisition: str
    """Datatake without the processing baseline that its name ends in."""
    tile: str
    """MGRS tile."""
    baseline: str
    """Processing baseline, such as 05.09."""
    generated: str
    """When the product was made."""
    captured_at: datetime
    """When the scene was taken."""
    cloud_percent: float
    """Of the whole scene."""
    nodata_percent: float
    """Of the whole scene."""
    geometry: shapely.Geometry
    """Where there is data, degrees."""
    crs: str
    """UTM zone."""
    bounds: tuple[float, float, float, float]
    """left, bottom, right, top in the CRS."""
    bands: tuple[tuple[str, str], ...]
    """Band and unsigned address, in the order of `SENTINEL2_BANDS`."""
    classes: str
    """Address of the scene classification; "" where there is none."""
    offset: int
    """Added to digital numbers to make reflectance x 10000."""
    is_offset_doubtful: bool
    """True where the pixels must confirm that the offset is still in them."""
    rank: int
    """0 where the provider's product is to be preferred, 1 otherwise."""

    @property
    def files(self) -> dict[str, object]:
        """What is needed to read it, for `Item.href`."""
        return {
            "id": self.id, "bands": dict(self.bands), "classes": self.classes, "offset": self.offset,
            "doubtful": self.is_offset_doubtful,
        }  # fmt: skip

    @cached_property
    def middle(self) -> tuple[float, float]:
        """Centre of the tile in its CRS."""
        left, bottom, right, top = self.bounds
        return (left + right) / 2, (bottom + top) / 2


def parse_scene(item: dict[str, Any]) -> Scene:
    """Reads a STAC item of the Planetary Computer or of Earth Search.

    Raises:
        SceneError: with what is missing or impossible.
    """
    properties, assets = item["properties"], item["assets"]
    try:
        named = {COMMON_NAMES.get(name, name): asset for name, asset in assets.items()}
        bands = tuple((band, named[band]["href"]) for band in SENTINEL2_BANDS)
        geometry = shape(item["geometry"])
        geometry = _join_at_antimeridian(geometry)
        if geometry.bounds[2] - geometry.bounds[0] > CORRUPT_WIDTH_DEG:
            raise SceneError(f"its footprint is {geometry.bounds[2] - geometry.bounds[0]:.0f} degrees wide")
        offset, is_doubtful = decide_offset(item)
        classes = assets.get("SCL") or assets.get("scl") or {"href": ""}
        height, width = named["B02"]["proj:shape"]
        step, _, left, _, _, top = named["B02"]["proj:transform"][:6]
        return Scene(
            item["id"], _acquisition(properties), _tile(item), str(properties.get("s2:processing_baseline", "")),
            str(properties.get("s2:generation_time", "")), parse_time(properties["datetime"]),
            float(properties.get("eo:cloud_cover", 0)), float(properties.get("s2:nodata_pixel_percentage", 0)),
            shapely.make_valid(geometry), _crs(properties), (left, top - height * step, left + width * step, top),
            bands, classes["href"], offset, is_doubtful, int("earthsearch:boa_offset_applied" in properties),
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        missing = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise SceneError(f"{item['id']}: {missing}") from error


def decide_offset(item: dict[str, Any]) -> tuple[int, bool]:
    """Returns what to add to the digital numbers of an item, and whether its pixels must confirm it.

    Processing baseline 04.00 and later adds 1000 (ESA, Sentinel-2 Products Specification, 14.9); the sensing date is
    no signal, for old scenes were processed anew. Earth Search's collection 1 says so in raster:bands; its older
    collection has mostly taken the offset away, and where it says that it has not, it is not always right.
    """
    properties = item["properties"]
    is_added = str(properties.get("s2:processing_baseline", "")) >= "04.00"
    is_removed = properties.get("earthsearch:boa_offset_applied")
    if is_removed is not None:
        return (BASELINE_OFFSET, True) if is_added and not is_removed else (0, False)
    named = item["assets"].get("blue") or item["assets"].get("B02") or {}
    stated = (named.get("raster:bands") or [{}])[0]
    if "offset" in stated and "scale" in stated:
        return round(stated["offset"] / stated["scale"]), False
    return (BASELINE_OFFSET if is_added else 0), False


def drop_duplicates(scenes: Iterable[Scene]) -> tuple[list[Scene], list[Scene]]:
    """Parts scenes into those to use and those of which a newer product is there.

    Of one acquisition and tile the newest baseline stands; an older product is kept only where it shows what the
    newer does not: an acquisition split in two.
    """
    kept: list[Scene] = []
    dropped: list[Scene] = []
    best_first = sorted(scenes, key=lambda s: (-s.rank, s.baseline, s.generated, s.id), reverse=True)
    for scene in best_first:
        newer = [s for s in kept if (s.acquisition, s.tile) == (scene.acquisition, scene.tile)]
        is_repeated = any(s.baseline > scene.baseline or s.rank < scene.rank for s in newer)
        shown = shapely.union_all([s.geometry for s in newer])
        if newer and (is_repeated or scene.geometry.difference(shown).area < MIN_NEW_SHARE * scene.geometry.area):
            dropped.append(scene)
        else:
            kept.append(scene)
    return sorted(kept, key=lambda s: s.id), sorted(dropped, key=lambda s: s.id)


def rank_scenes(scenes: Sequence[Scene], patch: shapely.Polygon, grid: Grid) -> list[list[Scene]]:
    """Returns the scenes that hold a patch, best first, each with those that complete it.

    The best lies on the patch's own lattice (no resampling), has least cloud (in steps of 5 %) and nodata (20 %), and
    the patch near its middle; then the newest. Of one acquisition, whose tiles overlap, only the best counts. A scene
    that holds only part of the patch comes with others of the same acquisition that hold the rest.

    Args:
        patch: footprint, degrees, in one piece also across the antimeridian.
    """
    near = [_turn(scene, patch.centroid.x) for scene in scenes]
    touching = [scene for scene in near if scene.geometry.intersects(patch)]
    found = []
    for scene in touching:
        chain = [scene]
        shown = scene.geometry
        mates = [s for s in touching if s.id != scene.id and s.acquisition == scene.acquisition]
        for mate in sorted(mates, key=lambda s: (s.crs != grid.crs, -s.geometry.intersection(patch).area, s.id)):
            if shown.covers(patch):
                break
            if mate.geometry.intersection(patch).difference(shown).area > 0:
                chain.append(mate)
                shown = shown.union(mate.geometry)
        if shown.buffer(1e-9).covers(patch):
            found.append(chain)
    best: dict[str, list[Scene]] = {}
    for chain in sorted(found, key=lambda chain: _order(chain[0], len(chain), grid)):
        best.setdefault(chain[0].acquisition, chain)
    return list(best.values())


def describe_chain(chain: Sequence[Scene]) -> tuple[str, str]:
    """Returns identifier and `Item.href` of a scene with those that complete it."""
    href = json.dumps({"parts": [scene.files for scene in chain]}, sort_keys=True)
    return "+".join(scene.id for scene in chain), href


def season_of(captured_at: datetime, seasons: int) -> int:
    """Returns the number of the season: of four, 0 is December to February; of one, always 0."""
    return (captured_at.month % 12) * seasons // 12


def _order(scene: Scene, parts: int, grid: Grid) -> tuple[object, ...]:
    x, y = transformer(grid.crs, scene.crs).transform(*grid.centre)
    off_km = round(max(abs(x - scene.middle[0]), abs(y - scene.middle[1])) / 1000)
    age = -scene.captured_at.astimezone(UTC).timestamp()
    cloud, nodata = scene.cloud_percent // 5, scene.nodata_percent // 20
    return scene.crs != grid.crs, cloud, parts, nodata, off_km // 10, age, scene.id


def _join_at_antimeridian(geometry: shapely.Geometry) -> shapely.Geometry:
    """Puts a footprint together that was cut at 180 degrees; its eastern part goes on beyond."""
    parts = list(getattr(geometry, "geoms", [geometry]))
    if len(parts) < 2 or geometry.bounds[2] - geometry.bounds[0] < 180:
        return geometry
    return shapely.union_all([translate(part, 360) if part.bounds[2] < 0 else part for part in parts])


def _turn(scene: Scene, lon: float) -> Scene:
    """Brings a scene's footprint to the side of the antimeridian where a longitude is."""
    turn = 360 * round((lon - scene.geometry.centroid.x) / 360)
    return replace(scene, geometry=translate(scene.geometry, turn)) if turn else scene


def _acquisition(properties: dict[str, Any]) -> str:
    datatake = str(properties.get("s2:datatake_id", ""))
    return re.sub(r"_N\d\d\.\d\d$", "", datatake) or f"{properties.get('platform')} {properties['datetime']}"


def _tile(item: dict[str, Any]) -> str:
    properties = item["properties"]
    named = properties.get("s2:mgrs_tile") or str(properties.get("grid:code", "")).removeprefix("MGRS-")
    if not named:
        raise SceneError("no MGRS tile is named")
    return str(named)


def _crs(properties: dict[str, Any]) -> str:
    code = properties.get("proj:code") or f"EPSG:{properties['proj:epsg']}"
    return str(code)
