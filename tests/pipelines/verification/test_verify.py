"""Each kind of damage to a finished corpus is found, and the damaged samples are named."""

import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.files import storage
from pipelines.verify import main
from tests.pipelines.verification.damage import (
    SAMPLES,
    checks,
    edit_json,
    find_member,
    flip,
    keys,
    read_index,
    rows_of,
    shards_of,
)
from tests.runs import run_build

pytestmark = pytest.mark.slow


def test_an_intact_corpus_has_no_fault(pristine, capsys):
    assert main([str(pristine), "--workers", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    examined = {line.split()[0]: int(line.split()[1]) for line in lines[1:-1]}
    assert lines[-1] == "no fault" and examined["samples"] == examined["index"] == SAMPLES
    assert all(number > 0 for number in examined.values())


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_corpus_in_a_bucket_is_read_there(pristine, enter_store, capsys, kind):
    store = enter_store(kind)
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
