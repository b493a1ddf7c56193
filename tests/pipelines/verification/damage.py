"""What the tests of `pipelines.verify` look up in a corpus, and how they damage it."""

import json

import pyarrow.parquet as pq

SAMPLES = 60


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
