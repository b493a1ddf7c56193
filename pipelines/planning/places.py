"""Choosing places: by area, by what the user's files hold, by a list, or by what services have."""

import csv
import math
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from geodata import cells
from geodata.regions import Region
from geodata.sampling import Choice, anchored_stream, choose_places, listed_stream, uniform_stream, unit_stream
from geodata.services.session import ServiceError
from geodata.sources import Catalogue, SourceError
from geodata.sources.live import LiveSources
from pipelines.plan.options import OPEN_SAMPLES, OptionError, Options
from pipelines.plan.plan import SourceSpec
from pipelines.sources.live import anchor_source
from pipelines.sources.words import DUMP, LIVE, open_source
from schemas.drop import Drop, Reason, Stage
from schemas.modality import MODALITIES

_ANCHORS = {
    "any": frozenset(MODALITIES), "photo": frozenset(["street"]), "article": frozenset(["text"]),
    "raster": frozenset(name for name, modality in MODALITIES.items() if modality.is_raster),
}  # fmt: skip
ANCHOR_THREADS = 6
"""Units whose anchors are asked for at once."""
MAX_BARREN_UNITS = 500
"""After so many units in a row without an anchor the region counts as exhausted."""
MAX_FAILED_UNITS = 3
"""After so many units in a row that failed, the service counts as down, and there is no corpus."""


def choose(
    options: Options, region: Region | None, specs: Sequence[SourceSpec], catalogues: Sequence[Catalogue],
    listed: str, *, share: float = 1.0,
) -> Choice:  # fmt: skip
    """Chooses the places of a corpus.

    Args:
        listed: file of places of a source that brings its own, such as the demo.
        share: of the units of a uniform or listed choice; less than 1 takes those alone that are drawn by hash.

    Raises:
        OptionError, SourceError: with one sentence for the user.
    """
    is_searched = any(spec.kind in (LIVE, DUMP) for spec in specs)
    strategy = options.sampling
    if strategy == "auto":
        strategy = "file" if listed else "anchored" if specs else "uniform"
    rule, resolution = options.sampling_rule, options.resolution
    thin = partial(_draw_units, share=share, options=options)
    if strategy == "uniform":
        if region is None:
            raise OptionError("--sampling uniform needs a region on Earth: the demo lists its own places.")
        rule = replace(rule, samples=math.ceil(share * (rule.samples or OPEN_SAMPLES)))
        stream = uniform_stream(region, seed=options.seed, resolution=resolution)
        return choose_places(thin(stream), region, options.split_rule, rule, finite=False)
    if strategy == "file":
        stream = listed_stream(read_places(options.places or listed), resolution=resolution)
        rule = replace(rule, samples=math.ceil(share * rule.samples) if rule.samples else None)
        return choose_places(thin(stream), region, options.split_rule, rule, finite=True)
    if not is_searched or any(catalogue.items for catalogue in catalogues):
        stream = anchored_stream(_anchors(options, catalogues), seed=options.seed, resolution=resolution)
        return choose_places(stream, region, options.split_rule, rule, finite=True)
    if region is None:
        raise OptionError("Live sources need a region on Earth: the demo is synthetic.")
    return _choose_searched(options, region, specs, replace(rule, samples=rule.samples or OPEN_SAMPLES))


def _draw_units(stream: Iterator[cells.Cells], *, share: float, options: Options) -> Iterator[cells.Cells]:
    """Leaves out the cells of all units but a share, drawn by hash."""
    if share >= 1:
        yield from stream
        return
    for chunk in stream:
        units = cells.ancestors(chunk, options.unit_resolution)
        yield chunk[cells.hash_unit(units, f"price {options.seed}") < share]


def _choose_searched(options: Options, region: Region, specs: Sequence[SourceSpec], rule: object) -> Choice:
    """Takes the cells that hold a photo or an article, unit by unit, until there are enough."""
    name = anchor_source(options, specs) or next(spec.name for spec in specs if spec.kind == DUMP)
    spec = next(spec for spec in specs if spec.name == name)
    settings = options.live_settings
    live = LiveSources(replace(settings, http=replace(settings.http, workers=1)))  # no worker runs yet
    source = open_source(spec, live)
    lost: list[Drop] = []
    units = unit_stream(region, seed=options.seed, resolution=options.unit_resolution)
    find = partial(source.anchors, seed=options.seed)  # type: ignore[attr-defined]
    stream = _anchor_cells(options, region, units, find, name, lost)
    try:
        choice = choose_places(stream, region, options.split_rule, rule, finite=False)  # type: ignore[arg-type]
        stream.close()  # waits for what is still under way
        choice.asked = {"requests": dict(live.session.sent), "received": dict(live.session.received)}
    finally:
        source.close()
        live.close()
    choice.drops += lost
    return choice


def _anchor_cells(
    options: Options, region: Region, units: Iterator[int], find: Callable[[str], list[tuple[float, float]]],
    source: str, lost: list[Drop],
) -> Generator[cells.Cells, None, None]:  # fmt: skip
    """Yields the cells of each unit that hold an anchor, in seeded order, as many as one unit may give."""
    barren = failed = 0
    with (
        ThreadPoolExecutor(ANCHOR_THREADS) as pool,
        tqdm(unit="unit", desc="anchors", file=sys.stderr, disable=options.log_json) as bar,
    ):
        for keys in _batches((cells.to_key(unit) for unit in units), ANCHOR_THREADS):
            for key, found in zip(keys, pool.map(lambda key: _ask(find, key), keys), strict=True):
                bar.update()
                if isinstance(found, ServiceError):
                    failed += 1
                    if failed >= MAX_FAILED_UNITS:
                        raise SourceError(f"No places can be chosen, for {found}.") from found
                    lost.append(
                        Drop(key, "", Stage.FIND, Reason.SERVICE, None, f"no places chosen here: {found}", source)
                    )
                    continue
                failed = 0
                lonlat = np.array(found, dtype=np.float64).reshape(-1, 2)
                lonlat = lonlat[region.contains(lonlat[:, 0], lonlat[:, 1])] if len(lonlat) else lonlat
                barren = 0 if len(lonlat) else barren + 1
                if barren > MAX_BARREN_UNITS:
                    return
                for chunk in anchored_stream(lonlat, seed=options.seed, resolution=options.resolution):
                    here = chunk[cells.ancestors(chunk, options.unit_resolution) == cells.to_cell(key)]
                    yield here[: options.cells_per_unit]


def _ask(find: Callable[[str], list[tuple[float, float]]], unit: str) -> list[tuple[float, float]] | ServiceError:
    try:
        return find(unit)
    except ServiceError as error:
        return error


def _batches(values: Iterator[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _anchors(options: Options, catalogues: Sequence[Catalogue]) -> NDArray[np.float64]:
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
            import geopandas

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
