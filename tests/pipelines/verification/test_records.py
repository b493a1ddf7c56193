"""Records that cannot be, and leaks between splits, are named though every digest fits."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geodata import cells
from geodata.grid import make_grid
from geodata.raster import decode_geotiff, encode_geotiff
from geodata.splits import SplitRule
from pipelines.files.tar import TarWriter, read_members
from pipelines.verification.leakage import find_shared_items, find_touching_patches
from schemas.modality import DEM
from tests.folders import CENTRE
from tests.pipelines.verification.damage import checks, edit_json, find_member, keys, read_index, rows_of, shards_of

pytestmark = pytest.mark.slow


def reseal(corpus, shard, edit):
    """Rewrites a shard with other records, and everything that vouches for it: only the meaning is wrong then."""
    with (corpus / shard).open("rb") as file:
        members = {member.name: member.payload for member in read_members(file)}
    edit(members)
    rows = {row["key"]: row | {"members": []} for row in rows_of(corpus, shard)}
    with (corpus / shard).open("wb") as sink:
        tar = TarWriter(sink)
        for name, payload in members.items():
            row, start = rows[name.partition(".")[0]], tar.size
            offset = tar.add(name, payload)
            row["offset"] = row["offset"] if row["members"] else start
            row["members"].append({"name": name, "offset": offset, "size": len(payload)})
            row["size"] = tar.size - row["offset"]
        tar.close()
    others = [row for row in read_index(corpus).to_pylist() if row["shard"] != shard]
    table = pa.Table.from_pylist([*others, *rows.values()], schema=read_index(corpus).schema)
    pq.write_table(table.sort_by("key"), corpus / "index.parquet")
    shutil.rmtree(corpus / "sidecars", ignore_errors=True)

    def vouch(manifest):
        entry = next(entry for entry in manifest["shards"] if entry["name"] == shard)
        entry |= {"sha256": tar.sha256, "bytes": tar.size}

    edit_json(corpus / "manifest.json", vouch)


def change_record(members, cell, modality, **facts):
    record = json.loads(members[f"{cell}.json"])
    target = next(o for o in record["observations"] if o["modality"] == modality) if modality else record
    target |= facts
    members[f"{cell}.json"] = json.dumps(record, sort_keys=True, ensure_ascii=False).encode()


def shift_raster(members, key):
    raster = decode_geotiff(members[f"{key}.dem.geotiff"])
    other = type(raster.grid)(raster.grid.crs, raster.grid.left + 10, raster.grid.top, 10.0, 128, 128)
    members[f"{key}.dem.geotiff"] = encode_geotiff(type(raster)(raster.values, raster.valid, other), DEM, {})


@pytest.mark.parametrize(
    ("edit", "check", "words"),
    [
        (lambda m, key: change_record(m, key, "street", lon=CENTRE[0], lat=CENTRE[1]), "observations", "outside its cell"),
        (lambda m, key: change_record(m, key, "text", lon=CENTRE[0], lat=CENTRE[1]), "observations", "outside the patch"),
        (lambda m, key: change_record(m, key, None, lon=CENTRE[0]), "samples", "outside its cell"),
        (lambda m, key: change_record(m, key, None, schema_version=99), "samples", "schema version 99"),
        (lambda m, key: change_record(m, key, None, key=cells.cell_at(*CENTRE, 10)), "samples", "calls itself"),
        (lambda m, key: change_record(m, key, None, split="val"), "splits", "its record says val"),
        (lambda m, key: change_record(m, key, "dem", distance_m=5000.0), "observations", "from the cell's centre"),
        (lambda m, key: shift_raster(m, key), "observations", "its record says"),
        (lambda m, key: m.update({f"{key}.text.txt": b" \n"}), "observations", "is empty"),
        (lambda m, key: m.update({f"{key}.text.txt": b"\xff\xfe"}), "observations", "does not decode"),
        (lambda m, key: m.update({f"{key}.street.jpg": m[f"{key}.street.jpg"][:2000]}), "observations", "does not decode"),
        (lambda m, key: m.update({f"{key}.json": b"{}"}), "samples", "does not decode"),
        (lambda m, key: m.pop(f"{key}.json"), "samples", "has no"),
        (lambda m, key: m.pop(f"{key}.aerial.jpg"), "samples", "lacks"),
        (lambda m, key: change_record(m, key, None, observations=[]), "samples", "which its record does not name"),
    ],
    ids=["photo", "article", "place", "schema", "key", "split", "distance", "grid", "empty", "utf8", "jpeg", "json", "lost",
         "member", "unnamed"],
)  # fmt: skip
def test_a_record_that_cannot_be_is_named_even_if_all_digests_fit(corpus, verify, edit, check, words):
    row = next(
        row for row in rows_of(corpus, shards_of(corpus)[0])
        if {"street.jpg", "text.txt", "aerial.jpg", "dem.geotiff"} <= {m["name"].partition(".")[2] for m in row["members"]}
    )  # fmt: skip
    reseal(corpus, row["shard"], lambda members: edit(members, row["key"]))
    faults = verify(corpus)
    assert keys(faults) == {row["key"]}
    assert any(fault["check"] == check and words in fault["what"] for fault in faults), faults


def test_a_photo_in_two_splits_names_both_samples(corpus, verify):
    row, _ = find_member(corpus, "street.jpg")
    other = next(r for r in rows_of(corpus, shards_of(corpus, "val")[0]) if "street" in r["modalities"])
    seen = {}

    def look(members):
        record = json.loads(members[f"{other['key']}.json"])
        seen.update(next(o for o in record["observations"] if o["modality"] == "street"))

    reseal(corpus, other["shard"], look)
    reseal(
        corpus,
        row["shard"],
        lambda m: change_record(m, row["key"], "street", item_id=seen["item_id"], source=seen["source"]),
    )
    faults = verify(corpus)
    assert checks(faults) == {"leakage"} and keys(faults) == {row["key"], other["key"]}


def test_only_items_that_cross_a_split_are_leaks():
    names = ["train/train-000000.tar", "val/val-000000.tar"]
    items = np.array([5, 6, 5, 7, 6, 8, 8], dtype=np.uint64)
    cells_ = np.arange(7, dtype=np.uint64) + np.uint64(0x8A1F1D488000000)
    faults = list(find_shared_items(items, cells_, np.array([0, 0, 1, 1, 0, 1, 1]), names))
    assert {fault.key for fault in faults} == {f"{cells_[0]:x}", f"{cells_[2]:x}"}


def test_patches_that_touch_across_splits_are_found_by_brute_force_too():
    names = ["train/train-000000.tar", "val/val-000000.tar"]
    disk = np.array(cells.disk(cells.to_cell(cells.cell_at(*CENTRE, 10)), 25), dtype=np.uint64)
    few = np.random.default_rng(0).choice(disk, 40, replace=False)
    shards = np.arange(40) % 2
    found = {fault.key for fault in find_touching_patches(few, shards, names)}
    expected = set()
    for a in few[shards == 0].tolist():
        for b in few[shards == 1].tolist():
            if _overlap(cells.to_key(a), cells.to_key(b)):
                expected |= {cells.to_key(a), cells.to_key(b)}
    assert found == expected and len(found) > 2
    apart = SplitRule().assign(disk)
    kept = disk[apart != ""]
    numbers = np.where(apart[apart != ""] == "train", 0, 1)
    assert not list(find_touching_patches(kept, numbers, names))


def _overlap(a, b):
    one, two = make_grid(a, "sentinel2"), make_grid(b, "sentinel2")
    return max(abs(one.left - two.left), abs(one.top - two.top)) <= 1280
