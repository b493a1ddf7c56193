"""Making the plan: places, then references for them, then shards."""

import csv
from collections import defaultdict
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas
import numpy as np
from numpy.typing import NDArray

from geodata import cells
from geodata.regions import Region, find_country, find_region
from geodata.sampling import Choice, anchored_stream, choose_places, listed_stream, uniform_stream
from geodata.sources import Catalogue
from pipelines.estimate import estimate_cost
from pipelines.find import FindReferences, read_findings, write_tasks
from pipelines.options import UNIFORM_SAMPLES, OptionError, Options
from pipelines.plan import Plan, ShardPlan, ShardRows, SourceSpec, name_shards, write_plan
from pipelines.run import beam_options, run
from pipelines.sources import scan_source
from schemas.drop import Drop, Reason, Stage
from schemas.modality import MODALITIES
from schemas.reference import SPLITS, Item, Place, Reference

_ANCHORS = {
    "any": frozenset(MODALITIES), "photo": frozenset(["street"]), "article": frozenset(["text"]),
    "raster": frozenset(name for name, modality in MODALITIES.items() if modality.is_raster),
}  # fmt: skip


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
    choice = _choose(options, region, catalogues, listed)
    places = _describe_places(choice, options.unit_resolution)
    if not places:
        raise OptionError(_explain_nothing(options, choice, catalogues))
    with TemporaryDirectory(prefix="sameplace-") as scratch:
        tasks = write_tasks(Path(scratch), places, [catalogue.items for catalogue in catalogues])
        find = FindReferences(scratch, tasks, specs, options.limits)
        run(lambda pipeline: pipeline | "Find" >> find, beam_options(options, rest, tasks=tasks))
        findings = list(read_findings(Path(scratch), tasks))
    references = [reference for found, _, _ in findings for reference in found]
    items = {(item.source, item.modality, item.item_id): item for _, found, _ in findings for item in found}
    drops = [drop for _, _, found in findings for drop in found]
    references, surplus = _join_sources(options, references)
    drops += surplus
    places, references, lost = _require(options, places, references)
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
        options.shaping(), specs, shard_plans, options.split_rule.describe(), _count_records(catalogues, references),
        {str(reason): number for reason, number in sorted(choice.rejected.items())},
        estimate_cost(references, options.recipe),
    )  # fmt: skip
    write_plan(options.output, plan, shards, sorted(drops, key=_drop_order))
    return plan


def _choose(options: Options, region: Region | None, catalogues: list[Catalogue], listed: str) -> Choice:
    strategy = options.sampling
    if strategy == "auto" and listed:
        strategy = "file"
    elif strategy == "auto":
        strategy = "anchored" if catalogues else "uniform"
    rule, resolution = options.sampling_rule, options.resolution
    if strategy == "uniform":
        if region is None:
            raise OptionError("--sampling uniform needs a region on Earth: the demo lists its own places.")
        rule = replace(rule, samples=rule.samples or UNIFORM_SAMPLES)
        stream = uniform_stream(region, seed=options.seed, resolution=resolution)
        return choose_places(stream, region, options.split_rule, rule, finite=False)
    if strategy == "file":
        stream = listed_stream(read_places(options.places or listed), resolution=resolution)
    else:
        stream = anchored_stream(_anchors(options, catalogues), seed=options.seed, resolution=resolution)
    return choose_places(stream, region, options.split_rule, rule, finite=True)


def _anchors(options: Options, catalogues: list[Catalogue]) -> NDArray[np.float64]:
    def positions(kind: str) -> list[tuple[float, float]]:
        return [(i.lon, i.lat) for c in catalogues for i in c.items if i.modality in _ANCHORS[kind]]

    if options.anchors != "both":
        return np.array(positions(options.anchors), dtype=np.float64).reshape(-1, 2)
    photos, articles = (np.array(positions(kind)).reshape(-1, 2) for kind in ("photo", "article"))
    with_article = np.isin(cells.cells_at(photos, options.resolution), cells.cells_at(articles, options.resolution))
    return photos[with_article]


