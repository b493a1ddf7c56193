"""Writes the demo region as a folder source: rasters, photos, texts, and the manifest that lists them.

Work is cut into clusters. A cluster is finished when its part of the manifest is there; asking again, or for more
places, keeps what is finished.
"""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from geodata import cells
from geodata.demo.aerial import take_aerial
from geodata.demo.fields import Landscape
from geodata.demo.files import draw_time, write_aerial, write_dem, write_photo, write_sentinel2
from geodata.demo.photos import scatter, take_photos
from geodata.demo.places import DEMO, DENSE, Cluster, Layout, find_cluster, most_places
from geodata.demo.scene import Country, draw_sentinel2, find_faults, survey
from geodata.demo.street import Surroundings, look_around
from geodata.demo.text import gather_facts, tell
from geodata.demo.waves import DEMO_BOX, Points, to_plane
from schemas.sample import format_time

__all__ = ["DEMO_BOX", "write_cluster", "write_demo"]

COLUMNS = (
    "path", "modality", "lat", "lon", "captured_at", "licence", "attribution", "origin", "note", "heading", "synthetic"
)  # fmt: skip
COMMON = {
    "licence": "CC0-1.0", "attribution": "sameplace demo (synthetic)", "origin": "geodata.demo", "synthetic": "true"
}  # fmt: skip
"""What every row of the manifest says."""
TEXT_MISSING_SHARE = 0.08
"""Share of places without a text."""
COPY_SHARE = 0.01
"""Share of photos that are there twice, under two names."""
VERSION = 4
"""Of the landscape; a folder of another version is not continued."""

Row = dict[str, str]


