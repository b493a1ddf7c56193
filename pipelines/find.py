"""Finding, unit by unit: which items of the sources each chosen cell can have."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import apache_beam as beam

from geodata import cells
from geodata.services.session import ServiceError
from geodata.sources import Finding, Source
from geodata.sources.belong import ARTICLE_REACH_M
from geodata.sources.files import Limits
from geodata.sources.live import LIVE_MODALITIES, LiveSettings, LiveSources
from pipelines.assemble import in_order
from pipelines.metrics import FOUND, REQUESTS, count
from pipelines.plan import SourceSpec
from pipelines.sources import LIVE, open_source
from pipelines.tables import read_rows, write_rows
from schemas.drop import Drop, Reason, Stage
from schemas.reference import Item, Place, Reference

THREADS = 6
"""Searches that one worker has under way where services are asked."""
PLACES_PER_TASK = 500
"""About so many places are searched for in one call; a unit is never divided."""


def write_tasks(
    folder: Path, places: Sequence[Place], catalogues: Sequence[Sequence[Item]], *,
    wanted: Sequence[Place] | None = None,
) -> int:  # fmt: skip
    """Writes what the workers need: the places of each task, those around them, and the sources' items.

    Args:
        wanted: those of the places that are searched for, where it is not all of them.

    Returns:
        The number of tasks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    units = {
        unit: list(group) for unit, group in groupby(sorted(places, key=attrgetter("unit", "key")), attrgetter("unit"))
    }
    keys = {place.key for place in (places if wanted is None else wanted)}
    sought = {unit: [place for place in group if place.key in keys] for unit, group in units.items()}
    tasks: list[list[str]] = []
    for unit, members in sought.items():
        if not members:
            continue
        if not tasks or sum(len(sought[u]) for u in tasks[-1]) + len(members) > PLACES_PER_TASK:
            tasks.append([])
        tasks[-1].append(unit)
    write_rows(str(folder / "places.parquet"), ([p for unit in task for p in sought[unit]] for task in tasks), Place)
    write_rows(str(folder / "halo.parquet"), (_halo(task, units) for task in tasks), Place)
    for number, items in enumerate(catalogues):
        write_rows(str(folder / f"catalogue-{number}.parquet"), [items], Item)
    return len(tasks)


def _halo(task: list[str], units: dict[str, list[Place]]) -> list[Place]:
    around = {other for unit in task for other in _neighbours(unit)}
    return [place for unit in sorted(around) for place in units.get(unit, ())]


def _neighbours(unit: str) -> list[str]:
    """Units in which the owner of an article near this unit may lie, this one among them."""
    rings = cells.rings_within(cells.resolution_of(cells.to_cell(unit)), 2 * ARTICLE_REACH_M)
    return [cells.to_key(cell) for cell in cells.disk(cells.to_cell(unit), rings)]


def read_findings(folder: Path, tasks: int) -> Iterator[tuple[list[Reference], list[Item], list[Drop]]]:
    """Yields what each task found."""
    for number in range(tasks):
        yield (
            read_rows(str(folder / f"{number:05d}.references.parquet"), Reference),
            read_rows(str(folder / f"{number:05d}.items.parquet"), Item),
            read_rows(str(folder / f"{number:05d}.drops.parquet"), Drop),
        )


@dataclass
class FindReferences(beam.PTransform):  # type: ignore[misc]
    """Searches the sources for the places of each task."""

    folder: str
    """Where `write_tasks` wrote."""
    tasks: int
    """Their number."""
    sources: list[SourceSpec]
    """Where to search."""
    limits: Limits
    """Observations per cell."""
    live: LiveSettings
    """How live sources are asked."""

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[int]:
        """Task numbers to task numbers; the findings are files."""
        return (
            pipeline
            | "List tasks" >> beam.Create(range(self.tasks))
            | "Spread tasks" >> beam.Reshuffle()
            | "Find references" >> beam.ParDo(_FindTask(self))
        )


class _FindTask(beam.DoFn):  # type: ignore[misc]
    def __init__(self, settings: FindReferences) -> None:
        self._folder, self._specs = Path(settings.folder), settings.sources
        self._limits, self._live_settings = settings.limits, settings.live
        self._sources: list[Source] = []

    def setup(self) -> None:
        self._live = LiveSources(self._live_settings)
        for number, spec in enumerate(self._specs):
            items = read_rows(str(self._folder / f"catalogue-{number}.parquet"), Item)
            self._sources.append(open_source(spec, self._live, items, self._limits))

    def teardown(self) -> None:
        for source in self._sources:
            source.close()
        self._live.close()

    def process(self, number: int) -> Iterable[int]:
        places = read_rows(str(self._folder / "places.parquet"), Place, number)
        around = read_rows(str(self._folder / "halo.parquet"), Place, number)
        units = {
            unit: list(group) for unit, group in groupby(sorted(around, key=attrgetter("unit")), attrgetter("unit"))
        }
        searches = []
        for unit, group in groupby(places, attrgetter("unit")):
            members = list(group)
            mine = {place.key for place in members}
            halo = [p for other in _neighbours(unit) for p in units.get(other, ()) if p.key not in mine]
            searches += [(source, members, halo) for source in self._sources]
        is_live = any(spec.kind == LIVE for spec in self._specs)
        sent = Counter(self._live.session.sent)
        found = [entry for entries in in_order(_search, searches, THREADS if is_live else 1) for entry in entries]
        findings = [entry for entry in found if isinstance(entry, Finding)]
        drops = [entry for entry in found if isinstance(entry, Drop)]
        items = {(f.item.source, f.item.modality, f.item.item_id): f.item for f in findings}
        name = str(self._folder / f"{number:05d}")
        write_rows(f"{name}.references.parquet", [[finding.reference for finding in findings]], Reference)
        write_rows(f"{name}.items.parquet", [list(items.values())], Item)
        write_rows(f"{name}.drops.parquet", [drops], Drop)
        for finding in findings:
            count(FOUND, finding.reference.modality)
        for service, requests in (self._live.session.sent - sent).items():
            count(REQUESTS, service, by=requests)
        yield number


def _search(search: tuple[Source, Sequence[Place], Sequence[Place]]) -> list[Finding | Drop]:
    """Asks one source for the cells of one unit; a service that fails costs each cell a drop that can be retried."""
    source, places, halo = search
    try:
        return list(source.find(places, halo))
    except ServiceError as error:
        modality = LIVE_MODALITIES.get(source.name, "")
        return [
            Drop(
                place.key, modality, Stage.FIND, Reason.SERVICE, None, str(error), source.name,
                retryable=True,  # also a refusal: a token can be mended, a ban ends
            )
            for place in places
        ]  # fmt: skip
