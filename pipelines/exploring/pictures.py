"""Rasters as the page shows them: pictures of `schemas.page.pictures` whose gaps are clear, as WebP."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geodata.raster import Raster
from schemas.page.pictures import Colours, show_false_colour, show_relief, show_true_colour

QUALITY = 85


def draw_true_colour(raster: Raster) -> Image.Image:
    """Returns red, green and blue light, RGBA."""
    return _with_clear_gaps(show_true_colour(raster.values, raster.valid), raster.valid)


def draw_false_colour(raster: Raster) -> Image.Image:
    """Returns near infrared, red and green as red, green and blue, RGBA."""
    return _with_clear_gaps(show_false_colour(raster.values, raster.valid), raster.valid)


def draw_relief(raster: Raster) -> tuple[Image.Image, float]:
    """Returns heights as tints under a slanting light, RGBA, and by how much slopes are steepened to be seen."""
    colours, steeper = show_relief(raster.values[0], raster.valid, raster.grid.gsd_m)
    return _with_clear_gaps(colours, raster.valid), steeper


def encode_webp(picture: Image.Image) -> bytes:
    """Writes a picture small."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=2)
    return buffer.getvalue()


def _with_clear_gaps(colours: Colours, valid: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(np.dstack([colours, np.where(valid, 255, 0).astype(np.uint8)]))
