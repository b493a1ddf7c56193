"""Measures a trained run on places it has not seen: retrieval between all views, geolocation, ensembles, a baseline.

python -m training.evaluate runs/demo shards/demo --json runs/demo/evaluation.json --plots runs/demo/plots
"""

import sys
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path

import numpy as np

from schemas.corpus import CorpusError
from training.api import Encoder, open_run
from training.checkpoint import CHOICES, CheckpointError
from training.command import run_command
from training.data.batch import LOCATION
from training.data.samples import Samples
from training.data.split import open_split
from training.data.stream import Stream
from training.evaluation.baseline import Baseline, describe_places, fit_baseline
from training.evaluation.embedded import Embedded, embed_split
from training.evaluation.features import IMAGE_PX, hash_words
from training.evaluation.galleries import GalleryRule
from training.evaluation.geolocation import Points, geolocate_ensembles, geolocate_views
from training.evaluation.report import Evaluation, Search, write_markdown
from training.files import write_json
from training.inputs import InputError, read_points
from training.options import OptionError, check_least, listed, option, parse
from training.reading import open_once, read_for, read_in_order
from training.sphere import lattice

EXAMPLE = """examples:
  python -m training.evaluate runs/demo shards/demo
  python -m training.evaluate runs/demo shards/demo --split val --gallery 500 --json e.json --plots plots
  python -m training.evaluate runs/demo shards/demo --points grid --grid_m 100"""


@dataclass(frozen=True)
class EvaluateOptions:
    """All options of `python -m training.evaluate`."""

    run: str = option(MISSING, "folder of a run, or of one checkpoint")
    corpus: str = option(MISSING, "folder of a corpus, of several, or of bare shards")
    split: str = option("val,test", "splits to measure, with commas")
    gallery: int = option(200, "places in a random or hard gallery")
    draws: int = option(10, "galleries of each kind that are averaged over")
    near_km: float = option(5.0, "reach of a near gallery around its first place, km")
    full: bool = option(False, "search the whole split too")
    points: str = option("places", "where a view can be placed: places, train, grid, or a CSV file with lon, lat")
    grid_m: float = option(100.0, "distance between points of --points grid, metres")
    grid_reach_km: float = option(2.0, "the grid goes so far around the places of the split, km")
    no_baseline: bool = option(False, "leave the linear baseline out")
    baseline_corpus: str = option("", "corpus whose train split the baseline is fitted on (default: the same)")
    baseline_places: int = option(10000, "places of train that the baseline is fitted on, the first ones, at most")
    json: str = option("", "file for all numbers")
    plots: str = option("", "folder for PNG pictures")
    weights: str = option("auto", "the moving average (ema), model, or auto", choices=CHOICES)
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    batch: int = option(256, "places embedded at once")
    seed: int = option(0, "seed of the galleries")

    def __post_init__(self) -> None:
        check_least(self, gallery=2, draws=1, batch=1, baseline_places=20)
        for name in ("near_km", "grid_m", "grid_reach_km"):
            if not getattr(self, name) > 0:
                raise OptionError(f"--{name} {getattr(self, name)} must be above 0.")
        if not self.splits:
            raise OptionError("--split names no split: write val, test or val,test.")

    @property
    def splits(self) -> list[str]:
        """The splits one by one."""
        return listed(self.split)

    @property
    def rules(self) -> list[GalleryRule]:
        """How galleries are drawn."""
        kinds = ["random", "hard", "near"] + ["full"] * self.full
        return [GalleryRule(kind, self.gallery, self.draws, self.near_km * 1000, seed=self.seed) for kind in kinds]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""

    def work() -> None:
        options = parse(
            EvaluateOptions, arguments, prog="python -m training.evaluate", description=str(__doc__), epilog=EXAMPLE
        )
        evaluate(options)

    return run_command(work, CheckpointError, CorpusError, InputError, OptionError)


