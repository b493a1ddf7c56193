"""The views of a sample as pictures that people can read: arrays of shape (height, width, 3), sRGB."""

import numpy as np
from numpy.typing import NDArray

from geodata.grid import transformer
from geodata.raster import Raster, decode_geotiff, decode_jpeg
from schemas.modality import SENTINEL2_BANDS
from schemas.sample import Sample

TRUE, FALSE = ("B04", "B03", "B02"), ("B08", "B04", "B03")
"""Bands shown as red, green, blue: as an eye sees, and with plants in red."""
DARKEST, BRIGHTEST = 2, 98
"""Percentiles of a patch that become black and white."""
GAMMA = 0.7
"""Lifts the shadows: land reflects little."""
SUN_AZIMUTH_DEG, SUN_HEIGHT_DEG = 315.0, 45.0
GAP = (128, 128, 160)
"""Colour of what holds no data."""
Picture = NDArray[np.uint8]


def show_views(sample: Sample) -> dict[str, Picture | str | None]:
    """Returns the first observation of each view, the text as a string, None where a view is missing."""
    scene = decode_geotiff(sample.sentinel2.payload) if sample.sentinel2 else None
    heights = decode_geotiff(sample.dem.payload) if sample.dem else None
    spots = [mark_of(scene, o.lon, o.lat) for o in (sample.street, sample.text) if o and scene]
    return {
        "true colour": mark(show_bands(scene, TRUE), spots) if scene else None,
        "false colour": show_bands(scene, FALSE) if scene else None,
        "aerial": decode_jpeg(sample.aerial.payload) if sample.aerial else None,
        "elevation": shade(heights) if heights else None,
        "street": decode_jpeg(sample.street.payload) if sample.street else None,
        "text": sample.text.payload.decode(errors="replace") if sample.text else None,
    }


def show_bands(raster: Raster, bands: tuple[str, ...]) -> Picture:
    """Returns three bands of a Sentinel-2 patch, stretched together between percentiles of the patch."""
    values = np.stack([raster.values[SENTINEL2_BANDS.index(name)] for name in bands], axis=-1).astype(np.float64)
    seen = values[raster.valid]
    dark, bright = np.percentile(seen, (DARKEST, BRIGHTEST)) if seen.size else (0.0, 1.0)
    picture = np.rint(255 * np.clip((values - dark) / max(bright - dark, 1.0), 0, 1) ** GAMMA).astype(np.uint8)
    picture[~raster.valid] = GAP
    return picture


def shade(raster: Raster) -> Picture:
    """Returns a hillshade, light from the north-west (Horn 1981), the steeper the flatter the land: 1 to 5 times."""
    heights = raster.values[0].astype(np.float64)
    heights = np.where(raster.valid, heights, heights[raster.valid].mean() if raster.valid.any() else 0.0)
    down, right = np.gradient(heights, raster.grid.gsd_m)  # rows run south
    steep = float(np.percentile(np.hypot(down, right), 95))
    factor = float(np.clip(0.5 / max(steep, 1e-6), 1, 5))
    azimuth, height = np.radians(SUN_AZIMUTH_DEG), np.radians(SUN_HEIGHT_DEG)
    east, north = factor * right, -factor * down
    light = (np.sin(height) - np.cos(height) * (np.sin(azimuth) * east + np.cos(azimuth) * north)) / np.sqrt(
        1 + east**2 + north**2
    )
    picture = np.repeat(np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8)[..., None], 3, axis=-1)
    picture[~raster.valid] = GAP
    return picture


def mark_of(raster: Raster, lon: float, lat: float) -> tuple[int, int]:
    """Returns row and column of a position in a patch; they may lie outside."""
    x, y = transformer("EPSG:4326", raster.grid.crs).transform(lon, lat)
    return int((raster.grid.top - y) // raster.grid.gsd_m), int((x - raster.grid.left) // raster.grid.gsd_m)


def mark(picture: Picture, spots: list[tuple[int, int]]) -> Picture:
    """Returns a picture with crosses, yellow for the first spot, cyan for the second."""
    marked = picture.copy()
    height, width = marked.shape[:2]
    for (row, column), colour in zip(spots, ((255, 230, 0), (0, 255, 255)), strict=False):
        for step in (-4, -3, -2, 2, 3, 4):
            for y, x in ((row + step, column), (row, column + step)):
                if 0 <= y < height and 0 <= x < width:
                    marked[y, x] = colour
    return marked
