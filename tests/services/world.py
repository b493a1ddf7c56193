"""A small piece of Luxembourg as the services would have it: every pixel a known function of its longitude and latitude.

Scenes, elevation tiles and orthophotos are written as full-size files in which only the blocks around the area exist.
The STAC items are the recorded ones with their place, time and files changed.
"""

import copy
import io
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path

import mercantile
import numpy as np
import rasterio
from affine import Affine
from PIL import Image
from rasterio.windows import Window
from rasterio.windows import transform as window_transform

from geodata.grid import transformer
from schemas.modality import SENTINEL2_BANDS
from tests.runs import SHARED

RECORDINGS = SHARED / "recordings" / "planetary-computer"
CENTRE = (6.0, 49.76)
"""On the border of two UTM zones and of two elevation tiles."""
TILES = {"31UGR": ("EPSG:32631", 699960, 5600040), "32UKA": ("EPSG:32632", 199980, 5600040)}
"""MGRS tile: zone, left, top."""
SCENE_M, BLOCK = 109_800, 512
ACCOUNT = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2"
GSD = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60}
"""The other bands have 20 m."""


@dataclass(frozen=True)
class Take:
    """One acquisition of both tiles."""

    day: str
    cloud_percent: float = 5.0
    baseline: str = "05.10"
    cloudy_east_of: float | None = None
    """The scene classification says cloud east of this longitude."""
    add: int = 0
    """Added to all digital numbers, so that takes can be told apart."""
    is_written: bool = True
    """False for a scene whose files nobody should read."""


TAKES = (
    Take("2024-07-11", 2.0),
    Take("2024-08-01", 1.0, cloudy_east_of=CENTRE[0] - 1, add=7),
    Take("2024-07-11", 2.0, baseline="04.00", is_written=False),
    Take("2024-08-20", 97.0, is_written=False),
    Take("2024-01-15", 30.0, add=31),
)
"""The best; a newer one that is under cloud all over the area; an old processing; a covered one; a winter."""


def dn(band: str, lon: np.ndarray, lat: np.ndarray, take: Take) -> np.ndarray:
    """Digital numbers with the offset of 1000, smooth over hundreds of metres, dark enough for land."""
    number = SENTINEL2_BANDS.index(band)
    wave = 150 * np.sin(lon * 300 + number) + 150 * np.cos(lat * 400 + number)
    return 1000 + 500 + 30 * number + wave + take.add


