"""Making the plan: places, then references for them unit by unit, then shards; and making it grow."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from geodata import cells
from geodata.sampling import Choice
from geodata.sources import Catalogue
from pipelines.cost.estimate import open_estimate
from pipelines.cost.pilot import price_plan
from pipelines.engine.metrics import RECEIVED, REQUESTS
from pipelines.plan.options import OptionError, Options
from pipelines.plan.plan import (
    Plan,
    PlanWriter,
    ShardRows,
    SourceSpec,
    commit,
    read_plan_drops,
    read_shard_rows,
    sort_shards,
)  # fmt: skip
from pipelines.plan.tombstones import read_tombstones
from pipelines.planning.candidates import choose_candidates, scan_catalogues
from pipelines.planning.gather import (
    Identity,
    Records,
    Unused,
    check_licences,
    join_sources,
    leave_out,
    require,
)  # fmt: skip
from pipelines.planning.packing import Packer
from pipelines.planning.search import Search, search
from pipelines.planning.tasks import Places
from schemas.drop import Drop, Reason


@dataclass
class Candidates:
    """What a plan is made from."""

    places: Places
    """All chosen cells, of earlier generations too."""
    wanted: NDArray[np.bool_]
    """Those to be searched for, shape (N,)."""
    choice: Choice
    """How they were chosen."""
    catalogues: list[Catalogue]
    """What the user's files hold."""
    taken: frozenset[Identity] = frozenset()
    """Articles that earlier generations have."""


def make_plan(options: Options, specs: list[SourceSpec], rest: list[str], *, listed: str = "") -> Plan:
    """Makes the plan of a corpus and writes it below the output folder; a dry run may only price a part of it.

    Args:
        rest: flags for Beam.
        listed: file of places of a source that brings its own, such as the demo.

    Raises:
        OptionError, SourceError: with one sentence for the user.
        geodata.regions.RegionError: if the region cannot be used.
    """
    catalogues = scan_catalogues(options, specs)
    choice, total = choose_candidates(options, specs, catalogues, listed)
    if not len(choice.cells):
        raise OptionError(_explain_nothing(options, choice, catalogues))
    places = Places(choice.cells, choice.splits, options.unit_resolution)
    candidates = Candidates(places, np.ones(len(places), np.bool_), choice, catalogues)
    if len(places) < total:
        return _price(options, specs, rest, candidates, total)
    writer = PlanWriter(options.output, 0)
    plan = _fill(options, specs, rest, candidates, writer)
    commit(options.output, plan)
    return plan


def grow_plan(options: Options, plan: Plan, rest: list[str], *, listed: str = "") -> Plan:
    """Adds a generation of shards for the places that a larger number of samples brings; finished shards stay.

    Raises:
        OptionError, SourceError: with one sentence for the user.
    """
    earlier = _Earlier(options, plan)
    catalogues = scan_catalogues(options, plan.sources)
    choice, _ = choose_candidates(options, plan.sources, catalogues, listed)
    fresh = ~np.isin(choice.cells, earlier.considered)
    if not fresh.any():
        new = replace(plan, options=options.shaping(), revision=plan.revision + 1)
        commit(options.output, new)
        return new
    all_cells = np.concatenate([earlier.cells, choice.cells[fresh]])
    places = Places(all_cells, [*earlier.splits, *choice.splits[fresh]], options.unit_resolution)
    candidates = Candidates(places, np.isin(places.cells, choice.cells[fresh]), choice, catalogues, earlier.taken)
    names = [shard.name for shard in plan.shards]
    writer = PlanWriter(options.output, plan.revision + 1, taken=names, generation=plan.generation + 1)
    new = _fill(options, plan.sources, rest, candidates, writer, plan)
    commit(options.output, new)
    return new


def _fill(
    options: Options, specs: list[SourceSpec], rest: list[str], candidates: Candidates, writer: PlanWriter,
    plan: Plan | None = None,
) -> Plan:  # fmt: skip
    """Searches, packs and writes; what an earlier plan holds is counted again, its shards stay as they are."""
    found = search(options, specs, rest, candidates.places, candidates.catalogues, wanted=candidates.wanted)
    records, unused, estimate = Records(), Unused(candidates.catalogues), open_estimate(options)
    for rows, drops in _earlier_rows(options, plan, {cells.to_key(unit) for unit in found.units()}):
        records.keep(rows.references)
        unused.see(rows.references, drops)
        estimate.add(rows.references, rows.index_items())
        records.drop(drops)
        writer.drop(drops)
    for shard, drops in _pack(options, candidates, found):
        records.drop(drops)
        unused.see(shard.references if shard else (), drops)
        writer.drop(drops)
        if shard is not None:
            records.keep(shard.references)
            estimate.add(shard.references, shard.index_items())
            writer.add(shard)
    asked = _add_up(candidates.choice.asked, found.asked, plan.estimate.get("asked", {}) if plan else {})
    found.close()
    writer.end_drops()
    listed = len(writer.drops)
    apart = [*candidates.choice.drops, *(drop for catalogue in candidates.catalogues for drop in catalogue.drops)]
    unused.see((), apart)
    apart += unused.drops(options.resolution)
    records.drop(apart)
    writer.drop(apart)
    writer.close()
    kept = plan.shards if plan else []
    if not kept and not writer.shards:
        raise OptionError(
            f"No place has what is asked for (--min_observations {options.min_observations}, --require "
            f"{options.require!r}): ask for less, or give sources that cover the region."
        )
    return Plan(
        options.shaping(), specs, sort_shards([*kept, *writer.shards]), options.split_rule.describe(),
        writer.drops[:listed], writer.drops[listed:], records.table(),
        {str(reason): number for reason, number in sorted(candidates.choice.rejected.items())},
        estimate.as_dict() | {"asked": asked},
        plan.revision + 1 if plan else 0, plan.generation + 1 if plan else 0,
    )  # fmt: skip


