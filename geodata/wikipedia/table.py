"""The table of a dump: articles sorted by cell, in small row groups, and `dump.json` that says what they are.

The articles of a coarse cell lie together, so that one or two row groups hold those of a unit. Files end after a fixed
number of rows to keep their footers small; `dump.json` tells the first and the last cell of each.
"""

import json
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from threading import Lock
from typing import Any

import h3.api.basic_int as h3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geodata.wikipedia.articles import CELL_RESOLUTION, PlacedArticle
from geodata.wikipedia.stream import DumpError

DESCRIPTION, FORMAT_VERSION = "dump.json", 1
LICENCE, ATTRIBUTION = "CC-BY-SA-4.0", "Wikipedia contributors"
ROWS_PER_GROUP, ROWS_PER_FILE = 1024, 1 << 18
"""About a megabyte of text, and a footer of a few hundred kilobytes."""
OPEN_GROUPS = 8
"""Row groups kept unpacked by a reader."""

_ARROW = {
    "cell": pa.uint64(), "page_id": pa.int64(), "title": pa.string(), "lon": pa.float64(), "lat": pa.float64(),
    "dim_m": pa.float64(), "type": pa.string(), "text": pa.string(), "revision": pa.int64(), "url": pa.string(),
}  # fmt: skip
SCHEMA = pa.schema([(field.name, _ARROW[field.name]) for field in fields(PlacedArticle)])


@dataclass(frozen=True)
class TableFile:
    """One file of the table."""

    name: str
    """Without folder."""
    rows: int
    """Articles."""
    first_cell: str
    """Key of the first article's cell."""
    last_cell: str
    """Key of the last article's cell."""


class ArticleTable:
    """Reads a table; threads may share it."""

    def __init__(self, folder: str) -> None:
        """Reads the description; the files are opened when they are needed.

        Raises:
            DumpError: if there is none, or a newer version wrote it.
        """
        self._folder = Path(folder)
        self.description = read_description(folder)
        self.language = str(self.description["language"])
        self._files = [TableFile(**entry) for entry in self.description["files"]]
        self._lasts = [h3.str_to_int(file.last_cell) for file in self._files]
        self._groups: dict[int, tuple[pq.ParquetFile, list[int], list[int]]] = {}
        self._unpacked: OrderedDict[tuple[int, int], tuple[pa.Table, np.ndarray[Any, Any]]] = OrderedDict()
        self._lock = Lock()

    def read(self, ranges: Iterable[tuple[int, int]]) -> list[PlacedArticle]:
        """Returns the articles whose cells lie in the ranges (both ends included), by cell and page.

        Raises:
            DumpError: if a file is gone or damaged.
        """
        with self._lock:
            return [PlacedArticle(**row) for low, high in _unite(ranges) for row in self._rows(low, high)]

    def close(self) -> None:
        """Closes all files."""
        with self._lock:
            while self._groups:
                self._groups.popitem()[1][0].close()
            self._unpacked.clear()

    def _rows(self, low: int, high: int) -> Iterator[dict[str, Any]]:
        for number in range(bisect_left(self._lasts, low), len(self._files)):
            if h3.str_to_int(self._files[number].first_cell) > high:
                return
            try:
                yield from self._rows_of_file(number, low, high)
            except (OSError, pa.ArrowException) as error:
                name = self._files[number].name
                raise DumpError(f"{self._folder / name} cannot be read ({error}): index the dump again.") from error

    def _rows_of_file(self, number: int, low: int, high: int) -> Iterator[dict[str, Any]]:
        if number not in self._groups:
            file = pq.ParquetFile(self._folder / self._files[number].name)
            ends = [file.metadata.row_group(i).column(0).statistics for i in range(file.num_row_groups)]
            self._groups[number] = (file, [end.min for end in ends], [end.max for end in ends])
        _, firsts, lasts = self._groups[number]
        for group in range(bisect_left(lasts, low), bisect_right(firsts, high)):
            table, cells = self._unpack(number, group)
            start, stop = int(np.searchsorted(cells, low)), int(np.searchsorted(cells, high, side="right"))
            yield from table.slice(start, stop - start).to_pylist()

    def _unpack(self, number: int, group: int) -> tuple[pa.Table, np.ndarray[Any, Any]]:
        if (number, group) in self._unpacked:
            self._unpacked.move_to_end((number, group))
            return self._unpacked[number, group]
        table = self._groups[number][0].read_row_group(group, use_threads=False)
        if len(self._unpacked) >= OPEN_GROUPS:
            self._unpacked.popitem(last=False)
        self._unpacked[number, group] = (table, table["cell"].to_numpy())
        return self._unpacked[number, group]


