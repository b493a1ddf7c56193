"""Measures location encoders, and embeddings of any view, on labels of real places, with random and spatial splits.

python -m training.locbench runs/demo --labels labels
python -m training.locbench --location rff,sphereCplus --train --tasks elevation,land_cover --json locbench.json

Every table has the mean or the commonest class, the 5 nearest positions on the sphere, and a linear probe of x, y, z on
the sphere beside what is measured. A linear probe sees embeddings that stay as they are; with --train encoder and head
learn the task together. Each position is predicted by what was learnt from other folds; the score is over all of them
together, behind it stands the deviation over folds. The rows of blocks say what is known where nothing was seen: there,
distances to the nearest position of another fold are of the order of the blocks' sides.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.api import open_run
from training.checkpoint import CHOICES, CheckpointError
from training.command import run_command
from training.files import write_json
from training.inputs import InputError
from training.locbench.encoders import Table, embed_run, embed_untrained
from training.locbench.files import load_folder
from training.locbench.folds import FOLDS, Split, split
from training.locbench.learning import Recipe, learn_out_of_fold
from training.locbench.probes import predict_constant, probe_linear, probe_neighbours
from training.locbench.report import Divided, Result, write_markdown
from training.locbench.tasks import Task, load_task
from training.options import OptionError, check_least, listed, option, parse
from training.sphere import unit_vectors
from training.towers import TowerError
from training.towers.locations import LOCATIONS

FOLDER = "folder:"
EXAMPLE = """examples:
  python -m training.locbench --location rff --train --tasks elevation --splits 5
  python -m training.locbench runs/demo --tasks country,habitat_1 --labels labels
  python -m training.locbench --embeddings z.parquet --tasks folder:my_labels"""


@dataclass(frozen=True)
class LocbenchOptions:
    """All options of `python -m training.locbench`."""

    run: str = option(
        "", "folder of a run, or of one checkpoint, whose location embeddings are measured", in_place=True
    )
    location: str = option("", f"location encoders by name, with commas: {', '.join(LOCATIONS)}")
    train: bool = option(False, "encoders of --location learn each task (else: untrained, with a linear probe)")
    embeddings: str = option("", "parquet table of training.embed: each modality in it is measured")
    join_km: float = option(
        1.0, "a label goes with the nearest embedding within this reach, km, where keys do not tell"
    )
    tasks: str = option("elevation,land_cover,country,log_population", "tasks with commas; folder:DIR for files")
    labels: str = option("", "folder of labels for air_temperature, night_lights, habitat_1 and habitat_3")
    splits: str = option("random,5", "random, and sides of blocks in degrees, with commas; CoordBench's are 10")
    finest_km: str = option("1000,300,30", "finest distances --train tries in an encoder; untrained: the last")
    epochs: int = option(12, "rounds through the places with --train")
    members: int = option(1, "encoders whose predictions are averaged with --train")
    most: int = option(20000, "places of a task, at most")
    json: str = option("", "file for all numbers")
    weights: str = option("auto", "the moving average (ema), model, or auto", choices=CHOICES)
    device: str = option("auto", "auto, cpu, cuda or cuda:N, for the run")
    seed: int = option(0, "seed of folds, weights and order")

    def __post_init__(self) -> None:
        check_least(self, epochs=1, members=1, most=50)
        if not self.scales or min(self.scales) <= 0:
            raise OptionError(f"--finest_km {self.finest_km} must be distances above 0, with commas.")
        unknown = [name for name in listed(self.location) if name not in LOCATIONS]
        if unknown:
            raise OptionError(f"Unknown location encoder {unknown[0]!r}: choose from {', '.join(LOCATIONS)}.")
        if self.train and not self.location:
            raise OptionError("--train has no encoder to train: name one with --location.")

    @property
    def scales(self) -> tuple[float, ...]:
        """The finest distances, km."""
        try:
            return tuple(float(part) for part in listed(self.finest_km))
        except ValueError as error:
            raise OptionError(f"--finest_km {self.finest_km} is no list of numbers: write 1000,300,30.") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""

    def work() -> None:
        options = parse(
            LocbenchOptions, arguments, prog="python -m training.locbench", description=str(__doc__), epilog=EXAMPLE
        )
        measure(options)

    return run_command(work, CheckpointError, InputError, OptionError, TowerError)


def measure(options: LocbenchOptions) -> list[Result]:
    """Measures every method on every task and split, prints the tables and writes what is asked for."""
    divided: list[Divided] = []
    results: list[Result] = []
    for task, features in load_all(options):
        for name in listed(options.splits):
            parts = split(task.lonlat_N2, name, options.seed)
            divided.append(Divided(task.name, name, len(task), task.classes, *parts.distances_km, task.source))
            for result in measure_split(task, parts, features, options):
                results.append(result)
                print(f"{task.name} {name} {result.method}: {result.score:.3f}", file=sys.stderr, flush=True)
    print(write_markdown(divided, results), flush=True)
    if options.json:
        write_json(
            Path(options.json),
            {"options": asdict(options), "splits": [asdict(one) for one in divided],
             "results": [asdict(one) for one in results]},
        )  # fmt: skip
    return results


def load_all(options: LocbenchOptions) -> Iterator[tuple[Task, dict[str, NDArray[np.float32]]]]:
    """Yields tasks with the features that are probed on them, by method."""
    encoder = open_run(options.run, weights=options.weights, device=options.device) if options.run else None
    tables = list(Table.read(Path(options.embeddings))) if options.embeddings else [None]
    labels = Path(options.labels) if options.labels else None
    for name in listed(options.tasks):
        found = load_folder(Path(name[len(FOLDER) :])) if name.startswith(FOLDER) else [load_task(name, labels)]
        for whole in found:
            for table in tables:
                task, features = whole.thin(options.most, options.seed), {}
                if table is not None:
                    task, features[table.name] = table.join(whole, options.join_km)
                    task = replace(task, name=f"{task.name} at {table.name}")
                if encoder is not None:
                    features[f"{options.run}, location"] = embed_run(encoder, task.lonlat_N2)
                for one in [] if options.train else listed(options.location):
                    features[f"{one}, untrained"] = embed_untrained(
                        one, task.lonlat_N2, options.scales[-1], options.seed
                    )
                yield task, features


def measure_split(
    task: Task, parts: Split, features: dict[str, NDArray[np.float32]], options: LocbenchOptions
) -> Iterator[Result]:
    """Yields the result of each method, baselines first."""

    def result(method: str, predicted_N: NDArray[np.generic], note: str = "") -> Result:
        folds = tuple(task.score(predicted_N, np.nonzero(parts.fold_N == fold)[0]) for fold in range(FOLDS))
        return Result(task.name, parts.name, method, task.metric, task.score(predicted_N), folds, note)

    yield result("mean or commonest", predict_constant(task, parts.fold_N))
    yield result("5 nearest", probe_neighbours(task, parts.fold_N))
    yield result("x, y, z", probe_linear(task, unit_vectors(task.lonlat_N2), parts.fold_N))
    for name, feature_NF in features.items():
        yield result(name, probe_linear(task, feature_NF, parts.fold_N))
    for name in listed(options.location) if options.train else []:
        recipe = Recipe(name, options.scales, options.epochs, members=options.members, seed=options.seed)
        learnt = learn_out_of_fold(task, parts.fold_N, recipe)
        finest = ", ".join(f"{km:g}" for km in learnt.finest_km)
        note = f"{learnt.work_s:.0f} s of the processor; finest km by fold {finest}"
        yield result(f"{name}, trained", learnt.predicted_N, note)


if __name__ == "__main__":
    sys.exit(main())
