"""croissant.json: the corpus in Croissant 1.1 with the terms of GeoCroissant 1.0.

Croissant 1.1: docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html; GeoCroissant 1.0, with the meaning of each
`geocr:` term: docs.mlcommons.org/croissant/docs/croissant-geo-spec.html. Addresses of files are relative to the
document. There is no `datePublished`: the same corpus has the same bytes whenever it is finished, and the date is the
publisher's to add.
"""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from geodata.boxes import split_at_antimeridian
from geodata.licences import find_licence
from pipelines.files import storage
from pipelines.publishing.attribution import ATTRIBUTION
from pipelines.publishing.bands import SPECTRA
from pipelines.publishing.facts import Facts, TableFile
from schemas.corpus import FORMAT_VERSION, INDEX
from schemas.modality import MODALITIES, Modality

CROISSANT = "croissant.json"
Json = dict[str, Any]

_CONTEXT: Json = {
    "@language": "en", "@vocab": "https://schema.org/", "arrayShape": "cr:arrayShape", "citeAs": "cr:citeAs",
    "column": "cr:column", "conformsTo": "dct:conformsTo", "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"}, "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet", "format": "cr:format",
    "geocr": "http://mlcommons.org/croissant/geo/", "includes": "cr:includes", "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5",
    "name": {"@container": "@language"}, "parentField": "cr:parentField", "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/", "recordSet": "cr:recordSet", "references": "cr:references",
    "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace", "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform",
}  # fmt: skip
"""The terms of Croissant 1.1, and geocr."""

_SPLITS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
_TYPES = {
    pa.string(): "sc:Text", pa.int64(): "sc:Integer", pa.float64(): "sc:Float", pa.bool_(): "sc:Boolean",
    pa.list_(pa.string()): "sc:Text",
}  # fmt: skip
_MEDIA = {
    "jpg": "image/jpeg",
    "geotiff": "image/tiff; application=geotiff",
    "txt": "text/plain",
    "json": "application/json",
}
_MEANINGS = {
    "lon": "sc:longitude", "lat": "sc:latitude", "country": "sc:addressCountry", "split": "cr:Split",
    "licence": "sc:license", "attribution": "sc:creditText",
}  # fmt: skip
"""Terms that columns stand for."""


def write_croissant(output: str, manifest: Json, facts: Facts) -> None:
    """Writes the description of a corpus."""
    text = json.dumps(describe(manifest, facts), indent=1, ensure_ascii=False)
    storage.write_bytes(storage.join(output, CROISSANT), text.encode())


def describe(manifest: Json, facts: Facts) -> Json:
    """Returns the description of a corpus as JSON-LD."""
    views = [modality for modality in MODALITIES.values() if _has(manifest, modality.name)]
    document: Json = {
        "@context": _CONTEXT, "@type": "Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/geo/1.0"],
        "name": manifest["name"], "version": f"{FORMAT_VERSION}.{facts.generation}.0", "isLiveDataset": False,
        "description": summarise(manifest),
        "license": _licences(facts), "creditText": f"See {ATTRIBUTION}, one of the files.",
        "citeAs": f"{manifest['name']}: places seen in up to five views, built with sameplace.",
        "url": "README.md",
        "keywords": ["geospatial", "multimodal", *(modality.name for modality in views)],
        "spatialCoverage": [
            {"@type": "Place", "geo": {"@type": "GeoShape", "box": f"{south} {west} {north} {east}"}}
            for west, south, east, north in _boxes(facts)
        ],
        "geocr:coordinateReferenceSystem": "EPSG:4326",
        "geocr:samplingStrategy": _sampling(manifest),
    }  # fmt: skip
    if facts.period[0]:
        document["temporalCoverage"] = "/".join(str(time) for time in facts.period)
    if _has(manifest, "sentinel2"):
        document |= _bands(MODALITIES["sentinel2"]) | {"geocr:spatialResolution": _metres(10)}
    document["distribution"] = [*_files(manifest, facts), *_file_sets(manifest, views)]
    tables = [_table_records(table, manifest) for table in facts.tables]
    document["recordSet"] = [_split_records(manifest), *tables, *(_view_records(m, manifest) for m in views)]
    return document


