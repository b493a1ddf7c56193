"""From files of pages to one sorted table: each file gives sorted runs, and all runs are merged.

The order of the merge is total, so that the table does not depend on who wrote which run, or when.
"""

import heapq
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from geodata.wikipedia.articles import PlacedArticle, make_article
from geodata.wikipedia.pages import Pages
from geodata.wikipedia.stream import DumpError
from geodata.wikipedia.table import ROWS_PER_GROUP, open_writer, to_table
from geodata.wikipedia.tags import Tags
from geodata.wikipedia.tally import Skip, Tally, parse_tally

ROWS_PER_RUN = 20_000
"""Articles in memory before a run is written: some tens of megabytes."""


def write_runs(path: str, tags: Tags, *, language: str, stem: str) -> None:
    """Writes the articles of one file of pages as sorted runs, then a record of them.

    Args:
        language: of the wiki; a dump of another is refused.
        stem: what the names of the written files begin with.

    Raises:
        DumpError: if the file cannot be used.
    """
    tally, met, articles, runs = Tally(), [], list[PlacedArticle](), 0
    pages = Pages(path, lambda page_id: tags.find(page_id) is not None)
    for page in pages:
        if not tally.seen:
            _check_language(pages.host, language, path)
        tag = tags.find(page.id)
        if tag is not None:
            met.append(page.id)
        made = make_article(page, tag, language=language, embedded=pages.embedded)
        tally.add(made if isinstance(made, Skip) else None)
        if isinstance(made, PlacedArticle):
            articles.append(made)
        if len(articles) == ROWS_PER_RUN:
            _write_run(articles, f"{stem}-{runs:05d}.parquet")
            articles, runs = [], runs + 1
    _write_run(articles, f"{stem}-{runs:05d}.parquet")
    np.save(f"{stem}.met.npy", np.array(met, dtype=np.int64))
    Path(f"{stem}.json").write_text(json.dumps({"runs": runs + 1, "pages": tally.describe()}))


def read_records(stems: Iterable[str]) -> tuple[list[str], Tally, int]:
    """Reads the records of `write_runs`.

    Returns:
        The paths of all runs, what became of the pages, and how many different pages have a tag.
    """
    paths, total, met = [], Tally(), [np.zeros(0, dtype=np.int64)]
    for stem in stems:
        record = json.loads(Path(f"{stem}.json").read_text())
        paths += [f"{stem}-{run:05d}.parquet" for run in range(record["runs"])]
        tally = parse_tally(record["pages"])
        total.kept += tally.kept
        total.dropped += tally.dropped
        met.append(np.load(f"{stem}.met.npy"))
    return paths, total, len(np.unique(np.concatenate(met)))


def merge_runs(paths: Iterable[str], tally: Tally) -> Iterator[PlacedArticle]:
    """Yields the articles of all runs by cell and page; of a page that comes twice the newest revision.

    Args:
        tally: in which the others are counted as dropped.
    """
    page_id = None
    for article in heapq.merge(*map(_read_run, paths), key=_order):
        if article.page_id == page_id:
            tally.turn_down(Skip.DUPLICATE, 1)
        else:
            yield article
        page_id = article.page_id


def _order(article: PlacedArticle) -> tuple[int, int, int]:
    """Sorts by cell and page, the newest revision first; two files with the same revision come as they were listed."""
    return article.cell, article.page_id, -article.revision


def _write_run(articles: list[PlacedArticle], path: str) -> None:
    with open_writer(path) as writer:
        writer.write_table(to_table(sorted(articles, key=_order)), row_group_size=ROWS_PER_GROUP)


def _read_run(path: str) -> Iterator[PlacedArticle]:
    """Opens the file anew for each row group: there may be more runs than a process may hold open."""
    for group in range(pq.read_metadata(path).num_row_groups):
        with pq.ParquetFile(path) as file:
            rows = file.read_row_group(group).to_pylist()
        yield from (PlacedArticle(**row) for row in rows)


def _check_language(host: str, language: str, path: str) -> None:
    wiki = host.removesuffix(".wikipedia.org")
    if wiki != host and wiki != language:
        raise DumpError(f"{Path(path).name} comes from {host}, but --language is {language!r}: give --language {wiki}.")
