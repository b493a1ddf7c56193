"""The build beside img2dataset on work that both can do: fetch photos, reduce them to a short side of 256, write tars.

    python -m tests.benchmarks.fetch [--photos 5000] [--rounds 3] [--venv DIR]

One nginx on loopback serves the same JPEGs to both; two worker processes each, shards of the same size, JPEG quality as
ours, runs in turn, figures are medians. Ours is the command that a user types, on a plan made beforehand, as
img2dataset has its list of links; it judges, counts and vouches for what it writes, which img2dataset is spared: its
EXIF, hash and header checks are off. Ours pays for its own way to the photos: links are asked for by the batch from a
double of the Graph API. Of three numbers of threads each takes its best. No rate is a bound.

img2dataset gets an environment of its own in --venv, made there by pip once. Prints Markdown for BENCHMARKS.md.
"""

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

import h3
import pyarrow.parquet as pq

from geodata.raster import JPEG_QUALITY
from geodata.sources.live import TOKEN
from pipelines.building.shards import SIDECARS
from schemas.modality import PHOTO_SHORT_SIDE_PX
from tests.benchmarks.pictures import make_picture
from tests.benchmarks.process import Run, measure
from tests.services.luxembourg import NGINX, Nginx
from tests.services.mapillary import TOKEN as SECRET
from tests.services.mapillary import MapillaryDouble, Shot

PINS = ("img2dataset==1.47.0", "albumentations<2", "webdataset<1", "opencv-python-headless<5", "setuptools<81")
"""What was measured: img2dataset itself, and upper bounds so that a later major version changes nothing unseen."""
THREADS = {"img2dataset": (16, 32, 64), "build_shards": (3, 4, 8)}
"""Of one process, those that are tried."""
PICTURES = 500
"""Different ones; each is served under several names."""
UNIT = "851fa443fffffff"
"""Holds 16,807 cells, of which each photo has its own."""
SPARE = 1.4
"""Cells listed for each one wanted: some lie in the buffer between splits."""
SHARDS = 8
"""img2dataset replaces a process after five shards, which is no use in so short a run."""


@dataclass(frozen=True)
class Measured:
    """One run of either program."""

    whole: Run
    flowing_s: float
    """From the first photo that was asked for to the last: without start and end of either."""


