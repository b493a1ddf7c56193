"""A finished corpus in a folder or at an address: rows of its index, one sample, the drops of a cell."""

import heapq
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import pyarrow.parquet as pq

from pipelines.files import storage
from pipelines.files.tables import parquet_source
from schemas.corpus import DROPS, INDEX, decode_row
from schemas.sample import Sample


def find_row(corpus: str, key: str) -> dict[str, Any] | None:
    """Returns the row of the index for an H3 cell, None where the corpus does not hold it."""
    rows = pq.read_table(_source(corpus, INDEX), filters=[("key", "=", key)]).to_pylist()
    return rows[0] if rows else None


def read_row(corpus: str, row: dict[str, Any]) -> Sample:
    """Reads the sample of a row of the index.

    Raises:
        CorpusError: if its bytes are no sample.
        OSError: if the shard cannot be read.
    """
    with storage.open_file(storage.join(corpus, row["shard"])) as shard:
        shard.seek(row["offset"])
        return decode_row(row, shard.read(row["size"]))


def find_drops(corpus: str, key: str) -> list[dict[str, Any]]:
    """Returns what is not there of a cell, and why."""
    return pq.read_table(_source(corpus, DROPS), filters=[("key", "=", key)]).to_pylist()  # type: ignore[no-any-return]


def iterate_index(corpus: str, columns: list[str]) -> Iterator[dict[str, list[Any]]]:
    """Yields columns of the index, some thousand rows at a time."""
    with pq.ParquetFile(_source(corpus, INDEX)) as index:
        for batch in index.iter_batches(columns=columns):
            yield batch.to_pydict()


def choose_rows(corpus: str, number: int) -> list[dict[str, Any]]:
    """Returns rows of places with the most views, drawn by hash: the same at each look."""
    keyed = (
        (-len(views), blake2b(key.encode()).digest(), key)
        for batch in iterate_index(corpus, ["key", "modalities"])
        for key, views in zip(batch["key"], batch["modalities"], strict=True)
    )
    keys = [key for _, _, key in heapq.nsmallest(number, keyed)]
    table = pq.read_table(_source(corpus, INDEX), filters=[("key", "in", keys)])
    rows = {row["key"]: row for row in table.to_pylist()}
    return [rows[key] for key in keys]


def _source(corpus: str, name: str) -> Any:
    return parquet_source(storage.join(corpus, name))
