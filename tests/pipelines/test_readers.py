"""Shards with missing modalities in the hands of webdataset, Hugging Face datasets, and tar."""

import json
import os
import subprocess
import sys
import tarfile

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow

SUFFIXES = {
    "sentinel2": "sentinel2.geotiff",
    "aerial": "aerial.jpg",
    "dem": "dem.geotiff",
    "street": "street.jpg",
    "text": "text.txt",
}


@pytest.fixture(scope="module")
def index(real_corpus):
    return pq.read_table(real_corpus / "index.parquet").to_pylist()


def test_tar_lists_every_member_where_the_index_says(real_corpus, index):
    listed = {}
    for shard in sorted({row["shard"] for row in index}):
        names = subprocess.run(
            ["tar", "tf", real_corpus / shard], capture_output=True, text=True, check=True
        ).stdout.split()
        assert names == sorted(names)
        with tarfile.open(real_corpus / shard) as tar:
            assert [m.name for m in tar.getmembers()] == names
            listed |= {m.name: (shard, m.offset_data, m.size, m.mode, m.mtime) for m in tar.getmembers()}
    for row in index:
        for member in row["members"]:
            assert listed.pop(member["name"]) == (row["shard"], member["offset"], member["size"], 0o644, 0)
    assert not listed


@pytest.mark.parametrize("decode", [None, "pil", "rgb8"])
def test_webdataset_reads_samples_with_missing_views(real_corpus, index, decode):
    import webdataset

    shards = sorted(str(real_corpus / shard) for shard in {row["shard"] for row in index})
    dataset = webdataset.WebDataset(shards, shardshuffle=False)
    dataset = dataset.decode(decode) if decode else dataset
    found = {sample["__key__"]: set(sample) for sample in dataset}
    assert len(found) == len(index)
    for row in index:
        assert {SUFFIXES[name] for name in row["modalities"]} | {"json"} <= found[row["key"]]


HUGGING_FACE = """
import json, sys, datasets
found = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])
rows = {split: len(found[split]) for split in found}
columns = {split: found[split].column_names for split in found}
kept = {c: sum(v is not None for split in found for v in found[split].with_format("arrow")[c].to_pylist()) for c in columns["train"]}
image = next(r for r in found["train"] if r["aerial.jpg"])
print(json.dumps([rows, columns, kept, image["aerial.jpg"].size, image["json"]["key"], str(found["train"].features["aerial.jpg"])]))
"""


def test_hugging_face_reads_the_card_and_loses_no_column(real_corpus, index, tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", HUGGING_FACE, real_corpus, tmp_path / "cache"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    rows, columns, kept, size, key, feature = json.loads(done.stdout.splitlines()[-1])
    assert sum(rows.values()) == len(index)
    assert set(rows) == {"train", "validation", "test"}
    for split_columns in columns.values():
        assert {*SUFFIXES.values(), "json", "__key__"} <= set(split_columns)
    for name, suffix in SUFFIXES.items():
        assert kept[suffix] == sum(name in row["modalities"] for row in index)
    assert size == [256, 256] and key in {row["key"] for row in index} and feature.startswith("Image")
