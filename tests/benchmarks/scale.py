"""How time and memory grow with a corpus: 1,000 to 100,000 small samples, planned, built and finished.

    python -m tests.benchmarks.scale [--samples 1000 10000 100000]

Each place has an article of a few hundred letters and nothing else, so that what is measured is the way of the numbers:
choosing, searching, packing, shards, sidecars, index. Planning, building and finishing are commands of their own; peak
memory is that of the process tree. Prints Markdown for BENCHMARKS.md.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from geodata import cells
from tests.benchmarks.process import Run, measure
from tests.folders import write_manifest

WEST, SOUTH, EAST, NORTH = -1.0, 44.0, 7.0, 50.0
"""The box in which the articles lie: France."""
WORDS = ("river", "church", "village", "hill", "bridge", "forest", "market", "station", "harbour", "valley", "mill")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=(1000, 10_000, 100_000), help="sizes of the corpus")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    print(
        "| samples | shards | plan, s | build, s | finish, s | ms a sample | peak MiB: plan | build | finish | plan on disk, B a sample |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for samples in options.samples:
        with tempfile.TemporaryDirectory() as scratch:
            _measure(Path(scratch), samples, options.workers)


def _measure(scratch: Path, samples: int, workers: int) -> None:
    write_articles(scratch / "texts", samples)
    output = scratch / "corpus"
    command = [
        sys.executable, "-m", "pipelines.build_shards", "--region", "europe", "--sources", f"folder:{scratch / 'texts'}",
        "--output", str(output), "--workers", str(workers),
    ]  # fmt: skip
    runs: list[Run] = [measure([*command, "--plan_only"]), measure([*command, "--partition", "1/1"])]
    runs.append(measure([sys.executable, "-m", "pipelines.finish", str(output)]))
    manifest = json.loads((output / "manifest.json").read_text())
    built = sum(counts.get("samples", 0) for counts in manifest["counts"].values())
    plan = sum(path.stat().st_size for path in (output / "plan").iterdir())
    seconds = [run.seconds for run in runs]
    cells_ = " | ".join(f"{second:.1f}" for second in seconds)
    peaks = " | ".join(f"{run.peak_mib:.0f}" for run in runs)
    total = 1000 * sum(seconds) / built
    print(
        f"| {built} | {len(manifest['shards'])} | {cells_} | {total:.2f} | {peaks} | {plan / built:.0f} |", flush=True
    )


def write_articles(folder: Path, number: int) -> None:
    """Writes so many articles, each in a cell of its own."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lonlat = rng.uniform((WEST, SOUTH), (EAST, NORTH), (2 * number, 2))
    _, first = np.unique(cells.cells_at(lonlat, 10), return_index=True)
    chosen = np.sort(first)[: int(1.06 * number)]  # some lie in the buffers between splits
    words = rng.choice(WORDS, (len(chosen), 60))
    with (folder / "texts.jsonl").open("w") as file:
        for i, (place, some) in enumerate(zip(chosen.tolist(), words.tolist(), strict=True)):
            lon, lat = lonlat[place].tolist()
            row = {"id": str(i), "title": f"Place {i}", "lat": lat, "lon": lon, "text": " ".join(some)}
            file.write(json.dumps(row) + "\n")
    write_manifest(folder, [{"path": "texts.jsonl", "modality": "text"}])


if __name__ == "__main__":
    main()
