"""A folder of the user's own files, described by its `manifest.csv`.

Columns path, modality, lat, lon; optional captured_at, licence, attribution, origin, note, heading, synthetic. Rasters
carry their own georeference, photos EXIF or the manifest's coordinates, texts are TSV or JSONL of `COLUMNS`.
"""

import csv
import hashlib
import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import rasterio
from pyproj.exceptions import ProjError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from geodata import cells
from geodata.article import ArticleError, iterate_lines, parse_article, parse_header
from geodata.grid import distance_m, transformer
from geodata.judge import Thresholds, Verdict, judge_photo_size, judge_position, judge_text
from geodata.photo import PhotoError, PhotoFacts, parse_photo
from geodata.sources.source import Catalogue, SourceError
from geodata.window import BandError, find_bands
from schemas.drop import Drop, Reason, Stage
from schemas.modality import MODALITIES
from schemas.reference import Item
from schemas.sample import check_lonlat, format_time, parse_time

logger = logging.getLogger(__name__)

NEEDED = ("path", "modality", "lat", "lon")
"""Columns that a manifest must have."""
MAX_DISAGREEMENT_M = 100.0
"""A photo whose EXIF and manifest positions lie farther apart is dropped; a raster may be this far from its row."""
SCAN_THREADS = 8
"""Headers read at once."""


class _RowError(Exception):
    """One row cannot be used."""

    def __init__(self, reason: Reason, detail: str, value: float | None = None) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.value = reason, detail, value


def scan_folder(name: str, root: Path, *, resolution: int, thresholds: Thresholds) -> Catalogue:
    """Looks at every row of the manifest and every line of its text files.

    Args:
        name: the source's name in records.
        resolution: H3 level of the keys in drops.

    Raises:
        SourceError: if there is no manifest, or it lacks a needed column.
    """
    catalogue = Catalogue()
    scanner = _Scanner(name, root, resolution, thresholds)
    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        for found in pool.map(scanner.scan, _read_manifest(root)):
            for entry in found:
                (catalogue.items if isinstance(entry, Item) else catalogue.drops).append(entry)  # type: ignore[arg-type]
    _drop_duplicates(catalogue, scanner)
    return catalogue