def read_places(path: str) -> NDArray[np.float64]:
    """Reads a CSV or GeoParquet of places: degrees (lon, lat), shape (N, 2).

    Raises:
        OptionError: if it cannot be read or a position is not on Earth.
    """
    try:
        if path.endswith(".parquet"):
            points = geopandas.read_parquet(path).to_crs(4326).geometry
            lonlat = np.stack([points.x, points.y], axis=-1)
        else:
            with open(path, encoding="utf-8-sig", newline="") as file:
                rows = [(row["lon"], row["lat"]) for row in csv.DictReader(file)]
            lonlat = np.array(rows, dtype=np.float64).reshape(-1, 2)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise OptionError(
            f"The places in {path} cannot be read ({error}): give a CSV or GeoParquet of lon, lat."
        ) from error
    bad = np.flatnonzero(~((np.abs(lonlat) <= (180, 90)).all(axis=1)))
    if len(bad):
        lon, lat = lonlat[bad[0]]
        raise OptionError(
            f"Row {bad[0] + 1} of {path} has longitude {lon}, latitude {lat}: not on Earth; swapped, perhaps."
        )
    return lonlat


def _describe_places(choice: Choice, unit_resolution: int) -> list[Place]:
    if not len(choice.cells):
        return []
    lonlat = cells.centres(choice.cells)
    units = cells.ancestors(choice.cells, unit_resolution).tolist()
    countries = find_country(lonlat[:, 0], lonlat[:, 1])
    rows = zip(choice.cells.tolist(), units, choice.splits.tolist(), lonlat.tolist(), countries, strict=True)
    return [Place(cells.to_key(c), cells.to_key(u), s, lon, lat, country) for c, u, s, (lon, lat), country in rows]


def _join_sources(options: Options, references: list[Reference]) -> tuple[list[Reference], list[Drop]]:
    """Numbers the candidates of a cell across sources, best ranks first, and cuts them to what one source may offer."""
    limits = options.limits
    most = {"street": limits.photos_per_cell + limits.photo_spares, "text": limits.texts_per_cell}
    kept, drops = [], []
    ordered = sorted(references, key=lambda r: (r.key, r.modality, r.rank, r.source, r.item_id))
    for (_, modality), group in groupby(ordered, attrgetter("key", "modality")):
        for rank, r in enumerate(group):
            if rank < most.get(modality, limits.scene_tries):
                kept.append(replace(r, rank=rank))
            else:
                detail = "another source offers as good a one"
                drops.append(Drop(r.key, modality, Stage.CHOOSE, Reason.NOT_CHOSEN, None, detail, r.source, r.item_id))
    return kept, drops


def _require(
    options: Options, places: list[Place], references: list[Reference]
) -> tuple[list[Place], list[Reference], list[Drop]]:
    """Leaves out places that lack what is required, with all that was found for them."""
    found: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for reference in references:
        if reference.rank < options.recipe.most(reference.modality):
            found[reference.key].add((reference.modality, reference.rank))
    drops, kept = [], []
    for place in places:
        have = found[place.key]
        missing = [name for name in options.required if name not in {modality for modality, _ in have}]
        if missing or len(have) < options.min_observations:
            detail = (
                f"no {missing[0]}" if missing else f"{len(have)} observations, {options.min_observations} are needed"
            )
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
        shards += [_rows(sorted(members, key=lambda place: place.key), by_key, items) for members in bins]
    return shards


def _rows(
    places: list[Place], by_key: dict[str, list[Reference]], items: dict[tuple[str, str, str], Item]
) -> ShardRows:
    order = {name: number for number, name in enumerate(MODALITIES)}
    references = [r for p in places for r in sorted(by_key[p.key], key=lambda r: (order[r.modality], r.rank, r.source))]
    named = {(r.source, r.modality, r.item_id): None for r in references}
    return ShardRows(places, references, [items[identity] for identity in sorted(named)])


def _count_records(catalogues: list[Catalogue], references: list[Reference]) -> dict[str, dict[str, int]]:
    used = {(r.source, r.modality, r.item_id) for r in references}
    counts: dict[str, dict[str, int]] = {}
    for name in (*MODALITIES, "other"):
        items = [i for c in catalogues for i in c.items if i.modality == name]
        dropped = [
            d for c in catalogues for d in c.drops if (d.modality if d.modality in MODALITIES else "other") == name
        ]
        kept = sum((i.source, i.modality, i.item_id) in used for i in items)
        if items or dropped:
            seen = len(items) + len(dropped)
            counts[name] = {"seen": seen, "kept": kept, "dropped": len(dropped) + len(items) - kept}
    return counts


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


def _drop_order(drop: Drop) -> tuple[str, str, str, str, str]:
    return drop.key, drop.modality, drop.source, drop.item_id, drop.reason
