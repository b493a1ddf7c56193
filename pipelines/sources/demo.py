"""The demo region as a source: its world is written once beside the corpus, and read like anybody's folder."""

import sys
from pathlib import Path

from tqdm import tqdm

from pipelines.files import storage
from pipelines.plan.options import DEMO_SAMPLES, Options
from pipelines.plan.plan import SourceSpec

ELSEWHERE = "shards"
"""Where the world lies if the corpus has no folder on this machine and none is `--mounted`."""


def demo_source(options: Options) -> SourceSpec:
    """Returns the source; its world lies beside the corpus, or in a folder of this machine."""
    beside = Path(options.output).absolute().parent
    folder = Path(options.mounted or ELSEWHERE).absolute() if storage.is_remote(options.output) else beside
    return SourceSpec("folder", "demo", str(folder / f".demo-world-{options.seed}"))


def prepare_demo(options: Options) -> tuple[SourceSpec, str]:
    """Writes the demo's world where it is not there yet.

    Returns:
        The source, and the file that lists the places.
    """
    from geodata.demo.world import write_demo  # loads scipy: only for those who ask for a demo

    source = demo_source(options)
    folder = Path(source.path)
    wanted = options.samples or DEMO_SAMPLES
    with tqdm(unit="cluster", desc="demo world", file=sys.stderr, disable=options.log_json) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        write_demo(folder, places=wanted, seed=options.seed, workers=options.workers, report=report)
    return source, str(folder / "places.csv")
