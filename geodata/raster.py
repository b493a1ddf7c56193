"""A raster with its grid, and the two ways it is stored: GeoTIFF for values, JPEG for pictures."""

import io
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import PIL
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image, features
from rasterio.io import MemoryFile

from schemas.grid import Grid
from schemas.modality import Modality

JPEG_QUALITY = 90
"""Of stored aerial images and photos."""
_POWERS = np.arange(256.0)[:, None] ** [0, 1, 2]
"""Of each level: what it adds to count, sum and sum of squares."""


@dataclass(frozen=True, eq=False)
class Raster:
    """Pixels that know where they lie."""

    values: NDArray[np.generic]
    """Shape (bands, height, width), of the stored type; gaps hold the modality's nodata, 0 where it has none."""
    valid: NDArray[np.bool_]
    """True where there is data, shape (height, width)."""
    grid: Grid
    """Where the pixels lie."""
    cloud: NDArray[np.bool_] | None = None
    """True under cloud or its shadow, by the source's own classification, shape (height, width); None without one."""
    note: str = ""
    """What was decided while reading, for the record."""

    def __post_init__(self) -> None:
        if self.values.shape[1:] != self.grid.shape or self.valid.shape != self.grid.shape:
            raise ValueError(
                f"Values {self.values.shape} and mask {self.valid.shape} do not fit grid {self.grid.shape}."
            )


def valid_values(raster: Raster) -> NDArray[np.generic]:
    """Returns the values of the valid pixels, shape (bands, N)."""
    if raster.valid.all():
        return raster.values.reshape(len(raster.values), -1)
    return raster.values[:, raster.valid]


def band_sums(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Returns count, sum and sum of squares of each band, shape (bands, 3), of values of shape (bands, N)."""
    exact = values.astype(np.float64, order="C")  # pixels come with their bands last: seven times slower
    columns = (np.full(len(exact), exact.shape[1]), exact.sum(axis=1), np.einsum("bn,bn->b", exact, exact))
    return np.stack(columns, axis=-1)


def picture_sums(picture: Image.Image) -> NDArray[np.float64]:
    """Returns what `band_sums` returns, of a picture in RGB: by counting, in less time."""
    counts = np.array(picture.histogram(), dtype=np.float64).reshape(3, len(_POWERS))
    return counts @ _POWERS  # exact: whole numbers far below 2^53


def encode_geotiff(raster: Raster, modality: Modality, tags: dict[str, str]) -> bytes:
    """Writes a raster as GeoTIFF: ZSTD, predictor, one strip a band, nodata in the gaps.

    One strip a band lets a reader without GDAL decode each band with one call.
    """
    profile = {
        "driver": "GTiff", "count": len(raster.values), "height": raster.grid.height, "width": raster.grid.width,
        "dtype": modality.dtype, "crs": raster.grid.crs, "transform": Affine(*raster.grid.affine),
        "nodata": modality.nodata, "compress": "zstd", "zstd_level": 1, "interleave": "band",
        "predictor": 3 if np.issubdtype(raster.values.dtype, np.floating) else 2, "blockysize": raster.grid.height,
    }  # fmt: skip
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(raster.values)
            dataset.descriptions = modality.bands
            dataset.update_tags(**tags)
        return bytes(memory.getbuffer())


def decode_geotiff(payload: bytes) -> Raster:
    """Reads what `encode_geotiff` wrote."""
    with MemoryFile(payload) as memory, memory.open() as dataset:
        values = dataset.read()
        a, _, left, _, _, top = dataset.transform[:6]
        grid = Grid(dataset.crs.to_string(), left, top, a, dataset.height, dataset.width)
        valid = (
            np.ones(grid.shape, dtype=bool)
            if dataset.nodata is None
            else np.bitwise_or.reduce(values != dataset.nodata, axis=0)
        )
    return Raster(values, valid, grid)


def encode_jpeg(picture: NDArray[np.uint8] | Image.Image) -> bytes:
    """Writes a picture, an array of shape (height, width, 3) or one of Pillow's, sRGB, without metadata."""
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def decode_jpeg(payload: bytes) -> NDArray[np.uint8]:
    """Reads a picture: shape (height, width, 3), sRGB."""
    with Image.open(io.BytesIO(payload)) as image:
        return np.asarray(image.convert("RGB"))


def encoder_versions() -> dict[str, str]:
    """Returns the versions on which the encoded bytes depend."""
    return {
        "gdal": rasterio.__gdal_version__, "rasterio": rasterio.__version__,
        "pillow": PIL.__version__, "libjpeg": str(_jpeg_version()), "numpy": np.__version__,
        "simplejpeg": version("simplejpeg"),
        "resizer": version("cykooz-resizer") if find_spec("cykooz_resizer") else "Pillow",
    }  # fmt: skip


def _jpeg_version() -> str | None:
    version: str | None = features.version("jpg")
    return version
