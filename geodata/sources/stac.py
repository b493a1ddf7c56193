"""A static STAC catalogue on disk: an Item, an ItemCollection, or a catalog.json with its items."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlparse

import pystac
import rasterio
from pyproj.exceptions import ProjError
from rasterio.errors import RasterioError

from geodata import cells
from geodata.sources.folder import describe_raster
from geodata.sources.source import Catalogue, SourceError
from schemas.drop import Drop, Reason, Stage
from schemas.modality import DEM, SENTINEL2, SENTINEL2_BANDS
from schemas.reference import Item
from schemas.sample import format_time

COMMON_NAMES = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06",
    "rededge3": "B07", "nir": "B08", "nir08": "B8A", "nir09": "B09", "swir16": "B11", "swir22": "B12",
}  # fmt: skip
"""Asset names of Earth Search and the Sentinel-2 bands they stand for."""
BASELINE_OFFSET = -1000
"""Added to digital numbers of processing baseline 04.00 and later (ESA, Sentinel-2 Products Specification, 14.9)."""


def scan_stac(name: str, path: Path, *, resolution: int) -> Catalogue:
    """Lists the Sentinel-2 and elevation items of a catalogue whose assets are local files.

    Asset files are looked for where the href says, and under their bare name beside the catalogue.

    Raises:
        SourceError: if the file is no STAC.
    """
    catalogue = Catalogue()
    seen: set[str] = set()
    for stac_item in _read_items(path):
        is_new = stac_item.id not in seen
        seen.add(stac_item.id)
        offered = list(_bands_of(stac_item)) if is_new else []
        if not offered:
            reason = Reason.UNKNOWN_MODALITY if is_new else Reason.DUPLICATE
            detail = f"assets {', '.join(stac_item.assets)[:200]}" if is_new else "an earlier item has the same id"
            catalogue.drops.append(Drop("", "", Stage.FIND, reason, None, detail, name, stac_item.id))
        for modality, bands in offered:
            item = _describe(name, stac_item, modality, {b: _locate(href, path) for b, href in bands.items()})
            wanted = SENTINEL2_BANDS if modality == SENTINEL2.name else DEM.bands
            missing = [band for band in wanted if band not in bands or _locate(bands[band], path) is None]
            if missing:
                is_named = any(band in bands for band in missing)
                fault = (
                    Reason.MISSING_FILE if is_named else Reason.WRONG_BANDS,
                    f"no {'local file' if is_named else 'asset'} for {', '.join(missing)}",
                )
            else:
                located = _locate_extent(item, path.parent)
                if isinstance(located, Item):
                    catalogue.items.append(located)
                    continue
                fault = located
            key = cells.cell_at(item.lon, item.lat, resolution)
            catalogue.drops.append(Drop(key, modality, Stage.FIND, fault[0], None, fault[1], name, item.item_id))
    return catalogue


def _locate_extent(item: Item, folder: Path) -> Item | tuple[Reason, str]:
    """Fills in where an item lies, from its finest band; or says why that cannot be seen."""
    bands = json.loads(item.href)["bands"]
    try:
        with rasterio.open(folder / bands.get("B02", next(iter(bands.values())))) as first:
            return describe_raster(item, first)
    except RasterioError as error:
        return Reason.UNREADABLE, str(error)
    except (ValueError, ProjError) as error:
        return Reason.NO_GEOREFERENCE, str(error)


def _read_items(path: Path) -> Iterator[pystac.Item]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("type") == "FeatureCollection":
            for feature in document["features"]:
                yield pystac.Item.from_dict(feature)
        elif document.get("type") == "Feature":
            yield pystac.Item.from_dict(document)
        else:
            catalog = pystac.Catalog.from_file(str(path))
            yield from catalog.get_items(recursive=True)
    except (OSError, ValueError, KeyError, pystac.STACError, pystac.STACTypeError) as error:
        raise SourceError(f"{path} is no STAC Item, ItemCollection or Catalog: {error}.") from error


def _bands_of(item: pystac.Item) -> Iterator[tuple[str, dict[str, str]]]:
    hrefs = {name: asset.get_absolute_href() or asset.href for name, asset in item.assets.items()}
    bands = {COMMON_NAMES.get(name, name): href for name, href in hrefs.items()}
    if len(set(bands) & set(SENTINEL2_BANDS)) >= 3:
        yield SENTINEL2.name, {band: bands[band] for band in SENTINEL2_BANDS if band in bands}
    elif "dem" in (item.collection_id or "").lower() or "dem" in item.id.lower():
        data = hrefs.get("data") or hrefs.get("elevation") or next(iter(hrefs.values()), None)
        if data is not None:
            yield DEM.name, {DEM.bands[0]: data}


def _locate(href: str, catalogue: Path) -> str | None:
    """Returns the file of an href relative to the catalogue's folder; None where it is not on this machine."""
    direct, beside = Path(urlparse(href).path), catalogue.parent / Path(urlparse(href).path).name
    if not urlparse(href).scheme and (catalogue.parent / direct).is_file():
        return str(catalogue.parent / direct)
    return beside.name if beside.is_file() else None


def _describe(name: str, item: pystac.Item, modality: str, bands: dict[str, str | None]) -> Item:
    west, south, east, north = item.bbox or (0.0, 0.0, 0.0, 0.0)
    properties = item.properties
    is_offset = str(properties.get("s2:processing_baseline", "")) >= "04.00"
    is_removed = bool(properties.get("earthsearch:boa_offset_applied", False))
    files = {"bands": bands, "offset": BASELINE_OFFSET if is_offset and not is_removed else 0}
    described = Item(
        name, item.id, modality, json.dumps(files, sort_keys=True), (west + east) / 2, (south + north) / 2,
        format_time(item.datetime), str(properties.get("license", "")), str(properties.get("attribution", "")),
    )  # fmt: skip
    return replace(described, note="Copernicus Sentinel-2 L2A" if modality == SENTINEL2.name else item.id)
