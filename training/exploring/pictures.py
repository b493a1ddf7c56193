"""Small pictures of a place's views for the eye: JPEG as the corpus keeps it, rasters in colour or relief."""

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray

from schemas.modality import DEM, SENTINEL2, SENTINEL2_BANDS
from training.decode import decode_geotiff

PICTURES = ("sentinel2", "aerial", "dem", "street")
"""Views that can be shown."""
QUALITY = 88
LEAST_SPREAD = 400.0
"""Reflectance x 10000 between black and white at least: a lake shows its water, not its noise. A guess."""
_TRUE_COLOUR = [SENTINEL2_BANDS.index(band) for band in ("B04", "B03", "B02")]
_SUN = np.array([-0.5, 0.5, 0.7071])
"""Direction of the light: from the north-west, 45 degrees high; east, north, up."""


def draw_picture(view: str, payload: bytes | memoryview) -> bytes:
    """Returns a JPEG of a member of a corpus.

    Raises:
        ValueError: and the other errors of `training.decode.FAULTS`, if it is damaged.
    """
    if view in (SENTINEL2.name, DEM.name):
        values = decode_geotiff(payload)
        pixels = draw_relief(values[0].astype(np.float64)) if view == DEM.name else draw_true_colour(values)
        jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=QUALITY, colorspace="RGB")
        return jpeg
    simplejpeg.decode_jpeg_header(payload)
    return bytes(payload)


def as_stored(values: NDArray[np.generic]) -> torch.Tensor:
    """Returns a Sentinel-2 patch as the towers take it: the int16 bit patterns of its uint16."""
    return torch.from_numpy(np.ascontiguousarray(values).view(np.int16))


def draw_true_colour(values_CHW: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Returns red, green and blue of a Sentinel-2 patch, (H, W, 3), stretched for each patch: gaps are black.

    Forest and snow both show something then; two patches cannot be compared by their brightness.
    """
    bands = values_CHW[_TRUE_COLOUR].astype(np.float64)
    is_valid = (bands != SENTINEL2.nodata).all(axis=0)
    low, high = np.percentile(bands[:, is_valid], (1, 99)) if is_valid.any() else (0.0, 1.0)
    shown = np.clip((bands - low) / max(high - low, LEAST_SPREAD), 0, 1) ** 0.8
    pixels: NDArray[np.uint8] = (255 * np.where(is_valid, shown, 0)).astype(np.uint8).transpose(1, 2, 0)
    return pixels


def draw_relief(heights_HW: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Returns heights (metres, gaps -32768) as shaded grey, (H, W, 3): slopes steepened until they can be seen."""
    is_valid = heights_HW != DEM.nodata
    if not is_valid.any():
        return np.zeros((*heights_HW.shape, 3), np.uint8)
    filled = np.where(is_valid, heights_HW, heights_HW[is_valid].mean())
    south, east = np.gradient(filled, DEM.gsd_m)
    steeper = np.clip(0.35 / max(float(np.percentile(np.hypot(east, south)[is_valid], 90)), 1e-6), 1.0, 20.0)
    normal = np.stack([-east * steeper, south * steeper, np.ones_like(filled)])
    shade = np.clip(np.tensordot(_SUN, normal / np.linalg.norm(normal, axis=0), 1), 0, 1)
    height = (filled - filled.min()) / max(float(np.ptp(filled)), 1.0)
    grey = np.where(is_valid, 255 * np.clip(shade * (0.75 + 0.4 * height), 0, 1), 0).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
