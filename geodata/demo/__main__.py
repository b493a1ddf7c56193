"""Writes a world of the demo as a folder source: `python -m geodata.demo FOLDER --places 560 --dense`.

`places.csv` in it lists the places, as `--sampling file --places` wants them.
"""

import argparse
import sys
from pathlib import Path

from geodata.demo.world import write_demo


def main() -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m geodata.demo", description=str(__doc__))
    parser.add_argument("folder", type=Path, help="made where it is not there; what is finished in it stays")
    parser.add_argument("--places", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    dense = "280 places in each cluster, val and test only: build with --split_resolution 4,6"
    parser.add_argument("--dense", action="store_true", help=dense)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    options = parser.parse_args()
    try:
        write_demo(
            options.folder, places=options.places, seed=options.seed, is_dense=options.dense, workers=options.workers
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
