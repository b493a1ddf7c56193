"""Pictures of rasters for the eye, never to be read back: Sentinel-2 in true and false colour, elevation in relief.

Gaps are transparent. Stretches are chosen per patch, so that dark forest and bright snow both show something; two
patches cannot be compared by their brightness.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geodata.raster import Raster
from schemas.modality import SENTINEL2_BANDS

TRUE_COLOUR, FALSE_COLOUR = ("B04", "B03", "B02"), ("B08", "B04", "B03")
LEAST_SPREAD = 400.0
"""Reflectance x 10000 between black and white at least: a lake shows its water, not its noise. A guess."""
SUN_AZIMUTH_DEG, SUN_ALTITUDE_DEG = 315.0, 45.0
"""Light from the north-west, as maps have it."""
QUALITY = 85
_TINTS = np.array(
    [(0.0, 104, 139, 104), (0.3, 170, 180, 128), (0.55, 214, 200, 150), (0.8, 186, 148, 112), (1.0, 240, 236, 232)]
)
"""Share of the patch's range of heights, and red, green, blue."""


def draw_true_colour(raster: Raster) -> Image.Image:
    """Returns red, green and blue light with one stretch for the three, RGBA."""
    bands = _reflectance(raster, TRUE_COLOUR)
    return _picture(_stretch(bands, bands[:, raster.valid]), raster.valid)


def draw_false_colour(raster: Raster) -> Image.Image:
    """Returns near infrared, red and green as red, green and blue, each with its own stretch: plants are red, RGBA."""
    bands = _reflectance(raster, FALSE_COLOUR)
    stretched = [_stretch(band[None], band[raster.valid][None])[0] for band in bands]
    return _picture(np.stack(stretched), raster.valid)


def draw_relief(raster: Raster) -> tuple[Image.Image, float]:
    """Returns heights as tints under a slanting light, RGBA, and by how much slopes are steepened to be seen.

    Shade is the cosine between the light and the slope's normal, slopes by B. K. P. Horn, "Hill shading and the
    reflectance map", Proc. IEEE 69 (1981): weighted differences of the eight neighbours.
    """
    heights = np.where(raster.valid, raster.values[0].astype(np.float64), np.nan)
    if not raster.valid.any():
        return _picture(np.zeros((3, *raster.grid.shape)), raster.valid), 1.0
    low, high = np.nanmin(heights), np.nanmax(heights)
    filled = np.where(raster.valid, heights, np.nanmean(heights))
    east, north = _slopes(filled, raster.grid.gsd_m)
    typical = float(np.percentile(np.hypot(east, north)[raster.valid], 90))
    steeper = float(np.clip(0.35 / max(typical, 1e-6), 1.0, 20.0))
    shade = _shade(east * steeper, north * steeper)
    share = (filled - low) / max(high - low, 1e-6) if high - low >= 1 else np.full(filled.shape, 0.3)
    tints = np.stack([np.interp(share, _TINTS[:, 0], _TINTS[:, channel]) for channel in (1, 2, 3)]) / 255
    return _picture(tints * (0.35 + 0.9 * shade), raster.valid), steeper


def encode_webp(picture: Image.Image) -> bytes:
    """Writes a picture small."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=2)
    return buffer.getvalue()


def _reflectance(raster: Raster, names: tuple[str, ...]) -> NDArray[np.float64]:
    return raster.values[[SENTINEL2_BANDS.index(name) for name in names]].astype(np.float64)


def _stretch(bands: NDArray[np.float64], valid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 0 ... 1 between the darkest and the brightest hundredth of the valid pixels, middle tones lifted."""
    if valid.size == 0:
        return np.zeros_like(bands)
    low, high = np.percentile(valid, (1, 99))
    return np.asarray(np.clip((bands - low) / max(high - low, LEAST_SPREAD), 0, 1) ** 0.8)


def _slopes(heights: NDArray[np.float64], gsd_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the rise to the east and to the north, metres a metre."""
    z = np.pad(heights, 1, mode="edge")
    east = (z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:]) - (z[:-2, :-2] + 2 * z[1:-1, :-2] + z[2:, :-2])
    north = (z[:-2, :-2] + 2 * z[:-2, 1:-1] + z[:-2, 2:]) - (z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:])
    return east / (8 * gsd_m), north / (8 * gsd_m)


def _shade(east: NDArray[np.float64], north: NDArray[np.float64]) -> NDArray[np.float64]:
    azimuth, altitude = np.radians(SUN_AZIMUTH_DEG), np.radians(SUN_ALTITUDE_DEG)
    to_sun = np.cos(altitude) * np.array([np.sin(azimuth), np.cos(azimuth)])
    shade = (np.sin(altitude) - east * to_sun[0] - north * to_sun[1]) / np.sqrt(1 + east**2 + north**2)
    return np.asarray(np.clip(shade, 0, 1))


def _picture(colours: NDArray[np.float64], valid: NDArray[np.bool_]) -> Image.Image:
    alpha = np.where(valid, 255, 0)[None]
    pixels = np.concatenate([np.clip(colours, 0, 1) * 255, alpha]).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
