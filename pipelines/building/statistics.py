"""Sums per band from which mean and standard deviation follow; sums of shards add up to those of the corpus."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geodata.raster import band_sums
from schemas.modality import MODALITIES


@dataclass
class Statistics:
    """Count, sum and sum of squares per modality and band, over valid pixels."""

    sums: dict[str, list[list[float]]] = field(default_factory=dict)
    """Modality to one [count, sum, sum of squares] per band."""

    def add(self, modality: str, values: NDArray[np.generic] | None) -> None:
        """Adds one observation's values, shape (bands, N)."""
        if values is None or values.size == 0:
            return
        self._merge(modality, band_sums(values))

    def merge(self, sums: dict[str, list[list[float]]]) -> None:
        """Adds sums of one observation, or of a shard."""
        for modality, rows in sums.items():
            self._merge(modality, np.array(rows))

    def summary(self) -> dict[str, dict[str, list[float] | list[str]]]:
        """Returns bands, mean, std and pixel count per modality, in stored units."""
        result: dict[str, dict[str, list[float] | list[str]]] = {}
        for modality, rows in sorted(self.sums.items()):
            count, total, squares = np.array(rows).T
            mean = total / count
            std = np.sqrt(np.maximum(squares / count - mean**2, 0))
            bands = list(MODALITIES[modality].bands) or ["red", "green", "blue"]
            result[modality] = {
                "bands": bands, "mean": mean.round(6).tolist(), "std": std.round(6).tolist(), "pixels": count.tolist()
            }  # fmt: skip
        return result

    def _merge(self, modality: str, rows: NDArray[np.float64]) -> None:
        before = np.array(self.sums[modality]) if modality in self.sums else 0
        self.sums[modality] = (before + rows).tolist()