def evaluate(options: EvaluateOptions) -> list[Evaluation]:
    """Measures every split, prints its tables and writes what is asked for."""
    encoder = open_run(options.run, weights=options.weights, device=options.device)
    opened = [open_once(options.corpus, split) for split in options.splits]  # before the hours that measuring may take
    baseline = None if options.no_baseline else fit_on_train(options)
    found = []
    for split, samples in zip(options.splits, opened, strict=True):
        found.append(measure_split(encoder, options, split, samples, baseline))
        print(write_markdown(found[-1]), flush=True)
    if options.plots:
        from training.evaluation.plots import draw_run  # matplotlib is slow to load

        draw_run(Path(options.run), found, Path(options.plots))
    if options.json:
        splits = {one.split: one.to_json() for one in found}
        write_json(Path(options.json), {"options": asdict(options), "splits": splits})
    return found


def measure_split(
    encoder: Encoder, options: EvaluateOptions, split: str, samples: Samples | Stream, baseline: Baseline | None
) -> Evaluation:
    """Embeds a split and measures it."""
    model = encoder.model
    centres, batches = read_for(model, samples, batch=options.batch)
    places = embed_split(model, batches, centres, encoder.device)
    searches = [Search.of(rule, places) for rule in options.rules]
    opposed: list[Search] = []
    if baseline is not None:
        centres, batches = read_in_order(samples, tokenize=hash_words, image_px=IMAGE_PX)
        described = describe_places(batches, centres).in_order_of(places.keys)
        opposed = [Search.of(rule, places, lambda q, g: baseline.sides(described, q, g)) for rule in options.rules]
    return Evaluation(
        split, len(places), {view: len(places.rows(view)) for view in encoder.views}, searches, opposed,
        geolocate_views(places, find_points(encoder, options, places)),
        geolocate_ensembles(places, renormalise=True), geolocate_ensembles(places, renormalise=False),
    )  # fmt: skip


def fit_on_train(options: EvaluateOptions) -> Baseline:
    """Fits the linear baseline on places of `train`.

    Raises:
        CorpusError: if there is no such place.
    """
    corpus = options.baseline_corpus or options.corpus
    try:
        samples = open_split(corpus, "train")
    except CorpusError as error:
        remedy = "The linear baseline is fitted on train: give --baseline_corpus, or leave it out by --no_baseline."
        raise CorpusError(f"{error} {remedy}") from error
    centres, batches = read_in_order(samples, tokenize=hash_words, image_px=IMAGE_PX)
    return fit_baseline(describe_places(batches, centres, most=options.baseline_places))


def find_points(encoder: Encoder, options: EvaluateOptions, places: Embedded) -> Points:
    """Returns the gallery for geolocation: points that do not depend on where the queries were taken.

    Raises:
        InputError: for a file that is no table of points.
        OptionError: for a grid of too many points.
    """
    if options.points == "places":
        rows = places.rows(LOCATION)
        return Points("centres of the split's cells", places.z(LOCATION)[rows], places.lonlat_N2[rows])
    if options.points == "train":
        centres = open_split(options.corpus, "train").centres
        name, lonlat_G2 = "centres of train's cells", np.array(list(centres.values()), float)
    elif options.points == "grid":
        try:
            lonlat_G2 = lattice(places.lonlat_N2, step_m=options.grid_m, reach_m=options.grid_reach_km * 1000)
        except ValueError as error:
            raise OptionError(f"--grid_m {options.grid_m:g}: {error}") from error
        name = f"grid of {options.grid_m:g} m within {options.grid_reach_km:g} km of a place"
    else:
        name = options.points
        chunks = [chunk.numpy() for chunk in read_points(Path(name), 4096)]
        if not chunks:
            raise InputError(f"{name} holds no point.")
        lonlat_G2 = np.concatenate(chunks)
    return Points(name, encoder.encode(LOCATION, lonlat_G2), lonlat_G2)


if __name__ == "__main__":
    sys.exit(main())
