"""The chosen places as arrays, and the tasks of a search: runs of neighbouring units, each with the places around."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from geodata import cells
from geodata.regions import find_country
from geodata.sources.belong import ARTICLE_REACH_M
from pipelines.files import storage
from pipelines.files.tables import RowWriter, write_rows
from schemas.reference import SPLITS, Item, Place

PLACES_PER_TASK = 500
"""About so many places are searched for in one call; a unit is never divided."""


class Places:
    """Chosen cells in H3 order, so that those of a unit lie together; 18 bytes a place until rows are asked for."""

    def __init__(self, chosen: cells.Cells, splits: Sequence[str] | NDArray[np.str_], unit_resolution: int) -> None:
        """Takes cells with their splits, in any order."""
        order = np.argsort(chosen, kind="stable")
        self.cells = chosen[order]
        """H3 cells, ascending, shape (N,)."""
        self._splits = np.searchsorted(np.sort(SPLITS), np.asarray(splits)[order]).astype(np.uint8)
        ancestors = cells.ancestors(self.cells, unit_resolution) if len(chosen) else self.cells
        self.units, self.starts = np.unique(ancestors, return_index=True)
        """Units, ascending, and where the cells of each begin."""
        self._ends = np.append(self.starts[1:], len(self.cells))
        self._countries: list[str | None] | None = None

    def __len__(self) -> int:
        return len(self.cells)

    def rows(self, unit: int) -> list[Place]:
        """Returns the places of a unit; none where none was chosen there."""
        at = int(np.searchsorted(self.units, np.uint64(unit)))
        if at == len(self.units) or self.units[at] != unit:
            return []
        start, end = int(self.starts[at]), int(self._ends[at])
        if self._countries is None:
            self._countries = _find_countries(self.cells)
        lonlat = cells.centres(self.cells[start:end]).tolist()
        splits = np.sort(SPLITS)[self._splits[start:end]].tolist()
        rows = zip(self.cells[start:end].tolist(), splits, lonlat, self._countries[start:end], strict=True)
        key = cells.to_key(unit)
        return [Place(cells.to_key(cell), key, split, lon, lat, country) for cell, split, (lon, lat), country in rows]

    def counts(self, wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Returns how many of each unit's places are wanted.

        Args:
            wanted: one claim for each cell, shape (N,).
        """
        return np.add.reduceat(wanted.astype(np.int64), self.starts) if len(self) else np.zeros(0, np.int64)


def _find_countries(chosen: cells.Cells, chunk: int = 50_000) -> list[str | None]:
    found: list[str | None] = []
    for start in range(0, len(chosen), chunk):
        lonlat = cells.centres(chosen[start : start + chunk])
        found += find_country(lonlat[:, 0], lonlat[:, 1])
    return found


def divide(places: Places, wanted: NDArray[np.bool_]) -> list[list[int]]:
    """Returns the units of each task: those with wanted places, in H3 order."""
    tasks: list[list[int]] = []
    size = 0
    for unit, number in zip(places.units.tolist(), places.counts(wanted).tolist(), strict=True):
        if not number:
            continue
        if not tasks or size + number > PLACES_PER_TASK:
            tasks.append([])
            size = 0
        tasks[-1].append(unit)
        size += number
    return tasks


def write_tasks(
    folder: str, places: Places, wanted: NDArray[np.bool_], tasks: Sequence[Sequence[int]],
    catalogues: Sequence[Sequence[Item]],
) -> None:  # fmt: skip
    """Writes what the workers need: the places of each task, those around them, and the sources' items."""
    sought = {cells.to_key(cell) for cell in places.cells[wanted].tolist()} if not wanted.all() else None
    inside, around = (RowWriter(storage.join(folder, f"{name}.parquet"), Place) for name in ("places", "halo"))
    for units in tasks:
        rows = [place for unit in units for place in places.rows(unit)]
        inside.write(rows if sought is None else (place for place in rows if place.key in sought))
        near = sorted({other for unit in units for other in neighbours(unit)})
        around.write(place for unit in near for place in places.rows(unit))
    inside.close()
    around.close()
    for number, items in enumerate(catalogues):
        write_rows(storage.join(folder, f"catalogue-{number}.parquet"), [items], Item)


def neighbours(unit: int) -> Iterator[int]:
    """Yields the units in which the owner of an article near this unit may lie, this one among them."""
    rings = cells.rings_within(cells.resolution_of(unit), 2 * ARTICLE_REACH_M)
    yield from cells.disk(unit, rings)
