"""Making the plan: places, then references for them, then shards."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from geodata import cells
from geodata.regions import find_region
from geodata.sampling import Choice
from geodata.sources import Catalogue
from pipelines.estimate import estimate_cost
from pipelines.find import FindReferences, read_findings, write_tasks
from pipelines.options import OptionError, Options
from pipelines.places import choose, describe_places
from pipelines.plan import Plan, ShardPlan, ShardRows, SourceSpec, name_shards, write_plan
from pipelines.run import beam_options, run
from pipelines.sources import FILES, scan_source
from schemas.drop import Drop, Reason, Stage
from schemas.modality import MODALITIES
from schemas.reference import SPLITS, Item, Place, Reference

NOT_RECORDS = (Reason.NO_SCENE, Reason.NO_SERVICE, Reason.SERVICE)
"""Drops of a search that stand for a cell, not for something that a service offered."""
_MODALITY_ORDER = {name: number for number, name in enumerate(MODALITIES)}


def make_plan(options: Options, specs: list[SourceSpec], rest: list[str], *, listed: str = "") -> Plan:
    """Makes the plan of a corpus and writes it below the output folder.

    Args:
        rest: flags for Beam.
        listed: file of places of a source that brings its own, such as the demo.

    Raises:
        OptionError, SourceError: with one sentence for the user.
        geodata.regions.RegionError: if the region cannot be used.
    """
    region = None if options.region == "demo" else find_region(options.region)
    catalogues = [scan_source(spec, resolution=options.resolution, thresholds=options.thresholds) for spec in specs]
    catalogues = [_only(catalogue, options.modality_names) for catalogue in catalogues]
    if len({item.synthetic for catalogue in catalogues for item in catalogue.items}) > 1:
        raise OptionError("The sources mix synthetic and real records: build them into corpora of their own.")
    choice = choose(options, region, specs, catalogues, listed)
    places = describe_places(choice, options.unit_resolution)
    if not places:
        raise OptionError(_explain_nothing(options, choice, catalogues))
    found = search(options, specs, rest, places, catalogues)
    items, drops = found.items, found.drops
    references, surplus = join_sources(options, found.references)
    records = _count_records(catalogues, references, [*drops, *choice.drops], specs)
    drops += surplus
    places, references, lost = _require(options, places, references, drops)
    if not places:
        raise OptionError(
            f"No place has what is asked for (--min_observations {options.min_observations}, --require "
            f"{options.require!r}): ask for less, or give sources that cover the region."
        )
    drops += lost + choice.drops + [drop for catalogue in catalogues for drop in catalogue.drops]
    drops += _unused(catalogues, references, drops, options.resolution)
    shards = _shard(places, references, items, options.samples_per_shard)
    names = name_shards([rows.places[0].split for rows in shards])
    shard_plans = [
        ShardPlan(n, i, len(s.places), s.sha256()) for i, (n, s) in enumerate(zip(names, shards, strict=True))
    ]
    plan = Plan(
        options.shaping(), specs, shard_plans, options.split_rule.describe(), records,
        {str(reason): number for reason, number in sorted(choice.rejected.items())},
        estimate_cost([rows.references for rows in shards], items, options.recipe),
    )  # fmt: skip
    write_plan(options.output, plan, shards, sorted(drops, key=drop_order))
    return plan


@dataclass
class Found:
    """What all searches found."""

    references: list[Reference]
    """As the sources ranked them."""
    items: dict[tuple[str, str, str], Item]
    """By source, modality and identifier."""
    drops: list[Drop]
    """What was found and cannot be used, and which searches failed."""


def search(
    options: Options, specs: list[SourceSpec], rest: list[str], places: Sequence[Place],
    catalogues: Sequence[Catalogue], *, wanted: Sequence[Place] | None = None,
) -> Found:  # fmt: skip
    """Searches the sources for the places.

    Args:
        wanted: search only for these; the others may still own an article.
    """
    with TemporaryDirectory(prefix="sameplace-") as scratch:
        tasks = write_tasks(Path(scratch), places, [catalogue.items for catalogue in catalogues], wanted=wanted)
        find = FindReferences(scratch, tasks, specs, options.limits, options.live_settings)
        run(lambda pipeline: pipeline | "Find" >> find, beam_options(options, rest, tasks=tasks))
        findings = list(read_findings(Path(scratch), tasks))
    return Found(
        [reference for found, _, _ in findings for reference in found],
        {(item.source, item.modality, item.item_id): item for _, found, _ in findings for item in found},
        [drop for _, _, found in findings for drop in found],
    )


def join_sources(options: Options, references: list[Reference]) -> tuple[list[Reference], list[Drop]]:
    """Numbers the candidates of a cell across sources, best ranks first, and cuts them to what one source may offer."""
    limits = options.limits
    most = {"street": limits.photos_per_cell + limits.photo_spares, "text": limits.texts_per_cell + limits.text_spares}
    kept, drops = [], []
    ordered = sorted(references, key=lambda r: (r.key, r.modality, r.slot, r.rank, r.source, r.item_id))
    for (_, modality, _), group in groupby(ordered, attrgetter("key", "modality", "slot")):
        for rank, r in enumerate(group):
            if rank < most.get(modality, limits.scene_tries):
                kept.append(replace(r, rank=rank))
            else:
                detail = "another source offers as good a one"
                drops.append(Drop(r.key, modality, Stage.CHOOSE, Reason.NOT_CHOSEN, None, detail, r.source, r.item_id))
    return kept, drops


def _require(
    options: Options, places: list[Place], references: list[Reference], found_drops: list[Drop]
) -> tuple[list[Place], list[Reference], list[Drop]]:
    """Leaves out places that lack what is required, with all that was found for them.

    What a failed service may yet give counts as there: the build decides, and a retry may mend it.
    """
    found: defaultdict[str, set[tuple[str, int, int]]] = defaultdict(set)
    for reference in references:
        if reference.rank < options.recipe.most(reference.modality):
            found[reference.key].add((reference.modality, reference.slot, reference.rank))
    for drop in found_drops:
        if drop.retryable:
            found[drop.key].add((drop.modality, 0, 0))
    drops, kept = [], []
    for place in places:
        have = found[place.key]
        views = {modality for modality, _, _ in have}
        missing = [name for name in options.required if name not in views]
        if missing or len(have) < options.min_observations or len(views) < options.min_modalities:
            detail = f"no {missing[0]}" if missing else f"{len(have)} observations of {len(views)} views were found"
            drops.append(Drop(place.key, "", Stage.CHOOSE, Reason.NO_OBSERVATION, len(have), detail))
        else:
            kept.append(place)
    keys = {place.key for place in kept}
    for r in references:
        if r.key not in keys:
            detail = "the place lacks what is required"
            drops.append(
                Drop(r.key, r.modality, Stage.CHOOSE, Reason.NO_OBSERVATION, None, detail, r.source, r.item_id)
            )
    return kept, [reference for reference in references if reference.key in keys], drops


def _unused(catalogues: list[Catalogue], references: list[Reference], drops: list[Drop], resolution: int) -> list[Drop]:
    """Items that no place uses and that no cell passed over: the reason is that of their cell, where it has one."""
    used = {(r.source, r.modality, r.item_id) for r in references} | {(d.source, d.modality, d.item_id) for d in drops}
    of_cell = {drop.key: drop for drop in drops if drop.modality == ""}
    unused = []
    for item in (item for catalogue in catalogues for item in catalogue.items):
        if (item.source, item.modality, item.item_id) not in used:
            key = cells.cell_at(item.lon, item.lat, resolution)
            why = of_cell.get(key)
            reason, detail = (why.reason, why.detail) if why else (Reason.NOT_SAMPLED, "no planned place uses it")
            unused.append(Drop(key, item.modality, Stage.FIND, reason, None, detail, item.source, item.item_id))
    return unused


def _shard(
    places: list[Place], references: list[Reference], items: dict[tuple[str, str, str], Item], most: int
) -> list[ShardRows]:
    """Packs whole units, scattered by their hash, into shards; a unit too big for one is cut into contiguous runs."""
    by_unit: defaultdict[tuple[str, str], list[Place]] = defaultdict(list)
    for place in places:
        by_unit[place.split, place.unit].append(place)
    by_key: defaultdict[str, list[Reference]] = defaultdict(list)
    for reference in references:
        by_key[reference.key].append(reference)
    shards = []
    for split in SPLITS:
        units = [unit for s, unit in by_unit if s == split]
        hashes = cells.hash64(np.array([cells.to_cell(unit) for unit in units], dtype=np.uint64), "scatter units")
        bins: list[list[Place]] = []
        for _, unit in sorted(zip(hashes.tolist(), units, strict=True)):
            members = sorted(by_unit[split, unit], key=lambda place: place.key)
            for start in range(0, len(members), most):
                run_ = members[start : start + most]
                if not bins or len(bins[-1]) + len(run_) > most:
                    bins.append([])
                bins[-1] += run_
        shards += [collect_rows(sorted(members, key=lambda place: place.key), by_key, items) for members in bins]
    return shards


def collect_rows(
    places: list[Place], by_key: Mapping[str, list[Reference]], items: Mapping[tuple[str, str, str], Item]
) -> ShardRows:
    """Returns the rows of a shard: its places, their references in order, and the items that these name."""
    references = [r for p in places for r in sorted(by_key[p.key], key=_reference_order)]
    named = {(r.source, r.modality, r.item_id): None for r in references}
    return ShardRows(places, references, [items[identity] for identity in sorted(named)])


def _reference_order(reference: Reference) -> tuple[int, int, int, str]:
    """The order of a place's references in the plan."""
    return _MODALITY_ORDER[reference.modality], reference.slot, reference.rank, reference.source