def height_m(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    return 300 + 40 * np.sin(lon * 150) + 40 * np.cos(lat * 200)


def colour(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Aerial picture: smooth, shape (3, ...), 0 ... 255."""
    return np.stack(
        [127 + 90 * np.sin(lon * 3000), 127 + 90 * np.cos(lat * 4000), 127 + 60 * np.sin((lon + lat) * 2500)]
    )


@dataclass
class World:
    """Files below `folder/{account}/{container}/...`, items and collections for the STAC API."""

    folder: Path
    half_m: float = 3200.0
    takes: tuple[Take, ...] = TAKES
    items: list[dict] = field(default_factory=list)
    collections: list[dict] = field(default_factory=list)

    def write(self) -> "World":
        recorded = json.loads((RECORDINGS / "s2l2a-item-20220612-baseline0400.json").read_text())
        self.collections.append(json.loads((RECORDINGS / "s2l2a-collection.json").read_text()))
        for take in self.takes:
            for tile in TILES:
                self.items.append(self._write_scene(recorded, tile, take))
        elevation = json.loads((RECORDINGS / "cop-dem-glo-30-items-limit1.json").read_text())["features"][0]
        for lon in (5, 6):
            self.items.append(self._write_elevation(elevation, lon, 49))
        for name in ("cop-dem-glo-30", "cop-dem-glo-90", "naip"):
            self.collections.append(_collection(name))
        return self

    def _write_scene(self, recorded: dict, tile: str, take: Take) -> dict:
        crs, left, top = TILES[tile]
        item = copy.deepcopy(recorded)
        stamp = take.day.replace("-", "") + "T103631"
        baseline = take.baseline.replace(".", "")
        made = f"{take.day.replace('-', '')}T{170000 + int(baseline)}"
        item["id"] = f"S2A_MSIL2A_{stamp}_R008_T{tile}_{made}"
        item["links"] = []
        corners = [(left, top - SCENE_M), (left + SCENE_M, top - SCENE_M), (left + SCENE_M, top), (left, top)]
        lon, lat = transformer(crs, "EPSG:4326").transform(*zip(*corners, strict=True))
        ring = [list(point) for point in zip(lon, lat, strict=True)]
        item["geometry"] = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        item["bbox"] = [min(lon), min(lat), max(lon), max(lat)]
        item["properties"] |= {
            "datetime": f"{take.day}T10:36:31.024000Z", "proj:epsg": int(crs[5:]), "s2:mgrs_tile": tile,
            "s2:granule_id": item["id"], "eo:cloud_cover": take.cloud_percent, "s2:product_uri": f"{item['id']}.SAFE",
            "s2:datatake_id": f"GS2A_{stamp}_047000_N{take.baseline}", "s2:processing_baseline": take.baseline,
            "s2:generation_time": f"{take.day}T17:00:{take.baseline[-2:]}.000Z", "s2:nodata_pixel_percentage": 0.0,
        }  # fmt: skip
        names = {*SENTINEL2_BANDS, "SCL"}
        item["assets"] = {name: asset for name, asset in item["assets"].items() if name in names}
        for name, asset in item["assets"].items():
            gsd = 20 if name == "SCL" else GSD.get(name, 20)
            path = f"{tile[:2]}/{tile[2]}/{tile[3:]}/{take.day.replace('-', '/')}/{item['id']}/{name}_{gsd}m.tif"
            asset |= {
                "href": f"{ACCOUNT}/{path}", "proj:bbox": [left, top - SCENE_M, left + SCENE_M, top],
                "proj:shape": [SCENE_M // gsd] * 2, "proj:transform": [gsd, 0.0, left, 0.0, -gsd, top],
            }  # fmt: skip
            values = _classes if name == "SCL" else dn
            dtype = "uint8" if name == "SCL" else "uint16"
            affine = Affine(gsd, 0, left, 0, -gsd, top)
            path = self.folder / "sentinel2l2a01" / "sentinel2-l2" / path
            if take.is_written:
                size = SCENE_M // gsd
                self._write(path, affine, crs, (size, size), dtype, partial(values, name, take=take))
        return item

    def _write_elevation(self, recorded: dict, lon: int, lat: int) -> dict:
        item = copy.deepcopy(recorded)
        item["id"] = f"Copernicus_DSM_COG_10_N{lat:02d}_00_E{lon:03d}_00_DEM"
        item["links"] = []
        step = 1 / 3600
        west, north = lon - step / 2, lat + 1 + step / 2
        item["bbox"] = [west, north - 1, west + 1, north]
        item["geometry"] = {"type": "Polygon", "coordinates": [[
            [west, north - 1], [west + 1, north - 1], [west + 1, north], [west, north], [west, north - 1],
        ]]}  # fmt: skip
        item["properties"] |= {"proj:shape": [3600, 3600], "proj:transform": [step, 0.0, west, 0.0, -step, north]}
        href = f"https://elevationeuwest.blob.core.windows.net/copernicus-dem/COP30_hh/{item['id']}.tif"
        item["assets"] = {"data": {**item["assets"]["data"], "href": href}}
        path = self.folder / "elevationeuwest" / "copernicus-dem" / "COP30_hh" / f"{item['id']}.tif"
        affine = Affine(step, 0, west, 0, -step, north)
        self._write(path, affine, "EPSG:4326", (3600, 3600), "float32", height_m)
        return item

    def _write(self, path: Path, affine: Affine, crs: str, size: tuple[int, int], dtype: str, function) -> None:
        """Writes the blocks around the area; the others stay holes in the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        profile = {
            "driver": "GTiff", "dtype": dtype, "count": 1, "width": size[0], "height": size[1], "crs": crs,
            "transform": affine, "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate",
            "zlevel": 1, "sparse_ok": True,
        }  # fmt: skip
        with rasterio.open(path, "w", **profile) as dataset:
            for window in _blocks(affine, crs, size, self.half_m):
                values = np.asarray(function(*_lonlat(affine, crs, window.flatten())))
                dataset.write((values if dtype == "float32" else values.round()).astype(dtype), 1, window=window)


def _blocks(affine: Affine, crs: str, size: tuple[int, int], half_m: float) -> list[Window]:
    """Windows of the blocks that touch the area."""
    x, y = transformer("EPSG:4326", crs).transform(*CENTRE)
    reach = half_m / (111_320 * math.cos(math.radians(CENTRE[1])) if crs == "EPSG:4326" else 1)
    left, right = sorted(((x - reach - affine.c) / affine.a, (x + reach - affine.c) / affine.a))
    top, bottom = sorted(((y - reach - affine.f) / affine.e, (y + reach - affine.f) / affine.e))
    whole = Window(0, 0, *size)
    return [
        Window(column * BLOCK, row * BLOCK, BLOCK, BLOCK).intersection(whole)
        for column in range(max(0, int(left)) // BLOCK, min(size[0] - 1, int(right)) // BLOCK + 1)
        for row in range(max(0, int(top)) // BLOCK, min(size[1] - 1, int(bottom)) // BLOCK + 1)
    ]


@lru_cache(maxsize=256)
def _lonlat(affine: Affine, crs: str, window: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    here = window_transform(Window(*window), affine)
    i, j = np.meshgrid(np.arange(window[2]) + 0.5, np.arange(window[3]) + 0.5)
    lon, lat = transformer(crs, "EPSG:4326").transform(here.c + i * here.a, here.f + j * here.e)
    return np.asarray(lon), np.asarray(lat)


def _classes(name: str, lon: np.ndarray, lat: np.ndarray, take: Take) -> np.ndarray:
    edge = 999.0 if take.cloudy_east_of is None else take.cloudy_east_of
    return np.where(lon > edge, 9, 4)


def _collection(name: str) -> dict:
    return {
        "type": "Collection", "stac_version": "1.0.0", "id": name, "description": name, "license": "proprietary",
        "links": [], "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }  # fmt: skip


def render_tile(z: int, x: int, y: int) -> bytes:
    """A 256-pixel map tile of the aerial picture, JPEG."""
    bounds = mercantile.xy_bounds(x, y, z)
    step = (bounds.right - bounds.left) / 256
    along = np.arange(256) + 0.5
    lon, _ = transformer("EPSG:3857", "EPSG:4326").transform(bounds.left + along * step, along * 0)
    _, lat = transformer("EPSG:3857", "EPSG:4326").transform(along * 0, bounds.top - along * step)
    lon, lat = np.meshgrid(lon, lat)
    pixels = colour(np.asarray(lon), np.asarray(lat)).transpose(1, 2, 0).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def scatter(number: int, seed: int, half_m: float = 1800.0) -> list[tuple[float, float]]:
    """Positions around the centre: lon, lat."""
    rng = np.random.default_rng(seed)
    east, north = rng.uniform(-half_m, half_m, (2, number)) / 111_320
    return [
        (float(CENTRE[0] + e / math.cos(math.radians(CENTRE[1]))), float(CENTRE[1] + n))
        for e, n in zip(east, north, strict=True)
    ]


def time_of(number: int) -> datetime:
    return datetime(2023, 5, 1, 8, tzinfo=UTC) + timedelta(days=3 * number, minutes=7 * number)
