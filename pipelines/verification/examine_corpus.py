"""A finished corpus as a whole: every shard in a process of its own, then what only all of them together can tell.

Memory holds the index rows of a few shards, one sample a process, and sixteen bytes for each place, photo and article.
"""

import json
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geodata.licences import ALL
from geodata.splits import SplitRule
from pipelines.building.shards import SIDECARS
from pipelines.files import storage
from pipelines.verification.examine import ShardTask, examine_shard
from pipelines.verification.examine_sample import Layout
from pipelines.verification.examine_tables import (
    compare_credits,
    compare_drops,
    compare_manifest,
    compare_statistics,
    walk_index,
)
from pipelines.verification.fault import Fault
from pipelines.verification.findings import Findings, Totals
from pipelines.verification.leakage import find_shared_items, find_touching_patches
from schemas.corpus import FORMAT_VERSION, INDEX, MANIFEST, CorpusError
from schemas.modality import AERIAL
from schemas.reference import SPLITS

BATCH_ROWS = 100_000
"""Rows of the index that are in memory at once; it is read once for each so many samples."""
NEEDED = (
    "format_version", "synthetic", "options", "split_rule", "counts", "shards", "statistics", "records", "observations",
    "drops",
)  # fmt: skip
"""Entries of a manifest without which there is nothing to compare with."""


def read_manifest(corpus: str) -> dict[str, Any]:
    """Returns the manifest of a finished corpus.

    Raises:
        CorpusError: if there is none, it cannot be read, or it is of a newer format.
    """
    path = storage.join(corpus, MANIFEST)
    if not storage.exists(path):
        raise CorpusError(_why_not(corpus))
    again = "run the command that built it again, which writes the manifest anew from the sidecars"
    try:
        manifest = json.loads(storage.read_bytes(path))
    except ValueError as error:
        raise CorpusError(f"{path} is damaged ({error}): {again}.") from error
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CorpusError(
            f"{path} has corpus format {version}, this reader knows up to {FORMAT_VERSION}: install a newer sameplace."
        )
    missing = [name for name in NEEDED if name not in manifest] if isinstance(manifest, dict) else list(NEEDED)
    if missing:
        raise CorpusError(f"{path} says nothing of {', '.join(missing)}: {again}.")
    return manifest  # type: ignore[no-any-return]


def examine_corpus(corpus: str, workers: int, report: Callable[[int], None] = lambda _: None) -> Totals:
    """Re-reads a whole corpus.

    Args:
        workers: processes.
        report: is told of samples as they are done.

    Raises:
        CorpusError: if there is no finished corpus.
    """
    manifest = read_manifest(corpus)
    totals = Totals()
    entries = _check_shards(corpus, manifest, totals)
    has_index = walk_index(corpus, manifest, totals)
    rule = _read_rule(manifest, totals)
    tasks = _list_tasks(corpus, manifest, entries, rule=rule, has_index=has_index)
    for findings in _in_processes(corpus, tasks, workers):
        totals.add(findings)
        report(findings.counts["samples"])
        entry = entries[findings.name]
        if not findings.faults and findings.counts["samples"] != entry["samples"]:
            said = f"holds {findings.counts['samples']} samples, the manifest says {entry['samples']}"
            totals.faults.append(Fault("manifest", findings.name, "", said))
    _check_across(totals)
    compare_manifest(manifest, totals)
    compare_statistics(manifest, totals)
    compare_credits(corpus, manifest, totals)
    compare_drops(corpus, manifest, totals)
    return totals


def _why_not(corpus: str) -> str:
    files = storage.list_files(corpus)
    if any(name.startswith("plan/") for name in files):
        return (
            f"{corpus} is not finished (no {MANIFEST}): run the command that began it again, only what is missing is "
            f"built; or python -m pipelines.finish {corpus} where its parts were built apart."
        )
    inside = sorted(name.partition("/")[0] for name in files if name.count("/") == 1 and name.endswith(f"/{MANIFEST}"))
    if inside:
        return f"{corpus} holds {len(inside)} corpora: name one of them, such as {storage.join(corpus, inside[0])}."
    return f"{corpus} holds no corpus (no {MANIFEST}): check the path, or build one, for instance with make corpus."


