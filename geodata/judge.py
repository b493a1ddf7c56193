"""Is an observation good enough? Measures and thresholds, nothing else: what fails is a drop with its value."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodata.article import is_disambiguation
from geodata.grid import hexagon_mask
from geodata.raster import Raster, valid_values
from schemas.drop import Reason
from schemas.modality import SENTINEL2_BANDS

MAX_DIM_M = 20_000.0
"""What is larger has no place within a patch. A guess: a patch is 1.3 km wide."""
COARSE_KINDS = {"country": 1e6, "satellite": 1e6, "adm1st": 1e5, "adm2nd": 3e4}
"""GeoData's words for what has no place of its own, and how large GeoHack takes it to be, metres."""
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Red, green and blue of grey (ITU-R BT.601)."""
_LATTICES = ((60.0, 3.1e-3, "minutes of arc"), (100.0, 1e-6, "hundredths of a degree"))
"""Steps in a degree, what rounding to four decimals may shift (in steps), name."""


@dataclass(frozen=True)
class Thresholds:
    """Limits of the judges; every one is an option of the same name."""

    max_cloud_share: float = 0.3
    """Sentinel-2: largest share of valid pixels under cloud."""
    min_valid_share: float = 0.95
    """Rasters: smallest share of the cell's hexagon that holds data."""
    min_std: float = 2.0
    """Pictures: smallest standard deviation of the liveliest band, in stored units."""
    min_photo_px: int = 128
    """Photos: smallest short side of the original."""
    min_sharpness: float = 15.0
    """Photos: smallest variance of the Laplacian of the stored grey image."""
    min_text_chars: int = 60
    """Texts: fewer characters are a stub."""
    imprecise_step_deg: float = 0.5
    """Articles whose latitude and longitude are both whole multiples of this are placed by guess; 0 keeps them."""


@dataclass(frozen=True)
class Verdict:
    """Why something is not good enough."""

    reason: Reason
    """The drop's reason."""
    value: float
    """What was measured."""
    detail: str
    """One sentence."""


def judge_raster(raster: Raster, key: str, modality: str, thresholds: Thresholds) -> Verdict | None:
    """Returns why a raster is dropped, None where it is good."""
    share = hexagon_valid_share(raster, key)  # flat ground is no fault: elevation is not judged further
    if share < thresholds.min_valid_share:
        return Verdict(
            Reason.NODATA, share, f"data on {share:.3f} of the hexagon, at least {thresholds.min_valid_share} is needed"
        )
    if modality != "dem" and (std := liveliest_std(raster, thresholds.min_std)) < thresholds.min_std:
        return Verdict(Reason.CONSTANT, std, f"standard deviation {std:.2f}, at least {thresholds.min_std} is needed")
    if modality == "sentinel2" and (cloud := cloud_share(raster)) > thresholds.max_cloud_share:
        return Verdict(Reason.CLOUD, cloud, f"cloud on {cloud:.3f}, at most {thresholds.max_cloud_share} is allowed")
    return None


def judge_photo(
    pixels: NDArray[np.uint8], sums: NDArray[np.float64], thresholds: Thresholds
) -> Verdict | None:  # fmt: skip
    """Returns why a stored photo is dropped, None where it is good.

    Args:
        pixels: shape (height, width, 3).
        sums: their `raster.picture_sums`.
    """
    count, total, squares = sums.T
    std = float(np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0)).max())
    if std < thresholds.min_std:
        return Verdict(Reason.CONSTANT, std, f"standard deviation {std:.2f}, at least {thresholds.min_std} is needed")
    if (sharp := sharpness(pixels)) < thresholds.min_sharpness:
        return Verdict(Reason.BLUR, sharp, f"sharpness {sharp:.1f}, at least {thresholds.min_sharpness} is needed")
    return None


def judge_photo_size(width: int, height: int, thresholds: Thresholds) -> Verdict | None:
    """Returns why a photo is too small, None where it is not."""
    if (side := min(width, height)) < thresholds.min_photo_px:
        return Verdict(Reason.TINY, side, f"short side {side} px, at least {thresholds.min_photo_px} px is needed")
    return None


def judge_text(title: str, text: str, thresholds: Thresholds) -> Verdict | None:
    """Returns why a text is dropped, None where it is good."""
    if is_disambiguation(title, text):
        return Verdict(Reason.DISAMBIGUATION, len(text), "the page lists what a name may mean")
    if len(text) < thresholds.min_text_chars:
        return Verdict(
            Reason.STUB, len(text), f"{len(text)} characters, at least {thresholds.min_text_chars} are needed"
        )
    return None