def write_demo(
    path: Path, *, places: int, seed: int = 0, is_dense: bool = False, workers: int = 2,
    report: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """Writes a folder source of so many places, or adds to one.

    Args:
        path: the folder; made where it is not there.
        is_dense: strews the places as `places.DENSE` says, not as the demo's.
        workers: processes; 1 works in this one.
        report: called with the number of finished clusters and of all.

    Raises:
        ValueError: if the region does not hold so many places, or the folder holds another landscape.
    """
    layout = DENSE if is_dense else DEMO
    if not 0 < places <= most_places(seed, layout):
        raise ValueError(f"The demo region holds 1 ... {most_places(seed, layout)} places, not {places}.")
    for name in ("parts", "sentinel2", "dem", "aerial", "street", "text"):
        (path / name).mkdir(parents=True, exist_ok=True)
    _claim(path, seed, is_dense)
    clusters = math.ceil(places / layout.places)
    missing = [number for number in range(clusters) if not _part(path, number).exists()]
    for done, _ in enumerate(
        _work(partial(write_cluster, path, seed, layout=layout), missing, workers), clusters - len(missing) + 1
    ):
        if report is not None:
            report(done, clusters)
    while _part(path, clusters).exists():  # written for more places before: others may be reading them
        clusters += 1
    _finish(path, clusters, places)


def write_cluster(path: Path, seed: int, number: int, layout: Layout = DEMO) -> None:
    """Writes the files of one cluster, its part of the manifest last."""
    cluster, landscape = find_cluster(number, seed, layout), _landscape(seed)
    country = survey(landscape, cluster.grid)
    around = look_around(landscape, country)
    rows = list(_write_scene(path, cluster, country, seed))
    texts: list[dict[str, str | float]] = []
    for place, key in enumerate(cluster.keys):
        name = f"{number:05d}_{place:02d}"
        rows += _write_aerial(path, name, key, landscape, make_rng(seed, number, 3 * place + 1))
        rows += _write_photos(path, name, key, around, make_rng(seed, number, 3 * place + 2))
        texts += _tell(name, key, country, make_rng(seed, number, 3 * place + 3))
    centres = cells.centres(np.array([cells.to_cell(key) for key in cluster.keys], dtype=np.uint64))
    _write_whole(_part(path, number), json.dumps({"places": centres.tolist(), "rows": rows, "texts": texts}))


def make_rng(seed: int, cluster: int, purpose: int) -> np.random.Generator:
    """Returns the random numbers of one purpose in one cluster: 0 its scene, then three for each place."""
    return np.random.Generator(np.random.Philox(key=[seed, cluster], counter=[0, 0, 0, purpose + 1]))


def _write_scene(path: Path, cluster: Cluster, country: Country, seed: int) -> Iterator[Row]:
    rng, name = make_rng(seed, cluster.number, 0), f"scene_{cluster.number:05d}.tif"
    lon, lat = cells.centre(cluster.keys[0])
    has_cloud, has_edge = find_faults(cluster.number)
    bands = draw_sentinel2(country, rng, has_cloud=has_cloud, has_edge=has_edge)
    write_sentinel2(path / "sentinel2" / name, bands, cluster.grid)
    yield _row(f"sentinel2/{name}", "sentinel2", lon, lat, draw_time(rng, 11.0, lon), note="surface reflectance")
    level = country if cluster.dem_grid == cluster.grid else survey(_landscape(seed), cluster.dem_grid)
    write_dem(path / "dem" / name, level.height_m, cluster.dem_grid)
    yield _row(f"dem/{name}", "dem", lon, lat, datetime(2021, 1, 1, tzinfo=UTC), note="ground without trees and houses")


def _write_aerial(path: Path, name: str, key: str, landscape: Landscape, rng: np.random.Generator) -> Iterator[Row]:
    taken = take_aerial(key, landscape, rng)
    if taken is not None:
        write_aerial(path / "aerial" / f"{name}.tif", *taken)
        lon, lat = cells.centre(key)
        yield _row(f"aerial/{name}.tif", "aerial", lon, lat, draw_time(rng, 12.0, lon))


def _write_photos(path: Path, name: str, key: str, around: Surroundings, rng: np.random.Generator) -> Iterator[Row]:
    for photo, letter in zip(take_photos(key, around, rng), "ab", strict=False):
        captured_at = draw_time(rng, photo.hour, photo.lon)
        for suffix in (letter, f"{letter}_copy") if rng.random() < COPY_SHARE else (letter,):
            file = f"street/{name}{suffix if suffix != 'a' else ''}.jpg"
            write_photo(path / file, photo, captured_at)
            yield _row(file, "street", photo.lon, photo.lat, captured_at, heading=f"{photo.heading_deg:.1f}")


def _tell(name: str, key: str, country: Country, rng: np.random.Generator) -> Iterator[dict[str, str | float]]:
    if rng.random() < TEXT_MISSING_SHARE:
        return
    lon, lat = scatter(key, 1, rng)[0].tolist()
    place = to_plane(np.array(lon), np.array(lat))
    tale = tell(gather_facts(country, Points(place.x, place.y)), rng)
    yield {"id": f"demo-{name}", "title": tale.title, "lat": lat, "lon": lon, "text": tale.text}


def _row(
    path: str, modality: str, lon: float, lat: float, captured_at: datetime, *, note: str = "", heading: str = ""
) -> Row:
    return COMMON | {
        "path": path, "modality": modality, "lat": f"{lat:.7f}", "lon": f"{lon:.7f}",
        "captured_at": format_time(captured_at) or "", "note": note, "heading": heading,
    }  # fmt: skip


def _finish(path: Path, clusters: int, places: int) -> None:
    """Joins the parts; the manifest is written last."""
    parts = [json.loads(_part(path, number).read_text(encoding="utf-8")) for number in range(clusters)]
    lonlat = [point for part in parts for point in part["places"]][:places]
    _write_whole(path / "places.csv", "lon,lat\n" + "".join(f"{lon:.7f},{lat:.7f}\n" for lon, lat in lonlat))
    lines = [json.dumps(entry) + "\n" for part in parts for entry in part["texts"]]
    _write_whole(path / "text" / "demo.jsonl", "".join(lines))
    rows = [row for part in parts for row in part["rows"]]
    rows.append(COMMON | {"path": "text/demo.jsonl", "modality": "text", "captured_at": "2024-01-01T00:00:00Z"})
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write_whole(path / "manifest.csv", table.getvalue())


def _claim(path: Path, seed: int, is_dense: bool) -> None:
    mine: dict[str, object] = {"seed": seed, "version": VERSION, **({"dense": True} if is_dense else {})}
    file = path / "parts" / "landscape.json"
    if file.exists() and (found := json.loads(file.read_text(encoding="utf-8"))) != mine:
        raise ValueError(f"{path} holds the landscape {found}, not {mine}: choose another folder or delete this one.")
    _write_whole(file, json.dumps(mine))


def _part(path: Path, number: int) -> Path:
    return path / "parts" / f"cluster_{number:05d}.json"


def _write_whole(file: Path, content: str) -> None:
    """Writes under another name, then renames: no reader ever sees half a file."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.draft")
    draft.write_text(content, encoding="utf-8", newline="")
    draft.replace(file)


def _work(task: Callable[[int], None], numbers: list[int], workers: int) -> Iterator[None]:
    if workers <= 1 or len(numbers) <= 1:
        yield from map(task, numbers)
        return
    with _one_thread_each(), get_context("spawn").Pool(min(workers, len(numbers))) as pool:
        yield from pool.imap_unordered(task, numbers)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keeps the matrix library of each worker to one thread, and lets it keep the memory it frees.

    Libraries read these when they are loaded. The GNU C library else has the kernel clear the pages of each large
    array anew (mallopt(3)), a tenth of the time.
    """
    set_to = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    set_to |= dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(1 << 32))
    before = {name: os.environ.get(name) for name in set_to}
    os.environ.update(set_to)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@lru_cache(maxsize=2)
def _landscape(seed: int) -> Landscape:
    return Landscape(seed)