class Photos:
    """Photos behind nginx, whose log says when they were asked for, and a double that knows where they were taken."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number, self.folder, self.log = number, folder, folder / "times.log"
        keys = sorted(h3.cell_to_children(UNIT, 10))[: int(number * SPARE)]
        shots = [_shoot(key, 10**15 + turn) for turn, key in enumerate(keys)]
        self.images = folder / "www/m1/v/t6"
        self.images.mkdir(parents=True)
        for turn, shot in enumerate(shots):
            if turn < PICTURES:
                (self.images / shot.id).write_bytes(make_picture(turn))
            else:
                os.link(self.images / shots[turn % PICTURES].id, self.images / shot.id)
        self.shots = shots
        self.server = Nginx(folder / "www", folder / "nginx", log=self.log)
        self.double = MapillaryDouble(shots)

    def mean_kb(self) -> float:
        """Size of a picture."""
        return statistics.mean((self.images / shot.id).stat().st_size for shot in self.shots[:PICTURES]) / 1000

    def flowing_s(self, start: int) -> float:
        """Seconds between the first and the last request after a number of lines of the log."""
        lines = self.log.read_text().splitlines()[start:]
        assert len(lines) == self.number, f"{len(lines)} requests for {self.number} photos"
        assert all(line.endswith(" 200") for line in lines)
        times = [float(line.split()[0]) for line in lines]
        return max(times) - min(times)

    def lines(self) -> int:
        """Requests so far."""
        return len(self.log.read_text().splitlines())

    def close(self) -> None:
        self.server.close()
        self.double.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn")
    parser.add_argument("--venv", help="folder of img2dataset's environment, kept between runs")
    options = parser.parse_args()
    if NGINX is None:
        print("skipped: nginx is not installed")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        tool = install(Path(options.venv or Path(scratch) / "venv"))
        photos = Photos(Path(scratch) / "photos", options.photos)
        try:
            compare(
                photos,
                Ours(photos, Path(scratch) / "ours"),
                Theirs(photos, Path(scratch) / "theirs", tool),
                options.rounds,
            )
        finally:
            photos.close()
    return 0


def install(folder: Path) -> Path:
    """Returns the img2dataset program of an environment, which is made where there is none."""
    program = folder / "bin" / "img2dataset"
    if not program.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PINS], check=True, stdout=sys.stderr)
    return program


class Ours:
    """The build of a plan whose only view is street."""

    name = "build_shards"

    def __init__(self, photos: Photos, output: Path) -> None:
        self._photos, self._output = photos, output
        self.threads = THREADS[self.name][0]
        listed = photos.folder / "places.csv"
        with listed.open("w", newline="") as file:
            csv.writer(file).writerows([("lon", "lat"), *((shot.lon, shot.lat) for shot in photos.shots)])
        endpoints = {**photos.double.endpoints, "mapillary_images": photos.server.root}
        self.command = [
            sys.executable, "-m", "pipelines.build_shards", "--region", "world", "--modalities", "street", "--sampling",
            "file", "--places", str(listed), "--samples", str(photos.number), "--output", str(output), "--workers", "2",
            "--samples_per_shard", str(photos.number // SHARDS),
            *(part for name, url in endpoints.items() for part in ("--endpoint", f"{name}={url}")),
            *(part for name in endpoints for part in ("--rate", f"{name}=100000")),
        ]  # fmt: skip
        self.environment = {TOKEN: SECRET}
        measure([*self.command, "--plan_only"], environment=self.environment)

    def run(self) -> Run:
        """Builds all shards anew."""
        _forget(self._output)
        return measure([*self.command, "--threads", str(self.threads)], environment=self.environment)

    def written(self) -> int:
        """Photos in the corpus."""
        modalities = pq.read_table(self._output / "index.parquet", columns=["modalities"])["modalities"].to_pylist()
        return sum(found == ["street"] for found in modalities)


class Theirs:
    """img2dataset on a list of the same links."""

    name = "img2dataset"

    def __init__(self, photos: Photos, output: Path, program: Path) -> None:
        self._photos, self._output, self._program = photos, output, program
        self.threads = THREADS[self.name][0]
        self._links = photos.folder / "links.txt"
        paths = (f"{photos.server.root}/m1/v/t6/{shot.id}" for shot in photos.shots[: photos.number])
        self._links.write_text("".join(f"{path}\n" for path in paths))

    def run(self) -> Run:
        """Downloads all photos anew."""
        shutil.rmtree(self._output, ignore_errors=True)
        command = [
            str(self._program), "--url_list", str(self._links), "--output_folder", str(self._output),
            "--output_format", "webdataset", "--processes_count", "2", "--thread_count", str(self.threads),
            "--resize_mode", "keep_ratio", "--image_size", str(PHOTO_SHORT_SIDE_PX), "--resize_only_if_bigger", "True",
            "--encode_quality", str(JPEG_QUALITY), "--number_sample_per_shard", str(-(-self._photos.number // SHARDS)),
            "--extract_exif", "False", "--compute_hash", "None", "--disallowed_header_directives", "[]",
        ]  # fmt: skip
        return measure(command, environment={"NO_ALBUMENTATIONS_UPDATE": "1"})

    def written(self) -> int:
        """Photos in the tars."""
        tables = [pq.read_table(path, columns=["status"]) for path in self._output.glob("*.parquet")]
        return sum(table["status"].to_pylist().count("success") for table in tables)


def compare(photos: Photos, ours: Ours, theirs: Theirs, rounds: int) -> None:
    print(f"{photos.number} photos of {photos.mean_kb():.0f} KB on average.\n")
    for program in (theirs, ours):
        _choose_threads(photos, program)
    runs: dict[str, list[Measured]] = {theirs.name: [], ours.name: []}
    for _ in range(rounds):
        for program in (theirs, ours):
            runs[program.name].append(_run(photos, program))
    for title, of in (("whole command", lambda m: m.whole.seconds), ("while photos flow", lambda m: m.flowing_s)):
        _print_table(title, {name: [photos.number / of(run) for run in found] for name, found in runs.items()}, runs)


def _choose_threads(photos: Photos, program: Ours | Theirs) -> None:
    trials: dict[int, float] = {}
    for threads in THREADS[program.name]:
        program.threads = threads
        trials[threads] = photos.number / _run(photos, program).flowing_s
    program.threads = max(trials, key=trials.__getitem__)
    tried = ", ".join(f"{threads}: {rate:.0f}" for threads, rate in trials.items())
    print(f"{program.name}, photos/s while they flow by threads of a process: {tried}; {program.threads} taken.\n")


def _run(photos: Photos, program: Ours | Theirs) -> Measured:
    start = photos.lines()
    run = program.run()
    assert program.written() == photos.number, f"{program.name} wrote {program.written()} of {photos.number} photos"
    return Measured(run, photos.flowing_s(start))


def _print_table(title: str, rates: dict[str, list[float]], runs: dict[str, list[Measured]]) -> None:
    print(f"| {title} | samples/s (median) | min ... max | ratio | processor, s | peak memory, MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    medians = {name: statistics.median(found) for name, found in rates.items()}
    for name, found in rates.items():
        processor_s = statistics.median(run.whole.processor_s for run in runs[name])
        peak = max(run.whole.peak_mib for run in runs[name])
        print(
            f"| {name} | {medians[name]:.0f} | {min(found):.0f} ... {max(found):.0f} "
            f"| {medians[name] / medians[Theirs.name]:.2f} | {processor_s:.1f} | {peak:.0f} |"
        )
    print(flush=True)


def _shoot(key: str, number: int) -> Shot:
    lat, lon = h3.cell_to_latlng(key)
    return Shot(str(number), lon, lat, computed=(lon, lat), sequence=f"run{number // 100}")


def _forget(output: Path) -> None:
    for path in [*output.glob("*/*.tar"), *(output / SIDECARS).glob("*.json"), output / "manifest.json"]:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
