"""Publishing a corpus: its records are gone through once, shard by shard, and then its pages are written."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.files import storage
from pipelines.files.tables import RowWriter, parquet_source, schema_of
from pipelines.plan.plan import FOLDER, ShardPlan
from pipelines.publishing.attribution import CREDITS, write_attribution
from pipelines.publishing.card import write_card
from pipelines.publishing.collection import write_collection
from pipelines.publishing.credits import Credit, Identity, Tallies, credits_of
from pipelines.publishing.croissant import write_croissant
from pipelines.publishing.extent import Extent
from pipelines.publishing.facts import Facts, TableFile

ROWS_AT_ONCE = 50_000
"""Credits in one row group of their table."""
OPEN_PARTS = 8
"""Parts of the plan that are held open: shards of a split lie in the order of parts."""
_COLUMNS = ("modality", "source", "item_id", "href", "title", "captured_at", "licence", "attribution")
ABOUT = {
    CREDITS: "Credit, licence and page of each observation.",
    "index.parquet": "GeoParquet, one row a sample: place, split, views, and where its bytes lie.",
    "drops.parquet": "What is not in the corpus, and why.",
}
"""What the tables hold."""


class Publisher:
    """Takes the shards of a corpus in their order and writes what it says of itself."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._extent, self.tallies = Extent(), Tallies()
        self._countries: set[str] = set()
        self._sources: set[str] = set()
        self._credits: list[Credit] = []
        self._table = RowWriter(storage.join(output, CREDITS), Credit)
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()

    def add(self, shard: ShardPlan, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds the rows of a shard's sidecar."""
        items = self._read_items(shard)
        found = list(credits_of(rows, items))
        self._extent.add_places(np.array([(row["lon"], row["lat"]) for row in rows]).reshape(-1, 2))
        self._extent.add_times(items[c.modality, c.source, c.item_id]["captured_at"] for c in found)
        self._countries |= {row["country"] for row in rows if row["country"]}
        for credit in found:
            self._sources.add(credit.source)
            self.tallies.add(credit)
        self._credits += found
        if len(self._credits) >= ROWS_AT_ONCE:
            self._flush()

    def close_table(self) -> None:
        """Ends the table of credits."""
        self._flush()
        self._table.close()
        while self._open:
            self._open.popitem()[1].close()

    def write(self, manifest: dict[str, Any], *, tables: Mapping[str, pa.Schema], generation: int) -> None:
        """Writes card, attribution, Croissant and STAC.

        Args:
            tables: schemas of the other tables that the manifest tells of, by name.
        """
        schemas = {**tables, CREDITS: schema_of(Credit)}
        files = [
            TableFile(name, ABOUT[name], schemas[name], entry["rows"], entry["bytes"], entry["sha256"])
            for name, entry in manifest["tables"].items()
        ]
        facts = Facts(
            self._extent.box, self._extent.period, self._extent.crs, sorted(self._countries), sorted(self._sources),
            self.tallies, files, generation,
        )  # fmt: skip
        write_card(self._output, manifest)
        write_attribution(self._output, manifest, self.tallies)
        write_croissant(self._output, manifest, facts)
        write_collection(self._output, manifest, facts)

    def _flush(self) -> None:
        self._table.write(self._credits)
        self._credits = []

    def _read_items(self, shard: ShardPlan) -> dict[Identity, dict[str, Any]]:
        """Returns what the plan says of the items of a shard."""
        if shard.part not in self._open:
            if len(self._open) == OPEN_PARTS:
                self._open.popitem(last=False)[1].close()
            path = storage.join(self._output, FOLDER, f"{shard.part}.items.parquet")
            self._open[shard.part] = pq.ParquetFile(parquet_source(path))
        self._open.move_to_end(shard.part)
        rows = self._open[shard.part].read_row_group(shard.group, columns=list(_COLUMNS)).to_pylist()
        return {(row["modality"], row["source"], row["item_id"]): row for row in rows}


def describe_table(output: str, name: str) -> dict[str, Any]:
    """Returns rows, bytes and digest of a table as the manifest holds them."""
    path = storage.join(output, name)
    with storage.open_file(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        size = file.seek(0, 2)
        rows = pq.ParquetFile(file).metadata.num_rows
    return {"rows": rows, "bytes": size, "sha256": sha256}
