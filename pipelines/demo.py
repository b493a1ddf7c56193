"""The demo region as a source: its world is written once beside the corpus, and read like anybody's folder."""

import sys
from pathlib import Path

from tqdm import tqdm

from geodata.demo.world import write_demo
from pipelines.options import DEMO_SAMPLES, Options
from pipelines.plan import SourceSpec


def prepare_demo(options: Options) -> tuple[SourceSpec, str]:
    """Writes the demo's world where it is not there yet.

    Returns:
        The source, and the file that lists the places.
    """
    folder = Path(options.output).absolute().parent / f".demo-world-{options.seed}"
    wanted = options.samples or DEMO_SAMPLES
    with tqdm(unit="cluster", desc="demo world", file=sys.stderr) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        write_demo(folder, places=wanted, seed=options.seed, workers=options.workers, report=report)
    return SourceSpec("folder", "demo", str(folder)), str(folder / "places.csv")
