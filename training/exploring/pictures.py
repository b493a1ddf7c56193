"""Small pictures of a place's views for the eye: JPEG as the corpus keeps it, rasters in colour or relief."""

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray

from schemas.modality import DEM, SENTINEL2
from schemas.page.pictures import Colours, show_relief
from training.decode import decode_geotiff
from training.evaluation.maps import draw_true_colour

PICTURES = ("sentinel2", "aerial", "dem", "street")
"""Views that can be shown."""
QUALITY = 88


def draw_picture(view: str, payload: bytes | memoryview) -> bytes:
    """Returns a JPEG of a member of a corpus.

    Raises:
        ValueError: and the other errors of `training.decode.FAULTS`, if it is damaged.
    """
    if view in (SENTINEL2.name, DEM.name):
        values = decode_geotiff(payload)
        pixels = draw_relief(values[0]) if view == DEM.name else draw_true_colour(values)
        jpeg: bytes = simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorspace="RGB")
        return jpeg
    simplejpeg.decode_jpeg_header(payload)
    return bytes(payload)


def as_stored(values: NDArray[np.generic]) -> torch.Tensor:
    """Returns a Sentinel-2 patch as the towers take it: the int16 bit patterns of its uint16."""
    return torch.from_numpy(np.ascontiguousarray(values).view(np.int16))


def draw_relief(heights_HW: NDArray[np.generic]) -> Colours:
    """Returns heights (metres, gaps -32768) under a slanting light, (H, W, 3)."""
    return show_relief(heights_HW, heights_HW != DEM.nodata, DEM.gsd_m)[0]
