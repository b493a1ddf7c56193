"""The tables of a finished corpus: the index by itself, and manifest, statistics and drops against the records."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.building.shards import SIDECARS
from pipelines.corpus.index import INDEX_SCHEMA
from pipelines.files import storage
from pipelines.publishing.attribution import CREDITS
from pipelines.publishing.publish import describe_table
from pipelines.verification.fault import Fault
from pipelines.verification.findings import Totals
from schemas.corpus import DROPS, INDEX, MANIFEST
from schemas.modality import MODALITIES

EXACT = 1e-6
"""Relative difference that another order of adding floats, and rounding to six decimals, may make."""
PICTURE_SLACK = {"mean": 3.0, "std": 25.0, "pixels": 0.0}
"""The manifest counts pictures before JPEG, which moves real ones by 0.2 of 255 steps, and takes 22 of the deviation of
white noise (measured). Sidecars are compared exactly."""
DROP_COLUMNS = ("key", "modality", "stage", "reason", "item_id")


def walk_index(corpus: str, manifest: dict[str, Any], totals: Totals) -> bool:
    """Checks the index by itself, and returns whether its rows can be read."""
    try:
        with storage.open_file(storage.join(corpus, INDEX)) as file:
            table = pq.ParquetFile(file)
            totals.faults += [Fault("index", INDEX, "", what) for what in _examine_schema(table.schema_arrow)]
            if any(name not in table.schema_arrow.names for name in INDEX_SCHEMA.names):
                return False
            totals.faults += _examine_rows(table, manifest, totals)
    except (OSError, pa.ArrowException) as error:
        totals.faults.append(Fault("index", INDEX, "", f"cannot be read ({error})"))
        return False
    return True


def compare_manifest(manifest: dict[str, Any], totals: Totals) -> None:
    """Compares the manifest's numbers with those of the records."""
    if not totals.is_harmed:
        found = {split: dict(sorted(counter.items())) for split, counter in totals.counts.items()}
        for split in sorted({*found, *manifest["counts"]}):
            if (said := manifest["counts"].get(split)) != found.get(split):
                _blame(totals, "manifest", f"counts {split} as {said}, the records as {found.get(split)}")
        if manifest["synthetic"] != totals.is_synthetic:
            _blame(totals, "manifest", f"synthetic is {manifest['synthetic']}, by the records {totals.is_synthetic}")
    for table in ("observations", "records"):
        for modality, row in manifest[table].items():
            if row["seen"] != row["kept"] + row["dropped"]:
                _blame(totals, "drops", f"{table} of {modality}: {row}: seen is not kept + dropped")
    for modality in MODALITIES:
        row = manifest["observations"].get(modality, {"kept": 0, "dropped": 0})
        if not totals.is_harmed and row["kept"] != totals.observed[modality]:
            _blame(
                totals, "manifest", f"says {row['kept']} {modality} kept, the shards hold {totals.observed[modality]}"
            )
        if totals.has_all_sidecars and row["dropped"] != totals.dropped[modality]:
            what = f"says {row['dropped']} {modality} dropped, the sidecars {totals.dropped[modality]}"
            _blame(totals, "drops", what)


def compare_statistics(manifest: dict[str, Any], totals: Totals) -> None:
    """Compares mean, deviation and pixels with those of the stored train samples, and with the sidecars' sums."""
    said = manifest["statistics"].get("bands", {})
    totals.examined["statistics"] += sum(len(entry["bands"]) for entry in said.values())
    if totals.has_all_sidecars and (found := totals.sums.summary()) != said:
        for modality in sorted({*found, *said}):
            for what in _differ(said.get(modality), found.get(modality), found.get(modality), {}):
                _blame(totals, "statistics", f"{modality}: {what} by the sidecars")
    if totals.is_harmed:
        return
    stored, gapped = totals.statistics.summary(), totals.with_gaps.summary()
    for modality in sorted({*stored, *said}):
        slack = PICTURE_SLACK if MODALITIES[modality].suffix.endswith("jpg") else {}
        for what in _differ(said.get(modality), stored.get(modality), gapped.get(modality), slack):
            _blame(totals, "statistics", f"{modality}: {what} by the pixels")


