"""Finding, unit by unit: which items of the sources each chosen cell can have."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import apache_beam as beam

from geodata import cells
from geodata.sources import Finding
from geodata.sources.files import ARTICLE_REACH_M, FileSource, Limits
from pipelines.metrics import FOUND, count
from pipelines.plan import SourceSpec
from pipelines.sources import open_source
from pipelines.tables import read_rows, write_rows
from schemas.drop import Drop
from schemas.reference import Item, Place, Reference

PLACES_PER_TASK = 500
"""About so many places are searched for in one call; a unit is never divided."""


def write_tasks(folder: Path, places: Sequence[Place], catalogues: Sequence[Sequence[Item]]) -> int:
    """Writes what the workers need: the places of each task, those around them, and the sources' items.

    Returns:
        The number of tasks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    units = {
        unit: list(group) for unit, group in groupby(sorted(places, key=attrgetter("unit", "key")), attrgetter("unit"))
    }
    tasks: list[list[str]] = []
    for unit, members in units.items():
        if not tasks or sum(len(units[u]) for u in tasks[-1]) + len(members) > PLACES_PER_TASK:
            tasks.append([])
        tasks[-1].append(unit)
    write_rows(str(folder / "places.parquet"), ([p for unit in task for p in units[unit]] for task in tasks), Place)
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

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[int]:
        """Task numbers to task numbers; the findings are files."""
        return (
            pipeline
            | "List tasks" >> beam.Create(range(self.tasks))
            | "Spread tasks" >> beam.Reshuffle()
            | "Find references" >> beam.ParDo(_FindTask(self.folder, self.sources, self.limits))
        )


class _FindTask(beam.DoFn):  # type: ignore[misc]
    def __init__(self, folder: str, specs: list[SourceSpec], limits: Limits) -> None:
        self._folder, self._specs, self._limits = Path(folder), specs, limits
        self._sources: list[FileSource] = []

    def setup(self) -> None:
        for number, spec in enumerate(self._specs):
            items = read_rows(str(self._folder / f"catalogue-{number}.parquet"), Item)
            self._sources.append(open_source(spec, items, self._limits))

    def teardown(self) -> None:
        for source in self._sources:
            source.close()

    def process(self, number: int) -> Iterable[int]:
        places = read_rows(str(self._folder / "places.parquet"), Place, number)
        around = read_rows(str(self._folder / "halo.parquet"), Place, number)
        units = {
            unit: list(group) for unit, group in groupby(sorted(around, key=attrgetter("unit")), attrgetter("unit"))
        }
        found: list[Finding | Drop] = []
        for unit, group in groupby(places, attrgetter("unit")):
            halo = [place for other in _neighbours(unit) if other != unit for place in units.get(other, ())]
            members = list(group)
            for source in self._sources:
                found += source.find(members, halo)
        findings = [entry for entry in found if isinstance(entry, Finding)]
        drops = [entry for entry in found if isinstance(entry, Drop)]
        items = {(f.item.source, f.item.modality, f.item.item_id): f.item for f in findings}
        name = str(self._folder / f"{number:05d}")
        write_rows(f"{name}.references.parquet", [[finding.reference for finding in findings]], Reference)
        write_rows(f"{name}.items.parquet", [list(items.values())], Item)
        write_rows(f"{name}.drops.parquet", [drops], Drop)
        for finding in findings:
            count(FOUND, finding.reference.modality)
        yield number
