"""Location encoders on labels of real places: what is measured for the report, and kept for the next call.

Places of a block of longitude and latitude are held out together. Two depths: a linear probe of the embeddings that
every encoder gives before it learnt anything, and, on `TRAINED`, a few encoders that learn the task.
"""

import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.locbench.encoders import embed_untrained
from training.locbench.folds import FOLDS, Split, split
from training.locbench.learning import Recipe, learn_out_of_fold
from training.locbench.probes import predict_constant, probe_linear, probe_neighbours
from training.locbench.report import Divided
from training.locbench.tasks import Task, load_task
from training.options import OptionError
from training.reporting.clusters import Clustered, score_errors
from training.reporting.kept import keep, name_file
from training.sphere import LonLat, unit_vectors

TASKS = ("elevation", "land_cover", "country", "log_population", "air_temperature", "night_lights", "habitat_1")
TRAINED = ("elevation", "land_cover", "air_temperature", "night_lights", "habitat_1", "log_population")
"""Tasks that encoders learn, with several seeds."""
BLOCK_DEG = "5"
SMALL_BLOCKS_DEG = {"habitat_1": "0.05"}
"""What grows somewhere says little of what grows 20 km on: in blocks of 1 degree the 5 nearest places tell 0.416 of the
habitats, the commonest habitat 0.401."""
FILES = {
    "air_temperature": "lon,lat,mean_temperature_c of the stations of Hooker et al. 2018 (doi:10.1038/sdata.2018.246)",
    "night_lights": "night lights 2009 of Venter et al. 2016 (doi:10.5061/dryad.052q5) in longitude and latitude",
    "habitat_1": "lon,lat,habitat (a EUNIS code) of the vegetation plots of GeoLifeCLEF 2024",
}
"""What the files of labels hold, and whence."""
CLUSTERED = ("land_cover", "sphereCplus")
"""The task and the trained encoder whose errors are looked at."""
UNTRAINED, LEARNT = "untrained", "trained"
MEAN, NEAREST, XYZ = "mean or commonest", "5 nearest", "x, y, z"


@dataclass(frozen=True)
class LabelPlan:
    """What is measured."""

    tasks: tuple[str, ...]
    labels: Path | None
    """Folder of the tasks that lie in files."""
    probed: tuple[str, ...]
    """Location encoders that are probed as they are."""
    trained: tuple[str, ...]
    """Location encoders that learn the tasks of `TRAINED`."""
    seeds: int = 3
    """Of folds and weights, on `TRAINED`."""
    places: int = 20_000
    """Of a task, at most."""
    epochs: int = 12
    finest_km: tuple[float, ...] = (1000.0, 300.0, 30.0)
    """Tried by encoders that learn."""
    probed_km: float = 300.0
    """Finest distance of encoders that are probed."""


@dataclass(frozen=True)
class Scored:
    """One method on one task with one seed."""

    task: str
    metric: str
    method: str
    seed: int
    score: float
    """Over all places, each predicted by what was learnt from other folds."""
    work_s: float
    """Seconds of the processor."""
    finest_km: tuple[float, ...] = ()
    """Chosen for each fold by an encoder that learnt."""
    errors: Clustered | None = None

    @classmethod
    def read(cls, record: dict[str, Any]) -> "Scored":
        """Returns what `asdict` made a record of, perhaps by way of JSON."""
        errors = record["errors"] and Clustered(record["errors"]["as_they_lie"], tuple(record["errors"]["shuffled"]))
        return cls(**{**record, "finest_km": tuple(record["finest_km"]), "errors": errors})


@dataclass(frozen=True)
class Labelled:
    """All that was measured."""

    tasks: tuple[Divided, ...]
    left_out: dict[str, str]
    """Why a task could not be had, and how to get it."""
    scored: tuple[Scored, ...]

    def values(self, task: str, method: str) -> list[float]:
        """Returns the scores of a method on a task, one for each seed."""
        return [one.score for one in self.scored if (one.task, one.method) == (task, method)]

    @property
    def methods(self) -> list[str]:
        """Every method, in the order of measuring."""
        return list(dict.fromkeys(one.method for one in self.scored))

    def record(self) -> dict[str, object]:
        """Returns all numbers as plain values."""
        return {
            "tasks": [asdict(one) for one in self.tasks], "left_out": self.left_out,
            "scored": [asdict(one) for one in self.scored],
        }  # fmt: skip