def cell_range(cell: int) -> tuple[int, int]:
    """Returns the first and the last cell of the table's resolution below a coarser one: those below are between."""
    last = cell
    for resolution in range(h3.get_resolution(cell) + 1, CELL_RESOLUTION + 1):
        last = max(h3.cell_to_children(last, resolution))
    return h3.cell_to_center_child(cell, CELL_RESOLUTION), last


def write_articles(articles: Iterable[PlacedArticle], folder: str) -> list[TableFile]:
    """Writes articles, which come by cell and page, as the files of a table."""
    files: list[TableFile] = []
    batches = _batches(articles, ROWS_PER_GROUP)
    batch = next(batches, None)
    while batch is not None:
        name, rows, first = f"articles-{len(files):05d}.parquet", 0, batch[0].cell
        with open_writer(f"{folder}/{name}") as writer:
            while batch is not None and rows < ROWS_PER_FILE:
                writer.write_table(to_table(batch))
                rows, last = rows + len(batch), batch[-1].cell
                batch = next(batches, None)
        files.append(TableFile(name, rows, h3.int_to_str(first), h3.int_to_str(last)))
    return files


def open_writer(path: str) -> pq.ParquetWriter:
    """Opens a parquet file for articles; statistics only where a reader looks for them."""
    return pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=["type"], write_statistics=["cell"])


def to_table(articles: Sequence[PlacedArticle]) -> pa.Table:
    """Returns articles as an arrow table."""
    return pa.table({name: [getattr(article, name) for article in articles] for name in SCHEMA.names}, schema=SCHEMA)


def write_description(
    folder: str, *, language: str, files: Sequence[TableFile], counts: dict[str, Any], sources: Sequence[str]
) -> None:
    """Writes `dump.json`.

    Args:
        counts: seen, kept and dropped, by kind.
        sources: names of the dump's files.
    """
    description = {
        "format_version": FORMAT_VERSION, "language": language, "licence": LICENCE, "attribution": ATTRIBUTION,
        "resolution": CELL_RESOLUTION, "sources": list(sources), "counts": counts,
        "files": [asdict(file) for file in files],
    }  # fmt: skip
    Path(folder, DESCRIPTION).write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_description(folder: str) -> dict[str, Any]:
    """Reads `dump.json`. Raises DumpError."""
    path = Path(folder, DESCRIPTION)
    try:
        description = dict(json.loads(path.read_text(encoding="utf-8")))
        version, resolution = description["format_version"], description["resolution"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DumpError(
            f"{path} cannot be read ({error}): make the folder with python -m pipelines.index_wikipedia."
        ) from error
    if version != FORMAT_VERSION or resolution != CELL_RESOLUTION:
        raise DumpError(
            f"{path} has format version {version} and resolution {resolution}, this release reads {FORMAT_VERSION} "
            f"and {CELL_RESOLUTION}: index the dump again, or update sameplace."
        )
    return description


def _unite(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns ranges in order, those that overlap as one."""
    united: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if united and low <= united[-1][1]:
            united[-1] = (united[-1][0], max(united[-1][1], high))
        else:
            united.append((low, high))
    return united


def _batches(articles: Iterable[PlacedArticle], size: int) -> Iterator[list[PlacedArticle]]:
    batch: list[PlacedArticle] = []
    for article in articles:
        batch.append(article)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