def _add_up(*asked: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Returns requests and received bytes by service of several searches together."""
    return {name: dict(sum((Counter(one.get(name, {})) for one in asked), Counter())) for name in (REQUESTS, RECEIVED)}


def _pack(options: Options, candidates: Candidates, found: Search) -> Iterator[tuple[ShardRows | None, list[Drop]]]:
    """Yields shards as they are filled, and the drops of each unit."""
    packer, removed = Packer(options.samples_per_shard), read_tombstones(options.output)
    sought = set(candidates.places.cells[candidates.wanted].tolist()) if not candidates.wanted.all() else None
    for unit in found.units():
        places = candidates.places.rows(unit)
        if sought is not None:
            places = [place for place in places if cells.to_cell(place.key) in sought]
        here = found.read(unit)
        items = {(item.source, item.modality, item.item_id): item for item in here.items}
        allowed, closed = check_licences(options.licences, here.references, items)
        free, barred = leave_out(allowed, candidates.taken, removed)
        references, surplus = join_sources(options, free)
        places, references, lost = require(options, places, references, here.drops)
        yield None, [*here.drops, *closed, *barred, *surplus, *lost]
        for shard in packer.add(places, references, items):
            yield shard, []
    for shard in packer.rest():
        yield shard, []


def _price(options: Options, specs: list[SourceSpec], rest: list[str], candidates: Candidates, total: int) -> Plan:
    """Returns a plan that only tells what the whole one would cost; nothing of it stays on disk."""
    asked, units = len(candidates.places), len(candidates.places.units)
    with TemporaryDirectory(prefix="sameplace-") as scratch:
        local = replace(options, output=scratch, runner="FnApiRunner")  # a small search, on this machine
        part = _fill(local, specs, rest, candidates, PlanWriter(scratch, 0))
        priced = price_plan(local, part, total / asked)
    factor = total / asked
    scale = {"places": asked, "units": units, "of": total, "kept": round(part.places * factor)}
    records = {name: {kind: round(factor * n) for kind, n in row.items()} for name, row in part.records.items()}
    rejected = {reason: round(factor * n) for reason, n in part.rejected.items()}
    cost = priced.estimate | {"priced": scale}
    return replace(part, shards=[], drops=[], apart=[], records=records, rejected=rejected, estimate=cost)


class _Earlier:
    """What earlier generations hold: their cells, those considered and left out, and their articles."""

    def __init__(self, options: Options, plan: Plan) -> None:
        numbers: list[int] = []
        self.splits: list[str] = []
        taken: set[Identity] = set()
        for shard in plan.shards:
            rows = read_shard_rows(options.output, shard)
            numbers += [cells.to_cell(place.key) for place in rows.places]
            self.splits += [place.split for place in rows.places]
            taken |= {(i.source, i.modality, i.item_id) for i in rows.items if i.modality == "text"}
        self.taken = frozenset(taken)
        self.cells = np.array(numbers, dtype=np.uint64)
        left_out = [
            cells.to_cell(drop.key)
            for _, drops in read_plan_drops(options.output, plan.drops)
            for drop in drops
            if not drop.modality and drop.reason in (Reason.NO_OBSERVATION, Reason.REMOVED)
        ]
        removed = [int(name, 16) for name in read_tombstones(options.output) if re.fullmatch("[0-9a-f]{15}", name)]
        self.considered = np.array(numbers + left_out + removed, dtype=np.uint64)


def _earlier_rows(options: Options, plan: Plan | None, searched: set[str]) -> Iterator[tuple[ShardRows, list[Drop]]]:
    """Yields what an earlier plan holds, without the counts of units that are searched again."""
    if plan is None:
        return
    for shard in plan.shards:
        yield read_shard_rows(options.output, shard), []
    for _, drops in read_plan_drops(options.output, plan.drops):
        yield ShardRows([], [], []), [drop for drop in drops if drop.key not in searched]


def _explain_nothing(options: Options, choice: Choice, catalogues: list[Catalogue]) -> str:
    if not any(catalogue.items for catalogue in catalogues) and any(catalogue.drops for catalogue in catalogues):
        first = next(drop for catalogue in catalogues for drop in catalogue.drops)
        return f"The sources offer nothing usable (first: {first.item_id}: {first.detail}): mend the manifest."
    if choice.rejected:
        reason, number = choice.rejected.most_common(1)[0]
        if reason == Reason.OUTSIDE_REGION:
            return f"All {number} candidate places lie outside the region {options.region!r}: choose another region."
        return (
            f"None of the candidate places can be taken, most ({number}) for {reason}: give others, or other options."
        )
    return f"No place was found in the region {options.region!r}: give --sources folder:PATH or another region."
