"""Finishing a corpus: the sidecars become the index, the drops, the manifest and the card; the manifest comes last."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.building.failures import FAILURES
from pipelines.building.shards import SIDECARS, Finished, read_drops, read_sidecars, unfinished
from pipelines.building.statistics import Statistics
from pipelines.corpus.index import INDEX_SCHEMA, IndexWriter
from pipelines.engine.run import BuildError
from pipelines.files import storage
from pipelines.files.tables import RowWriter, read_column, schema_of
from pipelines.plan.partition import describe_missing
from pipelines.plan.plan import FOLDER, Plan, read_plan_drops, tidy
from pipelines.publishing.attribution import CREDITS
from pipelines.publishing.publish import Publisher, describe_table
from schemas.corpus import DROPS, FORMAT_VERSION, INDEX, MANIFEST
from schemas.drop import Drop
from schemas.modality import MODALITIES
from schemas.reference import SPLITS
from schemas.sample import SCHEMA_VERSION


@dataclass
class _Totals:
    """What adds up over shards."""

    statistics: Statistics = field(default_factory=Statistics)
    shards: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    synthetic: set[bool] = field(default_factory=set)
    observed: Counter[str] = field(default_factory=Counter)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, sidecar: dict[str, Any], generation: int) -> None:
        rows, name = sidecar["rows"], sidecar["shard"]
        split = name.partition("/")[0]
        if split == "train":
            self.statistics.merge(sidecar["statistics"])
        self.counts[split].update(view for row in rows for view in row["modalities"])
        self.counts[split]["samples"] += len(rows)
        for row in rows:
            self.synthetic.add(row["synthetic"])
            self.observed.update(row["observed"])
        entry = {"name": name, "samples": len(rows), "bytes": sidecar["bytes"], "sha256": sidecar["sha256"]}
        self.shards.append(entry | ({"generation": generation} if generation else {}))
        self.versions[json.dumps(sidecar["versions"], sort_keys=True)] = sidecar["versions"]


class _Drops:
    """Writes all drops of a corpus and counts them."""

    def __init__(self, path: str) -> None:
        self._table = RowWriter(path, Drop)
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.is_retryable = False

    def add(self, drops: Iterable[Drop]) -> Counter[str]:
        """Writes drops and returns their number per modality."""
        rows = list(drops)
        if rows:
            self._table.write(rows)
        for drop in rows:
            self._counts[drop.modality or "place"][f"{drop.stage.value}.{drop.reason.value}"] += drop.count
            self.is_retryable |= drop.retryable
        return Counter(drop.modality for drop in rows)

    def close(self) -> dict[str, dict[str, int]]:
        """Ends the table and returns the counts per modality and reason."""
        self._table.close()
        return {modality: dict(sorted(counter.items())) for modality, counter in sorted(self._counts.items())}


def finish_corpus(output: str, plan: Plan) -> dict[str, Any]:
    """Merges all sidecars and returns the manifest.

    Raises:
        BuildError: if a shard is missing, or seen is not kept + dropped.
    """
    missing = unfinished(output, plan)
    if missing:
        raise BuildError(describe_missing(output, [s.name for s in plan.shards], [s.name for s in missing]))
    totals, lost = _Totals(), Counter[str]()
    index = IndexWriter(_cells(output, plan))
    drops = _Drops(storage.join(output, DROPS))
    publisher = Publisher(output)
    for _, rows in read_plan_drops(output, [*plan.drops, *plan.apart]):
        drops.add(rows)
    for shard, sidecar in read_sidecars(output, plan.shards):
        totals.add(sidecar, shard.generation)
        index.add(sidecar["rows"])
        publisher.add(shard, sidecar["rows"])
        lost += drops.add(read_drops(sidecar))
    counted = drops.close()
    if not sum(counter["samples"] for counter in totals.counts.values()):
        remedy = "see the reasons in the sidecars, loosen limits"
        if drops.is_retryable:
            remedy = "a service failed; run the same command with --retry_failed when it is back"
        raise BuildError(f"Every place was dropped, so there is no corpus: {remedy}.")
    index.write(storage.join(output, INDEX))
    publisher.close_table()
    manifest = {
        "name": storage.name_of(output), "format_version": FORMAT_VERSION,
        "schema_version": SCHEMA_VERSION, "synthetic": totals.synthetic == {True},
        "options": plan.published_options(), "plan_sha256": plan.sha256,
        "split_rule": dict(sorted(plan.split_rule.items())),
        "counts": {split: dict(sorted(c.items())) for split, c in totals.counts.items()}, "shards": totals.shards,
        "statistics": {"over": "train", "bands": totals.statistics.summary()}, "records": _in_order(plan.records),
        "observations": _account(output, plan, totals.observed, lost), "drops": counted,
        "rejected_cells": plan.rejected,
        "licences": publisher.tallies.table(),
        "tables": {name: describe_table(output, name) for name in (INDEX, DROPS, CREDITS)},
        "encoder_versions": list(totals.versions.values()),
    }  # fmt: skip
    publisher.write(manifest, tables={INDEX: INDEX_SCHEMA, DROPS: schema_of(Drop)}, generation=plan.generation)
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    storage.write_bytes(storage.join(output, MANIFEST), text.encode())
    _tidy(output, plan)
    return manifest


def _in_order(records: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Returns counts as they are always listed: a plan just made and one read again differ in their order."""
    names = [*(name for name in MODALITIES if name in records), *sorted(set(records) - set(MODALITIES))]
    return {name: {count: records[name][count] for count in ("seen", "kept", "dropped")} for name in names}


def _cells(output: str, plan: Plan) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """Returns all planned cells."""
    found = [np.zeros(0, np.uint64)]
    for part in plan.parts():
        keys = read_column(storage.join(output, FOLDER, f"{part}.places.parquet"), "key")
        found.append(np.array([int(key, 16) for key in keys], dtype=np.uint64))
    return np.concatenate(found)


def _account(output: str, plan: Plan, kept: Counter[str], lost: Counter[str]) -> dict[str, dict[str, int]]:
    """Compares what was planned with what was kept and dropped, per modality.

    Raises:
        BuildError: if they do not add up: something was lost.
    """
    seen: Counter[str] = Counter()
    for part in plan.parts():
        seen.update(read_column(storage.join(output, FOLDER, f"{part}.references.parquet"), "modality"))
    table = {}
    for name in MODALITIES:
        if seen[name]:
            table[name] = {"seen": seen[name], "kept": kept[name], "dropped": lost[name]}
            if seen[name] != kept[name] + lost[name]:
                raise BuildError(
                    f"{name}: {seen[name]} references were planned but {kept[name]} kept and {lost[name]} dropped; "
                    "this is a fault of sameplace: please report it with the folder's plan."
                )
    return table


def _tidy(output: str, plan: Plan) -> None:
    """Removes what killed workers left: files half written, sidecars of an earlier plan."""

    def leftovers() -> Iterator[str]:
        finished = Finished(output)
        names = {finished.sidecar(shard) for shard in plan.shards}
        for folder in ("", SIDECARS, FOLDER, *SPLITS):
            for name in storage.list_files(storage.join(output, folder) if folder else output):
                is_stale = folder == SIDECARS and name.endswith(".json") and name not in names
                if name.endswith(storage.TEMPORARY) or is_stale:
                    yield storage.join(output, folder, name) if folder else storage.join(output, name)

    storage.delete(list(leftovers()))
    storage.delete_folder(storage.join(output, FAILURES))
    tidy(output, plan)
