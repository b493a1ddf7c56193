"""Mean and standard deviation of each band, in stored units: from manifests, or measured."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from schemas.modality import MODALITIES
from training.decode import FAULTS, decode_geotiff, decode_jpeg

if TYPE_CHECKING:
    from training.data.samples import Samples

_log = logging.getLogger(__name__)
Statistics = dict[str, dict[str, list[float]]]
"""Modality to `mean` and `std`, one number a band."""
_MEASURED = 500
"""Places that a first pass reads at most."""


def pool(manifests: Sequence[Mapping[str, Any]]) -> Statistics:
    """Returns the statistics of several corpora together, each weighted by its valid pixels.

    A modality that none of them has is left out.
    """
    sums: dict[str, NDArray[np.float64]] = {}
    for manifest in manifests:
        for view, rows in manifest["statistics"]["bands"].items():
            mean, std, pixels = (np.array(rows[name], dtype=np.float64) for name in ("mean", "std", "pixels"))
            sums[view] = sums.get(view, 0) + np.stack([pixels, pixels * mean, pixels * (std**2 + mean**2)])
    return _summarise(sums)


def measure(samples: "Samples", *, where: str | Path = "") -> Statistics:
    """Returns the statistics of some hundred places, spread evenly over the samples; what is damaged is passed over.

    A modality that none of them has is left out.
    """
    rows = np.unique(np.linspace(0, len(samples) - 1, _MEASURED).round().astype(int))
    _log.warning("%s: statistics of the bands are measured at %d places of split %s.", where, len(rows), samples.split)
    first_N, view_K = samples.places.first_N, samples.places.view_K
    sums: dict[str, NDArray[np.float64]] = {}
    for row in rows.tolist():
        for observation in range(first_N[row], first_N[row + 1]):
            view = list(MODALITIES)[view_K[observation]]
            if view == "text":
                continue
            try:
                values = _valid_pixels(view, samples.read(observation))
            except FAULTS:
                continue
            counts = np.full(len(values), values.shape[1], dtype=np.float64)
            squares = np.einsum("bn,bn->b", values, values)
            sums[view] = sums.get(view, 0) + np.stack([counts, values.sum(axis=1), squares])
    return _summarise(sums)


def _valid_pixels(view: str, payload: memoryview) -> NDArray[np.float64]:
    """Returns the pixels that are no gaps, shape (bands, N)."""
    if not MODALITIES[view].suffix.endswith("geotiff"):
        return decode_jpeg(payload).reshape(-1, 3).T.astype(np.float64)
    values = decode_geotiff(payload).astype(np.float64)
    return values[:, np.isfinite(values).all(axis=0) & (values != MODALITIES[view].nodata).all(axis=0)]


def _summarise(sums: dict[str, NDArray[np.float64]]) -> Statistics:
    result: Statistics = {}
    for view in MODALITIES:
        if view in sums and sums[view][0].min() > 0:
            count, total, squares = sums[view]
            mean = total / count
            std = np.sqrt(np.maximum(squares / count - mean**2, 0))
            result[view] = {"mean": mean.tolist(), "std": std.tolist()}
    return result
