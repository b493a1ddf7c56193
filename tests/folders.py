"""Small real folders: rasters, photos and texts around one point, made in a second."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import rasterio
from PIL import ExifTags, Image
from rasterio.transform import from_origin

from geodata.grid import local_crs, transformer
from schemas.modality import SENTINEL2_BANDS

CENTRE = (11.31, 48.21)
"""Bavaria, far from any split buffer: lon, lat."""
HEADER = ("path", "modality", "lat", "lon", "captured_at", "licence", "attribution", "origin", "note")


def write_raster(
    path: Path, values: np.ndarray, *, lonlat=CENTRE, gsd_m=10.0, phase_m=(0.0, 0.0), nodata=None, names=(), crs=None
) -> None:
    """Writes (bands, height, width) centred on a point, on the lattice of its pixel size plus a phase."""
    crs = crs or local_crs(*lonlat)
    x, y = transformer("EPSG:4326", crs).transform(*lonlat)
    left = round((x - values.shape[2] * gsd_m / 2) / gsd_m) * gsd_m + phase_m[0]
    top = round((y + values.shape[1] * gsd_m / 2) / gsd_m) * gsd_m + phase_m[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "dtype": values.dtype, "count": len(values), "nodata": nodata, "crs": crs}
    profile |= {"height": values.shape[1], "width": values.shape[2], "transform": from_origin(left, top, gsd_m, gsd_m)}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)
        if names:
            dataset.descriptions = names


def make_scene(size: int, seed: int = 0) -> np.ndarray:
    """Twelve bands of reflectance x 10000, dark enough for land."""
    return np.random.default_rng(seed).integers(200, 1500, (12, size, size)).astype(np.uint16)


def make_photo(
    lonlat: tuple[float, float] | None = None, *, heading: float | None = None, seed: int = 0, size=(320, 240)
):
    """JPEG bytes of noise with an EXIF position."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    if lonlat is not None:
        gps = {ExifTags.GPS.GPSLatitudeRef: "N" if lonlat[1] >= 0 else "S", ExifTags.GPS.GPSLatitude: _dms(lonlat[1])}
        gps |= {
            ExifTags.GPS.GPSLongitudeRef: "E" if lonlat[0] >= 0 else "W",
            ExifTags.GPS.GPSLongitude: _dms(lonlat[0]),
        }
        if heading is not None:
            gps[ExifTags.GPS.GPSImgDirection] = heading
        exif[ExifTags.IFD.GPSInfo] = gps
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def _dms(degrees: float) -> tuple[float, float, float]:
    whole, minutes = divmod(abs(degrees) * 60, 60)
    return whole, int(minutes), (minutes - int(minutes)) * 60


def write_manifest(folder: Path, rows: list[dict[str, object]]) -> None:
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER)
        writer.writeheader()
        writer.writerows({"licence": "CC0-1.0", "attribution": "tests", **row} for row in rows)


def write_folder(folder: Path, *, places: int = 12) -> Path:
    """Writes a scene with elevation, and at each of some places an aerial image, a photo and an article."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    write_raster(folder / "sentinel2/scene.tif", make_scene(400), nodata=0, names=SENTINEL2_BANDS)
    write_raster(folder / "dem/scene.tif", rng.normal(300, 20, (1, 400, 400)).astype(np.float32))
    rows: list[dict[str, object]] = [
        {"path": "sentinel2/scene.tif", "modality": "sentinel2", "captured_at": "2024-06-01T10:30:00Z"},
        {"path": "dem/scene.tif", "modality": "dem"}, {"path": "texts.jsonl", "modality": "text"},
    ]  # fmt: skip
    articles = []
    for number in range(places):
        lon, lat = CENTRE[0] + rng.uniform(-0.008, 0.008), CENTRE[1] + rng.uniform(-0.005, 0.005)
        pixels = rng.integers(0, 255, (3, 300, 300)).astype(np.uint8)
        write_raster(
            folder / f"aerial/{number}.tif", pixels, lonlat=(lon, lat), gsd_m=1.0, names=("red", "green", "blue")
        )
        (folder / f"{number}.jpg").write_bytes(make_photo((lon, lat), heading=30.0 * number, seed=number))
        rows.append({"path": f"aerial/{number}.tif", "modality": "aerial"})
        rows.append({"path": f"{number}.jpg", "modality": "street", "lon": lon, "lat": lat})
        text = f"Article {number} tells of a place with {number} houses beside the river, and of the hills around it."
        articles.append({"id": str(number), "title": f"Place {number}", "lat": lat, "lon": lon, "text": text})
    (folder / "texts.jsonl").write_text("".join(json.dumps(article) + "\n" for article in articles))
    write_manifest(folder, rows)
    return folder
