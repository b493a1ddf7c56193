"""Asking again for what failed and may succeed: searches that found no answer, files that could not be read."""

from collections import defaultdict
from dataclasses import replace

from geodata.sources import Catalogue
from pipelines.estimate import estimate_cost
from pipelines.options import Options
from pipelines.plan import Plan, ShardPlan, read_plan_drops, read_shard_rows, write_plan
from pipelines.planning import NOT_RECORDS, Found, collect_rows, drop_order, join_sources, search
from pipelines.shards import read_drops, read_sidecar
from schemas.drop import Drop
from schemas.reference import Place, Reference


def retry_searches(options: Options, plan: Plan, rest: list[str]) -> Plan:
    """Repeats the searches that failed and writes what they found into the plan; other rows stay as they are."""
    drops = read_plan_drops(options.output)
    if not any(drop.retryable for drop in drops):
        return plan
    shards = [read_shard_rows(options.output, shard.number) for shard in plan.shards]
    places = [place for rows in shards for place in rows.places]
    planned = {place.key for place in places}
    failed = [drop for drop in drops if drop.retryable and drop.modality and drop.key in planned]
    if not failed:
        return plan
    found = _search_again(options, plan, rest, places, failed)
    kept = [rows.references for rows in shards]
    references, surplus = join_sources(options, [r for rows in kept for r in rows] + found.references)
    by_key: defaultdict[str, list[Reference]] = defaultdict(list)
    for reference in references:
        by_key[reference.key].append(reference)
    items = {(i.source, i.modality, i.item_id): i for rows in shards for i in rows.items} | found.items
    renewed = [collect_rows(rows.places, by_key, items) for rows in shards]
    shard_plans = [replace(shard, sha256=rows.sha256()) for shard, rows in zip(plan.shards, renewed, strict=True)]
    asked = set(failed)
    left = [drop for drop in drops if drop not in asked]
    known = {(i.source, i.modality, i.item_id) for rows in shards for i in rows.items}
    records = _add_records(plan.records, found, known)
    estimate = estimate_cost([rows.references for rows in renewed], items, options.recipe)
    new = replace(plan, shards=shard_plans, records=records, estimate=estimate)
    write_plan(options.output, new, renewed, sorted(left + found.drops + surplus, key=drop_order))
    return new


def with_failures(output: str, plan: Plan) -> list[ShardPlan]:
    """Returns the finished shards in which a read failed that may succeed now."""
    shards = []
    for shard in plan.shards:
        sidecar = read_sidecar(output, shard)
        if sidecar is not None and any(drop.retryable for drop in read_drops(sidecar)):
            shards.append(shard)
    return shards


def _search_again(options: Options, plan: Plan, rest: list[str], places: list[Place], failed: list[Drop]) -> Found:
    total = Found([], {}, [])
    for spec in plan.sources:
        keys = {drop.key for drop in failed if drop.source == spec.name}
        wanted = [place for place in places if place.key in keys]
        if wanted:
            found = search(options, [spec], rest, places, [Catalogue()], wanted=wanted)
            total.references += found.references
            total.items |= found.items
            total.drops += found.drops
    return total


def _add_records(
    records: dict[str, dict[str, int]], found: Found, known: set[tuple[str, str, str]]
) -> dict[str, dict[str, int]]:
    """Returns what the sources offered, with what the repeated searches found and dropped."""
    table = {name: dict(row) for name, row in records.items()}
    new = [(modality, "kept", 1) for _, modality, _ in found.items.keys() - known]
    new += [(drop.modality, "dropped", drop.count) for drop in found.drops if drop.reason not in NOT_RECORDS]
    for modality, outcome, number in new:
        row = table.setdefault(modality, {"seen": 0, "kept": 0, "dropped": 0})
        row["seen"] += number
        row[outcome] += number
    return table
