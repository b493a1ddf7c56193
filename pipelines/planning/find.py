"""Finding, unit by unit: which items of the sources each chosen cell can have."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from operator import attrgetter

import apache_beam as beam

from geodata import cells
from geodata.services.session import ServiceError
from geodata.sources import Finding, Source
from geodata.sources.files import Limits
from geodata.sources.live import LIVE_MODALITIES, LiveSettings, LiveSources
from pipelines.building.assemble import in_order
from pipelines.building.watchdog import OverdueError, Watchdog
from pipelines.engine.metrics import FOUND, count, count_traffic
from pipelines.files import storage
from pipelines.files.tables import RowWriter, read_rows
from pipelines.plan.plan import SourceSpec
from pipelines.planning.tasks import neighbours
from pipelines.sources.words import LIVE, open_source
from schemas.drop import Drop, Reason, Stage
from schemas.reference import Item, Place, Reference

THREADS = 6
"""Searches that one worker has under way where services are asked."""
PLACES_PER_LIMIT = 10
"""The search of a unit may last as long as reading one observation may, for each so many places: it sends requests at
the polite rate for all of them. A guess."""
KINDS: dict[str, type] = {"references": Reference, "items": Item, "drops": Drop}
"""What a task writes, one row group a unit; the last table tells that the task is done."""


@dataclass
class FindReferences(beam.PTransform):  # type: ignore[misc]
    """Searches the sources for the places of each task."""

    folder: str
    """Where `tasks.write_tasks` wrote."""
    tasks: list[int]
    """Numbers of those to be done."""
    sources: list[SourceSpec]
    """Where to search."""
    limits: Limits
    """Observations per cell."""
    live: LiveSettings
    """How live sources are asked."""
    overdue_s: float = 0.0
    """Longest that one observation may take, and the search for `PLACES_PER_LIMIT` places; 0 for any."""

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[int]:
        """Task numbers to task numbers; the findings are files."""
        return (
            pipeline
            | "List tasks" >> beam.Create(self.tasks)
            | "Spread tasks" >> beam.Reshuffle()
            | "Find references" >> beam.ParDo(_FindTask(self))
        )


class _FindTask(beam.DoFn):  # type: ignore[misc]
    def __init__(self, settings: FindReferences) -> None:
        self._folder, self._specs = settings.folder, settings.sources
        self._limits, self._live_settings = settings.limits, settings.live
        self._overdue_s = settings.overdue_s
        self._sources: list[Source] = []

    def setup(self) -> None:
        self._live = LiveSources(self._live_settings)
        self._watchdog = Watchdog(self._overdue_s)
        for number, spec in enumerate(self._specs):
            items = read_rows(self._path(f"catalogue-{number}"), Item)
            self._sources.append(open_source(spec, self._live, items, self._limits))

    def teardown(self) -> None:
        self._watchdog.close()
        for source in self._sources:
            if not self._watchdog.has_hung(source.name):  # else a thread still uses it
                source.close()
        self._live.close()

    def process(self, number: int) -> Iterable[int]:
        places = read_rows(self._path("places"), Place, number)
        around = read_rows(self._path("halo"), Place, number)
        by_unit = {
            unit: list(group) for unit, group in groupby(sorted(around, key=attrgetter("unit")), attrgetter("unit"))
        }
        searches = []
        for unit, group in groupby(places, attrgetter("unit")):
            members = list(group)
            mine = {place.key for place in members}
            near = map(cells.to_key, neighbours(cells.to_cell(unit)))
            halo = [place for other in near for place in by_unit.get(other, ()) if place.key not in mine]
            searches += [(source, members, halo) for source in self._sources]
        is_live = any(spec.kind == LIVE for spec in self._specs)
        sent, received = Counter(self._live.session.sent), Counter(self._live.session.received)
        search = partial(_search, watchdog=self._watchdog)
        self._write(number, in_order(search, searches, THREADS if is_live else 1))
        count_traffic(self._live.session, sent, received)
        yield number

    def _write(self, number: int, found: Iterator[list[Finding | Drop]]) -> None:
        """Writes what was found, unit by unit: as many answers belong to one as there are sources."""
        writers = [RowWriter(self._path(f"{number:05d}.{kind}"), record) for kind, record in KINDS.items()]
        while answers := list(islice(found, len(self._sources))):
            entries = [entry for answer in answers for entry in answer]
            findings = [entry for entry in entries if isinstance(entry, Finding)]
            items = {(f.item.source, f.item.modality, f.item.item_id): f.item for f in findings}
            drops = [entry for entry in entries if isinstance(entry, Drop)]
            tables: tuple[Iterable[object], ...] = ([f.reference for f in findings], items.values(), drops)
            for writer, rows in zip(writers, tables, strict=True):
                writer.write(rows)
            for finding in findings:
                count(FOUND, f"{finding.reference.source}.{finding.reference.modality}")
        for writer in writers:
            writer.close()

    def _path(self, name: str) -> str:
        return storage.join(self._folder, f"{name}.parquet")


def _search(
    search: tuple[Source, Sequence[Place], Sequence[Place]], watchdog: Watchdog
) -> list[Finding | Drop]:  # fmt: skip
    """Asks one source for the cells of one unit; one that fails or hangs costs each cell a drop that can be retried."""
    source, places, halo = search
    find = partial(_find, source, places, halo)
    try:
        if source.name not in LIVE_MODALITIES:
            return find()
        return watchdog.run(source.name, find, times=math.ceil(len(places) / PLACES_PER_LIMIT))  # type: ignore[no-any-return]
    except (ServiceError, OverdueError) as error:
        modality = LIVE_MODALITIES.get(source.name, "")
        reason = Reason.OVERDUE if isinstance(error, OverdueError) else Reason.SERVICE
        return [
            Drop(
                place.key, modality, Stage.FIND, reason, None, str(error), source.name,
                retryable=True,  # also a refusal: a token can be mended, a ban ends
            )
            for place in places
        ]  # fmt: skip


def _find(source: Source, places: Sequence[Place], halo: Sequence[Place]) -> list[Finding | Drop]:
    return list(source.find(places, halo))
