"""From a 360-degree photo to a view like that of a common camera."""

import math

import numpy as np
from numpy.typing import NDArray


def crop_panorama(
    pixels: NDArray[np.uint8], *, size_px: int, heading_offset_deg: float = 0.0, field_deg: float = 90.0
) -> NDArray[np.uint8]:
    """Returns the level perspective view towards the middle of a panorama.

    The gnomonic projection (Snyder, Map Projections: A Working Manual, USGS Professional Paper 1395, chapter 22, 1987)
    turned about the vertical axis, which a panorama's columns go round; bilinear.

    Args:
        pixels: equirectangular, all 360 x 180 degrees, shape (H, W, 3); the middle column looks ahead.
        size_px: width and height of the view.
        heading_offset_deg: turns the view to the right.
        field_deg: angle of view, less than 180.

    Returns:
        Shape (size_px, size_px, 3).
    """
    if not 0 < field_deg < 180:
        raise ValueError(f"A perspective view is between 0 and 180 degrees wide, not {field_deg}.")
    height, width = pixels.shape[:2]
    across = math.tan(math.radians(field_deg / 2)) * ((np.arange(size_px) + 0.5) * 2 / size_px - 1)
    right, down = np.meshgrid(across, across)
    lon = np.arctan2(right, 1.0) + math.radians(heading_offset_deg)
    lat = np.arctan2(-down, np.hypot(right, 1.0))
    columns = (lon / (2 * math.pi) + 0.5) * width - 0.5
    rows = np.clip((0.5 - lat / math.pi) * height - 0.5, 0, height - 1)
    return _interpolate(pixels, columns, rows)


def _interpolate(
    pixels: NDArray[np.uint8], columns: NDArray[np.float64], rows: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Bilinear; columns go round, rows end at the poles."""
    height, width = pixels.shape[:2]
    left, top = np.floor(columns).astype(int), np.floor(rows).astype(int)
    x, y = (columns - left)[..., None], (rows - top)[..., None]
    right, bottom = (left + 1) % width, np.minimum(top + 1, height - 1)
    left = left % width
    upper = pixels[top, left] * (1 - x) + pixels[top, right] * x
    lower = pixels[bottom, left] * (1 - x) + pixels[bottom, right] * x
    mixed: NDArray[np.float64] = upper * (1 - y) + lower * y
    return np.rint(mixed).astype(np.uint8)
