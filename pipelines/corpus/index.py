"""The index of a corpus: GeoParquet, one row a sample, in the order of keys, written in the memory of one bucket."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from pipelines.files import storage

ROW_GROUP = 10_000
"""Rows in one row group: what a look-up by key reads."""
BUCKET_ROWS = 100_000
"""Rows sorted at once."""

INDEX_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()), pa.field("split", pa.string()), pa.field("shard", pa.string()),
        pa.field("lon", pa.float64()), pa.field("lat", pa.float64()), pa.field("geometry", pa.binary()),
        pa.field("country", pa.string()), pa.field("modalities", pa.list_(pa.string())),
        pa.field("synthetic", pa.bool_()), pa.field("offset", pa.int64()), pa.field("size", pa.int64()),
        pa.field("members", pa.list_(pa.struct([("name", pa.string()), ("offset", pa.int64()), ("size", pa.int64())]))),
        pa.field("content_sha256", pa.string()),
    ],
    metadata={"geo": json.dumps({
        "version": "1.1.0", "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Point"]}},
    })},
)  # fmt: skip
"""GeoParquet 1.1; a missing crs means OGC:CRS84, longitude before latitude."""


class IndexWriter:
    """Takes the rows of shards in any order; a large index is sorted bucket by bucket through files of its own."""

    def __init__(self, places: NDArray[np.uint64]) -> None:
        """Takes all cells that may come, in any order: equal numbers of them share a bucket."""
        number = -(-len(places) // BUCKET_ROWS)
        cuts = np.arange(1, number) * len(places) // max(1, number)
        self._bounds = np.sort(places)[cuts]
        """First cell of each bucket but the first."""
        self._scratch = TemporaryDirectory(prefix="sameplace-")
        self._writers: dict[int, pq.ParquetWriter] = {}

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Adds the rows of a sidecar."""
        cells = np.array([int(row["key"], 16) for row in rows], dtype=np.uint64)
        buckets = np.searchsorted(self._bounds, cells, side="right")
        for number in np.unique(buckets).tolist():
            if number not in self._writers:
                self._writers[number] = pq.ParquetWriter(self._path(number), INDEX_SCHEMA, compression="zstd")
            table = _to_table([row for row, bucket in zip(rows, buckets.tolist(), strict=True) if bucket == number])
            self._writers[number].write_table(table)

    def write(self, path: str) -> None:
        """Writes the index, in place of what may be there."""
        with storage.create(path) as sink, pq.ParquetWriter(sink, INDEX_SCHEMA, compression="zstd") as index:
            for number, writer in sorted(self._writers.items()):
                writer.close()
                table = pq.read_table(self._path(number))
                index.write_table(table.sort_by("key"), row_group_size=ROW_GROUP)
        self._scratch.cleanup()

    def _path(self, number: int) -> str:
        return str(Path(self._scratch.name, f"{number}.parquet"))


def _to_table(rows: list[dict[str, Any]]) -> pa.Table:
    points = shapely.points([row["lon"] for row in rows], [row["lat"] for row in rows])
    columns = {name: [row[name] for row in rows] for name in INDEX_SCHEMA.names if name != "geometry"}
    return pa.table({**columns, "geometry": [bytes(wkb) for wkb in shapely.to_wkb(points)]}, schema=INDEX_SCHEMA)
