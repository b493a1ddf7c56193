import json

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest

import pipelines.corpus.index as index
from geodata import cells


def make_rows(number):
    rng = np.random.default_rng(2)
    lonlat = rng.uniform((-170, -70), (170, 70), (number, 2))
    found = np.unique(cells.cells_at(lonlat, 10))
    rng.shuffle(found)
    rows = []
    for cell, (lon, lat) in zip(found.tolist(), cells.centres(found).tolist(), strict=True):
        key = cells.to_key(cell)
        rows.append({
            "key": key, "split": "train", "shard": "train/train-000000.tar", "lon": lon, "lat": lat, "country": None,
            "modalities": ["text"], "synthetic": False, "offset": 512, "size": 2048, "content_sha256": key,
            "members": [{"name": f"{key}.json", "offset": 1024, "size": 77}],
        })  # fmt: skip
    return found, rows


@pytest.mark.parametrize("bucket_rows", [7, 100, 1000])
def test_rows_are_sorted_and_all_there_whatever_the_size_of_a_bucket(tmp_path, monkeypatch, bucket_rows):
    monkeypatch.setattr(index, "BUCKET_ROWS", bucket_rows)
    found, rows = make_rows(503)
    writer = index.IndexWriter(found)
    for start in range(0, len(rows), 31):
        writer.add(rows[start : start + 31])
    writer.add([])
    writer.write(str(tmp_path / "index.parquet"))
    table = pq.read_table(tmp_path / "index.parquet")
    assert table["key"].to_pylist() == sorted(row["key"] for row in rows)
    by_key = {row["key"]: row for row in rows}
    for row in table.to_pylist():
        row.pop("geometry")
        assert row == by_key[row["key"]]
    assert geopandas.read_parquet(tmp_path / "index.parquet").geometry.iloc[5].x == pytest.approx(
        table["lon"][5].as_py()
    )
    assert json.loads(table.schema.metadata[b"geo"])["primary_column"] == "geometry"


def test_an_index_of_nothing_is_a_table_without_rows(tmp_path):
    writer = index.IndexWriter(np.zeros(0, np.uint64))
    writer.write(str(tmp_path / "index.parquet"))
    assert pq.read_table(tmp_path / "index.parquet").num_rows == 0