def measure_labels(plan: LabelPlan, folder: Path, tell: Callable[[str], None]) -> Labelled:
    """Measures what is not yet kept in the folder, a file for each task, method and seed.

    Args:
        tell: is given a line before each measurement of a task and seed.
    """
    tasks: list[Task] = []
    divided, left_out = [], {}
    for name in plan.tasks:
        try:
            task = load_task(name, plan.labels).thin(plan.places, 0)
            parts = divide(task, 0)
        except OptionError as error:
            left_out[name] = f"{error} It holds {FILES[name]}." if name in FILES else str(error)
            continue
        tasks.append(task)
        divided.append(Divided(name, parts.name, len(task), task.classes, *parts.distances_km, task.source))
    scored = []
    for seed in range(plan.seeds):
        for task in tasks:
            if seed == 0 or task.name in TRAINED:
                tell(f"labels of {task.name}, seed {seed}")
                scored += list(measure_task(task, seed, plan, folder))
    return Labelled(tuple(divided), left_out, tuple(scored))


def divide(task: Task, seed: int) -> Split:
    """Returns the folds of a task.

    Raises:
        OptionError: if its places lie in fewer blocks than there are folds.
    """
    return split(task.lonlat_N2, SMALL_BLOCKS_DEG.get(task.name, BLOCK_DEG), seed)


def measure_task(task: Task, seed: int, plan: LabelPlan, folder: Path) -> Iterator[Scored]:
    """Yields each method on a task: the baselines, with seed 0 the probes, on `TRAINED` what learns."""
    parts = divide(task, seed)
    labels = zlib.crc32(task.target_N.tobytes(), zlib.crc32(task.lonlat_N2.tobytes()))
    shared = {"task": task.name, "labels": labels, "block_deg": parts.name, "seed": seed}
    for method, more, predict in _list_methods(task, parts.fold_N, seed, plan):
        path = name_file(folder / task.name, method, seed)
        setting = {**shared, "method": method, **more}
        yield Scored.read(keep(path, setting, partial(_measure, task, method, seed, predict)))


def _measure(task: Task, method: str, seed: int, predict: Callable[[], "Predicted"]) -> dict[str, Any]:
    start, found = time.process_time(), predict()
    work_s, errors = time.process_time() - start, None
    if (task.name, method) == (CLUSTERED[0], f"{CLUSTERED[1]}, {LEARNT}"):
        errors = score_errors(task.lonlat_N2, found.predicted_N == task.target_N, seed)
    score = task.score(found.predicted_N)
    return asdict(Scored(task.name, task.metric, method, seed, score, work_s, found.finest_km, errors))


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions of all places, each from other folds."""

    predicted_N: NDArray[np.generic]
    finest_km: tuple[float, ...] = ()


def _list_methods(
    task: Task, fold_N: NDArray[np.int64], seed: int, plan: LabelPlan
) -> Iterator[tuple[str, dict[str, object], Callable[[], Predicted]]]:
    """Yields names, what else the prediction depends on, and what predicts."""
    yield MEAN, {}, lambda: Predicted(predict_constant(task, fold_N))
    yield NEAREST, {}, lambda: Predicted(probe_neighbours(task, fold_N))
    yield XYZ, {}, lambda: Predicted(probe_linear(task, unit_vectors(task.lonlat_N2), fold_N))
    for name in plan.probed if seed == 0 else ():
        predict = partial(_probe, task, fold_N, name, plan.probed_km)
        yield f"{name}, {UNTRAINED}", {"finest_km": plan.probed_km}, predict
    for name in plan.trained if task.name in TRAINED else ():
        scales = tell_apart(name, task.lonlat_N2, plan.finest_km)
        recipe = Recipe(name, scales, plan.epochs, seed=FOLDS * seed)
        yield (
            f"{name}, {LEARNT}",
            {"recipe": {**asdict(recipe), "finest_km": list(scales)}},
            partial(_learn, task, fold_N, recipe),
        )


def _probe(task: Task, fold_N: NDArray[np.int64], name: str, finest_km: float) -> Predicted:
    return Predicted(probe_linear(task, embed_untrained(name, task.lonlat_N2, finest_km, 0), fold_N))


def _learn(task: Task, fold_N: NDArray[np.int64], recipe: Recipe) -> Predicted:
    learnt = learn_out_of_fold(task, fold_N, recipe)
    return Predicted(learnt.predicted_N, learnt.finest_km)


def tell_apart(name: str, lonlat_N2: LonLat, finest_km: tuple[float, ...]) -> tuple[float, ...]:
    """Returns the finest distances that make a difference to an encoder of that name over these places.

    Some have nothing to choose (`wrap`, harmonics); trying each would only take time.
    """
    corners_22 = np.stack([lonlat_N2.min(0), lonlat_N2.max(0)])
    seen = {embed_untrained(name, corners_22, km, 0).tobytes(): km for km in reversed(finest_km)}
    return tuple(reversed(seen.values()))
