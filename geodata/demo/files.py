"""The files of the demo: GeoTIFF for rasters, JPEG with EXIF for photos."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import ExifTags, Image

from geodata.demo.photos import Photo
from schemas.grid import Grid
from schemas.modality import SENTINEL2_BANDS

JPEG_QUALITY = 85
_TILED = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "zstd", "zstd_level": 1}


def write_sentinel2(path: Path, bands: NDArray[np.uint16], grid: Grid) -> None:
    """Writes a scene, shape (12, height, width)."""
    _write_geotiff(path, bands, grid, names=SENTINEL2_BANDS, options=_TILED | {"nodata": 0, "predictor": 2})


def write_dem(path: Path, height_m: NDArray[np.float64], grid: Grid) -> None:
    """Writes heights to the centimetre, shape (height, width)."""
    rounded_m = np.round(height_m, 2).astype(np.float32)
    _write_geotiff(path, rounded_m[None], grid, names=("height",), options=_TILED | {"nodata": -32768, "predictor": 3})


def write_aerial(path: Path, pixels: NDArray[np.uint8], grid: Grid) -> None:
    """Writes an aerial image, shape (3, height, width), as JPEG in GeoTIFF, as mapping agencies do."""
    options = {
        "tiled": True, "blockxsize": grid.width, "blockysize": grid.height, "compress": "jpeg", "photometric": "ycbcr",
        "jpeg_quality": JPEG_QUALITY, "interleave": "pixel",
    }  # fmt: skip
    _write_geotiff(path, pixels, grid, names=(), options=options)


def write_photo(path: Path, photo: Photo, captured_at: datetime) -> None:
    """Writes a photo with position, heading and time in its EXIF block."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "sameplace", "demo (synthetic)"
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.DateTimeOriginal: captured_at.strftime("%Y:%m:%d %H:%M:%S"),
        ExifTags.Base.OffsetTimeOriginal: "+00:00",
    }  # fmt: skip
    exif[ExifTags.IFD.GPSInfo] = {
        ExifTags.GPS.GPSLatitudeRef: "N" if photo.lat >= 0 else "S", ExifTags.GPS.GPSLatitude: _sexagesimal(photo.lat),
        ExifTags.GPS.GPSLongitudeRef: "E" if photo.lon >= 0 else "W",
        ExifTags.GPS.GPSLongitude: _sexagesimal(photo.lon),
        ExifTags.GPS.GPSImgDirectionRef: "T", ExifTags.GPS.GPSImgDirection: photo.heading_deg,
    }  # fmt: skip
    Image.fromarray(photo.pixels).save(path, "JPEG", quality=JPEG_QUALITY, exif=exif)


def draw_time(rng: np.random.Generator, solar_hour: float, lon: float) -> datetime:
    """Returns a day between May and September of one of four years, at an hour of the local solar day."""
    year, day = int(rng.integers(2020, 2024)), int(rng.integers(0, 150))
    start_s = datetime(year, 5, 1, tzinfo=UTC).timestamp()
    return datetime.fromtimestamp(round(start_s + 86_400 * day + 3600 * (solar_hour - lon / 15)), UTC)


def _write_geotiff(
    path: Path, bands: NDArray[np.generic], grid: Grid, *, names: tuple[str, ...], options: dict[str, object]
) -> None:
    profile = {
        "driver": "GTiff", "width": grid.width, "height": grid.height, "count": len(bands), "dtype": bands.dtype,
        "crs": grid.crs, "transform": Affine(grid.gsd_m, 0, grid.left, 0, -grid.gsd_m, grid.top), **options,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(bands)
        for number, name in enumerate(names, start=1):
            dataset.set_band_description(number, name)


def _sexagesimal(degrees: float) -> tuple[float, float, float]:
    minutes, seconds = divmod(abs(degrees) * 3600, 60)
    return minutes // 60, minutes % 60, round(seconds, 5)
