"""The Beam build beside a bare multiprocessing loop that does the same reads, encodes and tar writes.

    python -m tests.benchmarks.build [--places 1000 10000] [--rounds 3]

Both build every shard of one plan with the same number of workers; runs alternate, figures are medians. Peak memory is
the largest sum of resident memory over the process tree. Prints Markdown for BENCHMARKS.md.
"""

import argparse
import hashlib
import multiprocessing
import os
import statistics
import sys
import tempfile
from pathlib import Path

from geodata.sources.live import LiveSources
from pipelines.building.assemble import assemble_shard
from pipelines.building.shards import SIDECARS
from pipelines.plan.options import Options
from pipelines.plan.plan import read_plan, read_shard_rows
from pipelines.sources.words import open_source
from tests.benchmarks.process import Run, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--places", type=int, nargs=2, default=(1000, 10_000), help="two sizes of the demo")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--world", help="folder for the demo's worlds, kept between runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(options.world or scratch)
        print(f"{options.workers} workers, Python {sys.version.split()[0]}\n")
        print("| places | engine | samples/s (median) | min ... max | ratio to the loop | peak memory, MiB |")
        print("| --- | --- | --- | --- | --- | --- |")
        peaks = []
        for places in options.places:
            peaks.append(_compare(base / str(places), places, options.rounds, options.workers))
        print(
            f"\nPeak memory of the build at {options.places[1]} places: {peaks[1] / peaks[0]:.2f} x that at {options.places[0]}."
        )


def _compare(output: Path, places: int, rounds: int, workers: int) -> float:
    arguments = ["--region", "demo", "--output", str(output), "--samples", str(places), "--workers", str(workers)]
    measure([sys.executable, "-m", "pipelines.build_shards", *arguments])
    digests = _digests(output)
    samples = sum(shard.places for shard in read_plan(str(output)).shards)
    runs: dict[str, list[Run]] = {"loop": [], "beam": []}
    for _ in range(rounds):
        for engine, figures in runs.items():
            _forget(output)
            command = [sys.executable, "-m", __spec__.name, "_loop", str(output), str(workers)]
            if engine == "beam":
                command = [sys.executable, "-m", "pipelines.build_shards", *arguments]
            figures.append(measure(command))
            assert _digests(output) == digests, f"{engine} wrote other bytes"
    loop = statistics.median(run.seconds for run in runs["loop"])
    for engine, figures in runs.items():
        rates = sorted(samples / run.seconds for run in figures)
        ratio = loop / statistics.median(run.seconds for run in figures)
        peak = max(run.peak_mib for run in figures)
        print(
            f"| {places} | {engine} | {statistics.median(rates):.0f} | {rates[0]:.0f} ... {rates[-1]:.0f} | {ratio:.2f} | {peak:.0f} |",
            flush=True,
        )
    return max(run.peak_mib for run in runs["beam"])


def _forget(output: Path) -> None:
    for path in [*output.glob("*/*.tar"), *(output / SIDECARS).glob("*.json"), output / "manifest.json"]:
        path.unlink(missing_ok=True)


def _digests(output: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(output.glob("*/*.tar"))}


def loop(output: str, workers: int) -> None:
    """The bare loop: a pool of processes, one shard a call, nothing else; skips planning like a resumed build."""
    plan = read_plan(output)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.starmap(_loop_shard, [(output, number) for number in range(len(plan.shards))], chunksize=1)


def _loop_shard(output: str, number: int) -> None:
    plan = read_plan(output)
    options = Options(region="demo", output=output)
    recipe = options.recipe
    live = LiveSources(options.live_settings)
    sources = {spec.name: open_source(spec, live) for spec in plan.sources}
    shard = plan.shards[number]
    path = Path(output) / shard.name
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as sink:
        assemble_shard(read_shard_rows(output, shard), sources, sink, shard=shard.name, recipe=recipe)
    for source in sources.values():
        source.close()
    live.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["_loop"]:
        loop(sys.argv[2], int(sys.argv[3]))
    else:
        main()
