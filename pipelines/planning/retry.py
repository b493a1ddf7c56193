"""Asking again for what failed and may succeed: searches that found no answer, files that could not be read."""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from geodata import cells
from geodata.sources import Catalogue
from pipelines.building.shards import read_drops, read_sidecars
from pipelines.cost.estimate import open_estimate
from pipelines.files import storage
from pipelines.plan.options import Options
from pipelines.plan.plan import (
    FOLDER,
    SEARCH,
    Plan,
    PlanWriter,
    ShardPlan,
    ShardRows,
    SourceSpec,
    commit,
    read_plan_drops,
    read_shard_rows,
    sort_shards,
)  # fmt: skip
from pipelines.plan.tombstones import read_tombstones
from pipelines.planning.gather import Identity, Records, check_licences, join_sources, leave_out
from pipelines.planning.packing import sort_rows
from pipelines.planning.search import Search, search
from pipelines.planning.tasks import Places
from schemas.reference import Reference

_Failed = dict[str, set[str]]
"""Keys of the cells whose search failed, by source."""


def retry_searches(options: Options, plan: Plan, rest: list[str]) -> Plan:
    """Repeats the searches that failed and writes what they found into the plan; other shards stay as they are."""
    failed: _Failed = defaultdict(set)
    for _, drops in read_plan_drops(options.output, plan.drops):
        for drop in drops:
            if drop.retryable and drop.modality:
                failed[drop.source].add(drop.key)
    if not failed:
        return plan
    places, taken = _read_places(options, plan)
    writer = PlanWriter(options.output, plan.revision + 1, generation=plan.generation)
    found = [
        _search_again(options, spec, rest, places, failed[spec.name]) for spec in plan.sources if spec.name in failed
    ]
    shards = _renew(options, plan, writer, found, taken, {key for keys in failed.values() for key in keys})
    left = _renew_drops(options, plan, writer, found, failed)
    writer.close()
    changed = replace(
        plan, shards=sort_shards([*shards, *writer.shards]), drops=[*left, *writer.drops], revision=plan.revision + 1
    )
    new = recount(options, changed)
    commit(options.output, new)
    return new


def recount(options: Options, plan: Plan) -> Plan:
    """Returns the plan with records and estimate that follow from its tables."""
    records, estimate = Records(), open_estimate(options)
    for shard in plan.shards:
        rows = read_shard_rows(options.output, shard)
        records.keep(rows.references)
        estimate.add(rows.references, rows.index_items())
    for _, drops in read_plan_drops(options.output, [*plan.drops, *plan.apart]):
        records.drop(drops)
    return replace(
        plan, records=records.table(), estimate=estimate.as_dict() | {"asked": plan.estimate.get("asked", {})}
    )


def with_failures(output: str, plan: Plan) -> list[ShardPlan]:
    """Returns the finished shards in which a read failed that may succeed now."""
    return [
        shard
        for shard, sidecar in read_sidecars(output, plan.shards)
        if any(drop.retryable for drop in read_drops(sidecar))
    ]


def _read_places(options: Options, plan: Plan) -> tuple[Places, set[Identity]]:
    """Returns all planned places, and the articles that they have."""
    numbers, splits = list[int](), list[str]()
    taken: set[Identity] = set()
    for rows in (read_shard_rows(options.output, shard) for shard in plan.shards):
        numbers += [cells.to_cell(place.key) for place in rows.places]
        splits += [place.split for place in rows.places]
        taken |= {(i.source, i.modality, i.item_id) for i in rows.items if i.modality == "text"}
    return Places(np.array(numbers, dtype=np.uint64), splits, options.unit_resolution), taken


def _search_again(options: Options, spec: SourceSpec, rest: list[str], places: Places, keys: set[str]) -> Search:
    wanted = np.isin(places.cells, np.array([cells.to_cell(key) for key in keys], dtype=np.uint64))
    folder = storage.join(options.output, FOLDER, SEARCH, spec.name)
    return search(options, [spec], rest, places, [Catalogue()], wanted=wanted, folder=folder)


def _renew(
    options: Options, plan: Plan, writer: PlanWriter, found: list[Search], taken: set[Identity], keys: set[str]
) -> list[ShardPlan]:  # fmt: skip
    """Writes the parts that hold such a cell anew and returns the shards of the others."""
    removed = read_tombstones(options.output)
    kept: list[ShardPlan] = []
    for shards in plan.parts().values():
        rows_of = {shard: read_shard_rows(options.output, shard) for shard in shards}
        if not any(place.key in keys for rows in rows_of.values() for place in rows.places):
            kept += shards
            continue
        for shard, rows in rows_of.items():
            writer.add(_add_found(options, rows, found, writer, taken, removed), shard)
    return kept


def _add_found(
    options: Options, rows: ShardRows, found: list[Search], writer: PlanWriter, taken: set[Identity],
    removed: frozenset[str]
) -> ShardRows:  # fmt: skip
    """Returns a shard's rows with what was found for its places now."""
    here = {place.key for place in rows.places}
    items = rows.index_items()
    new: list[Reference] = []
    for one in (one.read(cells.to_cell(unit)) for one in found for unit in sorted({p.unit for p in rows.places})):
        mine = [r for r in one.references if r.key in here]
        wanted = {(r.source, r.modality, r.item_id) for r in mine}
        items |= {
            (i.source, i.modality, i.item_id): i for i in one.items if (i.source, i.modality, i.item_id) in wanted
        }
        new += mine
    if not new:
        return rows
    known = {(r.key, r.source, r.modality, r.item_id) for r in rows.references}
    new = [r for r in new if (r.key, r.source, r.modality, r.item_id) not in known]
    allowed, closed = check_licences(options.licences, new, items)
    free, barred = leave_out(allowed, taken, removed)
    references, surplus = join_sources(options, rows.references + free)
    writer.drop([*closed, *barred, *surplus])
    return sort_rows(rows.places, references, items)


def _renew_drops(
    options: Options, plan: Plan, writer: PlanWriter, found: list[Search], failed: _Failed
) -> list[str]:  # fmt: skip
    """Writes the drops without those that were asked again; returns the tables that stay."""
    left = []
    for stem, drops in read_plan_drops(options.output, plan.drops):
        still = [d for d in drops if not (d.retryable and d.modality and d.key in failed.get(d.source, ()))]
        if len(still) == len(drops):
            left.append(stem)
        else:
            writer.drop(still)
    for one in found:
        for unit in one.units():
            writer.drop(one.read(unit).drops)
        one.close()
    return left
