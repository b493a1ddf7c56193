"""Size and decoding time of the stored rasters: `training.decode` beside GDAL, on real patches.

python -m tests.benchmarks.codec
"""

import statistics
import time
from functools import partial

import numpy as np
import rasterio

from geodata import cells
from geodata.grid import make_grid, transformer
from geodata.raster import decode_geotiff, encode_geotiff
from geodata.window import read_window
from schemas.modality import DEM, SENTINEL2, Modality
from tests.runs import SHARED
from training import decode

ROUNDS = 50


def main() -> None:
    print("| modality | patches | stored / raw (min ... max) | GDAL, ms | training.decode, ms | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for modality in (SENTINEL2, DEM):
        payloads, shares = _real_payloads(modality)
        times: dict[str, list[float]] = {"gdal": [], "ours": []}
        calls = {"gdal": decode_geotiff, "ours": partial(decode.decode_geotiff, out=decode.decode_geotiff(payloads[0]))}
        for _ in range(ROUNDS):
            for payload in payloads:
                for name, call in calls.items():
                    start = time.perf_counter()
                    call(payload)
                    times[name].append(time.perf_counter() - start)
        gdal, ours = (1e3 * statistics.median(times[name]) for name in ("gdal", "ours"))
        print(
            f"| {modality.name} | {len(payloads)} | {min(shares):.2f} ... {max(shares):.2f} | {gdal:.2f} | {ours:.2f} "
            f"| {gdal / ours:.1f} x |"
        )


def _real_payloads(modality: Modality) -> tuple[list[bytes], list[float]]:
    """Whole patches of real files: the encoded bytes, and their size over the raw size."""
    payloads, shares = [], []
    for path in sorted((SHARED / "europe_mini" / modality.name).glob("*.tif")):
        with rasterio.open(path) as dataset:
            x, y = dataset.xy(dataset.height // 2, dataset.width // 2)
            key = cells.cell_at(*transformer(dataset.crs.to_string(), "EPSG:4326").transform(x, y), 10)
            raster = read_window(dataset, make_grid(key, modality.name), modality.name)
            is_own = dataset.res == (10.0, 10.0) and dataset.crs == raster.grid.crs
        if raster.valid.all() and is_own:
            payload = encode_geotiff(raster, modality, {})
            payloads.append(payload)
            shares.append(len(payload) / np.asarray(raster.values).nbytes)
    return payloads, shares


if __name__ == "__main__":
    main()