def summarise(manifest: Json) -> str:
    """Returns what a corpus is, in two sentences."""
    total = sum(counts.get("samples", 0) for counts in manifest["counts"].values())
    counts = {name: sum(split.get(name, 0) for split in manifest["counts"].values()) for name in MODALITIES}
    views = ", ".join(f"{name} {number}" for name, number in counts.items() if number)
    kind = "Synthetic: no record shows a real place. " if manifest["synthetic"] else ""
    return f"{kind}{total} places on Earth (H3 cells), each seen in up to five views. Places with each view: {views}."


def _licences(facts: Facts) -> list[str]:
    """The addresses of the licences, or the words of those that are not known."""
    found = []
    for statement in facts.tallies.by_licence():
        licence = find_licence(statement)
        found.append(licence.url if licence else statement or "not stated")
    return list(dict.fromkeys(found))


def _boxes(facts: Facts) -> list[tuple[float, float, float, float]]:
    west, south, east, north = facts.box
    return split_at_antimeridian((west, south, east if east >= west else east + 360, north))


def _sampling(manifest: Json) -> str:
    options, rule = manifest["options"], manifest["split_rule"]
    return (
        f"H3 cells of resolution {rule['resolution']} in {options['region']}, sampling {options['sampling']}, seed "
        f"{options['seed']}; splits are spatial: test below drawn cells of resolution {rule['test_resolution']}, val "
        f"below drawn cells of resolution {rule['val_resolution']}, patch centres of different splits at least "
        f"{rule['exclusion_m']:.0f} m apart east or north."
    )


def _has(manifest: Json, modality: str) -> bool:
    return any(counts.get(modality) for counts in manifest["counts"].values())


def _metres(value: float) -> Json:
    return {"@type": "QuantitativeValue", "value": value, "unitText": "m"}


def _bands(modality: Modality) -> Json:
    names = {"geocr:totalBands": len(modality.bands), "geocr:bandNameList": list(modality.bands)}
    found: Json = {"geocr:bandConfiguration": {"@type": "geocr:BandConfiguration", **names}}
    if modality.name == "sentinel2":
        found["geocr:spectralBandMetadata"] = [
            {
                "@type": "geocr:SpectralBand", "name": name,
                "geocr:centerWavelength": {
                    "@type": "QuantitativeValue", "value": SPECTRA[name].centre_nm, "unitText": "nm"
                },
                "geocr:bandwidth": {"@type": "QuantitativeValue", "value": SPECTRA[name].width_nm, "unitText": "nm"},
            }
            for name in modality.bands
        ]  # fmt: skip
    return found


def _files(manifest: Json, facts: Facts) -> Iterator[Json]:
    for table in facts.tables:
        yield {
            "@type": "cr:FileObject", "@id": table.name, "name": table.name, "description": table.about,
            "contentUrl": table.name, "contentSize": f"{table.size} B", "sha256": table.sha256,
            "encodingFormat": "application/x-parquet",
        }  # fmt: skip
    for shard in manifest["shards"]:
        yield {
            "@type": "cr:FileObject", "@id": shard["name"], "name": shard["name"], "contentUrl": shard["name"],
            "contentSize": f"{shard['bytes']} B", "sha256": shard["sha256"], "encodingFormat": "application/x-tar",
        }  # fmt: skip


