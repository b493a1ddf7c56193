"""Rasters as people see them, never to be read back: Sentinel-2 in true and false colour, elevation in relief.

All take bands first, (bands, height, width) or (height, width), and which pixels hold data, (height, width); all return
(height, width, 3), sRGB, with black gaps. Stretches are chosen per patch, so that dark forest and bright
snow both show something; two patches cannot be compared by their brightness.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.modality import SENTINEL2_BANDS

Colours = NDArray[np.uint8]
LEAST_SPREAD = 400.0
"""Reflectance x 10000 between black and white at least: a lake shows its water, not its noise. A guess."""
SUN_AZIMUTH_DEG, SUN_ALTITUDE_DEG = 315.0, 45.0
"""Light from the north-west, as maps have it."""
_TRUE_COLOUR, _FALSE_COLOUR = (
    [SENTINEL2_BANDS.index(name) for name in names] for names in (("B04", "B03", "B02"), ("B08", "B04", "B03"))
)
_TINTS = np.array(
    [(0.0, 104, 139, 104), (0.3, 170, 180, 128), (0.55, 214, 200, 150), (0.8, 186, 148, 112), (1.0, 240, 236, 232)]
)
"""Share of the patch's range of heights, and red, green, blue."""


def show_true_colour(values: NDArray[Any], valid: NDArray[np.bool_]) -> Colours:
    """Returns red, green and blue light of a Sentinel-2 patch with one stretch for the three."""
    bands = values[_TRUE_COLOUR].astype(np.float64)
    return _to_picture(_stretch(bands, bands[:, valid]), valid)


def show_false_colour(values: NDArray[Any], valid: NDArray[np.bool_]) -> Colours:
    """Returns near infrared, red and green as red, green and blue, each with its own stretch: plants are red."""
    bands = values[_FALSE_COLOUR].astype(np.float64)
    return _to_picture(np.stack([_stretch(band, band[valid]) for band in bands]), valid)


def show_relief(metres: NDArray[Any], valid: NDArray[np.bool_], gsd_m: float) -> tuple[Colours, float]:
    """Returns heights as tints under a slanting light, and by how much slopes are steepened to be seen.

    Shade is the cosine between the light and the slope's normal, slopes by B. K. P. Horn, "Hill shading and the
    reflectance map", Proc. IEEE 69 (1981): weighted differences of the eight neighbours.

    Args:
        metres: heights, (height, width).
        gsd_m: metres a pixel.
    """
    heights = metres.astype(np.float64)
    if not valid.any():
        return np.zeros((*heights.shape, 3), np.uint8), 1.0
    low, high, mean = (float(of(heights[valid])) for of in (np.min, np.max, np.mean))
    filled = np.where(valid, heights, mean)
    east, north = _slopes(filled, gsd_m)
    typical = float(np.percentile(np.hypot(east, north)[valid], 90))
    steeper = float(np.clip(0.35 / max(typical, 1e-6), 1.0, 20.0))
    share = (filled - low) / max(high - low, 1e-6) if high - low >= 1 else np.full(filled.shape, 0.3)
    tints = np.stack([np.interp(share, _TINTS[:, 0], _TINTS[:, channel]) for channel in (1, 2, 3)]) / 255
    return _to_picture(tints * (0.35 + 0.9 * _shade(east * steeper, north * steeper)), valid), steeper


def _stretch(bands: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 0 ... 1 between the darkest and the brightest hundredth of what is seen, middle tones lifted."""
    if seen.size == 0:
        return np.zeros_like(bands)
    low, high = np.percentile(seen, (1, 99))
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


def _to_picture(colours: NDArray[np.float64], valid: NDArray[np.bool_]) -> Colours:
    pixels = (np.clip(colours, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.where(valid, pixels, np.uint8(0)).transpose(1, 2, 0))
