"""Decoding the members of a shard without GDAL: exactly the layout that the corpus writes, nothing else.

A GeoTIFF member is a little-endian TIFF, band-interleaved, one ZSTD strip a band, with the horizontal predictor for
integers and the floating-point predictor for elevation.
"""

import struct
from typing import Any

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _STRIPS, _BANDS = 256, 257, 258, 259, 273, 277
_ROWS_PER_STRIP, _STRIP_SIZES, _PREDICTOR, _FORMAT = 278, 279, 317, 339
_ZSTD, _HORIZONTAL, _FLOATING = 50000, 2, 3
_TYPES: dict[tuple[int, int], np.dtype[Any]] = {(16, 1): np.dtype("<u2"), (32, 3): np.dtype("<f4")}
_SIZES = {3: "H", 4: "I", 16: "Q"}


class LayoutError(ValueError):
    """The bytes are not of the layout that the corpus writes."""


FAULTS = (ValueError, LookupError, RuntimeError, OSError, struct.error)
"""What decoding damaged bytes raises: `LayoutError`, the codecs' own errors, tables that point nowhere."""


def decode_geotiff(payload: bytes | memoryview, out: NDArray[np.generic] | None = None) -> NDArray[np.generic]:
    """Returns the stored values of a raster member, gaps as they are stored.

    Args:
        out: array of shape (bands, height, width) and the stored type to decode into; None makes one.

    Returns:
        Shape (bands, height, width): uint16 for Sentinel-2, float32 for elevation.

    Raises:
        LayoutError: for a TIFF of another layout, or of another shape or type than `out`.
    """
    tags = _read_tags(payload)
    bands, height, width = tags[_BANDS][0], tags[_HEIGHT][0], tags[_WIDTH][0]
    dtype = _TYPES.get((tags[_BITS][0], tags[_FORMAT][0]))
    is_known = tags[_COMPRESSION][0] == _ZSTD and tags[_ROWS_PER_STRIP][0] >= height and len(tags[_STRIPS]) == bands
    if dtype is None or not is_known:
        raise LayoutError(
            f"Expected one ZSTD strip a band, uint16 or float32; found compression {tags[_COMPRESSION][0]}, "
            f"{tags[_BITS][0]} bits, {len(tags[_STRIPS])} strips for {bands} bands: read this file with GDAL."
        )
    values = np.empty((bands, height, width), dtype) if out is None else out
    if values.shape != (bands, height, width) or values.dtype != dtype:
        raise LayoutError(f"Expected {values.dtype} of shape {values.shape}; found {dtype}, {bands, height, width}.")
    undo = imagecodecs.floatpred_decode if tags[_PREDICTOR][0] == _FLOATING else imagecodecs.delta_decode
    view: Any = memoryview(payload)  # its slices are no copies, and imagecodecs takes them, whatever its types say
    for band, (start, size) in enumerate(zip(tags[_STRIPS], tags[_STRIP_SIZES], strict=True)):
        raw = imagecodecs.zstd_decode(view[start : start + size], out=height * width * dtype.itemsize)
        strip = np.frombuffer(raw, dtype).reshape(height, width)
        if tags[_PREDICTOR][0] in (_HORIZONTAL, _FLOATING):
            undo(strip, axis=-1, out=values[band])
        else:
            values[band] = strip
    return values


def decode_jpeg(payload: bytes | memoryview) -> NDArray[np.uint8]:
    """Returns the pixels of a picture member: shape (height, width, 3), sRGB."""
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(payload, colorspace="RGB")
    return pixels


def _read_tags(payload: bytes | memoryview) -> dict[int, tuple[int, ...]]:
    if payload[:4] != b"II*\x00":
        raise LayoutError("The bytes are no little-endian TIFF.")
    (start,) = struct.unpack_from("<I", payload, 4)
    (count,) = struct.unpack_from("<H", payload, start)
    tags: dict[int, tuple[int, ...]] = {_PREDICTOR: (1,), _FORMAT: (1,)}
    for entry in range(count):
        at = start + 2 + 12 * entry
        tag, kind, number = struct.unpack_from("<HHI", payload, at)
        if kind not in _SIZES:
            continue
        code = f"<{number}{_SIZES[kind]}"
        (where,) = (at + 8,) if struct.calcsize(code) <= 4 else struct.unpack_from("<I", payload, at + 8)
        tags[tag] = struct.unpack_from(code, payload, where)
    return tags
