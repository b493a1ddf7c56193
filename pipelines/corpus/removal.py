"""Taking photos, articles or cells out of a corpus for good.

Only the shards concerned are written again, from what they hold: nothing is fetched. Tombstones keep the identifiers,
so that neither a retry nor a larger corpus brings them back.
"""

from collections.abc import Container
from dataclasses import replace

from pipelines.building.assemble import Known
from pipelines.building.build import BuildShards
from pipelines.building.failures import check_built, forget_failures
from pipelines.building.shards import read_drops, read_sidecars, unfinished
from pipelines.corpus.finish import finish_corpus
from pipelines.corpus.report import closing_table
from pipelines.engine.log import Log
from pipelines.engine.run import BuildError, beam_options, check_flags, run
from pipelines.files import storage
from pipelines.files.tables import read_column
from pipelines.plan.options import Options
from pipelines.plan.plan import (
    FOLDER,
    Plan,
    PlanWriter,
    ShardPlan,
    ShardRows,
    commit,
    read_plan,
    read_shard_rows,
    sort_shards,
    tidy,
)  # fmt: skip
from pipelines.plan.tombstones import TOMBSTONES, read_tombstones, write_tombstones
from pipelines.planning.packing import sort_rows
from pipelines.planning.retry import recount
from schemas.corpus import MANIFEST
from schemas.drop import Drop, Reason, Stage

MOST_NAMED = 5
"""Unknown identifiers that a sentence names."""


def remove(output: str, ids: list[str], rest: list[str], log: Log) -> None:
    """Takes items and cells out of a finished corpus.

    Raises:
        BuildError: if there is no finished corpus.
    """
    check_flags(rest)
    plan, before = read_plan(output), read_tombstones(output)
    is_whole = plan is not None and storage.exists(storage.join(output, MANIFEST)) and not unfinished(output, plan)
    if plan is None or not (is_whole or set(ids) <= before):
        raise BuildError(f"{output} holds no finished corpus: run the command that builds it to its end first.")
    tidy(output, plan)
    if is_whole:
        unknown = sorted(set(ids) - _known_ids(output, plan, set(ids)) - before)
        if unknown:
            some = ", ".join(unknown[:MOST_NAMED])
            log.say("note", f"note: {len(unknown)} of {len(ids)} identifiers are not in this corpus ({some}).")
        write_tombstones(output, before | set(ids))
        storage.delete([storage.join(output, MANIFEST)])  # it tells of shards that now change
    plan = _renew(output, plan, set(ids))
    todo = unfinished(output, plan)
    if todo:
        forget_failures(output, todo)
        settings = Options(**{**plan.options, "output": output, "workers": 1})
        shards = BuildShards(output, todo, [], settings.recipe, settings.live_settings)
        run(lambda pipeline: pipeline | "Build" >> shards, beam_options(settings, rest, tasks=len(todo)))
        check_built(output, plan, todo)
    manifest = finish_corpus(output, plan)
    text = f"{len(ids)} identifiers are kept in {TOMBSTONES}; {len(todo)} shards were written again"
    log.say("removed", text, identifiers=len(ids), shards=len(todo))
    log.say("done", closing_table(manifest, log.seconds), counts=manifest["counts"], drops=manifest["drops"])


def _known_ids(output: str, plan: Plan, ids: set[str]) -> set[str]:
    """Returns those of some identifiers that are cells or items of a plan."""
    known: set[str] = set()
    for part in plan.parts():
        stem = storage.join(output, FOLDER, part)
        for kind, column in (("places", "key"), ("references", "item_id")):
            known |= ids.intersection(read_column(f"{stem}.{kind}.parquet", column))
    return known


def _renew(output: str, plan: Plan, ids: set[str]) -> Plan:
    """Writes a plan without the items and cells; parts that do not hold any stay as they are."""
    writer = PlanWriter(output, plan.revision + 1, generation=plan.generation)
    kept: list[ShardPlan] = []
    for part, shards in plan.parts().items():
        stem = storage.join(output, FOLDER, part)
        names = {*read_column(f"{stem}.places.parquet", "key"), *read_column(f"{stem}.references.parquet", "item_id")}
        if not names & ids:
            kept += shards
            continue
        for shard in shards:
            rows = read_shard_rows(output, shard)
            renewed, drops = take_out(rows, ids, _unread(output, shard))
            writer.add(renewed, shard)
            writer.drop(drops)
    writer.close()
    if not writer.shards:
        return plan
    options = Options(**{**plan.options, "output": output})
    new = replace(
        plan,
        shards=sort_shards([*kept, *writer.shards]),
        drops=[*plan.drops, *writer.drops],
        revision=plan.revision + 1,
    )
    new = recount(options, new)
    commit(output, new)
    return new


def _unread(output: str, shard: ShardPlan) -> set[Known]:
    """Returns the candidates of a finished shard that were not needed."""
    return {
        (drop.key, drop.modality, drop.source, drop.item_id)
        for _, sidecar in read_sidecars(output, [shard])
        for drop in read_drops(sidecar)
        if drop.reason == Reason.NOT_NEEDED
    }


def take_out(rows: ShardRows, ids: Container[str], unread: Container[Known]) -> tuple[ShardRows, list[Drop]]:
    """Returns a shard's rows without items and cells, and the drops that say so.

    Candidates that were never read go too where they would now come in: a removal fetches nothing.
    """
    touched = {(r.key, r.modality, r.slot) for r in rows.references if r.item_id in ids}
    kept, drops = [], []
    for r in rows.references:
        reason = None
        if r.key in ids or r.item_id in ids:
            reason, detail = Reason.REMOVED, "it was removed from the corpus"
        elif (r.key, r.modality, r.slot) in touched and (r.key, r.modality, r.source, r.item_id) in unread:
            reason, detail = Reason.NOT_NEEDED, "another was removed, and nothing is fetched in its place"
        if reason is None:
            kept.append(r)
        else:
            drops.append(Drop(r.key, r.modality, Stage.CHOOSE, reason, None, detail, r.source, r.item_id))
    gone = [place for place in rows.places if place.key in ids]
    drops += [Drop(p.key, "", Stage.CHOOSE, Reason.REMOVED, None, "it was removed from the corpus") for p in gone]
    return sort_rows([place for place in rows.places if place.key not in ids], kept, rows.index_items()), drops
