"""Simple statistics of the views, as the linear baseline sees them: colour, height, word counts, position.

Nothing here is learned, and nothing looks at the arrangement of pixels but by thirds of a picture, and by what lies
within 80 m of the place in a patch of Sentinel-2 or elevation.
"""

import re
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.modality import DEM, SENTINEL2, SENTINEL2_BANDS
from training.data.batch import GROUNDS, LOCATION, VIEWS, Batch
from training.hardware import count_threads

WORDS, LENGTH = 2048, 256
"""Hashed words that are told apart, and the most words of a text that are counted."""

IMAGE_PX = {"aerial": 64, "street": 64}
"""Side of the pictures that colours are taken from: the loader decodes them at a quarter of their scale."""

_ABOUT_PX = 8  # so far along both axes reaches what is said of the place itself
Features = NDArray[np.float64]


def hash_words(texts: list[str]) -> Tensor:
    """Returns the hashed words of texts, as the loader's `tokenize`: (N, LENGTH) int64, 1 ... WORDS, 0 = none."""
    tokens_NL = torch.zeros(len(texts), LENGTH, dtype=torch.int64)
    for row, text in enumerate(texts):
        words = re.findall(r"\w+", text.lower())[:LENGTH]
        hashed = [zlib.crc32(word.encode()) % WORDS + 1 for word in words]
        tokens_NL[row, : len(hashed)] = torch.tensor(hashed, dtype=torch.int64)
    return tokens_NL


def gather_features(
    batches: Iterable[Batch], most: int | None = None
) -> tuple[list[str], dict[str, Features], NDArray[np.bool_]]:
    """Returns the features of places, batch by batch.

    Args:
        batches: read with `hash_words` as their tokenize.
        most: so many of the first places at most.

    Returns:
        Keys; features (N, F) by view, rows of absent views hold zeros; which views there are (M, N).
    """
    keys: list[str] = []
    found: dict[str, list[Features]] = {view: [] for view in VIEWS}
    present = []
    with ThreadPoolExecutor(count_threads(0)) as threads:
        for batch in batches:
            keys += batch.keys
            present.append(batch.present_MB.numpy().copy())
            described = threads.map(partial(describe, batch=batch), VIEWS)
            for view, rows, present_B in zip(VIEWS, described, present[-1], strict=True):
                found[view].append(np.where(present_B[:, None], rows, 0.0))
            if most is not None and len(keys) >= most:
                break
    features = {view: np.concatenate(rows)[:most] for view, rows in found.items()}
    return keys[:most], features, np.concatenate(present, axis=1)[:, :most]


def describe(view: str, batch: Batch) -> Features:
    """Returns the features of one view of a batch: (B, F) float64; the location as (B, 2) degrees."""
    readers: dict[str, Callable[[], Features]] = {
        "sentinel2": lambda: describe_bands(batch.sentinel2_BCHW.numpy().view(np.uint16), _focus(batch, "sentinel2")),
        "aerial": lambda: describe_colours(batch.aerial_BHWC.numpy()),
        "dem": lambda: describe_heights(batch.dem_BCHW.numpy()[:, 0], _focus(batch, "dem")),
        "street": lambda: describe_colours(batch.street_BHWC.numpy()),
        "text": lambda: count_words(batch.text_BL.numpy()),
        LOCATION: lambda: batch.lonlat_B2.double().numpy().copy(),
    }
    return readers[view]()


def describe_bands(stored_BCHW: NDArray[np.uint16], focus_B2: NDArray[np.float32]) -> Features:
    """Returns mean and deviation of Sentinel-2's bands and normalised differences, and the mean about places: (B, 45).

    The differences are NDVI (B08, B04), NDWI (B03, B08) and NDBI (B11, B08), of each pixel.

    Args:
        focus_B2: where places lie in their patches, as in `Batch`.
    """
    assert SENTINEL2.nodata == 0.0
    rows = []
    for stored_CHW, focus_2 in zip(stored_BCHW, focus_B2, strict=True):
        valid_HW = stored_CHW.all(0)
        valid_CN = stored_CHW.reshape(len(stored_CHW), -1) if valid_HW.all() else stored_CHW[:, valid_HW]
        pixels_CN = valid_CN / 1e4
        band = dict(zip(SENTINEL2_BANDS, pixels_CN, strict=True))
        pairs = (("B08", "B04"), ("B03", "B08"), ("B11", "B08"))
        ratios = [(band[a] - band[b]) / (band[a] + band[b] + 1e-6) for a, b in pairs]
        values_CN = np.concatenate([pixels_CN, ratios])
        near_N = is_about(focus_2, *valid_HW.shape)[valid_HW]
        about_C = values_CN[:, near_N].mean(1) if near_N.any() else np.zeros(len(values_CN))
        rows.append(np.concatenate([_moments(values_CN), about_C]))
    return np.array(rows)


