"""collection.json: the corpus as a STAC 1.1 collection, whose items are its places and whose files are its assets.

Extensions: table 1.2 (columns), file 2.1 (sizes, digests), projection 2.0, eo 2.0 and raster 2.0 (bands).
"""

import json
from typing import Any

from geodata.licences import find_licence
from pipelines.files import storage
from pipelines.publishing.attribution import ATTRIBUTION
from pipelines.publishing.bands import SPECTRA
from pipelines.publishing.croissant import CROISSANT, summarise
from pipelines.publishing.facts import Facts, TableFile
from schemas.corpus import INDEX
from schemas.modality import MODALITIES, Modality

COLLECTION = "collection.json"
Json = dict[str, Any]

_EXTENSIONS = ("table/v1.2.0", "file/v2.1.0", "projection/v2.0.0", "eo/v2.0.0", "raster/v2.0.0")
_SHA256 = "1220"
"""What a multihash of this kind begins with: the function's code, and 32 bytes."""
_MEDIA = {"jpg": "image/jpeg", "geotiff": "image/tiff; application=geotiff", "txt": "text/plain"}
_KNOWN: dict[str, tuple[str, str]] = {
    "planetary-computer": ("European Union, ESA: Copernicus Sentinel-2", "https://sentinels.copernicus.eu"),
    "earth-search": ("European Union, ESA: Copernicus Sentinel-2", "https://sentinels.copernicus.eu"),
    "copernicus-dem": ("DLR, Airbus, ESA: Copernicus DEM", "https://dataspace.copernicus.eu"),
    "orthophotos": ("National mapping agencies", ""),
    "mapillary": ("Mapillary and its contributors", "https://www.mapillary.com"),
    "wikipedia": ("Wikipedia contributors", "https://www.wikipedia.org"),
}
"""Providers behind the live sources: name and address."""


def write_collection(output: str, manifest: Json, facts: Facts) -> None:
    """Writes the description of a corpus."""
    text = json.dumps(describe(manifest, facts), indent=1, ensure_ascii=False)
    storage.write_bytes(storage.join(output, COLLECTION), text.encode())


def describe(manifest: Json, facts: Facts) -> Json:
    """Returns the description of a corpus as a STAC collection."""
    views = [m for m in MODALITIES.values() if any(counts.get(m.name) for counts in manifest["counts"].values())]
    gsds = {m.name: manifest["options"]["aerial_gsd"] if m.name == "aerial" else m.gsd_m for m in views if m.is_raster}
    summaries: Json = {
        "modalities": [m.name for m in views],
        "splits": [split for split, counts in manifest["counts"].items() if counts.get("samples")],
        "countries": facts.countries, "gsd": sorted(set(gsds.values())), "proj:code": facts.crs,
    }  # fmt: skip
    return {
        "type": "Collection", "stac_version": "1.1.0",
        "stac_extensions": [f"https://stac-extensions.github.io/{name}/schema.json" for name in _EXTENSIONS],
        "id": manifest["name"], "title": manifest["name"], "description": summarise(manifest),
        "keywords": ["geospatial", "multimodal", *(m.name for m in views)],
        "license": _licence(facts), "providers": _providers(facts),
        "extent": {"spatial": {"bbox": [list(facts.box)]}, "temporal": {"interval": [list(facts.period)]}},
        "summaries": {name: value for name, value in summaries.items() if value},
        "links": _links(facts),
        "assets": _assets(manifest, facts),
        "item_assets": {m.name: _describe_view(m, gsds.get(m.name, 0.0)) for m in views},
    }  # fmt: skip


def _licence(facts: Facts) -> str:
    """The SPDX identifier where one holds for all, `other` elsewhere: the links name them."""
    found = [find_licence(statement) for statement in facts.tallies.by_licence()]
    licence = found[0] if len(found) == 1 else None
    return licence.id if licence is not None and licence.is_spdx else "other"


def _providers(facts: Facts) -> list[Json]:
    known: dict[str, Json] = {}
    for source in facts.sources:
        name, url = _KNOWN.get(source, (source, ""))
        known[name] = {"name": name, "roles": ["producer", "licensor"]} | ({"url": url} if url else {})
    return [*known.values(), {"name": "sameplace", "roles": ["processor"]}]


def _links(facts: Facts) -> list[Json]:
    links = [{"rel": "license", "href": ATTRIBUTION, "type": "text/markdown", "title": "Attribution"}]
    for licence in filter(None, map(find_licence, facts.tallies.by_licence())):
        links.append({"rel": "license", "href": licence.url, "title": licence.id})
    links.append({"rel": "about", "href": "README.md", "type": "text/markdown", "title": "Dataset card"})
    links.append({"rel": "describedby", "href": CROISSANT, "type": "application/ld+json", "title": "Croissant"})
    return links


def _assets(manifest: Json, facts: Facts) -> Json:
    assets: Json = {table.name.removesuffix(".parquet"): _describe_table(table) for table in facts.tables}
    for shard in manifest["shards"]:
        assets[shard["name"]] = {
            "href": shard["name"], "type": "application/x-tar", "roles": ["data"],
            "title": f"{shard['samples']} samples of {shard['name'].partition('/')[0]}",
            "file:size": shard["bytes"], "file:checksum": _SHA256 + shard["sha256"],
        }  # fmt: skip
    return assets


def _describe_table(table: TableFile) -> Json:
    asset: Json = {
        "href": table.name, "type": "application/vnd.apache.parquet", "roles": ["metadata"], "title": table.about,
        "file:size": table.size, "file:checksum": _SHA256 + table.sha256, "table:row_count": table.rows,
        "table:columns": [{"name": column.name, "type": str(column.type)} for column in table.schema],
    }  # fmt: skip
    if table.name == INDEX:
        asset |= {"table:primary_geometry": "geometry", "proj:code": "OGC:CRS84", "roles": ["metadata", "index"]}
    return asset


def _describe_view(modality: Modality, gsd_m: float) -> Json:
    asset: Json = {
        "type": _MEDIA[modality.suffix.rpartition(".")[2]], "roles": ["data"],
        "title": f"{modality.name}: {{key}}.{modality.suffix} in a shard",
    }  # fmt: skip
    if modality.is_raster:
        asset |= {"gsd": gsd_m, "proj:shape": [modality.size_px, modality.size_px], "data_type": modality.dtype}
        asset |= {"nodata": modality.nodata} if modality.nodata is not None else {}
        asset |= {"raster:scale": 1e-4} if modality.name == "sentinel2" else {}
        asset |= {"unit": modality.unit} if modality.name == "dem" else {}
        asset["bands"] = [_describe_band(name) for name in modality.bands]
    return asset


def _describe_band(name: str) -> Json:
    band: Json = {"name": name}
    if name in SPECTRA:
        seen = SPECTRA[name]
        band |= {
            "eo:common_name": seen.common_name, "eo:center_wavelength": seen.centre_nm / 1000,
            "eo:full_width_half_max": seen.width_nm / 1000,
        }  # fmt: skip
    elif name in ("red", "green", "blue"):
        band["eo:common_name"] = name
    return band
