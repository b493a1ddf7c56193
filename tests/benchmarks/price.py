"""What a dry run of a large region costs: Europe with 1,000,000 places, services on loopback.

    python -m tests.benchmarks.price [--samples 1000000]

All places are chosen, uniform on land; services are asked for some 2,000 of them and the answer is scaled. The loopback
services hold data around Luxembourg only, so most searches find elevation of the sea at best: what is measured is the
way of a dry run, its time and its memory.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from geodata.sources.live import TOKEN
from tests.benchmarks.process import measure
from tests.services.luxembourg import Luxembourg
from tests.services.mapillary import TOKEN as SECRET
from tests.services.stac import missing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=(10_000, 1_000_000))
    options = parser.parse_args()
    if why := missing():
        print(f"skipped: {why}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        services = Luxembourg(Path(folder) / "services")
        try:
            print(
                "| places | seconds | processor, s | peak memory, MiB | left on disk |\n| --- | --- | --- | --- | --- |"
            )
            for samples in options.samples:
                _price(services, Path(folder) / "corpus", samples)
        finally:
            services.close()
    return 0


def _price(services: Luxembourg, output: Path, samples: int) -> None:
    run = measure(
        [
            sys.executable, "-m", "pipelines.build_shards", "--region", "europe", "--output", str(output), "--contact",
            "me@example.org", "--sampling", "uniform", "--samples", str(samples), *services.arguments(), "--dry_run",
        ],
        environment={**os.environ, TOKEN: SECRET},
    )  # fmt: skip
    left = [path.name for path in output.rglob("*") if path.is_file()] if output.exists() else []
    print(
        f"| {samples:,} | {run.seconds:.0f} | {run.processor_s:.0f} | {run.peak_mib:.0f} | {left or 'nothing'} |",
        flush=True,
    )
    print(run.said[run.said.index("about ") :], file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
