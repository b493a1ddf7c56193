"""Small corpora written directly, so that a test says what is in them: no build, no sources."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from geodata import cells
from geodata.grid import make_grid
from geodata.raster import Raster, encode_geotiff, encode_jpeg
from pipelines.building.statistics import Statistics
from pipelines.corpus.index import IndexWriter
from pipelines.files.tar import TarWriter
from schemas.modality import MODALITIES, member_name
from schemas.sample import Observation, Sample, encode_metadata

LUXEMBOURG = (6.13, 49.61)


def make_keys(count, *, start=LUXEMBOURG, resolution=10):
    """Cells around a point, each twice as far as its neighbour would be."""
    middle = cells.to_cell(cells.cell_at(*start, resolution))
    return [cells.to_key(cell) for cell in cells.disk(middle, 2 * count)[:: max(1, 4 * count)][:count]]


def make_sample(
    key, *, split="train", views=tuple(MODALITIES), photos=1, seasons=1, seed=0, items=None, photo_px=(256, 341)
):
    """One place; `items` names its article or photo, otherwise they are its own."""
    rng = np.random.default_rng([seed, cells.to_cell(key)])
    lon, lat = cells.centre(key)
    observations = []
    for view in views:
        count = {"street": photos, "sentinel2": seasons}.get(view, 1)
        for number in range(count):
            item = (items or {}).get(view, f"{view} {number} of {key}")
            observations.append(_observe(key, view, number, count, item, rng, photo_px))
    return Sample(key, split, lon, lat, None, tuple(observations))


def _observe(key, view, number, count, item, rng, photo_px):
    lon, lat = cells.centre(key)
    modality = MODALITIES[view]
    grid = make_grid(key, view) if modality.is_raster else None
    if grid is None:
        lon, lat = lon + rng.uniform(-3e-4, 3e-4), lat + rng.uniform(-3e-4, 3e-4)
    if modality.suffix.endswith("geotiff"):
        values = rng.normal(1000, 300, (len(modality.bands), *grid.shape)).clip(1).astype(modality.dtype)
        valid = rng.random(grid.shape) > 0.05
        raster = Raster(np.where(valid, values, np.array(modality.nodata, modality.dtype)), valid, grid)
        payload = encode_geotiff(raster, modality, {})
    elif view == "text":
        payload = f"Ein Dorf an der Süre, {key}, {number}.".encode()
    else:
        payload = encode_jpeg(make_picture(*((256, 256) if view == "aerial" else photo_px), rng))
    return Observation(
        view, member_name(key, view, number, count), payload, lon, lat, datetime(2024, 5, 1, tzinfo=UTC), "tests", item,
        "CC0-1.0", "tests", 1.0, True, grid,
    )  # fmt: skip


def make_picture(height, width, rng):
    """Smooth, so that decoders agree."""
    rows, columns = np.mgrid[:height, :width] / 64
    phases = rng.uniform(0, 6, (3, 2))
    bands = [128 + 60 * np.sin(rows + a) + 60 * np.cos(columns + b) for a, b in phases]
    return np.stack(bands, axis=-1).clip(0, 255).astype(np.uint8)


def write_tar(path: Path, samples: Sequence[Sample]) -> list[dict]:
    """Writes a shard and returns its rows of the index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with path.open("wb") as file:
        tar = TarWriter(file)
        for sample in samples:
            payloads = {o.member: o.payload for o in sample.observations} | {
                f"{sample.key}.json": encode_metadata(sample)
            }
            start = tar.size
            members = [
                {"name": name, "offset": tar.add(name, payload), "size": len(payload)}
                for name, payload in sorted(payloads.items())
            ]
            rows.append({
                "key": sample.key, "split": sample.split, "shard": f"{path.parent.name}/{path.name}", "lon": sample.lon,
                "lat": sample.lat, "country": None, "modalities": list(dict.fromkeys(o.modality for o in sample.observations)),
                "synthetic": True, "offset": start, "size": tar.size - start, "members": members, "content_sha256": "",
            })  # fmt: skip
        tar.close()
    return rows


def write_corpus(folder: Path, samples: Sequence[Sample], *, per_shard=8, **manifest) -> Path:
    """Writes a finished corpus."""
    index = IndexWriter(np.array([cells.to_cell(sample.key) for sample in samples], np.uint64))
    shards = []
    for split in dict.fromkeys(sample.split for sample in samples):
        own = [sample for sample in samples if sample.split == split]
        for number in range(0, len(own), per_shard):
            name = f"{split}/{split}-{number // per_shard:06d}.tar"
            some = own[number : number + per_shard]
            index.add(write_tar(folder / name, some))
            shards.append({"name": name, "samples": len(some)})
    index.write(str(folder / "index.parquet"))
    facts = {
        "format_version": 1, "schema_version": 1, "synthetic": True, "split_rule": {"resolution": 10}, "shards": shards,
        "counts": {}, "statistics": {"over": "train", "bands": measure(samples).summary()},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(facts | manifest))
    return folder


def measure(samples: Sequence[Sample]) -> Statistics:
    """What the builder would sum up over the train split."""
    from geodata.raster import decode_geotiff, decode_jpeg

    statistics = Statistics()
    for sample in samples:
        for o in sample.observations if sample.split == "train" else ():
            if o.modality in ("sentinel2", "dem"):
                raster = decode_geotiff(o.payload)
                statistics.add(o.modality, raster.values[:, raster.valid])
            elif o.modality != "text":
                statistics.add(o.modality, decode_jpeg(o.payload).reshape(-1, 3).T)
    return statistics
