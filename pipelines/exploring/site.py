"""The files of the page, by their path: what is the same for all corpora, what tells of this one, and its places.

The server makes them when they are asked for, an export writes them all: the page cannot tell which it is.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.exploring.facts import read_facts
from pipelines.exploring.pack import pack_places, script
from pipelines.exploring.place import describe_place
from pipelines.exploring.summary import DROP_COLUMNS, group_by_key, summarise
from pipelines.files import storage
from pipelines.inspection.open import read_row
from pipelines.verification.examine_corpus import read_manifest
from schemas.corpus import DROPS
from schemas.page import SHARED, read_site
from schemas.page.pack import pack_outlines

OWN = (
    "index.html", "style.css", "columns.js", "colours.js", "places.js", "choice.js", "numbers.js", "views.js",
    "page.js",
)  # fmt: skip
"""The page's own files, besides those that it shares."""
FIXED = (*SHARED, *OWN)
"""The files that are the same for every corpus."""
MADE = ("data/corpus.js", "data/places.js", "data/outlines.js")
"""The files that tell of a corpus."""
MARK = "data/corpus.js"
"""A folder that holds this one is an export."""


class ExportError(ValueError):
    """The site cannot be written there: one sentence with fact and remedy."""


class Site:
    """The page of one corpus."""

    def __init__(self, corpus: str, places: pa.Table, fixed: dict[str, bytes], drops: pa.Table) -> None:
        """Takes the folder, the rows of its index, the files that are made already, and the drops sorted by key."""
        self._corpus, self._places, self._files, self._drops = corpus, places, fixed, drops
        self._rows = {key: row for row, key in enumerate(places["key"].to_pylist())}
        self._drops_of = group_by_key(drops)

    @property
    def keys(self) -> list[str]:
        """Cells of all places, sorted."""
        return list(self._rows)

    def read(self, path: str) -> bytes | None:
        """Returns a file; None where there is none.

        Raises:
            CorpusError: if a sample is damaged.
            OSError: if a shard cannot be read.
        """
        if path in self._files:
            return self._files[path]
        key = path.rpartition("/")[2].removesuffix(".js")
        return self.read_place(key) if key in self._rows and path == place_path(key) else None

    def read_place(self, key: str, *, with_pictures: bool = True) -> bytes:
        """Returns the script of one place."""
        first, number = self._drops_of.get(key, (0, 0))
        drops = self._drops.slice(first, min(number, 50)).to_pylist()
        sample = read_row(self._corpus, self._places.slice(self._rows[key], 1).to_pylist()[0])
        return script(f"place {key}", describe_place(sample, drops, with_pictures=with_pictures))


def place_path(key: str) -> str:
    """Returns the path of a place's script: neighbours share a folder, no folder holds all."""
    return f"places/{key[4:7]}/{key}.js"


def fixed_files() -> dict[str, bytes]:
    """Returns the files that are the same for every corpus."""
    return read_site("pipelines.exploring", OWN)


def open_site(
    corpus: str, *, workers: int = 1, cache: str = "", report: Callable[[int], None] = lambda _: None
) -> Site:
    """Reads what the page needs of a finished corpus.

    Args:
        workers: processes that read shards.
        cache: folder that keeps what was read of the shards; empty keeps nothing.
        report: is told of places as they are read.

    Raises:
        CorpusError: if it is no finished corpus, or damaged.
        OSError: if a file cannot be read.
    """
    manifest = read_manifest(corpus)
    with storage.open_file(storage.join(corpus, DROPS)) as file:
        drops = pq.read_table(file, columns=DROP_COLUMNS).sort_by("key")
    places, facts = read_facts(corpus, workers=workers, cache=cache, report=report)
    return Site(corpus, places, {**fixed_files(), **made_files(summarise(manifest, drops), places, facts)}, drops)


def made_files(summary: dict[str, Any], places: pa.Table, facts: pa.Table) -> dict[str, bytes]:
    """Returns the files that tell of a corpus."""
    values = (summary, pack_places(places, facts), pack_outlines())
    return {path: script(Path(path).stem, value) for path, value in zip(MADE, values, strict=True)}


def export(site: Site, folder: str, *, previews: int | None, threads: int = 1) -> Iterator[int]:
    """Writes the site into a folder from which a browser opens it, and tells of places as they are written.

    Args:
        previews: so many places, drawn by hash, keep their pictures; None keeps all.
        threads: write at the same time.

    Raises:
        ExportError: if the folder holds something else.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / MARK).is_file())):
        raise ExportError(f"{folder} holds something else: name a new or an empty folder, or an earlier export.")
    keys = site.keys
    kept = set(keys) if previews is None else set(sorted(keys, key=_draw)[:previews])

    def write(path: str, payload: bytes | None) -> None:
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(payload or b"")

    def write_place(key: str) -> int:
        write(place_path(key), site.read_place(key, with_pictures=key in kept))
        return 1

    for path in (*FIXED, *MADE):
        write(path, site.read(path))
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(write_place, keys)


def _draw(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