def _count_records(
    catalogues: list[Catalogue], references: list[Reference], drops: list[Drop], specs: list[SourceSpec]
) -> dict[str, dict[str, int]]:
    """Returns per modality what the sources offered: seen = kept + dropped."""
    used = {(r.source, r.modality, r.item_id) for r in references}
    searched = {spec.name for spec in specs if spec.kind not in FILES}
    kept = Counter(modality for source, modality, _ in used if source in searched)
    dropped: Counter[str] = Counter()
    for drop in drops:
        if drop.source in searched and drop.modality and drop.reason not in NOT_RECORDS:
            dropped[drop.modality] += drop.count
    for catalogue in catalogues:
        dropped.update(drop.modality if drop.modality in MODALITIES else "other" for drop in catalogue.drops)
        for item in catalogue.items:
            is_kept = (item.source, item.modality, item.item_id) in used
            (kept if is_kept else dropped)[item.modality] += 1
    names = [name for name in (*MODALITIES, "other") if kept[name] + dropped[name]]
    return {name: {"seen": kept[name] + dropped[name], "kept": kept[name], "dropped": dropped[name]} for name in names}


def _only(catalogue: Catalogue, modalities: tuple[str, ...]) -> Catalogue:
    """Leaves out the modalities that were not asked for: they are not seen at all."""
    left_out = set(MODALITIES) - set(modalities)
    return Catalogue(
        [item for item in catalogue.items if item.modality not in left_out],
        [drop for drop in catalogue.drops if drop.modality not in left_out],
    )


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


def drop_order(drop: Drop) -> tuple[str, str, str, str, str]:
    """The order of drops in the plan."""
    return drop.key, drop.modality, drop.source, drop.item_id, drop.reason
