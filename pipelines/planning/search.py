"""Searching the sources for all places, so that a search that was cut off goes on where it was."""

import hashlib
import json
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geodata import cells
from geodata.sources import Catalogue
from pipelines.engine.metrics import read_traffic
from pipelines.engine.run import beam_options, run
from pipelines.files import storage
from pipelines.files.tables import from_table
from pipelines.plan.options import Options
from pipelines.plan.plan import FOLDER, SEARCH, SourceSpec, digest
from pipelines.planning.find import KINDS, FindReferences
from pipelines.planning.tasks import Places, divide, write_tasks
from schemas.drop import Drop
from schemas.reference import Item, Reference

OPEN_TASKS = 64
"""Tasks whose tables are held open while units are read in another order."""


@dataclass
class Found:
    """What was found for the places of a unit."""

    references: list[Reference] = field(default_factory=list)
    """As the sources ranked them."""
    items: list[Item] = field(default_factory=list)
    """Those that the references name."""
    drops: list[Drop] = field(default_factory=list)
    """What was found and cannot be used, and which searches failed."""


class Search:
    """The findings of all tasks, unit by unit, in any order."""

    def __init__(self, folder: str, tasks: Sequence[Sequence[int]]) -> None:
        self.asked: dict[str, dict[str, int]] = {}
        """Requests and received bytes of each service in this run."""
        self._scratch = None
        if storage.is_remote(folder):  # many small reads: fetch the tables once
            self._scratch = tempfile.TemporaryDirectory(prefix="sameplace-")
            for name in storage.list_files(folder):
                Path(self._scratch.name, name).write_bytes(storage.read_bytes(storage.join(folder, name)))
            folder = self._scratch.name
        self._folder = folder
        self._where = {unit: (task, i) for task, units in enumerate(tasks) for i, unit in enumerate(units)}
        self._open: OrderedDict[int, list[pq.ParquetFile]] = OrderedDict()

    def units(self) -> list[int]:
        """Returns the units that were searched, in the order in which they are scattered over shards."""
        units = np.array(list(self._where), dtype=np.uint64)
        return units[np.lexsort((units, cells.hash64(units, "scatter units")))].tolist()  # type: ignore[no-any-return]

    def read(self, unit: int) -> Found:
        """Returns what was found for a unit; nothing for one that was not searched."""
        if unit not in self._where:
            return Found()
        task, group = self._where[unit]
        references, items, drops = (file.read_row_group(group) for file in self._files(task))
        return Found(
            list(from_table(references, Reference)), list(from_table(items, Item)), list(from_table(drops, Drop))
        )

    def close(self) -> None:
        """Closes all tables."""
        while self._open:
            self._close_oldest()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _files(self, task: int) -> list[pq.ParquetFile]:
        if task not in self._open:
            if len(self._open) == OPEN_TASKS:
                self._close_oldest()
            self._open[task] = [pq.ParquetFile(Path(self._folder, f"{task:05d}.{kind}.parquet")) for kind in KINDS]
        self._open.move_to_end(task)
        return self._open[task]

    def _close_oldest(self) -> None:
        for file in self._open.popitem(last=False)[1]:
            file.close()


def search(
    options: Options, specs: list[SourceSpec], rest: list[str], places: Places, catalogues: Sequence[Catalogue], *,
    wanted: NDArray[np.bool_] | None = None, folder: str = "",
) -> Search:  # fmt: skip
    """Searches the sources for the places; tasks that an earlier run of the same search has done are not repeated.

    Args:
        wanted: search only for these, shape (N,); the others may still own an article.
        folder: where tasks and findings lie; by default below the plan's folder.
    """
    wanted = np.ones(len(places), dtype=np.bool_) if wanted is None else wanted
    folder = folder or storage.join(options.output, FOLDER, SEARCH)
    tasks = divide(places, wanted)
    name = _name(options, specs, places, wanted, catalogues)
    path = storage.join(folder, "search.json")
    if not storage.exists(path) or json.loads(storage.read_bytes(path)) != name:
        storage.delete_folder(folder)
        write_tasks(folder, places, wanted, tasks, [catalogue.items for catalogue in catalogues])
        storage.write_bytes(path, json.dumps(name).encode())
    todo = sorted(set(range(len(tasks))) - set(_finished_tasks(folder)))
    counters: dict[str, int] = {}
    if todo:
        find = FindReferences(folder, todo, specs, options.limits, options.live_settings, options.overdue)
        counters = run(lambda pipeline: pipeline | "Find" >> find, beam_options(options, rest, tasks=len(todo)))
    found = Search(folder, tasks)
    found.asked = read_traffic(counters)
    return found


def _name(
    options: Options, specs: list[SourceSpec], places: Places, wanted: NDArray[np.bool_],
    catalogues: Sequence[Catalogue],
) -> str:  # fmt: skip
    """Returns a digest of all that a search depends on besides what services answer."""
    text = hashlib.sha256(places.cells.tobytes() + wanted.tobytes())
    for item in (item for catalogue in catalogues for item in catalogue.items):
        text.update(repr(item).encode())
    return digest([options.shaping(), [asdict(spec) for spec in specs], text.hexdigest()])


def _finished_tasks(folder: str) -> Iterator[int]:
    end = f".{list(KINDS)[-1]}.parquet"
    for name in storage.list_files(folder):
        if name.endswith(end) and "/" not in name:
            yield int(name.removesuffix(end))
