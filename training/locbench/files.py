"""Tasks of published benchmarks, and of one's own, from files in a folder.

- `*.csv` with lon, lat (or longitude, latitude), perhaps key, and targets: each other column is a task. So are
  - TorchSpatial's YFCC: lon, lat, class, split;
  - TorchSpatial's MOSAIKS: lon, lat, split, and the target under its name;
  - TorchSpatial's SustainBench: lon, lat, nl_mean, NAME_normalized ...: only the latter are targets;
  - SatCLIP's air temperature: Lon, Lat, nObs, ..., meanT, meanP: only the last two are targets;
  - conus27.csv of the Population Dynamics Foundation Model, UniGeoCLIP's 27 tasks: place, county, state, latitude,
    longitude, and targets (its columns are known from its description alone).
- `*.json` of TorchSpatial's BirdSnap and NABirds: {split: [{class_id, META: {lon, lat}}]}, META ending in _meta.
- `*_locations.json` of iNaturalist, [{id, lon, lat}], with the file of the same name without _locations,
  {annotations: [{image_id, category_id}]}.

A column of numbers is a regression, unless it is called class or label or ends in _id; a column of words is a
classification. Published splits are passed over: places of train and test lie beside each other in them, so all places
are split anew. Rows without a position or a target are left out. Only positions and labels are read, no picture.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.inputs import InputError
from training.locbench.tasks import Task, number_classes

_LON, _LAT = ("lon", "longitude", "lng"), ("lat", "latitude")
_PASSED_OVER = {"", "key", "place", "county", "state", "split", "nl_mean", "nobs", "user_id", "date", "id"}
_SATCLIP = {"meant", "meanp"}
_CLASSES = ("class", "label")
_MOST_CLASSES = 10_000


def load_folder(folder: Path) -> list[Task]:
    """Returns the tasks of all files of a folder, in the order of their names.

    Raises:
        InputError: if there is none, or a file is of no form that is known.
    """
    found = [task for path in sorted(folder.glob("*.csv")) for task in load_csv(path)]
    for path in sorted(folder.glob("*.json")):
        found += load_json(path)
    if not found:
        raise InputError(f"{folder} holds no .csv or .json file with tasks: see training/locbench/files.py.")
    return found


def load_csv(path: Path) -> Iterator[Task]:
    """Yields a task for each target of a table.

    Raises:
        InputError: for a table without positions or targets.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    names = {name.strip().lower(): name for name in rows[0]} if rows else {}
    lon, lat = (next((names[one] for one in known if one in names), None) for known in (_LON, _LAT))
    if lon is None or lat is None:
        raise InputError(f"{path} has no rows, or no columns lon and lat: its columns are {', '.join(names)}.")
    targets = [one for one in names if one not in _PASSED_OVER | set(_LON) | set(_LAT)]
    for chosen in (
        [one for one in targets if one.endswith("_normalized")],
        [one for one in targets if one in _SATCLIP],
    ):
        targets = chosen or targets
    if not targets:
        raise InputError(f"{path} has no column of targets beside {', '.join(names)}.")
    key = names.get("key")
    for target in targets:
        kept = [row for row in rows if row[lon] and row[lat] and row[names[target]]]
        values = [row[names[target]] for row in kept]
        keys = [row[key] for row in kept] if key else []
        name = target if len(targets) > 1 else path.stem
        yield _make(name, [(row[lon], row[lat]) for row in kept], values, path, keys, target)


def load_json(path: Path) -> list[Task]:
    """Returns the task of a file of annotations; none for one that only goes with another.

    Raises:
        InputError: for a file of another form.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, list):
        partner = path.with_name(path.name.replace("_locations", ""))
        if partner == path or not partner.is_file():
            raise InputError(f"{path} holds locations and {partner.name} their classes: put both into the folder.")
        classes = {one["image_id"]: one["category_id"] for one in json.loads(partner.read_text())["annotations"]}
        records = [(one, classes[one["id"]]) for one in content if one["id"] in classes]
    elif "annotations" in content:
        return []
    else:
        entries = [one for part in content.values() if isinstance(part, list) for one in part]
        records = [(_find_meta(one), one["class_id"]) for one in entries if "class_id" in one]
    known = [
        (place, value) for place, value in records if place.get("lon") is not None and place["lon"] == place["lon"]
    ]
    if not known:
        raise InputError(f"{path} holds no places with classes: see training/locbench/files.py.")
    lonlat, values = [(place["lon"], place["lat"]) for place, _ in known], [str(value) for _, value in known]
    return [_make(path.stem, lonlat, values, path, [], "class")]


def _find_meta(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next((value for name, value in entry.items() if name.endswith("_meta")), {})
    return found


def _make(
    name: str, lonlat: Sequence[tuple[Any, Any]], values: Sequence[str], path: Path, keys: Sequence[str], column: str
) -> Task:
    try:
        lonlat_N2 = np.array(lonlat, float).reshape(-1, 2)
    except ValueError as error:
        raise InputError(f"{path}: a position is no pair of numbers ({error}).") from error
    is_class = column in _CLASSES or column.endswith("_id")
    try:
        target_N = number_classes(values) if is_class else np.array(values, float)
    except ValueError:
        target_N = number_classes(values)
    if target_N.dtype == np.int64 and len(set(values)) > min(_MOST_CLASSES, len(values) / 2):
        raise InputError(f"{path}: column {column} has {len(set(values))} classes in {len(values)} rows: leave it out.")
    return Task(name, lonlat_N2, target_N, f"{path.name}, {column}", tuple(keys))