def is_about(focus_2: NDArray[np.float32], height: int, width: int) -> NDArray[np.bool_]:
    """Returns which pixels of a patch lie within 80 m of a place along both axes, (H, W), of pixels of 10 m.

    Args:
        focus_2: x to the right, y down, -1 ... 1 between the outer edges.
    """
    x, y = (focus_2.astype(np.float64) + 1) / 2 * (width, height)
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    near_HW: NDArray[np.bool_] = (np.abs(rows - y) <= _ABOUT_PX)[:, None] & (np.abs(columns - x) <= _ABOUT_PX)
    return near_HW


def describe_colours(picture_BHWC: NDArray[np.uint8]) -> Features:
    """Returns mean, standard deviation and skewness of each colour, and its mean in thirds from the top: (B, 18)."""
    rows = []
    for picture_HWC in picture_BHWC:
        pixels_CHW = np.ascontiguousarray(np.moveaxis(picture_HWC, -1, 0)) / 255.0
        pixels_CN = pixels_CHW.reshape(3, -1)
        centred = pixels_CN - pixels_CN.mean(1, keepdims=True)
        skew = np.cbrt((centred * centred * centred).mean(1))  # NumPy's third power takes fifty times as long
        thirds = [third.mean((1, 2)) for third in np.array_split(pixels_CHW, 3, axis=1)]
        rows.append(np.concatenate([_moments(pixels_CN), skew, *thirds]))
    return np.array(rows)


def describe_heights(height_BHW: NDArray[np.float32], focus_B2: NDArray[np.float32]) -> Features:
    """Returns mean, deviation, least and most height, mean and deviation of the slope; both means about the place.

    Heights in metres, slopes as metres of rise over metres of way, by central differences, logarithms too: (B, 16).

    Args:
        focus_B2: where places lie in their patches, as in `Batch`.
    """
    rows = []
    for height_HW, focus_2 in zip(height_BHW.astype(np.float64), focus_B2, strict=True):
        is_gap = ~np.isfinite(height_HW) | (height_HW == DEM.nodata)
        filled = np.where(is_gap, height_HW[~is_gap].mean() if not is_gap.all() else 0.0, height_HW)
        slope = np.hypot(*np.gradient(filled, DEM.gsd_m))
        near_HW = is_about(focus_2, *filled.shape)
        values = [filled.mean(), filled.std(), filled.min(), filled.max(), slope.mean(), slope.std()]
        values += [filled[near_HW].mean(), slope[near_HW].mean()]
        rows.append(values + [np.sign(v) * np.log1p(abs(v) * scale) for v, scale in zip(values, _SCALES, strict=True)])
    return np.array(rows)


# slopes are small numbers: their logarithms start at a hundredth
_SCALES = (1.0, 1.0, 1.0, 1.0, 100.0, 100.0, 1.0, 100.0)


def _focus(batch: Batch, view: str) -> NDArray[np.float32]:
    focus_B2: NDArray[np.float32] = batch.focus_BR2[:, GROUNDS.index(view)].numpy()
    return focus_B2


def count_words(tokens_BL: NDArray[np.int64]) -> Features:
    """Returns how often each hashed word stands in a text, as log(1 + count): (B, WORDS)."""
    counts = np.zeros((len(tokens_BL), WORDS + 1))
    np.add.at(counts, (np.arange(len(tokens_BL))[:, None], tokens_BL), 1.0)
    return np.log1p(counts[:, 1:])


def describe_positions(lonlat_N2: NDArray[np.float64], over: tuple[float, float, float, float]) -> Features:
    """Returns polynomials to the third degree and low waves of positions: (N, 9 + 32).

    Args:
        over: west, south, east, north of the corpus, degrees: the waves are of half and whole numbers over it.
    """
    west, south, east, north = over
    east += 360.0 * (east < west)
    lon = (lonlat_N2[:, 0] - west) % 360.0
    x = 2 * np.where(lon > 180 + (east - west) / 2, lon - 360, lon) / max(east - west, 1e-9) - 1
    y = 2 * (lonlat_N2[:, 1] - south) / max(north - south, 1e-9) - 1
    powers = [x**i * y**j for i in range(4) for j in range(4 - i) if i + j]
    waves = [f(np.pi * k * v) for v in (x, y, x + y, x - y) for k in (0.5, 1, 2, 4) for f in (np.sin, np.cos)]
    return np.stack(powers + waves, -1)


def _moments(pixels_CN: NDArray[np.float64]) -> Features:
    if pixels_CN.shape[1] == 0:
        return np.zeros(2 * len(pixels_CN))
    return np.concatenate([pixels_CN.mean(1), pixels_CN.std(1)])