def judge_position(lon: float, lat: float, thresholds: Thresholds) -> Verdict | None:
    """Returns why an article's position is a guess, None where it is not."""
    step = thresholds.imprecise_step_deg
    if step > 0 and lon % step == 0 and lat % step == 0:
        return Verdict(Reason.IMPRECISE_LOCATION, step, f"both coordinates are whole multiples of {step} degrees")
    return None


def judge_place(
    lon: float, lat: float, thresholds: Thresholds, *, dim_m: float | None = None, kind: str | None = None
) -> Verdict | None:
    """Returns why a geotag of an encyclopaedia is too coarse for a patch, None where it is not.

    Args:
        dim_m: extent of what the article is about (GeoData's dim).
        kind: what it is (GeoData's type), such as city(12000).
    """
    word = (kind or "").partition("(")[0]
    if word in COARSE_KINDS:
        detail = f"an article of the type {word} has no place of its own"
        return Verdict(Reason.IMPRECISE_LOCATION, dim_m or COARSE_KINDS[word], detail)
    if dim_m is not None and dim_m > MAX_DIM_M:
        detail = f"{dim_m:.0f} m wide, at most {MAX_DIM_M:.0f} m has a place"
        return Verdict(Reason.IMPRECISE_LOCATION, dim_m, detail)
    if (verdict := judge_position(lon, lat, thresholds)) is not None:
        return verdict
    for steps, rounding, name in _LATTICES if thresholds.imprecise_step_deg > 0 else ():
        if all(abs(x * steps - round(x * steps)) < rounding for x in (lon, lat)):
            return Verdict(Reason.IMPRECISE_LOCATION, 1 / steps, f"both coordinates are whole {name}")
    return None


def hexagon_valid_share(raster: Raster, key: str) -> float:
    """Returns the share of the cell's hexagon that holds data, 0 ... 1."""
    mask = hexagon_mask(key, raster.grid)
    return float(raster.valid[mask].mean()) if mask.any() else 0.0


def liveliest_std(raster: Raster, enough: float = np.inf) -> float:
    """Returns the largest standard deviation of any band over the valid pixels, in stored units.

    Args:
        enough: stop at the first band that reaches this.
    """
    return _largest_std(valid_values(raster), enough)


def cloud_share(raster: Raster) -> float:
    """Returns the share of valid pixels that are cloud, 0 ... 1: by the source's classification, else by reflectance.

    The classification counts cloud shadow as well.

    The test of Braaten, Cohen and Yang (Automated cloud and cloud shadow identification in Landsat MSS imagery,
    Remote Sensing of Environment 169, 2015) on B03 and B04, with snow excepted where it is dark in B11
    (normalised difference snow index above 0.4: Dozier, Remote Sensing of Environment 28, 1989). It is blind to thin
    haze and takes bright roofs for cloud; a scene classification, where a source has one, is better.
    """
    if raster.cloud is not None:
        return float(raster.cloud[raster.valid].mean()) if raster.valid.any() else 0.0
    green, red, swir = (
        raster.values[SENTINEL2_BANDS.index(band)][raster.valid].astype(np.float32) * 1e-4
        for band in ("B03", "B04", "B11")
    )
    if green.size == 0:
        return 0.0
    whiteness = (green - red) / np.maximum(green + red, 1e-4)
    is_bright = (green > 0.39) | ((green > 0.175) & (whiteness > 0))
    is_snow = (green - swir) / np.maximum(green + swir, 1e-4) > 0.4
    is_desert = swir > 1.25 * green
    return float((is_bright & ~is_snow & ~is_desert).mean())


def sharpness(pixels: NDArray[np.uint8]) -> float:
    """Returns the variance of the Laplacian of the grey image (Pech-Pacheco and others, ICPR 2000)."""
    grey = pixels.astype(np.float32) @ _LUMA
    laplacian = grey[1:-1, 1:-1] * np.float32(-4)
    for neighbour in (grey[:-2, 1:-1], grey[2:, 1:-1], grey[1:-1, :-2], grey[1:-1, 2:]):
        laplacian += neighbour  # in place: half the time of one sum
    squares = np.einsum("yx,yx->y", laplacian, laplacian)  # by rows: exact enough, and no thread of a BLAS wakes up
    return float(squares.sum(dtype=np.float64)) / laplacian.size - float(laplacian.mean(dtype=np.float64)) ** 2


def _largest_std(bands: NDArray[np.generic], enough: float) -> float:
    """The largest standard deviation of the bands, or the first that is enough; 0 where there is nothing."""
    largest = 0.0
    for band in bands:
        largest = max(largest, float(band.std(dtype=np.float64)) if band.size else 0.0)
        if largest >= enough:
            break
    return largest