def _file_sets(manifest: Json, views: list[Modality]) -> Iterator[Json]:
    shards = [{"@id": shard["name"]} for shard in manifest["shards"]]
    for modality in views:
        stem, _, extension = modality.suffix.rpartition(".")
        yield {
            "@type": "cr:FileSet", "@id": f"{modality.name}-members", "name": f"{modality.name} members",
            "description": f"Members {{key}}.{modality.suffix} of the shards; several of a place are numbered.",
            "containedIn": shards, "encodingFormat": _MEDIA[extension], "includes": f"*.{stem}*.{extension}",
        }  # fmt: skip
    yield {
        "@type": "cr:FileSet", "@id": "metadata-members", "name": "metadata members",
        "description": "Members {key}.json: coordinates, time, source, licence, attribution and grid of each view.",
        "containedIn": shards, "encodingFormat": _MEDIA["json"], "includes": "*.json",
    }  # fmt: skip


def _split_records(manifest: Json) -> Json:
    """The splits themselves, which other record sets refer to."""
    fields = [
        {"@type": "cr:Field", "@id": f"splits/{name}", "name": name, "dataType": kind}
        for name, kind in (("name", "sc:Text"), ("url", "sc:URL"), ("samples", "sc:Integer"))
    ]
    data = [
        {"splits/name": name, "splits/url": _SPLITS[name], "splits/samples": counts.get("samples", 0)}
        for name, counts in manifest["counts"].items()
    ]
    return {
        "@type": "cr:RecordSet", "@id": "splits", "name": "splits", "dataType": "cr:Split",
        "key": {"@id": "splits/name"}, "field": fields, "data": data,
    }  # fmt: skip


def _table_records(table: TableFile, manifest: Json) -> Json:
    """The columns of a table, without those that hold structures: bytes of members, geometry."""
    name = table.name.removesuffix(".parquet")
    fields = []
    for column in (column for column in table.schema if column.type in _TYPES):
        field: Json = {
            "@type": "cr:Field", "@id": f"{name}/{column.name}", "name": column.name, "dataType": _TYPES[column.type],
            "source": {"fileObject": {"@id": table.name}, "extract": {"column": column.name}},
        }  # fmt: skip
        if pa.types.is_list(column.type):
            field |= {"isArray": True, "arrayShape": "-1"}
        if column.name in _MEANINGS:
            field["equivalentProperty"] = _MEANINGS[column.name]
        if column.name == "split":
            field["references"] = {"field": {"@id": "splits/name"}}
        if column.name == "key":
            field["equivalentProperty"] = "geocr:spatialIndex"
            field["description"] = f"H3 cell of resolution {manifest['split_rule']['resolution']}"
        fields.append(field)
    key = {"key": {"@id": f"{name}/key"}} if table.name == INDEX else {}
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": table.about, **key, "field": fields}


def _view_records(modality: Modality, manifest: Json) -> Json:
    """The members of one view. A GeoTIFF is given as bytes: readers of images take none of twelve bands.

    The key does not refer to the index: mlcroissant 1.1 then joins the two, and fails where the index was read before.
    """
    files = {"@id": f"{modality.name}-members"}
    key: Json = {
        "@type": "cr:Field", "@id": f"{modality.name}/key", "name": "key", "dataType": "sc:Text",
        "description": "H3 cell: `key` of the index", "equivalentProperty": "geocr:spatialIndex",
        "source": {
            "fileSet": files, "extract": {"fileProperty": "filename"}, "transform": {"regex": "^([0-9a-f]+)"},
        },
    }  # fmt: skip
    is_picture = modality.suffix.endswith(".jpg")
    content: Json = {
        "@type": "cr:Field", "@id": f"{modality.name}/content", "name": "content",
        "description": f"{modality.unit}; " + ("picture" if is_picture else f"bytes of a {modality.suffix} member"),
        "dataType": "sc:ImageObject" if is_picture else "sc:Text",
        "source": {"fileSet": files, "extract": {"fileProperty": "content"}},
    }  # fmt: skip
    records: Json = {"@type": "cr:RecordSet", "@id": modality.name, "name": modality.name, "field": [key, content]}
    if modality.is_raster:
        gsd_m = manifest["options"]["aerial_gsd"] if modality.name == "aerial" else modality.gsd_m
        records["geocr:spatialResolution"] = _metres(gsd_m)
        content |= _bands(modality)
    return records
