"""Each kind of damage to a finished corpus is found, and the damaged samples are named."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geodata import cells
from geodata.grid import make_grid
from geodata.raster import decode_geotiff, encode_geotiff
from geodata.splits import SplitRule
from pipelines.files import storage
from pipelines.files.tar import TarWriter, read_members
from pipelines.verification.leakage import find_shared_items, find_touching_patches
from pipelines.verify import main
from schemas.modality import DEM
from tests.folders import CENTRE
from tests.runs import run_build

pytestmark = pytest.mark.slow
SAMPLES = 60


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    output = tmp_path_factory.mktemp("shards") / "demo"
    run_build("--region", "demo", "--output", output, "--samples", SAMPLES, "--samples_per_shard", 20)
    return output


@pytest.fixture
def corpus(pristine, tmp_path):
    return Path(shutil.copytree(pristine, tmp_path / "demo"))


@pytest.fixture
def verify(capsys):
    """Runs it and returns the faults; the exit status must say whether there are any."""

    def run(corpus):
        status = main([str(corpus), "--workers", "1", "--log_json"])
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        faults = [event for event in events if event["event"] == "fault"]
        assert [event["event"] for event in events] == ["checks", *["fault"] * len(faults), "done"]
        assert status == (1 if faults else 0)
        return faults

    return run


def read_index(corpus):
    return pq.read_table(corpus / "index.parquet")


def rows_of(corpus, shard):
    return [row for row in read_index(corpus).to_pylist() if row["shard"] == shard]


def shards_of(corpus, split="train"):
    return sorted(str(path.relative_to(corpus)) for path in corpus.glob(f"{split}/*.tar"))


def find_member(corpus, suffix, number=4):
    """Returns a sample of the first train shard and its member with that suffix."""
    rows = [
        row for row in rows_of(corpus, shards_of(corpus)[0]) if any(m["name"].endswith(suffix) for m in row["members"])
    ]
    return rows[number], next(m for m in rows[number]["members"] if m["name"].endswith(suffix))


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


def edit_json(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def keys(faults):
    return {fault["key"] for fault in faults if fault["key"]}


def checks(faults):
    return {fault["check"] for fault in faults}


def test_an_intact_corpus_has_no_fault(pristine, capsys):
    assert main([str(pristine), "--workers", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    examined = {line.split()[0]: int(line.split()[1]) for line in lines[1:-1]}
    assert lines[-1] == "no fault" and examined["samples"] == examined["index"] == SAMPLES
    assert all(number > 0 for number in examined.values())


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_corpus_in_a_bucket_is_read_there(pristine, request, monkeypatch, capsys, kind):
    store = request.getfixturevalue(f"{kind}_store")
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    root = f"{store.root}/verify"
    storage.reach(root)
    for name in storage.list_files(str(pristine)):
        if not name.startswith("plan/"):
            storage.write_bytes(storage.join(root, name), (pristine / name).read_bytes())
    assert main([root, "--workers", "2"]) == 0
    storage.delete([storage.join(root, shards_of(pristine)[0])])
    assert main([root, "--workers", "1"]) == 1
    assert "cannot be read" in capsys.readouterr().out


def test_a_corpus_of_real_files_with_gaps_has_no_fault(real_corpus, verify):
    assert not verify(real_corpus)


@pytest.mark.parametrize(
    "suffix", ["sentinel2.geotiff", "dem.geotiff", "aerial.jpg", "street.jpg", "text.txt", ".json"]
)
@pytest.mark.parametrize("where", ["middle", "last", "header", "filling"])
def test_one_flipped_bit_names_the_sample_and_the_member(corpus, verify, suffix, where):
    row, member = find_member(corpus, suffix)
    start, size = member["offset"], member["size"]
    offset = {
        "middle": start + size // 2, "last": start + size - 1, "header": start - 512 + 3,
        "filling": start + size,
    }[where]  # fmt: skip
    assert where != "filling" or size % 512
    flip(corpus / row["shard"], offset)
    faults = verify(corpus)
    assert keys(faults) == {row["key"]} and {fault["shard"] for fault in faults} == {row["shard"]}
    assert any(member["name"] in fault["what"] for fault in faults if fault["key"])
    assert any("the manifest says" in fault["what"] for fault in faults if fault["check"] == "shards")


def test_without_sidecars_damage_that_decodes_is_still_told(corpus, verify):
    row, member = find_member(corpus, ".json")
    path = corpus / row["shard"]
    content = path.read_bytes()
    at = content.index(b"CC0-1.0", member["offset"])
    path.write_bytes(content[:at] + b"CC0-2.0" + content[at + 7 :])
    assert keys(verify(corpus)) == {row["key"]}
    shutil.rmtree(corpus / "sidecars", ignore_errors=True)
    faults = verify(corpus)
    assert not keys(faults) and "cannot be placed without its sidecar" in faults[-1]["what"]


def test_a_flipped_bit_in_the_end_of_a_tar_is_no_samples_fault(corpus, verify):
    shard = shards_of(corpus)[0]
    flip(corpus / shard, (corpus / shard).stat().st_size - 100)
    faults = verify(corpus)
    assert not keys(faults) and {fault["shard"] for fault in faults} == {shard} and "tar" in checks(faults)


def test_a_truncated_tar_names_all_that_is_cut_off(corpus, verify):
    shard = shards_of(corpus)[0]
    rows = sorted(rows_of(corpus, shard), key=lambda row: row["offset"])
    with (corpus / shard).open("r+b") as file:
        file.truncate(rows[12]["offset"] + rows[12]["size"] // 2)
    faults = verify(corpus)
    assert keys(faults) == {row["key"] for row in rows[12:]}
    assert {fault["shard"] for fault in faults} == {shard}


def test_a_lost_tar_names_its_samples(corpus, verify):
    shard = shards_of(corpus)[0]
    lost = {row["key"] for row in rows_of(corpus, shard)}
    (corpus / shard).unlink()
    faults = verify(corpus)
    assert keys(faults) == lost and {fault["shard"] for fault in faults} == {shard}


def test_exchanged_tars_name_each_other(corpus, verify):
    train, val = shards_of(corpus)[0], shards_of(corpus, "val")[0]
    (corpus / train).rename(corpus / "aside")
    (corpus / val).rename(corpus / train)
    (corpus / "aside").rename(corpus / val)
    faults = verify(corpus)
    told = {fault["shard"]: fault["what"] for fault in faults if "exchanged" in fault["what"]}
    assert val in told[train] and train in told[val]
    assert keys(faults) >= {row["key"] for name in (train, val) for row in rows_of(corpus, name)}


def test_a_tar_that_the_manifest_does_not_name_is_told(corpus, verify):
    shutil.copy(corpus / shards_of(corpus)[0], corpus / "train/train-000099.tar")
    (fault,) = verify(corpus)
    assert (fault["shard"], fault["check"]) == ("train/train-000099.tar", "shards")


@pytest.mark.parametrize(
    ("change", "check", "word"),
    [
        (lambda row: row | {"offset": row["offset"] + 512}, "index", "offset"),
        (lambda row: row | {"size": row["size"] - 1}, "index", "size"),
        (lambda row: row | {"members": row["members"][:-1]}, "index", "members"),
        (lambda row: row | {"members": [{**m, "size": m["size"] + 1} for m in row["members"]]}, "index", "members"),
        (lambda row: row | {"split": "test" if row["split"] != "test" else "val"}, "index", "split"),
        (lambda row: row | {"country": "LU"}, "index", "country"),
        (lambda row: row | {"modalities": ["dem"]}, "index", "modalities"),
        (lambda row: row | {"lon": row["lon"] + 1e-9}, "index", "lon"),
        (lambda row: row | {"geometry": row["geometry"][:-1] + b"\0"}, "index", "geometry"),
        (lambda row: row | {"synthetic": False}, "index", "synthetic"),
        (lambda row: row | {"content_sha256": "0" * 64}, "index", "content_sha256"),
    ],
    ids=["offset", "size", "members", "member", "split", "country", "modalities", "lon", "geometry", "synthetic", "content"],
)  # fmt: skip
def test_an_edited_row_of_the_index_names_its_sample(corpus, verify, change, check, word):
    table = read_index(corpus)
    rows = table.to_pylist()
    rows[7] = change(rows[7])
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), corpus / "index.parquet")
    faults = verify(corpus)
    assert [(fault["key"], fault["shard"], fault["check"]) for fault in faults] == [
        (rows[7]["key"], rows[7]["shard"], check)
    ]
    assert faults[0]["what"].startswith(f"{word} is ")


def test_rows_of_the_index_that_are_doubled_lost_or_out_of_order_are_named(corpus, verify):
    table = read_index(corpus)
    rows = table.to_pylist()

    def told(changed):
        pq.write_table(pa.Table.from_pylist(changed, schema=table.schema), corpus / "index.parquet")
        return {(fault["check"], fault["key"]) for fault in verify(corpus)}

    key, count = rows[7]["key"], ("index", "")
    assert told(rows[:8] + rows[7:]) == {("keys", key), count}
    assert told(rows[:7] + rows[8:]) == {("index", key), count}
    assert told(rows[:7] + [rows[8], rows[7]] + rows[9:]) == {("index", key)}
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema.remove_metadata()), corpus / "index.parquet")
    (fault,) = verify(corpus)
    assert "GeoParquet" in fault["what"]
    (corpus / "index.parquet").write_bytes(b"PAR1")
    (fault,) = verify(corpus)
    assert (fault["check"], fault["shard"]) == ("index", "index.parquet") and "cannot be read" in fault["what"]


def test_changed_statistics_name_the_band(corpus, verify):
    def edit(manifest):
        manifest["statistics"]["bands"]["dem"]["mean"][0] += 0.01
        manifest["statistics"]["bands"]["street"]["std"][2] += 0.01

    edit_json(corpus / "manifest.json", edit)
    faults = verify(corpus)
    assert checks(faults) == {"statistics"}
    assert {fault["what"].split(" is ")[0] for fault in faults} == {"dem: mean of height", "street: std of blue"}
    shutil.rmtree(corpus / "sidecars", ignore_errors=True)
    (fault,) = verify(corpus)
    assert fault["what"].startswith("dem: mean of height") and fault["what"].endswith("by the pixels")


def test_changed_counts_are_told(corpus, verify):
    def edit(manifest):
        manifest["counts"]["val"]["text"] -= 1
        manifest["observations"]["dem"]["seen"] += 1
        manifest["synthetic"] = False

    edit_json(corpus / "manifest.json", edit)
    told = [(fault["check"], fault["what"].split()[0]) for fault in verify(corpus)]
    assert told == [("manifest", "counts"), ("manifest", "synthetic"), ("drops", "observations")]


def test_a_lost_drop_names_its_place(corpus, verify):
    table = pq.read_table(corpus / "drops.parquet")
    rows = table.to_pylist()
    lost = next(row for row in rows if row["stage"] == "choose" and row["reason"] == "not_needed")
    pq.write_table(
        pa.Table.from_pylist([row for row in rows if row is not lost], schema=table.schema), corpus / "drops.parquet"
    )
    faults = verify(corpus)
    assert checks(faults) == {"drops"} and keys(faults) == {lost["key"]}
    assert any(lost["item_id"] in fault["what"] for fault in faults)


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


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: edit_json(c / "manifest.json", lambda m: m.update(format_version=99)), "format 99.*install a newer"),
        (lambda c: (c / "manifest.json").write_text('{"name": "de'), "is damaged.*run the command that built it again"),
        (lambda c: edit_json(c / "manifest.json", lambda m: m.pop("shards")), "says nothing of shards"),
        (lambda c: (c / "manifest.json").unlink(), "is not finished.*run the command that began it again"),
        (lambda c: shutil.rmtree(c), "holds no corpus.*make corpus"),
    ],
    ids=["newer", "cut", "poor", "unfinished", "none"],
)  # fmt: skip
def test_what_is_no_finished_corpus_gets_a_sentence(corpus, capsys, spoil, words):
    spoil(corpus)
    assert main([str(corpus)]) == 1
    said = capsys.readouterr()
    assert not said.out and re.fullmatch(f"error: .*{words}.*\n", said.err)


def test_a_folder_of_corpora_says_which_there_are(corpus, capsys):
    assert main([str(corpus.parent)]) == 1
    assert f"name one of them, such as {corpus}" in capsys.readouterr().err


def test_what_verify_tells_to_do_mends_the_corpus(pristine, corpus, verify):
    row, member = find_member(corpus, "sentinel2.geotiff")
    flip(corpus / row["shard"], member["offset"] + 500)
    assert verify(corpus)
    (corpus / row["shard"]).unlink()
    stem = Path(row["shard"]).stem
    for path in corpus.glob(f"sidecars/{stem}.*"):
        path.unlink()
    (corpus.parent / ".demo-world-0").symlink_to(pristine.parent / ".demo-world-0")
    run_build("--region", "demo", "--output", corpus, "--samples", SAMPLES, "--samples_per_shard", 20, "--workers", 1)
    assert not verify(corpus)
    assert (corpus / row["shard"]).read_bytes() == (pristine / row["shard"]).read_bytes()
