"""The views of a sample as pictures that people can read: arrays of shape (height, width, 3), sRGB."""

import numpy as np

from geodata.grid import pixel_position
from geodata.raster import Raster, decode_geotiff, decode_jpeg
from schemas.page.pictures import Colours, show_false_colour, show_relief, show_true_colour
from schemas.sample import Sample

GAP = (128, 128, 160)
"""Colour of what holds no data."""


def show_views(sample: Sample) -> dict[str, Colours | str | None]:
    """Returns the first observation of each view, the text as a string, None where a view is missing."""
    scene = decode_geotiff(sample.sentinel2.payload) if sample.sentinel2 else None
    heights = decode_geotiff(sample.dem.payload) if sample.dem else None
    spots = [pixel_position(scene.grid, o.lon, o.lat) for o in (sample.street, sample.text) if o and scene]
    return {
        "true colour": mark(true_colour(scene), spots) if scene else None,
        "false colour": false_colour(scene) if scene else None,
        "aerial": decode_jpeg(sample.aerial.payload) if sample.aerial else None,
        "elevation": relief(heights) if heights else None,
        "street": decode_jpeg(sample.street.payload) if sample.street else None,
        "text": sample.text.payload.decode(errors="replace") if sample.text else None,
    }


def true_colour(raster: Raster) -> Colours:
    """Returns red, green and blue light of a Sentinel-2 patch."""
    return _fill(show_true_colour(raster.values, raster.valid), raster)


def false_colour(raster: Raster) -> Colours:
    """Returns near infrared, red and green of a Sentinel-2 patch: plants are red."""
    return _fill(show_false_colour(raster.values, raster.valid), raster)


def relief(raster: Raster) -> Colours:
    """Returns heights as tints under light from the north-west."""
    colours, _ = show_relief(raster.values[0], raster.valid, raster.grid.gsd_m)
    return _fill(colours, raster)


def mark(picture: Colours, spots: list[tuple[float, float]]) -> Colours:
    """Returns a picture with crosses, yellow for the first spot, cyan for the second.

    Args:
        spots: column and row in pixels from the outer corner of the first pixel; they may lie outside.
    """
    marked = picture.copy()
    height, width = marked.shape[:2]
    for spot, colour in zip(spots, ((255, 230, 0), (0, 255, 255)), strict=False):
        column, row = (int(at // 1) for at in spot)
        for step in (-4, -3, -2, 2, 3, 4):
            for y, x in ((row + step, column), (row, column + step)):
                if 0 <= y < height and 0 <= x < width:
                    marked[y, x] = colour
    return marked


def _fill(colours: Colours, raster: Raster) -> Colours:
    return np.where(raster.valid[..., None], colours, np.array(GAP, np.uint8))