def _check_shards(corpus: str, manifest: dict[str, Any], totals: Totals) -> dict[str, dict[str, Any]]:
    """Compares the listing with the manifest and returns the manifest's shards by name."""
    entries = {entry["name"]: entry for entry in manifest["shards"]}
    if len(entries) != len(manifest["shards"]):
        totals.faults.append(Fault("manifest", MANIFEST, "", "names a shard twice"))
    for split in SPLITS:
        for name in sorted(storage.list_files(storage.join(corpus, split))):
            if f"{split}/{name}" not in entries:
                totals.faults.append(Fault("shards", f"{split}/{name}", "", "is not named by the manifest"))
    totals.examined["manifest"] += 1
    return entries


def _read_rule(manifest: dict[str, Any], totals: Totals) -> SplitRule:
    said = manifest["split_rule"]
    rule = SplitRule(*(said[name] for name in ("test_resolution", "val_resolution", "resolution")))
    if rule.describe() != said:
        what = f"split_rule is {json.dumps(said)}, this version splits by {json.dumps(rule.describe())}"
        totals.faults.append(Fault("manifest", MANIFEST, "", what))
    return rule


def _list_tasks(
    corpus: str, manifest: dict[str, Any], entries: dict[str, dict[str, Any]], *, rule: SplitRule, has_index: bool
) -> Iterator[ShardTask]:
    """Yields tasks with their index rows, which are read for a batch of shards at once."""
    options = manifest["options"]
    layout = Layout(rule.resolution, options.get("aerial_gsd", AERIAL.gsd_m), options.get("licences", ALL))
    sidecars: dict[str, list[str]] = {}
    for name in sorted(storage.list_files(storage.join(corpus, SIDECARS))):
        if name.endswith(".json"):
            sidecars.setdefault(name.partition(".")[0], []).append(name)
    twins = {entry["sha256"]: name for name, entry in entries.items()}
    for batch in _batch(list(entries.values())):
        rows = _read_rows(corpus, [entry["name"] for entry in batch]) if has_index else None
        for entry in batch:
            name = entry["name"]
            stem = name.rpartition("/")[2].removesuffix(".tar")
            yield ShardTask(
                corpus, name, entry["bytes"], entry["sha256"], None if rows is None else rows[name],
                sidecars.get(stem, []), layout, rule, twins,
            )  # fmt: skip


def _batch(entries: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for entry in entries:
        if batch and sum(one["samples"] for one in batch) + entry["samples"] > BATCH_ROWS:
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch


def _read_rows(corpus: str, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with storage.open_file(storage.join(corpus, INDEX)) as file:
        for batch in pq.ParquetFile(file).iter_batches():
            mine = batch.filter(pa.compute.is_in(batch["shard"], value_set=pa.array(names)))
            for row in mine.to_pylist():
                rows[row["shard"]].append(row)
    return rows


def _in_processes(corpus: str, tasks: Iterable[ShardTask], workers: int) -> Iterator[Findings]:
    """Yields findings in the order of the tasks, a few of which are worked on ahead."""
    if workers == 1:
        yield from map(examine_shard, tasks)
        return
    pending: deque[Future[Findings]] = deque()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=storage.reach, initargs=(corpus,)) as pool:
        for task in tasks:
            pending.append(pool.submit(examine_shard, task))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _check_across(totals: Totals) -> None:
    """Adds what two shards together have wrong: a key in both, a photo in both, patches that touch."""
    if not totals.names:
        return
    cells_ = np.concatenate(totals.cells)
    shards = np.repeat(np.arange(len(totals.names)), [len(some) for some in totals.cells])
    order = np.argsort(cells_, kind="stable")
    for place in np.flatnonzero(cells_[order][1:] == cells_[order][:-1]).tolist():
        first, second = order[place], order[place + 1]
        what = f"is also in {totals.names[shards[first]]}"
        totals.faults.append(Fault("keys", totals.names[shards[second]], f"{cells_[second]:x}", what))
    items = np.concatenate(totals.items)
    owners = np.repeat(np.arange(len(totals.names)), [len(some) for some in totals.items])
    totals.faults += find_shared_items(items[:, 0], items[:, 1], owners, totals.names)
    totals.faults += find_touching_patches(cells_, shards, totals.names)
