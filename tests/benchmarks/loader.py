"""The loader beside webdataset with Pillow and tifffile, and beside the bare codecs, on the same shards.

    python -m tests.benchmarks.loader [--corpus DIR] [--places 600] [--rounds 5] [--batch 64]

All give the same: batches of full-size pixels, elevations, tokens and positions. Rows with one thread are held to one
core, those with two to two; rounds alternate, figures are medians. Prints Markdown for BENCHMARKS.md.
"""

import argparse
import io
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import tifffile
import torch
import webdataset
from PIL import Image
from webdataset.tariterators import tarfile_to_samples

from tests.runs import run_build
from training.data.loader import Loader, LoaderOptions, tokenize_bytes
from training.data.samples import Samples, open_samples
from training.decode import decode_geotiff

PX = 256
WARM_UP = 4
"""Batches before the clock starts: memory is new to the process then."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="a finished corpus; otherwise one of the demo is built")
    parser.add_argument("--places", type=int, default=600, help="of the demo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        corpus = options.corpus or Path(scratch, "demo")
        if options.corpus is None:
            run_build("--region", "demo", "--output", str(corpus), "--samples", str(options.places), limit_s=3600)
        _compare(open_samples(corpus, "train"), options.rounds, options.batch)


def _compare(samples: Samples, rounds: int, batch: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    engines: dict[str, tuple[int, Callable[[], float]]] = {
        "bare codecs in a loop": (1, partial(_codecs, _read_all(samples))),
        "webdataset, Pillow, tifffile": (1, partial(_webdataset, samples, batch, workers=0)),
        "webdataset, 2 worker processes": (2, partial(_webdataset, samples, batch, workers=2)),
        "loader, 1 thread": (1, partial(_ours, samples, batch, threads=1)),
        "loader, 2 threads": (2, partial(_ours, samples, batch, threads=2)),
    }
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, (used, run) in engines.items():
            os.sched_setaffinity(0, cores[:used])
            rates[name].append(run())
    os.sched_setaffinity(0, cores)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    floor, usual = middle["bare codecs in a loop"], middle["webdataset, Pillow, tifffile"]
    print(
        f"{len(samples)} places, batches of {batch}, {rounds} rounds, {len(cores)} cores, Python {platform.python_version()}\n"
    )
    print("| path | cores | samples/s (median) | min ... max | ratio to webdataset | ratio to the codecs |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (used, _) in engines.items():
        print(
            f"| {name} | {used} | {middle[name]:.0f} | {min(rates[name]):.0f} ... {max(rates[name]):.0f} "
            f"| {middle[name] / usual:.2f} | {middle[name] / floor:.2f} |"
        )


def _ours(samples: Samples, size: int, *, threads: int) -> float:
    """Samples per second of training's batches."""
    loader = Loader(samples, size, options=LoaderOptions(threads=threads, image_px={"aerial": PX, "street": PX}))
    return _time(map(len, loader.batches(1)), max(8, len(samples) // size))


def _read_all(samples: Samples) -> list[list[tuple[int, bytes]]]:
    """The encoded members of every place, in memory, by the number of their modality."""
    places = samples.places
    return [
        [(int(places.view_K[k]), bytes(samples.read(k))) for k in range(*places.first_N[row : row + 2].tolist())]
        for row in range(len(samples))
    ]


def _codecs(payloads: list[list[tuple[int, bytes]]]) -> float:
    """Samples per second of decoding into the same memory again and again, and of nothing else."""
    sentinel2, dem = np.empty((12, 128, 128), np.uint16), np.empty((1, 128, 128), np.float32)
    picture = np.empty(2000 * PX * 3, np.uint8)
    start = time.perf_counter()
    for members in payloads:
        for number, payload in members:
            if number in (0, 2):
                decode_geotiff(payload, sentinel2 if number == 0 else dem)
            elif number in (1, 3):
                simplejpeg.decode_jpeg(payload, "RGB", buffer=picture)
    return len(payloads) / (time.perf_counter() - start)


def _webdataset(samples: Samples, size: int, *, workers: int) -> float:
    """Samples per second of the usual way."""
    shards = [str(path) for path in samples.shards]
    stages = [
        webdataset.SimpleShardList(shards),
        webdataset.split_by_worker,
        tarfile_to_samples(),
        webdataset.map(_decode),
    ]
    dataset = webdataset.DataPipeline(*stages, webdataset.batched(size, collation_fn=_stack))
    source: Any = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers) if workers else dataset
    return _time((len(batch["lonlat"]) for batch in _repeat(source)), max(8, len(samples) // size))


def _time(batches: Iterator[int], count: int) -> float:
    """Samples per second of so many batches, given by their lengths, after the first ones."""
    for _ in islice(batches, WARM_UP):
        pass
    start = time.perf_counter()
    samples = sum(islice(batches, count))
    return samples / (time.perf_counter() - start)


def _repeat(source: Any) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        yield from source


def _decode(sample: dict[str, Any]) -> dict[str, np.ndarray]:
    record = json.loads(sample["json"])
    street = next((name for name in sample if name.startswith("street")), "")
    place = next((o for o in record["observations"] if o["modality"] == "street"), record)
    return {
        "sentinel2": _raster(sample, "sentinel2.geotiff", (12, 128, 128), np.uint16).view(np.int16),
        "dem": _raster(sample, "dem.geotiff", (1, 128, 128), np.float32),
        "aerial": _picture(sample, "aerial.jpg"), "street": _picture(sample, street),
        "text": tokenize_bytes([sample.get("text.txt", b"").decode()])[0].numpy(),
        "lonlat": np.array([place["lon"], place["lat"]]),
    }  # fmt: skip


def _raster(sample: dict[str, Any], name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    if name not in sample:
        return np.zeros(shape, dtype)
    return tifffile.imread(io.BytesIO(sample[name])).reshape(shape)


def _picture(sample: dict[str, Any], name: str) -> np.ndarray:
    if name not in sample:
        return np.zeros((PX, PX, 3), np.uint8)
    pixels = np.asarray(Image.open(io.BytesIO(sample[name])))
    top, left = (pixels.shape[0] - PX) // 2, (pixels.shape[1] - PX) // 2
    return pixels[top : top + PX, left : left + PX]


def _stack(samples: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    names = [name for name in samples[0] if not name.startswith("__")]
    return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in names}


if __name__ == "__main__":
    main()
