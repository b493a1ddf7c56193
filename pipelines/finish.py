"""Finishing a corpus: the sidecars become the index, the drops, the manifest and the card; the manifest comes last."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from pipelines.card import write_card
from pipelines.plan import Plan, read_plan_drops
from pipelines.run import BuildError
from pipelines.shards import read_drops, read_sidecar
from pipelines.statistics import Statistics
from pipelines.tables import schema_of, to_table
from schemas.corpus import DROPS, FORMAT_VERSION, INDEX, MANIFEST
from schemas.drop import Drop
from schemas.modality import MODALITIES
from schemas.reference import SPLITS
from schemas.sample import SCHEMA_VERSION

MOST_CREDITS = 100
"""More credit lines of one licence are not listed in the manifest: photos and articles have each their own."""

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


def finish_corpus(output: str, plan: Plan) -> dict[str, Any]:
    """Merges all sidecars and returns the manifest.

    Raises:
        BuildError: if a shard is missing, or seen is not kept + dropped.
    """
    root = Path(output)
    statistics = Statistics()
    shards: list[dict[str, Any]] = []
    parts: list[pa.Table] = []
    licences: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    drops = read_plan_drops(output)
    planned_drops = len(drops)
    synthetic: set[bool] = set()
    observed: Counter[str] = Counter()
    versions: dict[str, dict[str, str]] = {}
    for sidecar in _sidecars(output, plan):
        rows = sidecar["rows"]
        split = sidecar["shard"].partition("/")[0]
        parts.append(_index_part(rows))
        drops += read_drops(sidecar)
        if split == "train":
            statistics.merge(sidecar["statistics"])
        counts[split].update(name for row in rows for name in row["modalities"])
        counts[split]["samples"] += len(rows)
        synthetic |= {row["synthetic"] for row in rows}
        for row in rows:
            observed.update(row["observed"])
            for modality, licence, attribution in row["licences"]:
                licences[modality][licence, attribution] += 1
        entry = {"name": sidecar["shard"], "samples": len(rows), "bytes": sidecar["bytes"], "sha256": sidecar["sha256"]}
        shards.append(entry)
        versions[json.dumps(sidecar["versions"], sort_keys=True)] = sidecar["versions"]
    if not sum(counter["samples"] for counter in counts.values()):
        remedy = "see the reasons in the sidecars, loosen limits"
        if any(drop.retryable for drop in drops):
            remedy = "a service failed; run the same command with --retry_failed when it is back"
        raise BuildError(f"Every place was dropped, so there is no corpus: {remedy}.")
    index = pa.concat_tables(parts)
    index = index.take(pc.sort_indices(index, sort_keys=[("key", "ascending")]))
    pq.write_table(index, root / f"{INDEX}.tmp", compression="zstd", row_group_size=10_000)
    _write_drops(root, drops)
    manifest = {
        "name": root.resolve().name, "format_version": FORMAT_VERSION, "schema_version": SCHEMA_VERSION,
        "synthetic": synthetic == {True}, "options": plan.options, "plan_sha256": plan.sha256,
        "split_rule": plan.split_rule, "counts": {split: dict(sorted(c.items())) for split, c in counts.items()},
        "shards": shards, "statistics": {"over": "train", "bands": statistics.summary()},
        "records": plan.records, "observations": _account(output, observed, drops[planned_drops:]),
        "drops": _count_drops(drops), "rejected_cells": plan.rejected,
        "licences": {modality: _list_licences(counter) for modality, counter in sorted(licences.items())},
        "encoder_versions": list(versions.values()),
    }  # fmt: skip
    write_card(root, manifest)
    os.replace(root / f"{INDEX}.tmp", root / INDEX)
    temporary = root / f"{MANIFEST}.tmp"
    temporary.write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(temporary, root / MANIFEST)
    return manifest


def _list_licences(counter: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    """Returns licences with their credits; where nearly each record has a credit of its own, the record names it."""
    credits: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for (licence, credit), number in sorted(counter.items()):
        credits[licence].append((credit, number))
    rows = []
    for licence, entries in credits.items():
        if len(entries) > MOST_CREDITS:
            entries = [("as each record says", sum(number for _, number in entries))]
        rows += [{"licence": licence, "attribution": credit, "observations": number} for credit, number in entries]
    return rows


def _sidecars(output: str, plan: Plan) -> Iterator[dict[str, Any]]:
    for shard in plan.shards:
        sidecar = read_sidecar(output, shard)
        if sidecar is None:
            raise BuildError(
                f"The shard {shard.name} is missing: run the same command again, only what is missing is built."
            )
        yield sidecar


def _index_part(rows: list[dict[str, Any]]) -> pa.Table:
    points = shapely.points([row["lon"] for row in rows], [row["lat"] for row in rows]) if rows else []
    geometry = [bytes(wkb) for wkb in shapely.to_wkb(points)] if rows else []
    columns = {name: [row[name] for row in rows] for name in INDEX_SCHEMA.names if name != "geometry"}
    return pa.table({**columns, "geometry": geometry}, schema=INDEX_SCHEMA)


def _write_drops(root: Path, drops: list[Drop]) -> None:
    table = to_table(drops, Drop) if drops else schema_of(Drop).empty_table()
    pq.write_table(table, root / f"{DROPS}.tmp", compression="zstd")
    os.replace(root / f"{DROPS}.tmp", root / DROPS)


def _account(output: str, kept: Counter[str], drops: list[Drop]) -> dict[str, dict[str, int]]:
    """Compares what was planned with what was kept and dropped, per modality.

    Raises:
        BuildError: if they do not add up: something was lost.
    """
    planned = pq.read_table(Path(output) / "plan" / "references.parquet", columns=["modality"])
    seen = Counter(planned["modality"].to_pylist())
    lost = Counter(drop.modality for drop in drops)
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


def _count_drops(drops: list[Drop]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for drop in drops:
        counts[drop.modality or "place"][f"{drop.stage.value}.{drop.reason.value}"] += drop.count
    return {modality: dict(sorted(counter.items())) for modality, counter in sorted(counts.items())}