def compare_drops(corpus: str, manifest: dict[str, Any], totals: Totals) -> None:
    """Compares the table of drops with the manifest; where they differ, with the sidecars, which name the places."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    try:
        for row in _read_drops(corpus):
            totals.examined["drops"] += 1
            counts[row["modality"] or "place"][f"{row['stage']}.{row['reason']}"] += row["count"]
    except (OSError, pa.ArrowException, KeyError) as error:
        totals.faults.append(Fault("drops", DROPS, "", f"cannot be read ({error})"))
        return
    said = manifest["drops"]
    differing = [
        (modality, reason)
        for modality in sorted({*said, *counts})
        for reason in sorted({*said.get(modality, {}), *counts[modality]})
        if said.get(modality, {}).get(reason, 0) != counts[modality][reason]
    ]
    for modality, reason in differing:
        number = said.get(modality, {}).get(reason, 0)
        what = f"has {counts[modality][reason]} of {modality} {reason}, the manifest says {number}"
        totals.faults.append(Fault("drops", DROPS, "", what))
    if differing:
        totals.faults += _name_missing(corpus, totals.names)


def compare_credits(corpus: str, manifest: dict[str, Any], totals: Totals) -> None:
    """Compares the table of credits with the manifest; corpora of earlier versions have none."""
    said = manifest.get("tables", {}).get(CREDITS)
    if said is None:
        return
    try:
        found = describe_table(corpus, CREDITS)
    except (OSError, pa.ArrowException) as error:
        totals.faults.append(Fault("credits", CREDITS, "", f"cannot be read ({error})"))
        return
    totals.examined["credits"] += found["rows"]
    if found != said:
        totals.faults.append(Fault("credits", CREDITS, "", f"has {found}, the manifest says {said}"))
    elif not totals.is_harmed and found["rows"] != totals.observed.total():
        what = f"has {found['rows']} rows, the shards hold {totals.observed.total()} observations"
        totals.faults.append(Fault("credits", CREDITS, "", what))


def _examine_schema(schema: pa.Schema) -> Iterator[str]:
    for field in INDEX_SCHEMA:
        if field.name not in schema.names:
            yield f"has no column {field.name}"
        elif schema.field(field.name).type != field.type:
            yield f"has {schema.field(field.name).type} in column {field.name}, not {field.type}"
    try:
        geo = json.loads((schema.metadata or {})[b"geo"])
        column = geo["columns"][geo["primary_column"]]
        is_good = (geo["primary_column"], column["encoding"]) == ("geometry", "WKB") and geo["version"].startswith("1.")
    except (KeyError, ValueError, TypeError, AttributeError):
        is_good = False
    if not is_good:
        yield "is no GeoParquet 1.x: its metadata names no geometry column in WKB"


def _examine_rows(table: pq.ParquetFile, manifest: dict[str, Any], totals: Totals) -> Iterator[Fault]:
    shards = {entry["name"] for entry in manifest["shards"]}
    last = ""
    for batch in table.iter_batches(columns=["key", "shard"]):
        for key, shard in zip(batch["key"].to_pylist(), batch["shard"].to_pylist(), strict=True):
            totals.examined["index"] += 1
            if key == last:
                yield Fault("keys", shard, key, f"occurs twice in {INDEX}")
            elif key < last:
                yield Fault("index", shard, key, f"comes after {last} in {INDEX}, which is sorted by key")
            if shard not in shards:
                yield Fault("index", shard, key, "lies in a shard that the manifest does not name")
            last = max(key, last)
    samples = sum(entry["samples"] for entry in manifest["shards"])
    if totals.examined["index"] != samples:
        yield Fault("index", INDEX, "", f"has {totals.examined['index']} rows, the manifest says {samples} samples")


def _differ(
    said: dict[str, Any] | None, found: dict[str, Any] | None, other: dict[str, Any] | None, slack: dict[str, float]
) -> Iterator[str]:
    """Yields the numbers that are neither what was found, nor the other, nor between them."""
    if said is None or found is None or other is None:
        yield f"the manifest has {'none' if said is None else 'some'}, there are {'none' if found is None else 'some'}"
        return
    for name in ("mean", "std", "pixels"):
        if len(said[name]) != len(found[name]):
            yield f"{name} has {len(said[name])} bands, and there are {len(found[name])}"
        for band, value, one, two in zip(found["bands"], said[name], found[name], other[name], strict=False):
            margin = slack.get(name, 0.0) + EXACT * abs(one) + 2e-6
            if not min(one, two) - margin <= value <= max(one, two) + margin:
                yield f"{name} of {band} is {value}, and {one}"


def _read_drops(corpus: str) -> Iterator[dict[str, Any]]:
    with storage.open_file(storage.join(corpus, DROPS)) as file:
        for batch in pq.ParquetFile(file).iter_batches(columns=[*DROP_COLUMNS, "count"]):
            yield from batch.to_pylist()


def _name_missing(corpus: str, shards: list[str]) -> Iterator[Fault]:
    """Yields the drops of the sidecars that have no row."""
    rows = Counter(tuple(row[name] for name in DROP_COLUMNS) for row in _read_drops(corpus))
    names = {shard.rpartition("/")[2].removesuffix(".tar"): shard for shard in shards}
    for file in sorted(storage.list_files(storage.join(corpus, SIDECARS))):
        shard = names.get(file.partition(".")[0])
        if shard is None or not file.endswith(".json"):
            continue
        for drop in json.loads(storage.read_bytes(storage.join(corpus, SIDECARS, file)))["drops"]:
            row = tuple(drop[column] for column in DROP_COLUMNS)
            rows[row] -= 1
            if rows[row] < 0:
                name = f"{drop['modality']} {drop['stage']}.{drop['reason']} {drop['item_id']}"
                what = f"its drop {name} has no row in {DROPS}"
                yield Fault("drops", shard, drop["key"], what)


def _blame(totals: Totals, check: str, what: str) -> None:
    totals.faults.append(Fault(check, MANIFEST, "", what))
