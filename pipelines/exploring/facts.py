"""What the page knows of every place: the index, from each record its sources, times, licences, cloud, and a height.

Reading it takes about a millisecond a place, most of it for the elevation, so it is kept in a cache by the manifest's
digest: a finished corpus does not change without its manifest.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rasterio.errors import RasterioIOError

from geodata.raster import decode_geotiff
from pipelines.files import storage
from schemas.corpus import INDEX, MANIFEST, CorpusError
from schemas.modality import MODALITIES, member_name

VERSION = 1
"""Of the cached table: another layout gets another name."""
VERIFY = "python -m pipelines.verify names what is damaged and how to build it again"
PLACES_A_PROCESS = 1000
"""A process takes seconds to start: for fewer places another one is not worth it."""
PLACE_COLUMNS = ["key", "split", "shard", "lon", "lat", "country", "modalities", "offset", "size", "members"]
"""What is taken from the index."""
FACTS = pa.schema(
    [
        pa.field("key", pa.string()), pa.field("cloud", pa.float32()), pa.field("elevation", pa.float32()),
        *(pa.field(f"{name}_{what}", kind) for name in MODALITIES
          for what, kind in (("source", pa.string()), ("licence", pa.string()), ("date", pa.date32()))),
    ]
)  # fmt: skip
"""One row a place: share of cloud on the Sentinel-2 patch (0 ... 1), mean height of the elevation patch (metres), and
of each view's first observation the source, the licence and the day; null where there is none."""


@dataclass(frozen=True)
class _Task:
    """What one process reads of one shard."""

    path: str
    """The shard."""
    spans: list[tuple[str, tuple[int, int], tuple[int, int] | None]]
    """Of each place the key, and offset and size of its record and of its elevation."""


def read_facts(
    corpus: str, *, workers: int = 1, cache: str = "", report: Callable[[int], None] = lambda _: None
) -> tuple[pa.Table, pa.Table]:
    """Returns the places (columns of the index) and their facts, both in the order of keys.

    Args:
        workers: processes that read shards.
        cache: folder that keeps what was read; empty keeps nothing.
        report: is told of places as they are read.

    Raises:
        CorpusError: if a record or an elevation cannot be read.
        OSError: if a file is not there.
    """
    with storage.open_file(storage.join(corpus, INDEX)) as file:
        places = pq.read_table(file, columns=PLACE_COLUMNS)
    kept = _cache_path(corpus, cache)
    facts = _read_cached(kept, places)
    if facts is None:
        rows = {row["key"]: row for row in _read_all(_list_tasks(corpus, places), workers, report)}
        facts = pa.Table.from_pylist([rows[key] for key in places["key"].to_pylist()], schema=FACTS)
        _keep(kept, facts)
    return places, facts


def _list_tasks(corpus: str, places: pa.Table) -> list[_Task]:
    spans: dict[str, list[tuple[str, tuple[int, int], tuple[int, int] | None]]] = {}
    for row in places.select(["key", "shard", "members"]).to_pylist():
        members = {member["name"]: (member["offset"], member["size"]) for member in row["members"]}
        key = row["key"]
        spans.setdefault(row["shard"], []).append((key, members[f"{key}.json"], members.get(member_name(key, "dem"))))
    return [_Task(storage.join(corpus, shard), of) for shard, of in sorted(spans.items())]


def _read_all(tasks: list[_Task], workers: int, report: Callable[[int], None]) -> Iterator[dict[str, Any]]:
    processes = min(workers, len(tasks), sum(len(task.spans) for task in tasks) // PLACES_A_PROCESS)
    if processes < 2:
        yield from _flatten(map(_read_shard, tasks), report)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from _flatten(pool.map(_read_shard, tasks), report)


def _flatten(groups: Iterable[list[dict[str, Any]]], report: Callable[[int], None]) -> Iterator[dict[str, Any]]:
    for group in groups:
        report(len(group))
        yield from group


def _read_shard(task: _Task) -> list[dict[str, Any]]:
    rows = []
    with storage.open_file(task.path) as file:
        for key, record, elevation in task.spans:
            try:
                row = _read_record(_read_span(file, record))
                if elevation is not None:
                    row["elevation"] = _mean_height(_read_span(file, elevation))
            except (ValueError, KeyError, TypeError, RasterioIOError) as error:
                raise CorpusError(f"The sample {key} in {task.path} cannot be read ({error}): {VERIFY}.") from error
            rows.append({"key": key, **row})
    return rows


def _read_span(file: Any, span: tuple[int, int]) -> bytes:
    file.seek(span[0])
    return bytes(file.read(span[1]))


def _read_record(payload: bytes) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for observation in json.loads(payload)["observations"]:
        name, time = observation["modality"], observation.get("captured_at")
        if f"{name}_source" in row:
            continue
        row[f"{name}_source"], row[f"{name}_licence"] = observation["source"], observation["licence"]
        row[f"{name}_date"] = datetime.fromisoformat(time).date() if time else None
        if "cloud_share" in observation:
            row["cloud"] = observation["cloud_share"]
    return row


def _mean_height(payload: bytes) -> float | None:
    raster = decode_geotiff(payload)
    heights = raster.values[0][raster.valid]
    return float(heights.mean(dtype="float64")) if heights.size else None


def _cache_path(corpus: str, cache: str) -> Path | None:
    digest = hashlib.sha256(storage.read_bytes(storage.join(corpus, MANIFEST))).hexdigest()
    return Path(cache, f"{digest[:32]}-{VERSION}.parquet") if cache else None


def _read_cached(path: Path | None, places: pa.Table) -> pa.Table | None:
    if path is None or not path.is_file():
        return None
    try:
        facts = pq.read_table(path)
    except (pa.ArrowInvalid, OSError):  # cut short: read again and written anew
        return None
    return facts if facts.schema.equals(FACTS) and facts["key"].equals(places["key"]) else None


def _keep(path: Path | None, facts: pa.Table) -> None:
    if path is None:
        return
    try:
        with storage.create(str(path)) as sink:
            pq.write_table(facts, sink, compression="zstd")
    except OSError:  # a cache that cannot be written costs time, nothing else
        return