def _read_manifest(root: Path) -> list[dict[str, str]]:
    path = root / "manifest.csv"
    if not path.is_file():
        raise SourceError(
            f"The folder {root} has no manifest.csv: list its files there, columns {', '.join(NEEDED)} ..."
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in NEEDED if column not in (reader.fieldnames or ())]
            if missing:
                raise SourceError(
                    f"{path} lacks the column {missing[0]}: its first line must name {', '.join(NEEDED)}."
                )
            return [{k: v or "" for k, v in row.items() if isinstance(k, str)} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read ({error}): save it as CSV in UTF-8.") from error


class _Scanner:
    """Turns rows into items and drops; remembers the content of photos and texts to find duplicates."""

    def __init__(self, name: str, root: Path, resolution: int, thresholds: Thresholds) -> None:
        self.name, self.root, self.resolution, self.thresholds = name, root, resolution, thresholds
        self.content: dict[tuple[str, str], str] = {}
        """Digest of what an item shows, by modality and item id."""

    def scan(self, row: dict[str, str]) -> list[Item | Drop]:
        """Returns what one row holds: one item or drop, or for a text file one for each line."""
        lonlat = None
        try:
            if row["modality"] not in MODALITIES:
                raise _RowError(Reason.UNKNOWN_MODALITY, f"{row['modality']!r} is none of {', '.join(MODALITIES)}")
            lonlat = _parse_lonlat(row)
            path = (self.root / row["path"]).resolve()
            if not path.is_relative_to(self.root.resolve()) or not path.is_file():
                raise _RowError(Reason.MISSING_FILE, f"no file {row['path']!r} in the folder")
            item = self._describe(row, lonlat)
            if row["modality"] == "text":
                return list(self._scan_texts(item, path))
            return [
                self._scan_photo(item, path, lonlat)
                if row["modality"] == "street"
                else _scan_raster(item, path, lonlat)
            ]
        except _RowError as fault:
            key = cells.cell_at(*lonlat, self.resolution) if lonlat else ""
            return [self._drop(row["modality"], row["path"], fault, key)]

    def drop(self, item: Item, verdict: Verdict) -> Drop:
        """Writes down why an item is not used."""
        fault = _RowError(verdict.reason, verdict.detail, verdict.value)
        return self._drop(item.modality, item.item_id, fault, cells.cell_at(item.lon, item.lat, self.resolution))

    def _drop(self, modality: str, item_id: str, fault: _RowError, key: str) -> Drop:
        return Drop(key, modality, Stage.FIND, fault.reason, fault.value, fault.detail, self.name, item_id)

    def _describe(self, row: dict[str, str], lonlat: tuple[float, float] | None) -> Item:
        note, captured_at = row.get("note", ""), None
        if row.get("captured_at"):
            try:
                captured_at = format_time(parse_time(row["captured_at"]))
            except ValueError:
                logger.warning("%s: captured_at %r is no time and is left out", row["path"], row["captured_at"])
        lon, lat = lonlat or (0.0, 0.0)
        return Item(
            self.name, row["path"], row["modality"], row["path"], lon, lat, captured_at, row.get("licence", ""),
            row.get("attribution", ""), row.get("synthetic", "").lower() in ("true", "1", "yes"), note=note,
            heading_deg=_parse_heading(row.get("heading", "")),
        )  # fmt: skip

    def _scan_photo(self, item: Item, path: Path, lonlat: tuple[float, float] | None) -> Item | Drop:
        try:
            payload = path.read_bytes()
            facts = parse_photo(payload)
        except (PhotoError, OSError) as error:
            raise _RowError(Reason.UNREADABLE, str(error)) from error
        item = _complete_photo(item, facts, lonlat)
        self.content["street", item.item_id] = hashlib.sha256(payload).hexdigest()
        verdict = judge_photo_size(facts.width, facts.height, self.thresholds)
        return item if verdict is None else self.drop(item, verdict)

    def _scan_texts(self, item: Item, path: Path) -> Iterator[Item | Drop]:
        try:
            columns = parse_header(str(path))
        except (ArticleError, OSError) as error:
            raise _RowError(Reason.UNREADABLE, str(error)) from error
        is_json = path.suffix == ".jsonl"
        for number, line in enumerate(iterate_lines(str(path))):
            try:
                article = parse_article(line.raw, columns, is_json=is_json)
                check_lonlat(article.lon, article.lat)
            except (ArticleError, ValueError) as error:
                reason = Reason.UNREADABLE if isinstance(error, ArticleError) else Reason.BAD_COORDINATES
                yield self._drop("text", f"{item.item_id}#line {number + 1}", _RowError(reason, str(error)), "")
                continue
            one = replace(
                item, item_id=f"{item.item_id}#{article.id}", lon=article.lon, lat=article.lat, title=article.title,
                offset=line.offset, size=line.size,
            )  # fmt: skip
            self.content["text", one.item_id] = hashlib.sha256(f"{article.title}\n{article.text}".encode()).hexdigest()
            verdict = judge_position(article.lon, article.lat, self.thresholds)
            verdict = verdict or judge_text(article.title, article.text, self.thresholds)
            yield one if verdict is None else self.drop(one, verdict)


def _parse_lonlat(row: dict[str, str]) -> tuple[float, float] | None:
    if not row["lon"] and not row["lat"]:
        return None
    try:
        lon, lat = float(row["lon"]), float(row["lat"])
        check_lonlat(lon, lat)
    except ValueError as error:
        raise _RowError(Reason.BAD_COORDINATES, str(error)) from error
    return lon, lat


def _parse_heading(text: str) -> float | None:
    try:
        heading = float(text) % 360
    except ValueError:
        return None
    return heading if math.isfinite(heading) else None


def _complete_photo(item: Item, facts: PhotoFacts, lonlat: tuple[float, float] | None) -> Item:
    is_on_earth = facts.lonlat is not None and abs(facts.lonlat[1]) <= 90
    if is_on_earth and facts.lonlat and lonlat and (apart := distance_m(*facts.lonlat, *lonlat)) > MAX_DISAGREEMENT_M:
        swapped = " and looks swapped" if distance_m(*facts.lonlat, *_swap(lonlat)) < MAX_DISAGREEMENT_M else ""
        raise _RowError(Reason.BAD_COORDINATES, f"the manifest's position is {apart:.0f} m from EXIF's{swapped}", apart)
    position = facts.lonlat or lonlat
    if position is None:
        raise _RowError(Reason.BAD_COORDINATES, "neither EXIF nor the manifest says where the photo was taken")
    try:
        check_lonlat(*position)
    except ValueError as error:
        raise _RowError(Reason.BAD_COORDINATES, f"EXIF: {error}") from error
    return replace(
        item, lon=position[0], lat=position[1], captured_at=item.captured_at or format_time(facts.captured_at),
        heading_deg=item.heading_deg if item.heading_deg is not None else facts.heading_deg, is_pano=facts.is_pano,
    )  # fmt: skip


def _scan_raster(item: Item, path: Path, lonlat: tuple[float, float] | None) -> Item:
    try:
        with rasterio.open(path) as dataset:
            item = describe_raster(item, dataset)
            find_bands(dataset, MODALITIES[item.modality])
    except BandError as error:
        raise _RowError(Reason.WRONG_BANDS, str(error)) from error
    except RasterioError as error:
        raise _RowError(Reason.UNREADABLE, "the file is no raster that GDAL can read") from error
    except (ValueError, ProjError) as error:
        raise _RowError(Reason.NO_GEOREFERENCE, str(error)) from error
    if lonlat is not None and (apart := _distance_outside(item, lonlat)) > MAX_DISAGREEMENT_M:
        swapped = " and looks swapped" if _distance_outside(item, _swap(lonlat)) < MAX_DISAGREEMENT_M else ""
        raise _RowError(
            Reason.BAD_COORDINATES, f"the manifest's position is {apart:.0f} m off the raster{swapped}", apart
        )
    return item


def describe_raster(item: Item, dataset: DatasetReader) -> Item:
    """Fills in where a raster lies.

    Raises:
        ValueError: if it has no georeference.
    """
    if dataset.crs is None or dataset.transform.is_identity:
        raise ValueError("the raster has no georeference (CRS and affine)")
    crs = dataset.crs.to_string()
    left, bottom, right, top = dataset.bounds
    lon, lat = transformer(crs, "EPSG:4326").transform((left + right) / 2, (bottom + top) / 2)
    lon = (lon + 180) % 360 - 180
    check_lonlat(lon, lat)
    if dataset.transform.b or dataset.transform.d or dataset.transform.e >= 0:
        raise ValueError("the raster is rotated or not north up: warp it first (gdalwarp)")
    return replace(item, lon=lon, lat=lat, crs=crs, bounds=(left, bottom, right, top))


def _distance_outside(item: Item, lonlat: tuple[float, float]) -> float:
    """Distance of a point from a raster, metres; 0 inside."""
    assert item.crs is not None and item.bounds is not None
    if abs(lonlat[1]) > 90:
        return float("inf")
    left, bottom, right, top = item.bounds
    x, y = transformer("EPSG:4326", item.crs).transform(*lonlat)
    nearest = min(max(x, left), right), min(max(y, bottom), top)
    return distance_m(*transformer(item.crs, "EPSG:4326").transform(*nearest), *lonlat)


def _swap(lonlat: tuple[float, float]) -> tuple[float, float]:
    return lonlat[1], lonlat[0]


def _drop_duplicates(catalogue: Catalogue, scanner: _Scanner) -> None:
    """Keeps the first of items that show the same, in the order of the manifest."""
    first: dict[tuple[str, str], str] = {}
    kept: list[Item] = []
    seen_ids: set[tuple[str, str]] = set()
    for item in catalogue.items:
        content = scanner.content.get((item.modality, item.item_id), item.item_id)
        original = first.setdefault((item.modality, content), item.item_id)
        identity = (item.modality, item.item_id)
        if original != item.item_id or identity in seen_ids:
            is_same = original != item.item_id
            detail = f"shows the same as {original}" if is_same else "an earlier record has the same identifier"
            catalogue.drops.append(scanner.drop(item, Verdict(Reason.DUPLICATE, 1.0, detail)))
        else:
            kept.append(item)
        seen_ids.add(identity)
    catalogue.items = kept
