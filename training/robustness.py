"""How retrieval suffers when positions are wrong, rasters misregistered, or views missing.

python -m training.robustness runs/demo shards/demo --json runs/demo/robustness.json --plots runs/demo/plots
"""

import sys
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path

from schemas.corpus import CorpusError
from training.api import open_run
from training.checkpoint import CHOICES, CheckpointError
from training.command import run_command
from training.evaluation.galleries import GalleryRule
from training.evaluation.robustness import Curve, measure, write_table
from training.files import write_json
from training.inputs import InputError
from training.options import OptionError, check_least, option, parse
from training.reading import open_for

EXAMPLE = """examples:
  python -m training.robustness runs/demo shards/demo
  python -m training.robustness runs/demo shards/demo --split test --distances 0,50,500 --seeds 5 --plots plots"""


@dataclass(frozen=True)
class RobustnessOptions:
    """All options of `python -m training.robustness`."""

    run: str = option(MISSING, "folder of a run, or of one checkpoint")
    corpus: str = option(MISSING, "folder of a corpus, of several, or of bare shards")
    split: str = option("val", "split to measure")
    distances: str = option("0,10,20,50,100,200,500", "how far things are moved, metres, with commas")
    missing: str = option("0,0.2,0.4,0.6,0.8", "probabilities with which a view of a place lacks, with commas")
    seeds: int = option(3, "draws of directions and of missing views that are averaged over")
    gallery: int = option(200, "places in a gallery")
    draws: int = option(10, "galleries that are averaged over")
    json: str = option("", "file for all numbers")
    plots: str = option("", "folder for PNG pictures")
    weights: str = option("auto", "the moving average (ema), model, or auto", choices=CHOICES)
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    batch: int = option(256, "places embedded at once")

    def __post_init__(self) -> None:
        check_least(self, seeds=1, gallery=2, draws=1, batch=1)
        if not all(0 <= share < 1 for share in numbers("missing", self.missing)):
            raise OptionError(f"--missing {self.missing}: a probability lies in 0 ... 1, 1 left out.")
        if not all(0 <= metres <= 100_000 for metres in numbers("distances", self.distances)):
            raise OptionError(f"--distances {self.distances}: give metres from 0 to 100000.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""

    def work() -> None:
        options = parse(
            RobustnessOptions, arguments, prog="python -m training.robustness", description=str(__doc__), epilog=EXAMPLE
        )
        run(options)

    return run_command(work, CheckpointError, CorpusError, InputError, OptionError)


def run(options: RobustnessOptions) -> list[Curve]:
    """Measures all curves, prints them and writes what is asked for."""
    encoder = open_run(options.run, weights=options.weights, device=options.device)
    model = encoder.model
    centres, batches = open_for(model, options.corpus, options.split, batch=options.batch)
    rule = GalleryRule("random", options.gallery, options.draws)
    curves = measure(
        model, batches, centres, rule, device=encoder.device, seeds=options.seeds,
        distances=numbers("distances", options.distances), missing=numbers("missing", options.missing),
    )  # fmt: skip
    for curve in curves:
        print(write_table(curve), flush=True)
    if options.plots:
        from training.evaluation.plots import draw_curves  # matplotlib is slow to load

        draw_curves(curves, f"{options.split} split", Path(options.plots) / f"robustness_{options.split}.png")
    if options.json:
        write_json(Path(options.json), {"options": asdict(options), "curves": [asdict(curve) for curve in curves]})
    return curves


def numbers(name: str, text: str) -> list[float]:
    """Returns the numbers of an option.

    Raises:
        OptionError: where one is none.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"--{name} {text!r} is no list of numbers: write them with commas between.") from None
    return found


if __name__ == "__main__":
    sys.exit(main())
