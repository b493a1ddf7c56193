"""Indexing a dump of a Wikipedia: SQL and XML files -> sorted runs, one file a task -> one table sorted by cell.

The workers share the tags as a parquet file and leave their runs beside it: no page ever passes Beam.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import apache_beam as beam

from geodata.wikipedia.runs import merge_runs, read_records, write_runs
from geodata.wikipedia.stream import DumpError
from geodata.wikipedia.table import write_articles, write_description
from geodata.wikipedia.tags import read_tags, write_tags
from geodata.wikipedia.tally import Skip, Tally
from pipelines.engine.run import BuildError


@dataclass(frozen=True)
class DumpFiles:
    """What a wiki's dump consists of."""

    language: str
    """Of the wiki: the first part of its host."""
    geo_tags: str
    """Path of geo_tags.sql, packed or not."""
    pages: tuple[str, ...]
    """Paths of the pages-articles XML files, packed or not."""
    page_props: str = ""
    """Path of page_props.sql; "" where it is not given."""


@dataclass
class WriteRuns(beam.PTransform):  # type: ignore[misc]
    """Reads each file of pages and writes its articles as sorted runs."""

    files: DumpFiles
    """Where to read."""
    scratch: str
    """Folder that all workers see: the tags are there, the runs come there."""
    stems: list[str] = field(init=False)
    """What the names of each file's runs begin with."""

    def __post_init__(self) -> None:
        self.stems = [f"{self.scratch}/{number:05d}" for number in range(len(self.files.pages))]

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[int]:
        """Numbers of files to the same numbers; the articles are files."""
        return (
            pipeline
            | "List files" >> beam.Create(range(len(self.files.pages)))
            | "Spread files" >> beam.Reshuffle()
            | "Write runs" >> beam.ParDo(_WriteRuns(self))
        )


class _WriteRuns(beam.DoFn):  # type: ignore[misc]
    def __init__(self, settings: WriteRuns) -> None:
        self._files, self._stems = settings.files, settings.stems
        self._tags_path = tags_path(settings.scratch)

    def setup(self) -> None:
        self._tags = read_tags(self._tags_path)

    def process(self, number: int) -> Iterable[int]:
        try:
            write_runs(
                self._files.pages[number], self._tags, language=self._files.language, stem=self._stems[number]
            )  # fmt: skip
        except DumpError as error:
            raise BuildError(str(error)) from error
        yield number


def tags_path(scratch: str) -> str:
    """Returns where the tags lie in the folder that all workers see."""
    return f"{scratch}/tags.parquet"


def index_dump(files: DumpFiles, output: Path, run: Callable[[WriteRuns], object]) -> dict[str, Tally]:
    """Writes the table of a dump into a folder that is not there yet, or is empty: whole or not at all.

    Args:
        run: runs the transform to its end.

    Returns:
        What became of the tags and of the pages.

    Raises:
        DumpError, BuildError: with one sentence for the user.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as scratch:
        tags = write_tags(files.geo_tags, files.page_props, tags_path(scratch))
        runs = WriteRuns(files, scratch)
        run(runs)
        paths, pages, met = read_records(runs.stems)
        tags.turn_down(Skip.NO_PAGE, tags.kept - met)
        if not pages.kept:
            raise DumpError(
                f"None of the {pages.seen} pages is an article with a tag ({_reasons(pages)}): check that --geo_tags "
                "and --pages are of one wiki and one date."
            )
        table = Path(scratch, "table")
        table.mkdir()
        written = write_articles(merge_runs(paths, pages), str(table))
        tallies = {"geo_tags": tags, "pages": pages}
        write_description(
            str(table), language=files.language, files=written, sources=_names(files),
            counts={name: tally.describe() for name, tally in tallies.items()},
        )  # fmt: skip
        os.rename(table, output)
    return tallies


def _names(files: DumpFiles) -> Sequence[str]:
    paths = [files.geo_tags, files.page_props, *files.pages]
    return [Path(path).name for path in paths if path]


def _reasons(tally: Tally) -> str:
    return ", ".join(f"{reason} {number}" for reason, number in tally.describe()["dropped"].items())
