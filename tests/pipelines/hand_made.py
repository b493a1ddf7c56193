"""A finished corpus written by hand in a moment: what its records say is the test's choice, hostile words too."""

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from geodata import cells
from geodata.grid import make_grid
from geodata.raster import Raster, encode_geotiff
from pipelines.corpus.index import IndexWriter
from pipelines.files.tables import RowWriter
from pipelines.files.tar import TarWriter
from schemas.drop import Drop, Reason, Stage
from schemas.modality import MODALITIES, member_name
from schemas.sample import Observation, Sample, encode_metadata

SPLIT_RULE = {"test_resolution": 4, "val_resolution": 7, "exclusion_m": 1400.0}


def write_corpus(
    folder: Path, *, places: int = 8, words: Mapping[int, Mapping[str, object]] | None = None, name: str = "by hand"
) -> list[Sample]:
    """Writes a corpus of a row of places in the east of France and returns them in the order of their keys.

    Every third place is val, every fifth test; the last place has a text alone, the one before it no aerial image, and
    for this there is a drop.

    Args:
        words: of a place's number other values of its observations: title, text, licence, attribution, source, item_id.
    """
    keys = sorted({cells.cell_at(6.0 + 0.02 * number, 48.0, 10) for number in range(places)})
    samples = [_make_sample(number, key, places, (words or {}).get(number, {})) for number, key in enumerate(keys)]
    index = IndexWriter(np.array([int(key, 16) for key in keys], dtype=np.uint64))
    shards = []
    for split in ("train", "val", "test"):
        inside = [sample for sample in samples if sample.split == split]
        shard = f"{split}/{split}-000000.tar"
        buffer = io.BytesIO()
        tar = TarWriter(buffer)
        index.add([_add(tar, sample, shard) for sample in inside])
        tar.close()
        (folder / split).mkdir(parents=True)
        (folder / shard).write_bytes(buffer.getvalue())
        shards.append({"name": shard, "samples": len(inside), "bytes": tar.size, "sha256": tar.sha256})
    index.write(str(folder / "index.parquet"))
    drops = RowWriter(str(folder / "drops.parquet"), Drop)
    detail = str((words or {}).get(-1, {}).get("detail", "covers 0.3 of the hexagon"))
    drops.write([Drop(keys[-2], "aerial", Stage.CHOOSE, Reason.NODATA, 0.3, detail, "hand", "aerial/7.tif")])
    drops.write([Drop("", "text", Stage.FIND, Reason.STUB, None, "too short", "hand", str(n)) for n in range(40)])
    drops.close()
    (folder / "manifest.json").write_text(json.dumps(_manifest(name, shards, samples)), encoding="utf-8")
    return samples


def _make_sample(number: int, key: str, places: int, words: Mapping[str, object]) -> Sample:
    kinds = list(MODALITIES)
    if number == places - 1:
        kinds = ["text"]
    elif number == places - 2:
        kinds.remove("aerial")
    split = "test" if number % 5 == 4 else "val" if number % 3 == 2 else "train"
    lon, lat = cells.centre(key)
    found = tuple(_observe(kind, key, number, words) for kind in kinds)
    return Sample(key, split, lon, lat, "FR" if number else None, found)


def _observe(kind: str, key: str, number: int, words: Mapping[str, object]) -> Observation:
    lon, lat = cells.centre(key)
    values: dict[str, object] = {
        "captured_at": datetime(2024, 1 + number % 12, 3, tzinfo=UTC), "source": "hand", "item_id": f"{kind}/{number}",
        "licence": "CC0-1.0", "attribution": "tests", "distance_m": 0.0, "synthetic": False,
    }  # fmt: skip
    if MODALITIES[kind].is_raster:
        values |= {"grid": make_grid(key, kind), "valid_share": 1.0}
    values |= {"sentinel2": {"cloud_share": number / 100}, "street": {"heading_deg": 90.0}}.get(kind, {})
    values |= {"title": f"Place {number}"} if kind == "text" else {}
    values |= {name: value for name, value in words.items() if name in values and (name != "title" or kind == "text")}
    payload = str(words.get("text", f"Words about place {number}.")).encode() if kind == "text" else _pixels(kind, key)
    return Observation(kind, member_name(key, kind), payload, lon, lat, **values)  # type: ignore[arg-type]


def _pixels(kind: str, key: str) -> bytes:
    rng = np.random.default_rng(int(key, 16) % 1000)
    if kind in ("aerial", "street"):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(buffer, "JPEG")
        return buffer.getvalue()
    layout, grid = MODALITIES[kind], make_grid(key, kind)
    shape = (len(layout.bands), grid.height, grid.width)
    values = rng.integers(200, 1500, shape) if kind == "sentinel2" else 300 + 20 * rng.standard_normal(shape)
    return encode_geotiff(Raster(values.astype(layout.dtype), np.ones(grid.shape, bool), grid), layout, {})


def _add(tar: TarWriter, sample: Sample, shard: str) -> dict[str, object]:
    payloads = {one.member: one.payload for one in sample.observations} | {
        f"{sample.key}.json": encode_metadata(sample)
    }
    start = tar.size
    where = [{"name": n, "offset": tar.add(n, payloads[n]), "size": len(payloads[n])} for n in sorted(payloads)]
    return {
        "key": sample.key, "split": sample.split, "shard": shard, "lon": sample.lon, "lat": sample.lat,
        "country": sample.country, "modalities": [one.modality for one in sample.observations], "synthetic": False,
        "offset": start, "size": tar.size - start, "members": where, "content_sha256": "0" * 64,
    }  # fmt: skip


def _manifest(name: str, shards: list[dict[str, object]], samples: list[Sample]) -> dict[str, object]:
    kept = {kind: sum(1 for s in samples for o in s.observations if o.modality == kind) for kind in MODALITIES}
    return {
        "name": name, "format_version": 1, "schema_version": 1, "synthetic": False, "options": {"region": "FR"},
        "split_rule": SPLIT_RULE, "counts": {}, "shards": shards, "statistics": {}, "records": {}, "drops": {},
        "observations": {kind: {"seen": n, "kept": n, "dropped": 0} for kind, n in kept.items()},
        "licences": {kind: [{"licence": "CC0-1.0", "attribution": "tests", "observations": kept[kind]}] for kind in kept},
    }  # fmt: skip
